"""Files that say what they were made from, and whose checksum is verified when they are read.

Content of any format is followed by one line of JSON and its length. Readers that ignore what follows, as those of .npy
and of torch's files do, take such a file as it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from wmplan.atomic_io import write_durably, write_json
from wmplan.errors import UserError

LENGTH = 9  # bytes at the end: eight digits and a newline
CHUNK = 1 << 22
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DamagedFileError(UserError):
    """A file is not what was written."""


class Hashing:
    """A file to write to, which hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.hash.update(data)
        return self.file.write(data)


def write_checked(path: Path, write: Callable[[BinaryIO], object], made_from: Mapping[str, Any]) -> None:
    """Write a file durably, with what it was made from and a checksum of both.

    Args:
        write: fills a file, from its beginning to its end.
        made_from: all that the content depends on, as JSON has it.

    Raises:
        UserError: where it cannot be written; what was there before is intact.
    """

    def fill(file: BinaryIO) -> None:
        hashing = Hashing(file)
        write(cast(BinaryIO, hashing))
        source = compact(made_from)
        hashing.hash.update(source.encode())
        line = f'{{"made_from":{source},"sha256":"{hashing.hash.hexdigest()}"}}\n'.encode()
        file.write(line + f"{len(line):08d}\n".encode())

    try:
        write_durably(path, fill)
    except OSError as error:
        room = "make room and run" if error.errno in FULL else "run"
        raise UserError(
            f"{path} could not be written: {error.strerror}; what was saved before is intact, {room} the same command "
            "again to go on from there"
        ) from None


def check(path: Path, remedy: str = "delete it, and it is made again") -> dict[str, Any]:
    """What a file was made from, once it is known to be what was written.

    Args:
        remedy: what to do about a damaged file, for the message.

    Raises:
        DamagedFileError: where a bit differs, or the file was not written by write_checked().
    """
    damaged = DamagedFileError(
        f"{path} is damaged or of another version of wmplan, its checksum does not match: {remedy}"
    )
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - LENGTH, 0))
        digits = file.read()
        length = int(digits[:-1]) if digits[:-1].isdigit() else 0
        start = size - LENGTH - length
        if start < 0 or digits != f"{length:08d}\n".encode():
            raise damaged
        file.seek(start)
        try:
            trailer = json.loads(file.read(length))
            made_from, wanted = dict(trailer["made_from"]), trailer["sha256"]
        except (ValueError, KeyError, TypeError):
            raise damaged from None
        file.seek(0)
        found = hashlib.sha256()
        while start > 0 and (data := file.read(min(CHUNK, start))):
            found.update(data)
            start -= len(data)
    found.update(compact(made_from).encode())
    if found.hexdigest() != wanted:
        raise damaged
    return made_from


def compact(content: Any) -> str:
    """The one form in which JSON is hashed."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json_checked(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON for people and programs durably, with a checksum as its last entry.

    Raises:
        OSError: as the disk does.
    """
    write_json(path, {**document, "sha256": json_hash(document)}, indent=2)


def read_json_checked(path: Path, remedy: str = "delete it, and it is made again") -> dict[str, Any]:
    """What write_json_checked() wrote.

    Raises:
        DamagedFileError: where it is something else.
    """
    try:
        document = dict(json.loads(path.read_text()))
        wanted = document.pop("sha256")
    except (ValueError, KeyError, TypeError):  # a UnicodeDecodeError is a ValueError
        wanted, document = None, {}
    if wanted is None or json_hash(document) != wanted:
        raise DamagedFileError(
            f"{path} is damaged or of another version of wmplan, its checksum does not match: {remedy}"
        )
    return document


def json_hash(content: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(compact(content).encode()).hexdigest()
