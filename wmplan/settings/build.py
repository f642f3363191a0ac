"""Builds a dataclass from plain settings and says in one line what does not fit."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wmplan.errors import UserError
from wmplan.settings.nearest import did_you_mean

T = TypeVar("T")

KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    type(None): "null",
}


def build(target: Callable[..., T], settings: Mapping[str, Any], path: str = "") -> T:
    """An instance of the dataclass `target` with `settings` for its fields.

    Numbers, paths, tuples and nested dataclasses are made from what YAML gives for them.

    Args:
        path: where the settings stand, for messages: "planner" for planner.horizon.

    Raises:
        UserError: at a key that is no field, a field without a value, or a value of the wrong kind.
        ValueError: what the dataclass itself has to say about a value.
    """
    fields = {field.name: field for field in dataclasses.fields(target) if field.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(target)
    for key in settings:
        if key not in fields:
            known = [_join(path, name) for name in fields]
            raise UserError(f"there is no key {_join(path, key)!r}; {did_you_mean(_join(path, key), known)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in settings:
            raise UserError(f"{_join(path, name)} is missing: {_join(path, name)}={_kind(hints[name])}")
    return target(**{key: _convert(value, hints[key], _join(path, key)) for key, value in settings.items()})


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _convert(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(value, inner, path, hint)
    if origin is typing.Literal:
        if value not in inner:
            raise UserError(f"{path} is {value!r}; {did_you_mean(str(value), map(str, inner))}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(Any, hint), value, path)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if hint is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # out=2024 is a name too
    if origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return _convert_sequence(value, tuple if origin is tuple else list, inner, path, hint)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _convert(entry, inner[1], _join(path, key)) for key, entry in value.items()}
    if hint in (bool, str, type(None), dict, list, Mapping) or hint is origin:
        if value is None and hint is type(None):
            return None
        if hint is not type(None) and isinstance(value, hint):
            return value
    raise UserError(f"{path} is {value!r}, it has to be {_kind(hint)}")


def _first_that_fits(value: Any, hints: Sequence[Any], path: str, union: Any) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in sorted(hints, key=lambda one: one is str):  # 5 for `str | int` is the number
        try:
            return _convert(value, hint, path)
        except UserError as error:
            if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
                raise error
    raise UserError(f"{path} is {value!r}, it has to be {_kind(union)}")


def _convert_sequence(value: Sequence[Any], kind: type, inner: Sequence[Any], path: str, hint: Any) -> Any:
    fixed = kind is tuple and inner and inner[-1] is not Ellipsis
    if fixed and len(value) != len(inner):
        raise UserError(f"{path} is {list(value)}, it has to be {_kind(hint)}")
    each = inner if fixed else [inner[0] if inner else Any] * len(value)
    return kind(_convert(entry, one, f"{path}[{i}]") for i, (entry, one) in enumerate(zip(value, each, strict=True)))


def _kind(hint: Any) -> str:
    """What a user would call the type."""
    if hint in KINDS:
        return KINDS[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"a list [{', '.join(_kind(one) for one in inner)}]"
    if origin in (list, tuple, Sequence):
        return f"a list, each entry {_kind(inner[0])}" if inner else "a list"
    return "a mapping of keys to values"
