"""The types that a model's rollouts can be asked to multiply in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.errors import UserError

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")


def check_dtype(name: str) -> str:
    """The name, of a type that can be asked for.

    Raises:
        UserError: at any other.
    """
    if name not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return name


def dtype_name(dtype: torch.dtype) -> str:
    """A type of torch's as settings have it."""
    return str(dtype).removeprefix("torch.")
