"""Calls a function or builds a dataclass with plain settings, and says in one line what does not fit."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wmplan.errors import UserError
from wmplan.settings.numbers import MAX_INT, as_float, as_int, plain
from wmplan.settings.suggest import did_you_mean

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

    Numbers, paths, tuples and nested dataclasses are made from what YAML gives for them, or from numpy's.

    Args:
        path: where the settings stand, for messages: "planner" for planner.horizon.

    Raises:
        UserError: at a key that is no parameter, a parameter without a value, or a value of the wrong kind.
        ValueError: what the target itself has to say about a value.
    """
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(target)
    _check_keys(settings, parameters, path)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in settings:
            raise UserError(f"{_join(path, name)} is missing, it must be {_kind(hints[name])}")
    return target(**{key: convert(value, hints[key], _join(path, key)) for key, value in settings.items()})


def convert_fields(config: Any, path: str = "") -> None:
    """Make the fields of a frozen dataclass what their annotations say; call it first in __post_init__.

    Args:
        config: the dataclass.
        path: where it stands, for messages: "limits" for limits.low.

    Raises:
        UserError: naming a field whose value is of another kind.
    """
    for name, hint in _field_hints(config.__class__).items():
        value = getattr(config, name)
        converted = convert(value, hint, _join(path, name))
        if converted is not value:
            object.__setattr__(config, name, converted)


def convert_options(target: Callable[..., Any], options: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`options` as the annotations of the keyword-only parameters of `target` want them.

    Raises:
        UserError: at an option that there is not, or whose value is of another kind.
    """
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    parameters = inspect.signature(target).parameters.values()
    known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    _check_keys(options, known, path)
    return {name: convert(value, hints.get(name, Any), _join(path, name)) for name, value in options.items()}


def convert(value: Any, hint: Any, path: str) -> Any:
    """`value` as the annotation `hint` wants it; what counts as a number is said in wmplan.settings.numbers.

    Raises:
        UserError: that begins with `path`, where it does not fit.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(value, inner, path, hint)
    if hint not in KINDS and _is_instance(value, hint, origin):
        return value
    value = plain(value)
    if origin is typing.Literal:
        if value not in inner:
            raise UserError(f"{path} is {value!r}; {did_you_mean(str(value), map(str, inner))}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build(typing.cast(Any, hint), value, path)
    if origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        return _convert_sequence(value, tuple if origin is tuple else list, inner, path, hint)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: convert(entry, inner[1], _join(path, key)) for key, entry in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        if hint is str and isinstance(value, int):  # 2024 is a name too
            return str(value)
        if hint is str:  # 1.10 and 1e3 would become other names
            raise UserError(f"{path} must be text, got the number {value!r}: in quotes it is taken as it stands")
        number = as_int(value) if hint is int else as_float(value) if hint is float else None
        if hint is int and number is not None and abs(number) > MAX_INT:
            raise UserError(f"{path} must be a whole number of at most {MAX_INT}, got {value}")
        if number is not None:
            return number
    elif isinstance(value, str | os.PathLike) and hint in (str, Path) and (hint is str or value):
        return os.fspath(value) if hint is str else Path(os.path.expanduser(value))  # ~nobody stays as it is
    elif hint in (bool, type(None)) and isinstance(value, hint):
        return value
    raise UserError(f"{path} must be {_kind(hint)}, got {value!r}")


def _is_instance(value: Any, hint: Any, origin: Any) -> bool:
    """Whether the value is of a class that needs no conversion: a dataclass that is made, a function, a tensor."""
    if origin is None:
        return isinstance(hint, type) and isinstance(value, hint)
    return origin not in (list, tuple, dict, Sequence, Mapping, typing.Literal) and isinstance(value, origin)


def _first_that_fits(value: Any, hints: Sequence[Any], path: str, union: Any) -> Any:
    for hint in sorted(hints, key=lambda one: one is not type(value)):  # its own type first, then in their order
        try:
            return convert(value, hint, path)
        except UserError:
            if _are_settings(value, hint):
                raise
    if isinstance(value, int) and abs(value) > MAX_INT and int in hints:
        return convert(value, int, path)  # which says what is wrong with it
    raise UserError(f"{path} must be {_kind(union)}, got {value!r}")


def _are_settings(value: Any, hint: Any) -> bool:
    """Whether the value is meant for this hint, keys of a dataclass or a list of such; what is wrong is in a key."""
    if dataclasses.is_dataclass(hint):
        return isinstance(value, Mapping)
    inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
    of_settings = len(inner) == 1 and dataclasses.is_dataclass(inner[0])
    return of_settings and isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value)


def _convert_sequence(value: Sequence[Any], kind: type, inner: Sequence[Any], path: str, hint: Any) -> Any:
    fixed = kind is tuple and inner and inner[-1] is not Ellipsis
    if fixed and len(value) != len(inner):
        raise UserError(f"{path} must be {_kind(hint)}, got {list(value)}")
    each = inner if fixed else [inner[0] if inner else Any] * len(value)
    return kind(convert(entry, one, f"{path}[{i}]") for i, (entry, one) in enumerate(zip(value, each, strict=True)))


def _check_keys(settings: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    known = [_join(path, name) for name in known]
    for key in settings:
        if _join(path, key) not in known:
            raise UserError(f"there is no key {_join(path, key)!r}; {did_you_mean(_join(path, key), known)}")


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


@functools.cache
def _field_hints(config_class: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


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
