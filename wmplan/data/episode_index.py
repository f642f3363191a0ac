"""Which rows of an HDF5 file are which episode: its datasets `ep_len` and `ep_offset`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import Unusable
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.sources import source_files, unwritten_rows

INDEX = ("ep_len", "ep_offset")
LARGEST = 1 << 48  # rows


def read_index(file: h5py.File, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Path]]:
    """Rows of each episode and first row of each, of shape (E,), and the files they come from.

    The order of the episodes, gaps between them and empty ones are as they are.

    Raises:
        DamagedError: where a check of the file does not hold.
        DataError: where the two are no index, naming the episode.
    """
    stored = [_read(file, path, name) for name in INDEX]
    lengths, offsets = (_whole_numbers(values, path, name) for name, (values, _) in zip(INDEX, stored, strict=True))
    if len(lengths) != len(offsets):
        raise DataError(f"{path}: ep_len has {len(lengths)} episodes and ep_offset {len(offsets)}, they have to agree")
    order = np.argsort(offsets, kind="stable")
    order = order[lengths[order] > 0]
    ends = offsets[order] + lengths[order]
    shared = np.flatnonzero(offsets[order][1:] < ends[:-1])
    if len(shared):
        one, other = order[shared[0]], order[shared[0] + 1]
        raise DataError(
            f"{path}: by ep_len and ep_offset the episodes {min(one, other)} and {max(one, other)} share the row "
            f"{offsets[other]}; a row must be of one episode"
        )
    return lengths, offsets, [source for _, sources in stored for source in sources]


def _whole_numbers(values: NDArray[Any], path: Path, name: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iuf" or max((*values.shape, 1)) != max(values.size, 1):
        raise DataError(
            f"{path}: {name} holds {values.dtype} of shape {values.shape}, it must be whole numbers, one an episode"
        )
    values = values.ravel()
    wrong = ~((values >= 0) & (values < LARGEST) & (values == np.floor(values)))
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{path}: {name} of episode {at} must be a number of rows, got {values[at]}")
    return values.astype(np.int64)


def _read(file: h5py.File, path: Path, name: str) -> tuple[NDArray[Any], list[Path]]:
    try:
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise DataError(f"{path}: {name} must be a dataset with a number an episode, got a group")
        sources = source_files(dataset)
        if unwritten_rows(dataset) is not None:
            raise DamagedError(f"{path}: {name} was never written")
        return np.asarray(dataset[()]), sources
    except Unusable as why:
        raise DataError(f"{path}: {name} {why}") from None
    except (KeyError, OSError, RuntimeError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: column {name!r} cannot be read ({error})") from None
