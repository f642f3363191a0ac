"""Jobs of an array, run by submitit on this machine, give what this process gives, also where they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmplan import cli
from wmplan.data.collection import CollectConfig, collect
from wmplan.engines.slurm import SlurmConfig, SlurmEngine
from wmplan.engines.work import Work
from wmplan.errors import NotPossibleError, UserError

TASK = "wmplan.envs:wmplan/PushT-v0"
LOCAL = SlurmConfig(cluster="local", minutes=10)


def make(config: tuple[Path, Path, str]) -> Any:
    """Jobs that write a file into a folder, and note in another one that they were begun."""
    folder, notes, fault = config

    def job(number: int) -> Iterator[int]:
        with open(notes / "begun.txt", "a") as file:
            file.write(f"{number}\n")
        (folder / f"{number}.txt").write_text(str(number))
        if fault == "fail" and number == 2:
            raise UserError("number two cannot be done")
        if fault in ("die", "once") and number == 2 and not (fault == "once" and (notes / "died").exists()):
            (notes / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "slow":
            time.sleep(1.5)
        yield number

    return job


def in_folder(config: tuple[Path, Path, str], folder: Path) -> tuple[Path, Path, str]:
    return folder, *config[1:]


def work(folder: Path, fault: str = "", jobs: int = 5) -> Work[Any]:
    names = {number: f"job-{number}" for number in range(jobs)}
    return Work(make, (folder, folder, fault), in_folder, folder, range(jobs), names)


@pytest.fixture
def engine() -> SlurmEngine:
    pytest.importorskip("submitit")
    return SlurmEngine(LOCAL)


def begun(folder: Path) -> list[int]:
    return sorted(map(int, (folder / "begun.txt").read_text().split()))


@pytest.mark.slow
def test_a_job_that_is_killed_is_done_by_another_and_nothing_else_is_done_twice(
    engine: SlurmEngine, tmp_path: Path
) -> None:
    assert sorted(engine.run(work(tmp_path, "once"), 2)) == list(range(5))
    assert begun(tmp_path) == [0, 1, 2, 2, 3, 4]
    assert [(tmp_path / f"{number}.txt").read_text() for number in range(5)] == list("01234")
    assert sorted(one.name for one in (tmp_path / "slurm").iterdir()) == ["logs"]


@pytest.mark.slow
def test_a_run_that_is_left_goes_on_and_is_taken_up(
    engine: SlurmEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = engine.run(work(tmp_path, "slow", jobs=3), 1)
    done = [next(first)]
    first.close()
    assert "the same command takes up what they do" in capsys.readouterr().err
    again = work(tmp_path, "slow", jobs=3)
    left = [number for number in again.jobs if number not in done]
    assert sorted([*done, *SlurmEngine(LOCAL).run(replace(again, jobs=left), 1)]) == [0, 1, 2]
    assert begun(tmp_path) == [0, 1, 2]
    assert "slurm: 1 job" not in capsys.readouterr().err  # none was submitted again


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "told"), [(signal.SIGINT, "the same command takes up what they do"), (signal.SIGHUP, "")]
)
def test_ctrl_c_in_a_terminal_and_its_end_leave_the_jobs_running(
    engine: SlurmEngine, tmp_path: Path, sent: signal.Signals, told: str
) -> None:
    run = "list(SlurmEngine(LOCAL).run(work(Path(sys.argv[1]), 'slow', jobs=3), 1))"
    code = f"import sys; from {__name__} import *; {run}"
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    notes = tmp_path / "begun.txt"
    while not (notes.is_file() and notes.read_text().strip()):
        assert program.poll() is None
        time.sleep(0.1)
    os.killpg(program.pid, sent)  # a terminal sends it to all that were started in it
    _, said = program.communicate(timeout=60)
    assert program.returncode != 0 and told in said
    assert sorted(engine.run(work(tmp_path, "slow", jobs=3), 1)) == [0, 1, 2]
    assert begun(tmp_path) == [0, 1, 2]


@pytest.mark.slow
def test_what_a_job_raises_is_raised_here(engine: SlurmEngine, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="number two cannot be done"):
        list(engine.run(work(tmp_path, "fail"), 2))


@pytest.mark.slow
def test_work_that_ends_every_job_is_named(engine: SlurmEngine, tmp_path: Path) -> None:
    with pytest.raises(NotPossibleError, match=r"job-2 ended 3 Slurm jobs.*logs"):
        list(engine.run(work(tmp_path, "die", jobs=3), 3))


@pytest.mark.slow
def test_a_collection_by_jobs_is_the_same_to_the_byte(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    config = dict(task=TASK, episodes=3, steps=4, seed=3, image_size=(16, 16), episodes_per_shard=2)
    far = collect(CollectConfig(**config, out=str(tmp_path / "far"), processes=1, engine="slurm", slurm=LOCAL))  # type: ignore[arg-type]
    here = collect(CollectConfig(**config, out=str(tmp_path / "here"), processes=1))  # type: ignore[arg-type]
    for there, local in zip(far.paths, here.paths, strict=True):
        assert there.read_bytes() == local.read_bytes()


def test_without_submitit_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"engine=slurm needs an extra: pip install 'wmplan\[slurm\]'"):
        SlurmEngine(SlurmConfig())


def test_without_slurm_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    line = ["eval", "model=null", "rows=[noop]", "episodes=1", "engine=slurm", f"out={tmp_path / 'out'}"]
    assert cli.main(line) == 2
    assert "engine=slurm finds no srun" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster": "pbs"}, "slurm.cluster is 'pbs'; it is one of local, slurm"),
        ({"minutes": 0}, "slurm.minutes must be at least 1, got 0"),
        ({"gpus": -1}, "slurm.gpus must be at least 0, got -1"),
        ({"memory_gb": 0}, "slurm.memory_gb must be above 0, got 0.0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SlurmConfig(**settings)
