"""How long this process waited for a core, as the kernel counts it, and the memory that it may take."""

import subprocess
import sys

import pytest

from wmplan import machine
from wmplan.machine import CoreWait


@pytest.mark.parametrize(
    ("readings", "share"),
    [([(0, 0), (75, 25)], 0.25), ([(50, 900), (150, 900)], 0.0), ([(5, 5), (5, 5)], 0.0), ([None, (1, 1)], None)],
)
def test_the_share_is_of_what_came_since(
    monkeypatch: pytest.MonkeyPatch, readings: list[tuple[int, int] | None], share: float | None
) -> None:
    monkeypatch.setattr(machine, "_run_and_waited", iter(readings).__next__)
    assert CoreWait().share() == share


def test_an_idle_machine_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_run_and_waited", iter([(0, 0), (90, 10)]).__next__)
    assert CoreWait().warning() is None


def test_a_real_reading_is_a_share() -> None:
    wait = CoreWait()
    sum(range(10**6))
    share = wait.share()
    assert share is None or 0 <= share <= 1


# ------------------------------------------------------------------ memory


def test_free_memory_is_within_what_the_machine_has() -> None:
    assert 0 < machine.free_memory() <= machine.available_memory() * 1.1


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"/proc/meminfo": ["MemTotal: 9 kB", "MemAvailable:  4096 kB"]}, 2**22),
        ({}, 2**30),
        ({"/proc/meminfo": ["MemAvailable:  4096 kB"], "/sys/fs/cgroup/memory.max": ["max"]}, 2**22),
        (
            {
                "/proc/meminfo": ["MemAvailable:  4096 kB"],
                "/sys/fs/cgroup/memory.max": ["3000000"],
                "/sys/fs/cgroup/memory.current": ["2000000"],
                "/sys/fs/cgroup/memory.stat": ["anon 7", "inactive_file 500000"],
            },
            1_500_000,
        ),
        ({"/sys/fs/cgroup/memory.max": ["1000"], "/sys/fs/cgroup/memory.current": ["2000"]}, 0),
    ],
)
def test_free_memory_is_that_of_the_machine_within_its_containers_limit(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, list[str]], free: int
) -> None:
    monkeypatch.setattr(machine, "_lines", lambda path: files.get(path, []))
    assert machine.free_memory() == free


def test_free_memory_heeds_the_limit_of_the_shell() -> None:
    resource = pytest.importorskip("resource")
    program = "import resource; from wmplan.machine import free_memory; print(free_memory())"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, preexec_fn=limit)
    assert 2**28 < int(done.stdout) < 2**30
