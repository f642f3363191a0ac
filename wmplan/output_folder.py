"""Where a command writes, checked before anything is computed: it may hold what another one wrote."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wmplan.errors import UserError


def check_folder(out: str | Path, kind: str, marks: Sequence[str], writes: Sequence[str]) -> Path:
    """Check that writing into a folder loses nothing that something else wrote.

    Args:
        out: the folder; it may be missing.
        kind: what will be written: "a demo".
        marks: files that only this kind leaves; with one of them there, the folder is its own.
        writes: files and folders that will be written.

    Raises:
        UserError: if it is no folder, or holds what would be written over and is not of this kind.
    """
    if not str(out):
        raise UserError("out is empty, it has to name a folder")
    folder = Path(out)
    there = next(one for one in (folder, *folder.absolute().parents) if os.path.exists(one))
    if not os.path.isdir(there):
        raise UserError(f"out={folder} cannot be made: {there} is not a folder")
    if any(os.path.isfile(folder / mark) for mark in marks):
        return folder
    for name in writes:
        if _holds_anything(folder / name):
            raise UserError(f"out={folder} holds {name}, which is not of {kind} that could go on: give another out=DIR")
    return folder


def check_file(out: str | Path) -> Path:
    """Check that a file can be written, before anything is computed.

    Raises:
        UserError: if it is a folder, or would be in none.
    """
    file = Path(out)
    if not str(out) or file.is_dir():
        raise UserError(f"out={out} has to name a file, it is a folder")
    if not file.parent.is_dir():
        raise UserError(f"out={out} cannot be written: there is no folder {file.parent}")
    return file


def make_folder(folder: Path) -> None:
    """Make the folder if it is missing.

    Raises:
        UserError: if it cannot be made or written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"out={folder} cannot be written into: permission denied, or a read-only disk")


def _holds_anything(path: Path) -> bool:
    if os.path.isdir(path):
        return any(one.is_file() for one in path.rglob("*"))
    return os.path.exists(path)
