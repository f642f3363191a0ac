"""Plays the units of an evaluation in several processes that leave nothing behind, however the run ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from wmplan.data.registered import Registration
from wmplan.errors import NotPossibleError
from wmplan.evaluation.instances import Instance
from wmplan.evaluation.machine import cores
from wmplan.evaluation.worker import Setup, Unit, Worker
from wmplan.failures import for_other_process

UNITS_WORTH_A_WORKER = 4  # starting a process takes about as long as playing these


def number_of_workers(wanted: int | None, units: int) -> int:
    """Processes to use: as many as wanted, or one a core where nothing is said and there is work for all."""
    most = wanted if wanted is not None else min(cores(), units // UNITS_WORTH_A_WORKER)
    return max(1, min(most, units))


def run_units(
    setup: Setup, instances: Sequence[Instance], units: Sequence[Unit], workers: int
) -> Iterator[dict[str, Any]]:
    """The record of each unit as it is finished, in any order; with one worker in this process.

    Raises:
        RuntimeError: if a worker process was killed.
    """
    registration = Registration.of(setup.task)
    if registration.processes(workers) == 1:
        yield from _run_here(setup, instances, units)
        return
    start = (setup, instances, registration)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, start)
    try:
        for future in as_completed([pool.submit(_play, unit) for unit in units]):
            yield future.result()
    except BrokenProcessPool as error:
        raise NotPossibleError("a worker process died (out of memory?): run the same again to go on") from error
    except BaseException:
        for process in list((pool._processes or {}).values()):  # what they play now is not wanted any more
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _run_here(setup: Setup, instances: Sequence[Instance], units: Sequence[Unit]) -> Iterator[dict[str, Any]]:
    threads = torch.get_num_threads()
    worker = Worker(setup, instances)
    try:
        for unit in units:
            yield worker(unit)
    finally:
        worker.close()
        torch.set_num_threads(threads)


_worker: Worker | Exception  # of this process, where it is one of the pool's; or why there is none


def _begin(setup: Setup, instances: Sequence[Instance], registration: Registration) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        registration.register()
        _worker = Worker(setup, instances)
    except Exception as error:  # raised here it would end the pool without a reason: the first unit raises it
        _worker = error


def _end_with_parent() -> None:
    """A parent that was killed ends no workers: they watch it themselves."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _play(unit: Unit) -> dict[str, Any]:
    try:
        if isinstance(_worker, Exception):
            raise _worker
        return _worker(unit)
    except Exception as error:
        raise for_other_process(error) from error
