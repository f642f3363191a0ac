"""Reading sizes from a nested mapping, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmplan.models.errors import CheckpointError


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


MOST, MOST_NUMBERS = 2**20, 10_000
"""Of any size, the largest in the releases being 65,536; and of the numbers of an action or a robot's state."""


def read_size(
    architecture: Mapping[str, Any], path: str, default: int | None = None, least: int = 1, most: int = MOST
) -> int:
    """A whole number from `least` to `most` at a dotted path.

    Raises:
        CheckpointError: when it is missing, or is no such number.
    """
    value = read_field(architecture, path, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CheckpointError(
            f"the architecture's field {path!r} must be a whole number from {least} to {most}, got {value!r}"
        )
    return value


def read_positive(architecture: Mapping[str, Any], path: str, default: float) -> float:
    """A finite number above zero at a dotted path.

    Raises:
        CheckpointError: when it is no such number.
    """
    value = read_field(architecture, path, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise CheckpointError(f"the architecture's field {path!r} must be a finite number above 0, got {value!r}")
    return float(value)
