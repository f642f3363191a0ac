"""Jobs of a Slurm cluster, through submitit; the folder has to be on a disk that the nodes share."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wmplan.atomic_io import write_json
from wmplan.counted import counted
from wmplan.engines.host import Sealed
from wmplan.engines.slurm_task import Task, files_of
from wmplan.engines.work import Engine, T, Work
from wmplan.errors import NotPossibleError, UserError
from wmplan.settings.build import convert_fields

JOBS = 16  # of an array, where nothing is said
POLL_SECONDS = 1.0
TRIES = 3  # Slurm jobs that a piece of work may end before it is taken to be the cause
TIMEOUTS = 100  # that a Slurm job may run into, going on each time where it was


@dataclass(frozen=True)
class SlurmConfig:
    """What each job of the array asks for.

    Attributes:
        cluster: "slurm"; or "local", to try it with processes of this machine.
        partition, account: the cluster's defaults where left out.
        minutes: that a job may run; it is queued again where that is not enough, and goes on where it was.
        cpus, gpus: of a job.
        memory_gb: of a job; None for the cluster's default.
        setup: lines of shell that run before, as "module load cuda".
        parameters: further ones of sbatch, as {qos: high}.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    minutes: int = 240
    cpus: int = 1
    gpus: int = 0
    memory_gb: float | None = None
    setup: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        convert_fields(self, "slurm")
        for name in ("minutes", "cpus"):
            if getattr(self, name) < 1:
                raise UserError(f"slurm.{name} must be at least 1, got {getattr(self, name)}")
        if self.gpus < 0:
            raise UserError(f"slurm.gpus must be at least 0, got {self.gpus}")
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise UserError(f"slurm.memory_gb must be above 0, got {self.memory_gb}")


class SlurmEngine(Engine):
    """A job array, whose jobs leave what they do beside the result, in its folder `slurm`.

    Raises:
        UserError: if submitit is not installed, or there is no Slurm here.
    """

    name = "slurm"

    def __init__(self, config: SlurmConfig) -> None:
        super().__init__()
        self.config = config
        try:
            import submitit
        except ImportError as error:
            raise UserError("engine=slurm needs an extra: pip install 'wmplan[slurm]'") from error
        if config.cluster == "slurm" and shutil.which("srun") is None:  # which submitit looks for
            raise UserError(
                "engine=slurm finds no srun: run it where Slurm's commands are, or try it here with slurm.cluster=local"
            )
        self.submitit = submitit

    def workers(self, wanted: int | None, jobs: int) -> int:
        return max(1, min(wanted or JOBS, jobs))

    def run(self, work: Work[T], workers: int) -> Generator[T, None, None]:
        return _Run(self, work, workers).steps()

    def submit(self, tasks: Sequence[Task], logs: Path) -> list[Any]:
        """Submit tasks as one array.

        Raises:
            UserError: if the cluster does not take them.
        """
        config = self.config
        try:
            executor = self.submitit.AutoExecutor(
                str(logs), cluster=config.cluster, slurm_max_num_timeout=TIMEOUTS, local_max_num_timeout=TIMEOUTS
            )
            executor.update_parameters(
                name="wmplan", timeout_min=config.minutes, cpus_per_task=config.cpus, gpus_per_node=config.gpus
            )
            if config.memory_gb is not None:
                executor.update_parameters(mem_gb=config.memory_gb)
            given: dict[str, Any] = {
                "partition": config.partition,
                "account": config.account,
                "setup": list(config.setup) or None,
            }
            given |= {"additional_parameters": config.parameters or None}
            executor.update_parameters(**{f"slurm_{name}": one for name, one in given.items() if one is not None})
            with deaf_to_the_terminal(), executor.batch():
                jobs = [executor.submit(task) for task in tasks]
            return jobs
        except (self.submitit.core.utils.FailedJobError, RuntimeError, OSError) as error:
            said = " ".join(str(error).split())[-300:]
            raise UserError(f"engine=slurm: the jobs could not be submitted ({said})") from error

    def find(self, number: str, logs: Path) -> Any:
        """A job that an earlier run has submitted."""
        kind = self.submitit.SlurmJob if self.config.cluster == "slurm" else self.submitit.LocalJob
        return kind(folder=str(logs), job_id=number)


@dataclass
class _Submitted:
    """A job of an array, and how far its steps were read."""

    name: str
    number: str
    labels: list[str]
    job: Any
    found: bool  # submitted by an earlier run
    read: int = 0
    begun: str | None = None


