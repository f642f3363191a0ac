"""Builds a part of a model from its name and options, with an error that says which names and options there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from wmplan.registry import Registry
from wmplan.settings.build import convert_options
from wmplan.settings.describe import defaults
from wmplan.settings.numbers import whole_number

T = TypeVar("T")


def build(registry: Registry[Callable[..., T]], name: str, *args: Any, options: Mapping[str, Any]) -> T:
    """`registry[name](*args, **options)`.

    Args:
        registry: whose part, "encoder", is named in errors: its options are called encoder_options.
        args: what every entry of the registry takes; options are the keyword-only parameters.

    Raises:
        UserError: if there is no such name, it has no such option, or an option has a value of the wrong kind.
    """
    make = registry[name]
    return make(*args, **convert_options(make, options, f"{registry.part}_options"))


def with_defaults(target: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with what the keyword-only parameters of `target` are where they say nothing.

    A checkpoint stores these, so that it loads after a default has changed.
    """
    own = {name: value for name, value in defaults(target).items() if value is not inspect.Parameter.empty}
    return {**own, **options}


def require_positive(part: str, **values: int) -> None:
    """Raise a UserError that names the first of the options `values` that is below one."""
    for name, value in values.items():
        whole_number(value, f"{part}: {name}", 1)
