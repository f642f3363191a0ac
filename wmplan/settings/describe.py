"""What the parameters of a function or the fields of a dataclass mean, from its docstring."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any


def defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of `target` that can be set by name, with their defaults (inspect.Parameter.empty: none)."""
    if dataclasses.is_dataclass(target):
        fields = [field for field in dataclasses.fields(target) if field.init]
        return {field.name: _default(field) for field in fields}
    parameters = inspect.signature(target).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


def meanings(target: Callable[..., Any]) -> dict[str, str]:
    """The meaning of each parameter, those of nested dataclasses as outer.inner.

    They are read from the sections "Attributes:" and "Args:" of the docstrings of the target and of its bases, and
    say null for None, as YAML does.
    """
    found: dict[str, str] = {}
    for one in reversed(inspect.getmro(target)) if inspect.isclass(target) else [target]:
        found |= _sections(inspect.cleandoc(one.__doc__ or ""))
    found = {name: re.sub(r"\bNone\b", "null", text).rstrip(".") for name, text in found.items()}
    hints = typing.get_type_hints(target)
    for name, hint in hints.items():
        for inner in typing.get_args(hint) if isinstance(hint, types.UnionType) else [hint]:
            if dataclasses.is_dataclass(inner):
                found |= {f"{name}.{key}": text for key, text in meanings(typing.cast(Any, inner)).items()}
    return found


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
