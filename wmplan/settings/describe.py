"""What the parameters of a function or the fields of a dataclass mean, from its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any


def defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of `target` that can be set by name, with their defaults (inspect.Parameter.empty: none)."""
    if dataclasses.is_dataclass(target):
        fields = [field for field in dataclasses.fields(target) if field.init]
        return {field.name: _default(field) for field in fields}
    parameters = inspect.signature(target).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def default_settings(target: Callable[..., Any], hidden: Collection[str] = (), path: str = "") -> dict[str, Any]:
    """The parameters of `target` as settings: plain values, nested dataclasses as dicts; "???" where one is needed.

    A parameter that takes a dataclass or None has that dataclass's settings; one that takes a function is left out.

    Args:
        hidden: parameters to leave out, those of nested dataclasses as outer.inner.
        path: where the settings stand: "outer.".
    """
    hints = typing.get_type_hints(target)
    fields = {field.name: field for field in dataclasses.fields(target)} if dataclasses.is_dataclass(target) else {}
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        kinds = _kinds(hints[name])
        if f"{path}{name}" in hidden or any(typing.get_origin(kind) is Callable for kind in kinds):
            continue
        value = _default(fields[name]) if name in fields else parameter.default
        inner = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        if value is None and len(inner) == 1:
            found[name] = default_settings(typing.cast(Any, inner[0]), hidden, f"{path}{name}.")
        else:
            found[name] = _setting(value, hidden, f"{path}{name}")
    return found


def meanings(target: Callable[..., Any]) -> dict[str, str]:
    """The meaning of each parameter, those of nested dataclasses as outer.inner.

    They are read from the sections "Attributes:" and "Args:" of the docstrings of the target and of its bases, and
    say null for None, as YAML does.
    """
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(target)) if inspect.isclass(target) else [target]:
        found |= _sections(inspect.cleandoc(one.__doc__ or ""))
    found = {name: re.sub(r"\bNone\b", "null", text).rstrip(".") for name, text in found.items()}
    try:
        hints = typing.get_type_hints(target)
    except NameError:  # an annotation that is imported for type checkers alone
        return found
    for name, hint in hints.items():
        for inner in _kinds(hint):
            if dataclasses.is_dataclass(inner):
                found |= {f"{name}.{key}": text for key, text in meanings(typing.cast(Any, inner)).items()}
    return found


def _kinds(hint: Any) -> Sequence[Any]:
    """The types of a union, or the one type."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]


def _setting(value: Any, hidden: Collection[str], path: str) -> Any:
    """A default as a plain setting."""
    if value is inspect.Parameter.empty:
        return "???"
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if f"{path}.{field.name}" not in hidden]
        return {name: _setting(getattr(value, name), hidden, f"{path}.{name}") for name in names}
    if isinstance(value, list | tuple):
        return [_setting(one, hidden, path) for one in value]
    if isinstance(value, Mapping):
        return {key: _setting(one, hidden, path) for key, one in value.items()}
    return str(value) if isinstance(value, Path) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is dataclasses.MISSING else field.default_factory()


def _sections(doc: str) -> dict[str, str]:
    """name -> text of the entries `name, other: text` in the sections Attributes and Args; text may go on indented."""
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in doc.splitlines():
        if line and not line.startswith(" "):
            inside, names = line.strip() in ("Attributes:", "Args:"), []
        elif inside and (entry := re.match(r"    ([\w, ]+): (.*)$", line)):
            names = [name.strip() for name in entry[1].split(",")]
            found |= dict.fromkeys(names, entry[2].strip())
        elif inside and names and line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found
