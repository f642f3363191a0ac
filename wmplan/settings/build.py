"""Calls a function or builds a dataclass with plain settings, and says in one line what does not fit."""

from __future__ import annotations

import dataclasses
import inspect
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
    """`target(**settings)`, for a dataclass or a function with type hints.

    Numbers, paths, tuples and nested dataclasses are made from what YAML gives for them.

    Args:
        path: where the settings stand, for messages: "planner" for planner.horizon.

    Raises:
        UserError: at a key that is no parameter, a parameter without a value, or a value of the wrong kind.
        ValueError: what the target itself has to say about a value.
    """
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(target)
    for key in settings:
        if key not in parameters:
            known = [_join(path, name) for name in parameters]
            raise UserError(f"there is no key {_join(path, key)!r}; {did_you_mean(_join(path, key), known)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            raise UserError(f"{_join(path, name)} is missing, it has to be {_kind(hints[name])}")
    return target(**{key: _convert(value, hints[key], _join(path, key)) for key, value in settings.items()})


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _convert(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(value, inner, path, hint)
    if origin is typing.Literal:
        if value not in inner:
            raise UserError(f"{path} is {value!r}; {did_you_mean(str(value), map(str, inner))}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(Any, hint), value, path)
    if origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return _convert_sequence(value, tuple if origin is tuple else list, inner, path, hint)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _convert(entry, inner[1], _join(path, key)) for key, entry in value.items()}
    if isinstance(value, bool) or value is None:
        fits = hint is bool if value is not None else hint is type(None)
    elif isinstance(value, int | float):
        if hint is float and not math.isnan(value):
            return float(value)
        if hint is str:  # out=2024 is a name too
            return str(value)
        fits = hint is int and isinstance(value, int)
    elif isinstance(value, str) and hint is Path and value:
        return Path(value).expanduser()
    else:
        fits = isinstance(hint, type) and isinstance(value, hint)
    if not fits:
        raise UserError(f"{path} is {value!r}, it has to be {_kind(hint)}")
    return value


def _first_that_fits(value: Any, hints: Sequence[Any], path: str, union: Any) -> Any:
    for hint in sorted(hints, key=lambda one: one is not type(value)):  # its own type first, then in their order
        try:
            return _convert(value, hint, path)
        except UserError:
            if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
                raise
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
        return " or ".join(dict.fromkeys(_kind(one) for one in inner))
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"a list [{', '.join(_kind(one) for one in inner)}]"
    if origin in (list, tuple, Sequence):
        return f"a list, each entry {_kind(inner[0])}" if inner else "a list"
    return "a mapping of keys to values"
