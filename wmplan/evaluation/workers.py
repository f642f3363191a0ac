"""Plays the units of an evaluation by workers that leave nothing behind, however the run ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wmplan.data.registered import Registration
from wmplan.engines.work import Engine, Work
from wmplan.evaluation.instances import Instance
from wmplan.evaluation.worker import Setup, Unit, Worker
from wmplan.machine import cores

_Config = tuple[Setup, Sequence[Instance], Sequence[Unit], Registration]

UNITS_WORTH_A_WORKER = 4  # starting a process takes about as long as playing these


def number_of_workers(engine: Engine, wanted: int | None, units: int) -> int:
    """Workers to use: as many as wanted; where nothing is said, processes here as far as there is work for all."""
    if wanted is None and engine.name == "local":
        wanted = max(1, min(cores(), units // UNITS_WORTH_A_WORKER))
    return engine.workers(wanted, units)


def run_units(
    engine: Engine,
    setup: Setup,
    instances: Sequence[Instance],
    units: Sequence[Unit],
    workers: int,
    versions: Mapping[str, str],
) -> Generator[dict[str, Any], None, None]:
    """The record of each unit as it is finished, in any order; with one worker of this machine in this process.

    Raises:
        UserError: if workers are gone that cannot be replaced.
    """
    registration = Registration.of(setup.task)
    if engine.name == "local" and registration.processes(workers) == 1:
        yield from _run_here(setup, instances, units)
        return
    work = Work(
        make_job=_Player,
        config=(setup, instances, units, registration),
        in_folder=_in_folder,
        folder=setup.folder,
        jobs=range(len(units)),
        names={number: unit.name for number, unit in enumerate(units)},
        patient=False,
        versions=versions,
    )
    yield from engine.run(work, workers)


def _in_folder(config: _Config, folder: Path) -> _Config:
    (folder / "episodes").mkdir(exist_ok=True)
    return replace(config[0], folder=folder), *config[1:]


def _run_here(
    setup: Setup, instances: Sequence[Instance], units: Sequence[Unit]
) -> Generator[dict[str, Any], None, None]:
    threads = torch.get_num_threads()
    worker = Worker(setup, instances)
    try:
        for unit in units:
            yield worker(unit)
    finally:
        worker.close()
        torch.set_num_threads(threads)


class _Player:
    """Plays the units of a worker process."""

    def __init__(self, config: _Config) -> None:
        setup, instances, self.units, registration = config
        threading.Thread(target=_end_with_parent, daemon=True).start()
        registration.register()
        self.worker = Worker(setup, instances)

    def __call__(self, number: int) -> Generator[dict[str, Any], None, None]:
        yield self.worker(self.units[number])


def _end_with_parent() -> None:
    """A unit takes long: a worker whose parent was killed does not play it to its end."""
    parent = multiprocessing.parent_process()
    if parent is None:  # an engine's own process, which the engine ends
        return
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