class _Run:
    """One run of work, which takes over what jobs of earlier runs have done and still do."""

    def __init__(self, engine: SlurmEngine, work: Work[Any], workers: int) -> None:
        self.engine, self.work, self.wanted = engine, work, workers
        self.folder = work.folder.absolute() / "slurm"
        self.logs = self.folder / "logs"
        for name in ("jobs", "steps", "files", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.left = {work.names[job]: job for job in work.jobs}
        self.lost: Counter[str] = Counter()
        self.submitted = [self._found(path) for path in sorted((self.folder / "jobs").glob("*.json"))]

    def steps(self) -> Generator[Any, None, None]:
        """What the jobs yield."""
        try:
            while self.left:
                over = [one for one in self.submitted if self._is_over(one)]  # before reading what it wrote last
                for one in self.submitted:
                    yield from self._news(one, one in over)
                for one in over:
                    self.submitted.remove(one)
                    self._lose(one)
                waited_for = {label for one in self.submitted for label in one.labels}
                missing = [label for label in self.left if label not in waited_for]
                if missing:
                    self._submit(missing)
                elif self.left:
                    time.sleep(POLL_SECONDS)
        except (GeneratorExit, KeyboardInterrupt):
            self._say_what_goes_on()
            raise
        except BaseException:
            self._cancel()
            raise
        for name in ("jobs", "steps", "files"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _found(self, path: Path) -> _Submitted:
        told = json.loads(path.read_text())
        job = self.engine.find(told["number"], self.logs)
        return _Submitted(path.stem, told["number"], told["labels"], job, found=True)

    def _is_over(self, one: _Submitted) -> bool:
        if one.found and self.engine.config.cluster == "local":  # submitit knows local jobs of its own process alone
            return not _runs(int(one.number))
        return bool(one.job.done())

    def _news(self, one: _Submitted, over: bool) -> Iterator[Any]:
        """What a job has done since its steps were last read."""
        path = self.folder / "steps" / f"{one.name}.jsonl"
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(one.read)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]
        one.read += len(content)
        for line in content.splitlines():
            step = json.loads(line)
            label = step["name"]
            files = files_of(self.folder, step)
            if label in self.left:
                self.work.keep({name: stored.read_bytes() for name, stored in files.items()})
            for stored in files.values():
                stored.unlink(missing_ok=True)
            self.engine.processors.add(step["processor"])
            one.begun = label if step["kind"] == "begun" else one.begun
            if step["kind"] == "error" and not (one.found and over):  # what an earlier run has seen is tried again
                raise UserError(step["message"]) if step["by_user"] else RuntimeError(step["message"])
            if label not in self.left:
                continue
            if step["kind"] == "done":
                del self.left[label]
                one.begun = None
            elif step["kind"] == "yielded":
                yield step["value"]

    def _lose(self, one: _Submitted) -> None:
        """A job is over: what it has left undone is given to others."""
        (self.folder / "jobs" / f"{one.name}.json").unlink(missing_ok=True)
        if one.found or not [label for label in one.labels if label in self.left]:
            return
        cause = one.begun or "its start"
        self.lost[cause] += 1
        if self.lost[cause] >= TRIES:
            raise NotPossibleError(
                f"{cause} ended {TRIES} Slurm jobs, as when memory or time runs out: see {one.job.paths.stderr}; what "
                "was finished is safe, run again to go on"
            )

    def _submit(self, labels: Sequence[str]) -> None:
        """Submit jobs that share out what nobody is doing."""
        count = min(max(1, self.wanted - len(self.submitted)), len(labels))
        sealed, pieces = Sealed.of(self.work), [list(labels[i::count]) for i in range(count)]
        batch = secrets.token_hex(4)  # no job that an earlier run has submitted and not told of goes by it
        names = [f"{batch}-{i}" for i in range(count)]
        tasks = []
        for name, piece in zip(names, pieces, strict=True):
            jobs = {label: self.left[label] for label in piece}
            begun = {label: list(self.work.continues.get(job, ())) for label, job in jobs.items()}
            tasks.append(Task(sealed, str(self.folder), name, jobs, begun))
        submitted = self.engine.submit(tasks, self.logs)
        for name, piece, job in zip(names, pieces, submitted, strict=True):
            number = str(job.job_id)
            told = {"number": number, "labels": piece}
            write_json(self.folder / "jobs" / f"{name}.json", told)  # a job that is not told of does nothing
            self.submitted.append(_Submitted(name, number, piece, job, found=False))
        print(f"slurm: {counted(len(pieces), 'job')}, {_numbers(submitted)}; logs in {self.logs}", file=sys.stderr)

    def _say_what_goes_on(self) -> None:
        there = [one.job for one in self.submitted]
        if there:
            told = f"slurm: {_numbers(there)} go on; the same command takes up what they do"
            print(f"{told}, scancel ends them" if self.engine.config.cluster == "slurm" else told, file=sys.stderr)

    def _cancel(self) -> None:
        for one in self.submitted:
            with contextlib.suppress(Exception):
                one.job.cancel()


@contextlib.contextmanager
def deaf_to_the_terminal() -> Iterator[None]:
    """Processes that are started herein, as submitit's local jobs, do not end with the terminal, nor by Ctrl-C in it.

    They inherit which signals wait; the one that comes here meanwhile is heard at the end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _numbers(jobs: Sequence[Any]) -> str:
    """Of the jobs: an array's by its first and last, which has all between."""
    names = [str(job.job_id) for job in jobs]
    in_array = len(names) > 1 and all("_" in name for name in names)
    return f"{names[0]} to {names[-1]}" if in_array else ", ".join(names)


def _runs(process: int) -> bool:
    """Whether a process of this machine runs; one that is dead and not yet collected does not."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[0] != "Z"
