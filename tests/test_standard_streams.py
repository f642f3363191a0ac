"""What a shell does to standard output ends no command with a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from wmplan import cli, standard_streams

WMPLAN = f"{shlex.quote(sys.executable)} -m wmplan.cli"
ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("eval --help | head -1", 0, ""),
        ("--help | true", 0, ""),
        ("eval --help >&-", 0, ""),
        ("doctor extra=1 2>&-", 2, ""),
        ("--help >&- 2>&-", 0, ""),
        ("--help > /dev/full", 2, "wmplan: No space left on device\n"),
        ("colect | true", 2, "wmplan: there is no command 'colect'; did you mean 'collect'? (see wmplan --help)\n"),
        ("größe", 2, r"wmplan: there is no command 'gr\xf6\xdfe'; it is one of "),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_one_line_at_most_and_the_right_status(line: str, status: int, says: str) -> None:
    command = ["bash", "-o", "pipefail", "-c", f"{WMPLAN} {line}"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **ASCII})
    assert done.returncode == status
    err = done.stderr.decode()
    assert err.startswith(says) and err.count("\n") == bool(says)


def test_a_pipe_that_breaks_elsewhere_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that goes away raises the same error as a reader that has seen enough."""

    def lose_connection(settings: cli.Settings) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setitem(cli.COMMANDS, "doctor", cli.Command(lose_connection))
    assert cli.main(["doctor"]) == 2
    assert capfd.readouterr().err == "wmplan doctor: Broken pipe\n"


def test_the_end_of_a_pipe_is_told_from_an_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with open(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert not standard_streams.reader_is_gone()
        os.close(read)
        assert standard_streams.reader_is_gone()


def test_a_figures_backend_that_matplotlib_does_not_know_harms_nothing() -> None:
    code = "from wmplan import cli; cli.main(['--version']); import matplotlib; print(matplotlib.get_backend())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "MPLBACKEND": "nonsense"}
    )
    assert done.stdout.splitlines()[-1].lower() == "agg", done.stderr
