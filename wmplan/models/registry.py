"""Builds a part of a model from its name and options, with an error that says which names and options there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wmplan.errors import UserError
from wmplan.settings.build import convert_options
from wmplan.settings.suggest import did_you_mean

T = TypeVar("T")


def build(part: str, registry: Mapping[str, Callable[..., T]], name: str, *args: Any, options: Mapping[str, Any]) -> T:
    """`registry[name](*args, **options)`.

    Args:
        part: what is built, for the errors: "encoder", whose options are called encoder_options.
        args: what every entry of the registry takes; options are the keyword-only parameters.

    Raises:
        UserError: if there is no such name, it has no such option, or an option has a value of the wrong kind.
    """
    if name not in registry:
        raise UserError(f"there is no {part} {name!r}; {did_you_mean(name, registry)}")
    return registry[name](*args, **convert_options(registry[name], options, f"{part}_options"))


def with_defaults(target: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with what the keyword-only parameters of `target` are where they say nothing.

    A checkpoint stores these, so that it loads after a default has changed.
    """
    parameters = inspect.signature(target).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    return {**defaults, **options}


def require_positive(part: str, **values: int) -> None:
    """Raise a UserError that names the first of the options `values` that is below one."""
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{part}: {name} is {value}, it has to be at least 1")
