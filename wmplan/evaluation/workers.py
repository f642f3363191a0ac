"""Plays the units of an evaluation in several processes that leave nothing behind, however the run ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Generator, Sequence
from typing import Any

import torch

from wmplan.data.registered import Registration
from wmplan.data.workers import run_jobs
from wmplan.evaluation.instances import Instance
from wmplan.evaluation.machine import cores
from wmplan.evaluation.worker import Setup, Unit, Worker

UNITS_WORTH_A_WORKER = 4  # starting a process takes about as long as playing these


def number_of_workers(wanted: int | None, units: int) -> int:
    """Processes to use: as many as wanted, or one a core where nothing is said and there is work for all."""
    most = wanted if wanted is not None else min(cores(), units // UNITS_WORTH_A_WORKER)
    return max(1, min(most, units))


def run_units(
    setup: Setup, instances: Sequence[Instance], units: Sequence[Unit], workers: int
) -> Generator[dict[str, Any], None, None]:
    """The record of each unit as it is finished, in any order; with one worker in this process.

    Raises:
        RuntimeError: if a worker process was killed.
    """
    registration = Registration.of(setup.task)
    if registration.processes(workers) == 1:
        yield from _run_here(setup, instances, units)
    else:
        work = (setup, instances, units, registration)
        yield from run_jobs(_Player, work, range(len(units)), workers, patient=False)


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

    def __init__(self, work: tuple[Setup, Sequence[Instance], Sequence[Unit], Registration]) -> None:
        setup, instances, self.units, registration = work
        threading.Thread(target=_end_with_parent, daemon=True).start()
        registration.register()
        self.worker = Worker(setup, instances)

    def __call__(self, number: int) -> Generator[dict[str, Any], None, None]:
        yield self.worker(self.units[number])


def _end_with_parent() -> None:
    """A unit takes long: a worker whose parent was killed does not play it to its end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
