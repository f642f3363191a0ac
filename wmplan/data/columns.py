"""A column of a file as this package hands it out: frames uint8 RGB, quantities float, a row a robot step.

Files of the wild hold groups, scalars, whole or big-endian numbers, one number a row, channels first. What has one
meaning is read as that; of the rest it is said why it cannot be used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.data.meta import DamagedError

QUANTITIES = ("action", "proprio", "state", "physics_state")
"""Columns of (rows, N) floats, whatever kind of number the file has."""
KNOWN = ("pixels", *QUANTITIES)
"""Columns that have a row a robot step; another name may stand for anything."""

RGB = "frames must be uint8 RGB, of shape (rows, height, width, 3)"


class Unusable(Exception):
    """Why a column cannot be used; goes on from "column 'NAME' "."""


@dataclass(frozen=True)
class Column:
    """One dataset, and how it is read.

    Attributes:
        dataset: in its file, or any array with a shape and a dtype that can be sliced.
        shape: of a row, as it is handed out.
        dtype: as it is handed out.
        arrange: stored rows -> rows as they are handed out; raises Unusable where their values cannot be meant.
    """

    dataset: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    arrange: Callable[[NDArray[Any]], NDArray[Any]]


def open_column(file: h5py.File, name: str, *, frames: bool = False) -> Column:
    """The column `name`, from what its header says.

    Args:
        frames: whether it is a camera's, whatever its name.

    Raises:
        Unusable: where it cannot be used.
        DamagedError: where its header cannot be read.
    """
    dataset, stored = _dataset(file, name)
    return as_frames(dataset, stored) if frames else as_column(name, dataset, stored)


def as_column(name: str, dataset: Any, stored: np.dtype[Any], *, float_white: float = 1) -> Column:
    """The column `name` of what any array holds.

    Args:
        dataset: with a shape and a dtype, and rows to slice.
        stored: its dtype in this machine's byte order.
        float_white: what white is in frames of floats: 1 or 255.

    Raises:
        Unusable: where it cannot be used.
    """
    shape = dataset.shape[1:]
    if name == "pixels":
        return as_frames(dataset, stored, float_white=float_white)
    if name in QUANTITIES:
        return _quantity(dataset, shape, stored)
    if stored.kind == "O" and h5py.check_string_dtype(dataset.dtype) is None:
        raise Unusable("holds rows of varying length or references, it has to hold numbers or text")
    return Column(dataset, shape, stored, partial(_typed, dtype=stored, shape=shape))


def _dataset(file: h5py.File, name: str) -> tuple[h5py.Dataset, np.dtype[Any]]:
    """The dataset behind a name, following links, and its type in this machine's byte order."""
    try:
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            raise Unusable(f"is a {'group' if isinstance(item, h5py.Group) else 'type'}, it must be a dataset")
        stored = item.dtype.newbyteorder("=")
    except TypeError as error:
        raise Unusable(f"has a type without a NumPy equivalent ({error})") from None
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        link = file.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise Unusable(f"is a link to {link.path} in {link.filename}, which cannot be opened") from None
        if isinstance(link, h5py.SoftLink):
            raise Unusable(f"is a link to {link.path}, which is not in the file") from None
        raise DamagedError(f"{file.filename} is damaged: column {name!r} cannot be opened ({error})") from None
    if not item.shape:
        raise Unusable("is a single value, it has to have a row a robot step")
    return item, stored


def _quantity(dataset: Any, shape: tuple[int, ...], stored: np.dtype[Any]) -> Column:
    if stored.kind not in "fiub":
        raise Unusable(f"holds {_kind(stored)}, it has to hold numbers")
    if len(shape) > 1 or 0 in shape:
        raise Unusable(f"has the shape {dataset.shape}, it must be (rows, numbers)")
    if stored.kind == "f":
        dtype = np.dtype(np.float64 if stored.itemsize > 4 else np.float32)
    else:
        dtype = np.dtype(np.float64 if stored.itemsize > 2 else np.float32)  # float32 holds 24 bits exactly
    shape = shape or (1,)
    return Column(dataset, shape, dtype, partial(_typed, dtype=dtype, shape=shape))


def as_frames(dataset: Any, stored: np.dtype[Any], *, float_white: float = 1) -> Column:
    """Frames of what any array holds; see as_column()."""
    shape = dataset.shape[1:]
    if stored.kind not in "fiu":
        raise Unusable(f"holds {_kind(stored)}, {RGB}")
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or 0 in shape:
        raise Unusable(f"has the shape {dataset.shape}, {RGB}")
    channels_first = shape[2] != 3
    arrange = partial(_bytes, float_white=float_white, channels_first=channels_first)
    return Column(dataset, (*shape[1:], 3) if channels_first else shape, np.dtype(np.uint8), arrange)


def _typed(rows: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    return rows.astype(dtype, copy=False).reshape(len(rows), *shape)


def _bytes(rows: NDArray[Any], float_white: float, channels_first: bool) -> NDArray[np.uint8]:
    """Frames as uint8 RGB: floats go from 0 to `float_white`, whole numbers from 0 to 255."""
    if channels_first:
        rows = np.ascontiguousarray(np.moveaxis(rows, 1, -1))
    if rows.dtype == np.uint8:
        return rows
    is_float = rows.dtype.kind == "f"
    top = float_white if is_float else 255
    wrong = ~((rows >= 0) & (rows <= top))  # not a number is wrong too
    if wrong.any():
        kind = "floats" if is_float else "whole numbers"
        raise Unusable(f"has the value {rows[wrong][0]}; frames of {kind} have to go from 0 to {top}, or be uint8")
    return np.round(rows * np.float32(255 / top)).astype(np.uint8) if is_float else rows.astype(np.uint8)


def without_last(actions: NDArray[Any], last: bool) -> NDArray[Any]:
    """Actions (rows, A), NaN in their last row where that is an episode's last: no frame shows what came of it."""
    if not last or not len(actions):
        return actions
    actions = actions.copy()
    actions[-1] = np.nan
    return actions


def _kind(dtype: np.dtype[Any]) -> str:
    """What a user would call the type."""
    if h5py.check_string_dtype(dtype) is not None or dtype.kind == "S":
        return "text"
    return {"O": "rows of varying length", "V": "records", "c": "complex numbers", "b": "true or false"}.get(
        dtype.kind, str(dtype)
    )
