"""Opening an HDF5 file that somebody else wrote, or is still writing: what is wrong with it is said in one line."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401, its import registers the compression filters

from wmplan.data.meta import DamagedError, DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LFS_POINTER = b"version https://git-lfs.github.com/"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems without locks answer


SEAL = b"\nwmplan sha256 "
"""Before the hash of all before it, at the end of a file, where HDF5 reads nothing."""


def sealed(content: bytes) -> bytes:
    """A small HDF5 file with a hash of itself at its end.

    HDF5's own checksums leave the heap out in which virtual datasets keep their sources: one changed bit there may end
    the process.
    """
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def require_seal(path: Path) -> None:
    """Raise a DamagedError if a file has a seal that is not its own."""
    length = len(sealed(b""))
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - length, 0))
            if not file.read(length).startswith(SEAL):
                return
            file.seek(0)
            content = file.read()
    except OSError:
        return  # said when it is opened
    if sealed(content[:-length]) != content:
        raise DamagedError(f"{path} is damaged: its bytes are not those that were written; fetch or write it again")


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file to read. Where the file system has no locks, without one.

    Raises:
        DamagedError: where the file is cut short or damaged.
        DataError: where it is missing, locked, may not be read or is no HDF5 file.
    """
    require_seal(path)
    try:
        try:
            return h5py.File(path, "r")
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _explained(path, error) from None


def _explained(path: Path, error: Exception) -> DataError:
    """What the library's error comes from."""
    text = " ".join(str(error).split())
    if not path.exists():
        return DataError(f"{path} does not exist")
    if path.is_dir():
        return DataError(f"{path} must be an HDF5 file, got a folder")
    if isinstance(error, BlockingIOError):
        return DataError(
            f"{path} is locked: another program has it open for writing; wait until that program has closed it"
        )
    if "already open for write" in text:
        return DataError(
            f"{path} was not closed by the program that writes it: wait until that program has ended, or, if it was "
            f"killed, mend the file with h5clear -s {path}"
        )
    number = error.errno if isinstance(error, OSError) else None
    if number:
        return DataError(f"{path} cannot be read: {os.strerror(number)}")
    return _judged_by_content(path, text)


def _judged_by_content(path: Path, text: str) -> DataError:
    with open(path, "rb") as file:
        start = file.read(len(LFS_POINTER))
    if start.startswith(LFS_POINTER):
        return DataError(f"{path} is a Git LFS pointer in place of the file: fetch it with git lfs pull")
    if sizes := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
        return DamagedError(f"{path} is cut short: it has {sizes[1]} of {sizes[2]} bytes")
    if start.startswith(SIGNATURE[: len(start)]):
        return DamagedError(f"{path} is cut short or damaged ({text})")
    return DamagedError(f"{path} is no HDF5 file, or its first bytes are damaged: it begins with {start[:8]!r}")


def has_demonstrations(path: Path) -> bool:
    """Whether it is an HDF5 file in robomimic's layout: a group `data` with a group an episode."""
    if not h5py.is_hdf5(path):
        return False
    try:
        with open_hdf5(path) as file:
            return file.get("data", getclass=True) is h5py.Group
    except (DataError, OSError, RuntimeError):
        return False
