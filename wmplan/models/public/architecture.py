"""Reading sizes from a nested mapping, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmplan.models.checkpoint import CheckpointError


def read_field(architecture: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path, such as "predictor.depth".

    Raises:
        CheckpointError: when it is missing and has no default.
    """
    value: Any = architecture
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            if default is not None:
                return default
            raise CheckpointError(f"the architecture lacks the field {path!r}")
        value = value[name]
    return value


def read_size(architecture: Mapping[str, Any], path: str, default: int | None = None, least: int = 1) -> int:
    """A whole number of at least `least` at a dotted path.

    Raises:
        CheckpointError: when it is missing, or is no such number.
    """
    value = read_field(architecture, path, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CheckpointError(
            f"the architecture's field {path!r} is {value!r}, it has to be a whole number of at least {least}"
        )
    return value
