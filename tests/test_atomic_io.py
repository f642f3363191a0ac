"""Files that survive a kill, and nothing that a kill leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wmplan.atomic_io import remove_leftovers, write_durably

KILLED = """
import os, signal, sys
from pathlib import Path
from wmplan.atomic_io import write_durably
def write(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
write_durably(Path(sys.argv[1]), write)
"""


def test_a_kill_leaves_the_old_file_and_one_leftover_that_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    path.parent.mkdir()
    write_durably(path, lambda file: file.write(b"old"))
    code = subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode
    assert code == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(os.listdir(path.parent)) == 2
    remove_leftovers(tmp_path)
    assert os.listdir(path.parent) == ["file.bin"]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_durably(path, lambda file: file.write(b"old"))

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_durably(path, fail)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.bin"]
