from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wmplan.engines.local import run_jobs

# Workers are started afresh and import what they run, which a test module does not allow: so these are scripts.
HEAD = """
import os, signal, sys, time
from wmplan.engines.local import run_jobs

def make(config):
    if config == "none":
        os._exit(3)  # before it takes its first job
    def job(number):
        if config == "environment":
            os.write(1, (os.environ["LP_NUM_THREADS"] + " " + os.environ["OMP_NUM_THREADS"] + "\\n").encode())
        if config == "die" and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if config == "fail" and number == 2:
            raise ArithmeticError("number two")
        try:
            yield number
            if config == "endless":
                time.sleep(1000)
            yield 100
        except GeneratorExit:
            open(f"{config}.{number}", "w").close()
            raise
    return job

if __name__ == "__main__":
"""


def run(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(HEAD + "".join(f"    {line}\n" for line in body.splitlines()))
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, cwd=tmp_path)


@pytest.mark.slow
def test_every_job_is_done_once_and_its_progress_told(tmp_path: Path) -> None:
    done = run(tmp_path, "print(sorted(run_jobs(make, None, range(5), 2)))")
    assert done.stdout.split("\n")[0] == str(sorted([*range(5), *[100] * 5])), done.stderr


@pytest.mark.slow
def test_a_killed_worker_is_an_error_not_a_hang(tmp_path: Path) -> None:
    done = run(tmp_path, "list(run_jobs(make, 'die', range(5), 2))")
    assert done.returncode == 1
    assert "a worker process ended unexpectedly (exit code -9)" in done.stderr


@pytest.mark.slow
def test_a_worker_that_ends_before_its_first_job_is_an_error_too(tmp_path: Path) -> None:
    done = run(tmp_path, "list(run_jobs(make, 'none', range(5), 2))")
    assert "a worker process ended unexpectedly (exit code 3); run again to go on" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_under_way_are_closed_where_no_more_is_asked_for(tmp_path: Path, processes: int) -> None:
    body = f"work = run_jobs(make, {str(tmp_path / 'closed')!r}, range(50), {processes})\nnext(work)\nwork.close()"
    assert run(tmp_path, body).stderr == ""
    closed = list(tmp_path.glob("closed.*"))
    assert closed and len(closed) <= processes


@pytest.mark.slow
def test_jobs_that_nobody_waits_for_are_killed(tmp_path: Path) -> None:
    body = "work = run_jobs(make, 'endless', range(50), 2, patient=False)\nnext(work)\nwork.close()"
    assert run(tmp_path, body).stderr == ""
    assert not list(tmp_path.glob("endless.*"))


@pytest.mark.slow
def test_what_a_job_raises_comes_through(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "try:\n    list(run_jobs(make, 'fail', range(5), 2))\n"
        "except ArithmeticError as error:\n    print(error, 'in job' in error.__notes__[0])",
    )
    assert done.stdout == "number two True\n", done.stderr


@pytest.mark.slow
def test_workers_share_the_cores_and_the_parent_keeps_its_environment(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "os.environ.pop('LP_NUM_THREADS', None); os.environ['OMP_NUM_THREADS'] = '7'\n"
        "list(run_jobs(make, 'environment', range(2), 2))\n"
        "print(os.environ.get('LP_NUM_THREADS'), os.environ['OMP_NUM_THREADS'])",
    )
    assert done.stdout.splitlines() == ["0 1", "0 1", "None 7"], done.stderr


def test_one_process_is_this_one() -> None:
    def make(config: list[int]):  # type: ignore[no-untyped-def]
        def job(number: int):  # type: ignore[no-untyped-def]
            config.append(number)
            yield 1

        return job

    seen: list[int] = []
    assert list(run_jobs(make, seen, range(3), 1)) == [1, 1, 1]
    assert seen == [0, 1, 2]
