"""Worker processes that share out numbered jobs and hand back what each yields."""

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
from multiprocessing.process import BaseProcess
from typing import Any

from wmplan.engines.work import Engine, Job, T, Work
from wmplan.errors import NotPossibleError, UserError
from wmplan.failures import for_other_process
from wmplan.machine import cores

ENVIRONMENT = {"LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}  # one thread a process: the processes share the cores


class LocalEngine(Engine):
    """Processes of this machine."""

    name = "local"

    def workers(self, wanted: int | None, jobs: int) -> int:
        return max(1, min(wanted or cores(), jobs))

    def run(self, work: Work[T], workers: int) -> Generator[T, None, None]:
        return run_jobs(work.make_job, work.config, work.jobs, workers, patient=work.patient)


def run_jobs(
    make_job: Callable[[Any], Job[T]], config: Any, jobs: Sequence[int], processes: int, *, patient: bool = True
) -> Generator[T, None, None]:
    """Do `make_job(config)(n)` for every n in `jobs`, yielding what they yield.

    With one process the jobs run in this one. Which worker does which job is left to chance: jobs must not
    depend on it. Workers end with this process, however it ends.

    Args:
        patient: whether jobs under way go on to their next yield where this generator is closed, and are closed
            there; else they are killed at once.

    Raises:
        NotPossibleError: if a worker was killed; otherwise what a job raised.
    """
    if processes <= 1 or len(jobs) <= 1:
        job = make_job(config)
        for number in jobs:
            yield from job(number)
        return
    context = multiprocessing.get_context("spawn")
    waiting = deque(jobs)
    workers: dict[Connection, BaseProcess] = {}
    try:
        with _start_up():
            for _ in range(min(processes, len(jobs))):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, make_job, config))
                process.start()
                theirs.close()
                workers[ours] = process
                _send(ours, process, waiting.popleft())
        while workers:
            for connection, (kind, value) in _messages(workers):
                if kind == "yielded":
                    yield value
                elif waiting:
                    _send(connection, workers[connection], waiting.popleft())
                else:
                    _send(connection, workers[connection], None)
                    workers.pop(connection).join()
    except GeneratorExit:
        if not patient:
            raise
        for connection in workers:
            _send(connection, workers[connection], None)
        while workers:
            for connection, (kind, _) in _messages(workers):
                if kind == "stopped":
                    workers.pop(connection).join()
        raise
    finally:
        for worker in workers.values():
            worker.kill()
        for worker in workers.values():
            worker.join()


def _messages(workers: dict[Connection, BaseProcess]) -> Iterator[tuple[Connection, tuple[str, Any]]]:
    """What the workers say next; raises what a job raised, and a NotPossibleError where a worker is gone."""
    for connection in wait(list(workers)):
        assert isinstance(connection, Connection)
        try:
            kind, value = connection.recv()
        except (EOFError, ConnectionResetError):
            raise _gone(workers[connection]) from None
        if kind == "error":
            raise value
        yield connection, (kind, value)


def _send(connection: Connection, process: BaseProcess, message: int | None) -> None:
    """Give a worker its next job, or None to have it stop."""
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionResetError):
        raise _gone(process) from None


def _gone(process: BaseProcess) -> NotPossibleError:
    process.join()
    killed = ", as when memory runs out: fewer processes need less" if process.exitcode == -signal.SIGKILL else ""
    ended = f"a worker process ended unexpectedly (exit code {process.exitcode})"
    return NotPossibleError(f"{ended}{killed}; run again to go on")


def _work(connection: Connection, make_job: Callable[[Any], Job[Any]], config: Any) -> None:
    try:
        job = make_job(config)
        while (number := connection.recv()) is not None:
            with contextlib.closing(job(number)) as work:
                for value in work:
                    connection.send(("yielded", value))
                    if connection.poll():  # told to stop, or the parent is gone
                        break
                else:
                    connection.send(("done", number))
        connection.send(("stopped", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except Exception as raised:
        error = for_other_process(raised)
        if not isinstance(error, UserError):
            error.add_note(f"in a worker process: {traceback.format_exc()}")
        connection.send(("error", error))


@contextlib.contextmanager
def _start_up() -> Iterator[None]:
    """What processes that are started inside inherit: ENVIRONMENT, and that signals to stop are not theirs to answer.

    Ctrl-C and SIGTERM may reach the whole group, at any moment of their start; they are told to stop by their parent.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    resource_tracker.ensure_running()  # it unblocks them when it is started, so not under the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
