"""Builds a part of a model from its name and options, with an error that says which names and options there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wmplan.errors import UserError
from wmplan.settings.nearest import did_you_mean

T = TypeVar("T")


def build(part: str, registry: Mapping[str, Callable[..., T]], name: str, *args: Any, options: Mapping[str, Any]) -> T:
    """`registry[name](*args, **options)`.

    Args:
        part: what is built, for the errors: "encoder".
        args: what every entry of the registry takes; options are the keyword-only parameters.

    Raises:
        UserError: if there is no such name, or it has no such option.
    """
    if name not in registry:
        raise UserError(f"there is no {part} {name!r}; {did_you_mean(name, registry)}")
    parameters = inspect.signature(registry[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(f"the {part} {name!r} has no option {option!r}; {did_you_mean(option, known)}")
    return registry[name](*args, **options)


def require_positive(part: str, **values: int) -> None:
    """Raise a UserError that names the first of the options `values` that is below one."""
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{part}: {name} is {value}, it has to be at least 1")
