"""Workers on a Ray cluster, that exists or is started here; the nodes need no common disk."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from wmplan.engines.host import Host, Sealed, Step
from wmplan.engines.work import Engine, T, Work
from wmplan.errors import NotPossibleError, UserError
from wmplan.machine import cores
from wmplan.settings.build import convert_fields

TRIES = 3  # workers that a job may lose before it is taken to be the cause
WAIT_SECONDS = 5.0  # between looks at the cluster while nothing comes
PATIENCE_SECONDS = 60.0  # how long a cluster may have no worker: a node that was lost is often replaced
ANSWER_SECONDS = 10.0
NO_CLUSTER = (
    "no Ray cluster answers at ray.address={}: start one with ray start --head, or leave it out to start one here"
)
STORE_BYTES = 100_000_000  # of an object store that is started here; what passes through it is small


@dataclass(frozen=True)
class RayConfig:
    """A Ray cluster.

    Attributes:
        address: of a cluster that exists, HOST:6379 or auto for the one that this machine is a node of; None to start
            one on this machine.
        cpus: that a worker takes.
        gpus: that a worker takes; a part of one can be given, as 0.25.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        convert_fields(self, "ray")
        if not self.cpus > 0:
            raise UserError(f"ray.cpus must be above 0, got {self.cpus}")
        if not self.gpus >= 0:
            raise UserError(f"ray.gpus must be at least 0, got {self.gpus}")


class RayEngine(Engine):
    """Actors on a Ray cluster, each with one job at a time.

    Raises:
        UserError: if Ray is not installed.
    """

    name = "ray"

    def __init__(self, config: RayConfig) -> None:
        super().__init__()
        self.config = config
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError("engine=ray needs an extra: pip install 'wmplan[ray]'") from error
        self.ray = ray

    def workers(self, wanted: int | None, jobs: int) -> int:
        if wanted is None and self.config.address is None and not self.ray.is_initialized():
            wanted = int(cores() / self.config.cpus)  # it is started here
        if wanted is None:
            with self._connected(None):
                wanted = self.room()
        return max(1, min(wanted, jobs))

    def run(self, work: Work[T], workers: int) -> Generator[T, None, None]:
        with self._connected(workers):
            yield from _Run(self, work, min(workers, len(work.jobs))).steps()

    def room(self) -> int:
        """Workers that fit the cluster as it is."""
        there = self.ray.cluster_resources()
        room = int(there.get("CPU", 0) / self.config.cpus)
        return min(room, int(there.get("GPU", 0) / self.config.gpus)) if self.config.gpus else room

    @contextlib.contextmanager
    def _connected(self, workers: int | None) -> Iterator[None]:
        """Within it Ray is initialised; a cluster that the calling program has connected to is used, and left so."""
        if self.ray.is_initialized():
            yield
            return
        where = self.config.address
        if where is not None:
            _require_answer(where)
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        if where is None:
            cpus = max(cores(), int((workers or 0) * self.config.cpus + 0.999))
            settings |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        try:
            self.ray.init(address=where or "local", **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            if where is None:
                raise NotPossibleError(f"Ray could not be started here: {said}") from error
            raise UserError(f"{NO_CLUSTER.format(where)} ({said})") from error
        try:
            yield
        finally:
            self.ray.shutdown()


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon and address == "auto":
        return
    try:
        if not host or not port.isdigit():
            raise UserError(f"ray.address must be HOST:PORT or auto, got {address!r}")
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{NO_CLUSTER.format(address)} ({error})") from error


@dataclass
class _Worker:
    """An actor, and the job it has; None while it is starting."""

    actor: Any
    job: int | None = None


class _Run:
    """One run of work on a cluster that this process is connected to."""

    def __init__(self, engine: RayEngine, work: Work[Any], workers: int) -> None:
        self.engine, self.ray, self.work, self.wanted = engine, engine.ray, work, workers
        config = engine.config
        self.remote = self.ray.remote(num_cpus=config.cpus, num_gpus=config.gpus, max_restarts=0)(Host)
        self.sealed = self.ray.put(Sealed.of(work))
        self.waiting = deque(work.jobs)
        self.lost: Counter[int | None] = Counter()
        self.workers: dict[Any, _Worker] = {}  # by what they were asked for

    def steps(self) -> Generator[Any, None, None]:
        """What the jobs yield."""
        from ray.exceptions import RayError

        last = time.monotonic()
        try:
            while self.waiting or any(worker.job is not None for worker in self.workers.values()):
                self._start()
                ready, _ = self.ray.wait(list(self.workers), timeout=WAIT_SECONDS)
                if ready or self.engine.room():
                    last = time.monotonic()
                elif time.monotonic() - last > PATIENCE_SECONDS:
                    raise NotPossibleError(
                        "the Ray cluster has no worker left; what was finished is safe, run again to go on"
                    )
                for reference in ready:
                    worker = self.workers.pop(reference)
                    try:
                        done = self.ray.get(reference)
                    except RayError as error:
                        self._lose(worker, error)
                        continue
                    if worker.job is None:
                        self.engine.processors.add(done)
                        del self.lost[None]
                        self._next(worker)
                    else:
                        yield from self._take(worker, done)
        except GeneratorExit:
            if self.work.patient:
                self._stop()
            raise
        finally:
            for worker in self.workers.values():
                self.ray.kill(worker.actor)

    def _start(self) -> None:
        """Start workers in place of those that were lost; they get their jobs when they are there."""
        needed = min(self.wanted, len(self.waiting) + len(self.workers))
        while len(self.workers) < needed:
            actor = self.remote.remote(self.sealed)
            self.workers[actor.machine.remote()] = _Worker(actor)

    def _next(self, worker: _Worker) -> None:
        """Give a worker its next job, or let it go."""
        if not self.waiting:
            worker.actor.close.remote()
            return
        job = self.waiting.popleft()
        reference = worker.actor.begin.remote(job, self.work.begun_files(job))
        self.workers[reference] = _Worker(worker.actor, job)

    def _take(self, worker: _Worker, step: Step) -> Iterator[Any]:
        """Keep what a worker has done, and ask it for more."""
        self.work.keep(step.files)
        if step.kind == "error":
            raise step.value
        if step.kind == "done":
            self._next(worker)
        else:
            self.workers[worker.actor.step.remote()] = worker
            yield step.value

    def _lose(self, worker: _Worker, error: Exception) -> None:
        """Have another worker do the job of one that was lost."""
        self.lost[worker.job] += 1
        if self.lost[worker.job] >= TRIES:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            said = " ... ".join(dict.fromkeys((lines[0], lines[-1])))
            what = (
                "Ray workers do not start" if worker.job is None else f"{self.work.names[worker.job]} lost its worker"
            )
            raise NotPossibleError(
                f"{what}, {TRIES} times in a row ({said}); what was finished is safe, run again to go on"
            ) from error
        if worker.job is not None:
            self.waiting.appendleft(worker.job)

    def _stop(self) -> None:
        """Have the jobs under way save what they have."""
        from ray.exceptions import RayError

        for reference, worker in self.workers.items():
            if worker.job is not None:
                with contextlib.suppress(RayError):
                    self.work.keep(self.ray.get(reference).files)
                    self.work.keep(self.ray.get(worker.actor.stop.remote()).files)
