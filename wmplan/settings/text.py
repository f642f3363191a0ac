"""Which settings are text: a folder called 1e3, 1.10 or null is taken as it was written, not as YAML would read it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

UNREADABLE = object()
"""Stands for a value that Hydra's grammar cannot read."""


def text_keys(target: Callable[..., Any], path: str = "") -> dict[str, bool]:
    """Parameters of `target` that take text and neither numbers nor lists, and whether they take null.

    Those of nested dataclasses are outer.inner.
    """
    found: dict[str, bool] = {}
    for name, hint in typing.get_type_hints(target).items():
        is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        choices = typing.get_args(hint) if is_union else (hint,)
        kinds = {typing.get_origin(one) or one for one in choices}
        if kinds & {str, Path} and not any(_is_other(kind) for kind in kinds):
            found[f"{path}{name}"] = type(None) in kinds
        for one in choices:
            if dataclasses.is_dataclass(one):
                found |= text_keys(typing.cast(Any, one), f"{path}{name}.")
    return found


def _is_other(kind: Any) -> bool:
    """Whether it is a kind that YAML's own values are of, beside text and null; maps are given by keys of their own."""
    collection = isinstance(kind, type) and issubclass(kind, Collection)
    return kind in (int, float, bool) or (collection and kind not in (str, dict))


def take_as_written(override: str, default: Any, declared: Callable[[], Mapping[str, bool]]) -> str:
    """The `key=value` with its value in quotes where the key wants text and Hydra would read something else.

    Text that is in quotes already, and interpolations, are left to Hydra.

    Args:
        override: in Hydra's grammar.
        default: the key's value without it; a key whose default is text wants text.
        declared: gives what text_keys() says; asked only where it matters.
    """
    found = read(override)
    key, _, value = override.partition("=")
    if isinstance(found, str) and (found == value or value[:1] in ("'", '"') or "${" in value):
        return override
    takes_null = declared().get(key)
    if takes_null is None and isinstance(default, str) and default != "???" and not isinstance(found, list | dict):
        takes_null = True
    return override if takes_null is None or (takes_null and found is None) else f"{key}={quoted(value)}"


def read(override: str) -> Any:
    """The value of a `key=value` as Hydra reads it, UNREADABLE where its grammar does not."""
    try:
        parsed = OverridesParser.create().parse_override(override)
        if parsed.is_sweep_override():  # a,b is a text too
            return UNREADABLE
        value = parsed.value()
    except (HydraException, ValueError, RecursionError):  # too many digits, too many brackets
        return UNREADABLE
    return value.text if isinstance(value, QuotedString) else value


def quoted(value: str) -> str:
    """`value` as text in Hydra's grammar."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
