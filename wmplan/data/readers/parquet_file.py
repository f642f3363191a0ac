"""Rows of a Parquet file as NumPy arrays, read a row group at a time, with what a file may ask of memory bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.columns import Unusable
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.readers.extra import load

MOST_ROWS = 1 << 25  # of a file
MOST_BYTES = 1 << 31  # of one column of a row group: what is held at once


class ParquetFile:
    """A Parquet file, opened to read.

    Attributes:
        names: of its columns.
        num_rows: of the file.

    Raises:
        DataError: where it is missing or damaged, or claims more than can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{path} is missing")
        parquet = load("pyarrow.parquet", f"reading {path}")
        try:
            self._file = parquet.ParquetFile(path)
            metadata = self._file.metadata
            self.names: list[str] = list(self._file.schema_arrow.names)
            counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        except Exception as error:  # whatever the library raises at what is damaged
            raise DamagedError.of(self.path, error) from None
        self.num_rows = int(metadata.num_rows)
        if not 0 <= self.num_rows <= MOST_ROWS or sum(counts) != self.num_rows or min(counts, default=0) < 0:
            raise DamagedError(f"{path} claims {self.num_rows} rows; at most {MOST_ROWS} are read, and those there are")
        self._ends = np.cumsum(np.array(counts, np.int64))
        self._kept: tuple[str, int, Any] | None = None  # the column and row group that were read last

    def values(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows start to stop of a column of numbers or of lists of them, of shape (rows, ...).

        Raises:
            Unusable: where rows have other lengths than the first, or are missing.
            DataError: where they cannot be read.
        """
        return _to_numpy(self.arrow(name, start, stop))

    def arrow(self, name: str, start: int = 0, stop: int | None = None) -> Any:
        """Rows start to stop of a column, as an Arrow array."""
        if name not in self.names:
            raise DataError(f"{self.path} has no column {name!r}; it has {', '.join(self.names)}")
        stop = self.num_rows if stop is None else stop
        first, last = (int(np.searchsorted(self._ends, row, side="right")) for row in (start, max(stop - 1, start)))
        parts = []
        for group in range(first, min(last + 1, len(self._ends))):
            begin = int(self._ends[group - 1]) if group else 0
            rows = self._group(name, group)
            parts.append(rows.slice(max(start - begin, 0), min(stop, int(self._ends[group])) - max(start, begin)))
        pyarrow = load("pyarrow", f"reading {self.path}")
        try:
            return pyarrow.concat_arrays(parts) if parts else self._empty(pyarrow, name)
        except Exception as error:
            raise DamagedError.of(self.path, error) from None

    def _empty(self, pyarrow: Any, name: str) -> Any:
        return pyarrow.array([], self._file.schema_arrow.field(name).type)

    def _group(self, name: str, group: int) -> Any:
        if self._kept is not None and self._kept[:2] == (name, group):
            return self._kept[2]
        try:
            self._require_room(name, group)
            rows = self._file.read_row_group(group, columns=[name]).column(name).combine_chunks()
            if hasattr(rows, "chunks"):  # more than 2 GB of bytes stay in pieces
                raise DataError(f"{self.path}: a row group of column {name!r} is too large: write smaller row groups")
        except DataError:
            raise
        except Exception as error:
            raise DamagedError.of(self.path, error) from None
        begin = int(self._ends[group - 1]) if group else 0
        if len(rows) != int(self._ends[group]) - begin:
            raise DamagedError(f"{self.path} is damaged: column {name!r} has {len(rows)} rows in row group {group}")
        self._kept = (name, group, rows)
        return rows

    def _require_room(self, name: str, group: int) -> None:
        """Raise unless the column of a row group fits; what it claims decides, before anything is decompressed."""
        described = self._file.metadata.row_group(group)
        size = 0
        for number in range(described.num_columns):
            part = described.column(number)
            if part.path_in_schema == name or part.path_in_schema.startswith(f"{name}."):
                size += max(part.total_uncompressed_size, 8 * part.num_values)
        if not 0 <= size <= MOST_BYTES:
            raise DataError(
                f"{self.path}: column {name!r} takes {size / 1e9:.1f} GB in row group {group}, at most "
                f"{MOST_BYTES / 1e9:.1f} GB are read at once: write smaller row groups"
            )

    def close(self) -> None:
        """Close the file."""
        self._kept = None
        self._file.close()


def _to_numpy(rows: Any) -> NDArray[Any]:
    """An Arrow array of numbers, text, or lists of numbers of one length, nested to any depth, as (rows, ...)."""
    shape = [len(rows)]
    while hasattr(rows.type, "value_type") and hasattr(rows, "flatten") and not hasattr(rows, "dictionary"):
        if rows.null_count:
            raise Unusable(f"has no value in {rows.null_count} rows")
        values = rows.flatten()
        length = len(values) // len(rows) if len(rows) else 0
        if hasattr(rows, "value_lengths"):
            lengths = rows.value_lengths().to_numpy(zero_copy_only=False)
            if (lengths != length).any():
                row = int((lengths != (lengths[0] if len(lengths) else 0)).argmax()) // int(np.prod(shape[1:]) or 1)
                raise Unusable(f"has lists of different lengths, first in row {row}")
        shape.append(length)
        rows = values
    if rows.null_count and not str(rows.type).startswith(("float", "double", "halffloat")):
        raise Unusable(f"has no value in {rows.null_count} rows")
    values = rows.to_numpy(zero_copy_only=False)
    return np.array(values).reshape(shape)  # a copy that may be written to
