"""What a job of an array does, and leaves for the process that has submitted it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wmplan.engines.host import Host, Sealed, Step
from wmplan.errors import UserError
from wmplan.failures import user_message

TOLD_SECONDS = 120.0  # within which the process that submits a job says that it has


@dataclass(frozen=True)
class Task:
    """Jobs, one after another; queued again, it goes on after those that it has done.

    Attributes:
        sealed: the work.
        folder: that it is reported in.
        name: of this task in the folder.
        jobs: their numbers, by their names.
        continues: files that each goes on from, beside the folder, by its name.
    """

    sealed: Sealed
    folder: str
    name: str
    jobs: Mapping[str, int]
    continues: Mapping[str, list[str]]

    def __call__(self) -> None:
        if not self._is_told_of():
            print(f"{self.name} was submitted by a process that ended before it said so: nothing is done")
            return
        folder = Path(self.folder)
        path = folder / "steps" / f"{self.name}.jsonl"
        done = _whole_lines(path)
        host = Host(self.sealed)
        try:
            with path.open("ab") as file:
                for label, job in self.jobs.items():
                    if label not in done:
                        self._report(file, label, Step("begun"), host)
                        begun = [folder.parent / name for name in self.continues[label]]
                        there = {
                            str(one.relative_to(folder.parent)): one.read_bytes() for one in begun if one.is_file()
                        }
                        step = host.begin(job, there)
                        self._report(file, label, step, host)
                        while step.kind == "yielded":
                            step = host.step()
                            self._report(file, label, step, host)
                        if step.kind == "error":
                            return
        finally:
            host.close()

    def checkpoint(self) -> Any:
        """What submitit queues again where the time is over, or the job has to give way."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _is_told_of(self) -> bool:
        path = Path(self.folder) / "jobs" / f"{self.name}.json"
        end = time.monotonic() + TOLD_SECONDS
        while not path.is_file():
            if time.monotonic() > end:
                return False
            os.listdir(path.parent)  # has a network's file system look again
            time.sleep(0.2)
        return True

    def _report(self, file: BinaryIO, label: str, step: Step, host: Host) -> None:
        """Put a step's files on the disk, and then a line that tells of it."""
        told: dict[str, Any] = {"name": label, "kind": step.kind, "processor": host.machine(), "files": {}}
        for number, (name, content) in enumerate(step.files.items()):
            stored = f"{self.name}-{file.tell()}-{number}"
            with open(Path(self.folder) / "files" / stored, "wb") as target:
                target.write(content)
                target.flush()
                os.fsync(target.fileno())
            told["files"][name] = stored
        if step.kind == "yielded":
            told["value"] = step.value
        if step.kind == "error":
            message = user_message(step.value)
            by_user = isinstance(step.value, UserError) and message is not None
            notes = "\n".join(getattr(step.value, "__notes__", ()))
            told |= {"by_user": by_user, "message": message if by_user else f"{step.value!r} {notes}"}
        file.write(json.dumps(told, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def files_of(folder: Path, step: Mapping[str, Any]) -> dict[str, Path]:
    """The files of a step, by their names relative to the folder of the result."""
    return {name: folder / "files" / stored for name, stored in step["files"].items()}


def _whole_lines(path: Path) -> set[str]:
    """The names of the jobs that are done; a line that was cut off is removed."""
    if not path.is_file():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    steps = [json.loads(line) for line in whole.splitlines()]
    return {step["name"] for step in steps if step["kind"] == "done"}
