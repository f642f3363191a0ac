"""The finished episodes of a run, one line each, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from wmplan.errors import UserError

Record = dict[str, Any]
Key = tuple[str, int, int]


def key(record: Mapping[str, Any]) -> Key:
    """What a record is of: row, planner_seed, instance."""
    return record["row"], record["planner_seed"], record["instance"]


class Journal:
    """Opens or begins the journal of a result folder.

    Args:
        path: of the file, JSON lines: the settings, then one record an episode.
        settings: everything that the outcome of an episode depends on.

    Attributes:
        records: finished episodes, by row, planner_seed and instance.

    Raises:
        UserError: if the file is of a run with other settings; nothing is changed then.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.records: dict[Key, Record] = {}
        whole = 0  # bytes of whole lines: what was killed in the middle of a line is cut off
        if path.exists():
            for number, (line, end) in enumerate(_whole_lines(path)):
                if number == 0:
                    _check_same(json.loads(line), json.loads(json.dumps(settings)), path.parent)
                else:
                    record = json.loads(line)
                    self.records[key(record)] = record
                whole = end
        self._file = open(path, "ab")  # noqa: SIM115  stays open, see __exit__
        self._file.truncate(whole)
        if not whole:
            self._write(settings)

    def append(self, record: Record) -> None:
        """Add a finished episode; it is on the disk when this returns."""
        self._write(record)
        self.records[key(record)] = record

    def _write(self, content: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(content, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _whole_lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Lines that end and are JSON, each with the position of its end, up to the first that is not."""
    end = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line, end


def _check_same(old: Any, new: Any, folder: Path, path: str = "") -> None:
    """Raise a UserError that names the first setting that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            _check_same(old.get(name), new.get(name), folder, f"{path}.{name}" if path else name)
    elif old != new:
        raise UserError(
            f"{folder} holds a run with {path}={json.dumps(old)}, this one has {json.dumps(new)}: give another out=DIR"
        )
