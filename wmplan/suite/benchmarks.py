"""The benchmarks of each suite, a task by a protocol, with published figures: configs/suites.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wmplan.errors import UserError
from wmplan.registry import TASKS
from wmplan.settings.groups import read_yaml
from wmplan.settings.suggest import did_you_mean

ALL = "all"


@dataclass(frozen=True)
class Published:
    """A figure that was published: success in %, of what, and where."""

    success: float
    by: str
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A task by a protocol; the published figures of the same, best first."""

    suite: str
    task: str
    protocol: str
    published: tuple[Published, ...] = ()

    @property
    def name(self) -> str:
        """For folders and tables."""
        return f"{self.task}-{self.protocol}"


def suites() -> dict[str, tuple[Benchmark, ...]]:
    """The benchmarks of each suite of which a task is registered."""
    found = {name: _benchmarks(name, suite) for name, suite in read_yaml("suites.yaml").items()}
    return {name: own for name, own in found.items() if own}


def chosen_benchmarks(name: str) -> tuple[Benchmark, ...]:
    """Those of a suite, of a task, or of all suites.

    Raises:
        UserError: if there is no such suite or task.
    """
    known = suites()
    every = tuple(one for own in known.values() for one in own)
    if name == ALL:
        return every
    found = known.get(name) or tuple(one for one in every if one.task == name)
    if not found:
        names = {ALL, *known, *(one.task for one in every)}
        raise UserError(f"there is no suite {name!r}; {did_you_mean(name, names)}")
    return found


def _benchmarks(suite: str, told: dict[str, Any]) -> tuple[Benchmark, ...]:
    return tuple(
        Benchmark(
            suite,
            one["task"],
            one["protocol"],
            tuple(sorted((Published(**figure) for figure in one.get("published", ())), key=lambda p: -p.success)),
        )
        for one in told["benchmarks"]
        if one["task"] in TASKS
    )
