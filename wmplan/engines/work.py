"""What an engine is given to do, and what comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from wmplan.atomic_io import write_durably

T = TypeVar("T")
Job = Callable[[int], Generator[T, None, None]]
"""Does job number n, yielding what it has done since it last did. Where it is closed, it is to stop."""


@dataclass(frozen=True)
class Work(Generic[T]):
    """Jobs that do not depend on each other.

    Attributes:
        make_job: makes of `config` what does a job; importable, as `config` can be pickled.
        config: all that the jobs need to know.
        in_folder: the same config, with jobs that write into another folder; importable.
        folder: that the jobs write into, in files that are named relative to it.
        jobs: their numbers.
        names: what each job does, "planner-0-0003"; the same job has the same name in every run.
        continues: files that the job goes on from where they are there, by its number.
        patient: whether jobs under way go on to their next yield where the work is stopped, and are closed there.
        versions: of the packages that what comes out depends on.
    """

    make_job: Callable[[Any], Job[T]]
    config: Any
    in_folder: Callable[[Any, Path], Any]
    folder: Path
    jobs: Sequence[int]
    names: Mapping[int, str]
    continues: Mapping[int, Sequence[str]] = field(default_factory=dict)
    patient: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)

    def begun_files(self, job: int) -> dict[str, bytes]:
        """The content of the files that a job goes on from."""
        paths = {name: self.folder / name for name in self.continues.get(job, ())}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Put files that a job has written elsewhere into the folder."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, lambda file, content=content: file.write(content))  # type: ignore[misc]


class Engine(ABC):
    """Does work.

    Attributes:
        name: what it is called on the command line.
        processors: of the machines that have worked, as far as they are other ones than this.
    """

    name: str

    def __init__(self) -> None:
        self.processors: set[str] = set()

    @abstractmethod
    def workers(self, wanted: int | None, jobs: int) -> int:
        """How many workers there will be for a number of jobs; `wanted` is what the user has asked for."""

    @abstractmethod
    def run(self, work: Work[T], workers: int) -> Generator[T, None, None]:
        """Do all jobs, yielding what they yield, once their files are in the folder.

        Raises:
            UserError: if the workers are gone, or keep dying; what was yielded is safe.
            Exception: what a job raised.
        """
