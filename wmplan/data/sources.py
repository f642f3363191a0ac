"""Where the bytes of an HDF5 dataset come from: other files, filters, chunks that were never written.

HDF5 hands out its fill value, without a word, for what a virtual dataset's missing file should hold, for the end of an
external file that is too short, and for rows that were made room for but never written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import Unusable
from wmplan.data.hdf5_file import open_hdf5
from wmplan.data.meta import DataError

DEEPEST = 8  # virtual datasets of virtual datasets


def source_files(dataset: h5py.Dataset, depth: int = 0) -> list[Path]:
    """The files that hold the dataset's values, its own first.

    Raises:
        Unusable: where one is missing or too short, or a compression filter is not installed.
    """
    files = [Path(dataset.file.filename)]
    if dataset.is_virtual:
        for source in _virtual_sources(dataset):
            files += _checked_source(dataset, source, depth)
        return files
    _require_filters(dataset)
    return files if dataset.chunks else files + _external_files(dataset)


def _virtual_sources(dataset: h5py.Dataset) -> list[Any]:
    sources = dataset.virtual_sources()
    if any("%" in source.file_name or "%" in source.dset_name for source in sources):
        raise Unusable("is virtual with a pattern of names, which is not read: name its files one by one")
    selected = [_selected(source.vspace) for source in sources]
    mapped = sum(count for count in selected if count is not None)
    if None not in selected and mapped < dataset.size:
        raise Unusable(f"is virtual and maps {mapped} of its {dataset.size} numbers: the others would be fill values")
    return sources


def _checked_source(dataset: h5py.Dataset, source: Any, depth: int) -> list[Path]:
    """The files behind one mapping of a virtual dataset."""
    if depth == DEEPEST:
        raise Unusable(f"is virtual over more than {DEEPEST} levels of files")
    holder = Path(dataset.file.filename)
    path = holder if source.file_name == "." else _find(source.file_name, holder)
    if path is None:
        raise Unusable(f"takes rows from {source.file_name}, which is not beside {holder}")
    try:
        file = open_hdf5(path)
    except DataError as error:
        raise Unusable(f"takes rows from another file: {error}") from None
    with file:
        part = file.get(source.dset_name)
        if not isinstance(part, h5py.Dataset):
            raise Unusable(f"takes rows from {path}, which has no dataset {source.dset_name!r}")
        if not _covers(part, source):
            raise Unusable(f"takes more rows from {path} than its dataset {source.dset_name!r} has")
        return source_files(part, depth + 1)


def _covers(part: h5py.Dataset, source: Any) -> bool:
    """Whether the dataset that a virtual one maps is as large as it was when it was mapped."""
    try:
        _, last = source.src_space.get_select_bounds()
    except (ValueError, RuntimeError):  # all of it was mapped, or all that it will ever have
        return bool(part.size >= (_selected(source.vspace) or 0))
    return len(last) == part.ndim and all(at < size for at, size in zip(last, part.shape, strict=True))


def _selected(space: Any) -> int | None:
    """How many numbers a selection has; None for one without end, which grows with its file."""
    try:
        return int(space.get_select_npoints())
    except RuntimeError:
        return None


def _external_files(dataset: h5py.Dataset) -> list[Path]:
    """The raw files that hold the values of a dataset with external storage."""
    folder = _folders("HDF5_EXTFILE_PREFIX", Path(dataset.file.filename))[:1] or [Path()]
    files, left = [], dataset.nbytes
    for name, offset, size in dataset.external or ():
        path, taken = folder[0] / name, min(size, left)
        found = path.stat().st_size if path.is_file() else None
        if found is None or found < offset + taken:
            has = "is not there" if found is None else f"has {found} bytes"
            raise Unusable(f"is stored in {path}, which {has}; it takes {offset + taken}")
        files.append(path)
        left -= taken
    return files


def _folders(variable: str, holder: Path) -> list[Path]:
    """The folders that an environment variable of HDF5 names."""
    prefixes = os.environ.get(variable, "").replace("${ORIGIN}", str(holder.parent))
    return [Path(prefix) for prefix in prefixes.split(":") if prefix]


def _find(name: str, holder: Path) -> Path | None:
    """The file that HDF5 takes for a name in `holder`: by itself, by HDF5_VDS_PREFIX, beside it, from here."""
    given = Path(name)
    relative = Path(given.name) if given.is_absolute() else given
    tries = [given] if given.is_absolute() else []
    tries += [folder / relative for folder in (*_folders("HDF5_VDS_PREFIX", holder), holder.parent, Path())]
    return next((path for path in tries if path.is_file()), None)


def _require_filters(dataset: h5py.Dataset) -> None:
    properties = dataset.id.get_create_plist()
    for number in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            what = f" ({name.decode(errors='replace')})" if name else ""
            raise Unusable(
                f"is compressed with the HDF5 filter {code}{what}, which is not installed: install its plugin, or "
                "write the file anew with h5repack -f GZIP=4"
            )


def unwritten_rows(dataset: h5py.Dataset) -> NDArray[np.bool_] | None:
    """Which rows were made room for but never written, of shape (rows,); None where all were."""
    if dataset.is_virtual or dataset.external or not dataset.size:
        return None
    if dataset.chunks is None:
        written = dataset.id.get_storage_size() > 0
        return None if written else np.ones(len(dataset), np.bool_)
    grid = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    if dataset.id.get_num_chunks() >= np.prod(grid):
        return None
    counts = np.zeros(grid[0], np.int64)

    def count(chunk: Any) -> None:
        counts[chunk.chunk_offset[0] // dataset.chunks[0]] += 1

    dataset.id.chunk_iter(count)
    return np.repeat(counts < np.prod(grid[1:]), dataset.chunks[0])[: len(dataset)]
