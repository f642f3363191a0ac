"""The one rule for what counts as a number: Python's, numpy's and torch's are the same, and 1000.0 is whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wmplan.errors import UserError

MAX_SEED = MAX_INT = 2**63 - 1
"""The largest seed that torch's generators take; and what any size or count may be, for libraries overflow beyond."""


def plain(value: Any) -> Any:
    """`value` with arrays, tensors and their scalars, however deep in mappings, lists and tuples, as Python's own."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.tolist() if hasattr(value, "tolist") and hasattr(value, "dtype") else value


def as_int(value: Any) -> int | None:
    """A plain value as an int, None where it is no whole number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def as_float(value: Any) -> float | None:
    """A plain value as a float, None where it is no number, not even an infinite one, or beyond a float's range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:
        return None


def whole_number(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """`value` as an int, of at least `least` and at most `most`.

    Raises:
        UserError: naming it where it is none.
    """
    number = as_int(plain(value))
    if number is None:
        raise UserError(f"{name} must be a whole number, got {plain(value)!r}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise UserError(f"{name} must be {_range(least, most)}, got {number}")
    return number


def finite_number(value: Any, name: str) -> float:
    """`value` as a float.

    Raises:
        UserError: naming it where it is no finite number.
    """
    number = as_float(plain(value))
    if number is None or math.isinf(number):
        raise UserError(f"{name} must be a finite number, got {plain(value)!r}")
    return number


def whole_numbers(value: Any, name: str, least: int | None = None, most: int | None = None) -> list[int]:
    """One whole number, or several, as a list; see whole_number()."""
    numbers = plain(value)
    several = numbers if isinstance(numbers, Iterable) and not isinstance(numbers, str | bytes) else [numbers]
    return [whole_number(one, name, least, most) for one in several]


def require_image_size(image_size: Sequence[int], least: int, most: int) -> None:
    """Raise a UserError unless both sides of frames are within these bounds, in pixels."""
    if not all(least <= side <= most for side in image_size):
        raise UserError(f"image_size must be [height, width] from {least} to {most}, got {list(image_size)}")


def _range(least: int | None, most: int | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"from {least} to {most}"
