"""Worker processes that share out numbered jobs and report their progress."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from wmplan.data.meta import DataError
from wmplan.errors import UserError
from wmplan.failures import for_other_process

Job = Callable[[int], Iterator[int]]
"""Does job number n, yielding the units of work it has done since it last did."""

ENVIRONMENT = {"LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}  # one thread a process: the processes share the cores


def run_jobs(
    make_job: Callable[[Any], Job], config: Any, jobs: Sequence[int], processes: int
) -> Generator[int, None, None]:
    """Do `make_job(config)(n)` for every n in `jobs`, yielding the units of work as they are done.

    With one process the jobs run in this one. Which worker does which job is left to chance: jobs must not
    depend on it. Workers end with this process, however it ends.

    Raises:
        DataError: what a job raised, or that a worker was killed.
    """
    if processes <= 1 or len(jobs) <= 1:
        job = make_job(config)
        for number in jobs:
            yield from job(number)
        return
    context = multiprocessing.get_context("spawn")
    waiting = deque(jobs)
    workers: dict[Connection, Any] = {}
    try:
        with _start_up():
            for _ in range(min(processes, len(jobs))):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, make_job, config), daemon=True)
                process.start()
                theirs.close()
                workers[ours] = process
                ours.send(waiting.popleft())
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                try:
                    kind, value = connection.recv()
                except (EOFError, ConnectionResetError):
                    process = workers.pop(connection)
                    process.join()
                    raise DataError(
                        f"a worker process ended unexpectedly (exit code {process.exitcode}); run again to go on"
                    ) from None
                if kind == "progress":
                    yield value
                elif kind == "error":
                    raise value
                elif waiting:
                    connection.send(waiting.popleft())
                else:
                    connection.send(None)
                    workers.pop(connection).join()
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join()


def _work(connection: Connection, make_job: Callable[[Any], Job], config: Any) -> None:
    try:
        job = make_job(config)
        while (number := connection.recv()) is not None:
            for units in job(number):
                connection.send(("progress", units))
            connection.send(("done", number))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except Exception as raised:
        error = for_other_process(raised)
        if not isinstance(error, UserError):
            error.add_note(f"in a worker process: {traceback.format_exc()}")
        connection.send(("error", error))


@contextlib.contextmanager
def _start_up() -> Iterator[None]:
    """What processes that are started inside inherit: ENVIRONMENT, and that Ctrl-C is not theirs to answer.

    Ctrl-C reaches the whole group, at any moment of their start; they are told to stop by their parent.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    resource_tracker.ensure_running()  # it unblocks SIGINT when it is started, so not under the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
