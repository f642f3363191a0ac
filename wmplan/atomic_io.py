"""Files that are whole or not there, whenever the process is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


def write_durably(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have `write` fill a file of another name, sync it to the disk and give it its name.

    Raises:
        OSError: as the disk does (it is full, it is read-only); nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name too
        finally:
            os.close(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete, below a folder that nobody writes to, what a process that was killed had begun to write."""
    for leftover in folder.rglob(".*.partial"):
        leftover.unlink(missing_ok=True)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write strict JSON durably."""
    text = json.dumps(content, indent=indent, allow_nan=False) + "\n"
    write_durably(path, lambda file: file.write(text.encode()))
