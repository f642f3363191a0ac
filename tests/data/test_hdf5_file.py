"""Files that cannot be opened: locked, cut short, of another kind, on a disk without locks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from wmplan.data.hdf5_file import open_hdf5
from wmplan.data.meta import DamagedError, DataError
from wmplan.data.store import EpisodeStore

Wild = Callable[..., Path]


def elsewhere(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


OPEN = """
import sys
from wmplan.data import EpisodeStore
try:
    print(len(EpisodeStore.open(sys.argv[1])), "episodes")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_file_that_another_program_writes_is_locked_and_neither_cut_short_nor_damaged(wild_file: Wild) -> None:
    path = wild_file()
    with h5py.File(path, "a"):
        said = elsewhere(OPEN, path).stdout
    assert said.startswith(f"DataError {path} is locked: another program has it open for writing")
    assert elsewhere(OPEN, path).stdout == "4 episodes\n"


def test_a_file_whose_writer_was_killed_says_how_to_mend_it(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    path = tmp_path / "killed.h5"
    elsewhere(
        "import h5py, os, signal, sys\nfile = h5py.File(sys.argv[1], 'w', libver='latest')\nfile['x'] = [1, 2]\n"
        "file.flush()\nos.kill(os.getpid(), signal.SIGKILL)",
        path,
    )
    assert f"h5clear -s {path}" in refusal(path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_read_without(
    wild_file: Wild, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = h5py.File

    def refuse_locks(path: Path, mode: str, locking: object = True) -> h5py.File:
        if locking is not False:
            raise OSError(number, "Unable to synchronously open file (unable to lock file)")
        return real(path, mode, locking=locking)

    path = wild_file()
    monkeypatch.setattr("wmplan.data.hdf5_file.h5py.File", refuse_locks)
    with open_hdf5(path) as file:
        assert "action" in file


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_that_ends_early_is_damaged_wherever_it_ends(tmp_path: Path, libver: str) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["action"] = np.zeros((1000, 2))
    content = path.read_bytes()
    for size in (0, 3, 8, 40, 100, len(content) // 2, len(content) - 1):
        path.unlink()
        path.write_bytes(content[:size])
        with pytest.raises(DamagedError, match=r"mine\.h5 is cut short") as caught:
            open_hdf5(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer .* git lfs pull"),
        (b"PK\x03\x04" + bytes(600), r"is no HDF5 file, .* begins with b'PK"),
        (b"<!DOCTYPE html>" + bytes(600), "is no HDF5 file"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_beginning(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "mine.h5").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_hdf5(tmp_path / "mine.h5")


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(DataError, match="folder.h5 must be an HDF5 file, got a folder"):
        open_hdf5(tmp_path / "folder.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "gone.h5")
    for name in ("nowhere.h5", "link.h5"):
        with pytest.raises(DataError, match=f"{name} does not exist"):
            open_hdf5(tmp_path / name)


def test_a_file_that_may_not_be_read(wild_file: Wild, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> h5py.File:
        raise PermissionError(errno.EACCES, "Unable to synchronously open file (unable to open file: errno = 13)")

    path = wild_file()
    monkeypatch.setattr("wmplan.data.hdf5_file.h5py.File", refuse)  # root may read everything
    with pytest.raises(DataError, match=r"mine\.h5 cannot be read: Permission denied"):
        open_hdf5(path)


def test_a_folder_that_may_only_be_read(wild_file: Wild, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.move(wild_file(), folder / "mine.h5")
    (folder / "._mine.h5").write_bytes(b"what macOS leaves beside a file")
    for path in (folder / "mine.h5", folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        store = EpisodeStore.open(folder)
        assert store.column("action").shape == (24, 2)
        assert sorted(os.listdir(folder)) == ["._mine.h5", "mine.h5"]
    finally:
        folder.chmod(0o755)
