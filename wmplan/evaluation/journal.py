"""The finished episodes of a run, one line each, so that a run that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from wmplan.deprecated import with_new_keys
from wmplan.errors import UserError
from wmplan.settings.difference import require_same

Record = dict[str, Any]
Key = tuple[str, int, int]

CHECKED = re.compile(rb'(\{.*), "check": "([0-9a-f]{16})"\}')


def key(record: Mapping[str, Any]) -> Key:
    """What a record is of: row, planner_seed, instance."""
    return record["row"], record["planner_seed"], record["instance"]


class Journal:
    """Opens or begins the journal of a result folder.

    Every line ends with a check of its own. A last line that was cut off is what a kill leaves: it is dropped, and its
    episode played again. Any other damage is refused, for finished episodes would be lost or changed without a word.

    Args:
        path: of the file, JSON lines: the settings, then one record an episode.
        settings: everything that the outcome of an episode depends on.

    Attributes:
        records: finished episodes, by row, planner_seed and instance.

    Raises:
        UserError: if the file is damaged or of a run with other settings; nothing is changed then.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.records: dict[Key, Record] = {}
        whole = 0  # bytes of whole lines
        if path.exists():
            content = path.read_bytes()
            whole = content.rfind(b"\n") + 1
            before, self.records = _read(path, content[:whole])
            if before is not None and "schedule" in before:
                before = {**before, "schedule": with_new_keys(before["schedule"])}
            if before is not None and self.records:
                require_same(path.parent, before, settings)
            elif before != json.loads(json.dumps(settings)):  # nothing is there that could be lost
                whole = 0
        self._file = open(path, "ab")  # noqa: SIM115  stays open, see __exit__
        self._file.truncate(whole)
        if not whole:
            self._write(settings)

    def append(self, record: Record) -> None:
        """Add a finished episode; it is on the disk when this returns."""
        self._write(record)
        self.records[key(record)] = record

    def _write(self, content: Mapping[str, Any]) -> None:
        self._file.write(encode(content))
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(path: Path) -> tuple[dict[str, Any], dict[Key, Record]]:
    """The settings and the records of a journal, which stays as it is.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no {path}: nothing was played there")
    content = path.read_bytes()
    settings, records = _read(path, content[: content.rfind(b"\n") + 1])
    return settings or {}, records


def encode(content: Mapping[str, Any]) -> bytes:
    """A line of JSON whose last key is a check of all the bytes before it."""
    text = json.dumps(content, allow_nan=False).encode()[:-1]
    return text + b', "check": "%s"}\n' % _check(text)


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _read(path: Path, content: bytes) -> tuple[dict[str, Any] | None, dict[Key, Record]]:
    """The settings (None of an empty file) and the records of whole lines.

    Journals that were begun before lines had checks are read: lines without one are taken up to the first that has one.

    Raises:
        UserError: at damaged lines, by their numbers.
    """
    settings: dict[str, Any] | None = None
    records: dict[Key, Record] = {}
    checked, damaged = False, []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        match = CHECKED.fullmatch(line)
        checked = checked or match is not None
        try:
            if checked and (match is None or _check(match[1]) != match[2]):
                raise UserError("the check does not fit")
            found = json.loads(match[1] + b"}" if match else line)
            if number == 1:
                settings = dict(found)
            else:
                records[_checked_key(found)] = found
        except (ValueError, KeyError, TypeError):
            damaged.append(number)
    if damaged:
        raise UserError(_advice(path, damaged, len(records)))
    return settings, records


def _checked_key(record: Any) -> Key:
    row, planner_seed, instance = found = key(record)
    if not (isinstance(row, str) and type(planner_seed) is type(instance) is int):
        raise UserError("not an episode")
    return found


def _advice(path: Path, damaged: list[int], whole: int) -> str:
    if damaged[0] == 1:
        return f"line 1 of {path} is damaged, which says what run it is of: restore the file, or give another out=DIR"
    few = ", ".join(map(str, damaged[:10])) + (" and more" if len(damaged) > 10 else "")
    lines = f"line {few} of {path} is" if len(damaged) == 1 else f"lines {few} of {path} are"
    again = "that line to have its episode" if len(damaged) == 1 else "those lines to have their episodes"
    return f"{lines} damaged, the other {whole} episodes are whole: restore the file, or delete {again} played again"
