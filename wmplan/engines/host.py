"""A worker on another machine: it does one job after another in a folder of its own, and hands over what they write."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
import traceback
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from wmplan.engines.local import ENVIRONMENT
from wmplan.engines.work import Work
from wmplan.errors import UserError
from wmplan.failures import for_other_process
from wmplan.machine import installed_version, processor

CARRIED = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "WMPLAN_PLUGINS")  # what the workers take over of the environment


@dataclass(frozen=True)
class Sealed:
    """Work that travels: where its modules are found, and the rest pickled, to be read once they can be."""

    content: bytes
    versions: Mapping[str, str]
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    folder: str = field(default_factory=os.getcwd)
    environment: Mapping[str, str] = field(
        default_factory=lambda: {name: os.environ[name] for name in CARRIED if name in os.environ}
    )

    @classmethod
    def of(cls, work: Work[Any]) -> Sealed:
        """Raises a UserError where it cannot be pickled."""
        try:
            return cls(cloudpickle.dumps((work.make_job, work.config, work.in_folder)), work.versions)
        except Exception as error:  # an open file, a lock
            raise UserError(f"the work cannot be given to other machines: {error}") from error

    def open(self) -> tuple[Any, Any, Any]:
        """make_job, config and in_folder, in a process that has not run what the calling program has.

        Raises:
            UserError: if this machine has other versions of what the result depends on.
        """
        os.environ.update(ENVIRONMENT | dict(self.environment))
        sys.path += [one for one in self.path if one not in sys.path]
        if os.path.isdir(self.folder):
            os.chdir(self.folder)  # relative paths of models and data are from there
        for name, version in self.versions.items():
            here = _installed(name)
            if here != version:
                raise UserError(
                    f"{os.uname().nodename} has {name} {here}, this machine {version}: install the same on all machines"
                )
        opened: tuple[Any, Any, Any] = pickle.loads(self.content)
        return opened


@dataclass(frozen=True)
class Step:
    """What a worker has done since it was last asked.

    Attributes:
        kind: "yielded", "done" or "error".
        value: what the job yielded, or raised.
        files: that it has written, by their names relative to the folder.
    """

    kind: str
    value: Any = None
    files: Mapping[str, bytes] = field(default_factory=dict)


class Host:
    """Does jobs."""

    def __init__(self, sealed: Sealed) -> None:
        self.sealed = sealed
        self.folder = Path(tempfile.mkdtemp(prefix="wmplan-"))
        self.job: Any = None
        self.under_way: Generator[Any, None, None] | None = None
        self.sent: dict[str, tuple[int, int]] = {}

    def machine(self) -> str:
        """The processor."""
        return processor()

    def begin(self, job: int, files: Mapping[str, bytes]) -> Step:
        """Begin a job with the files it goes on from, and take its first step."""
        try:
            for name, content in files.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self.sent[name] = _state(path)
            if self.job is None:
                make_job, config, in_folder = self.sealed.open()
                self.job = make_job(in_folder(config, self.folder))
            self.under_way = self.job(job)
        except Exception as error:
            return _failed(error)
        return self.step()

    def step(self) -> Step:
        """Go on to the job's next yield, or to its end."""
        assert self.under_way is not None, "no job was begun"
        try:
            value = next(self.under_way)
        except StopIteration:
            return Step("done", None, self._written(forget=True))
        except Exception as error:
            return _failed(error)
        return Step("yielded", value, self._written())

    def stop(self) -> Step:
        """Close the job under way, so that it saves what it has."""
        if self.under_way is not None:
            self.under_way.close()
        return Step("done", None, self._written(forget=True))

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _written(self, forget: bool = False) -> dict[str, bytes]:
        """The content of files that are new or changed; all are deleted where the job is over."""
        paths = [one for one in self.folder.rglob("*") if one.is_file() and not one.name.endswith(".partial")]
        names = {str(path.relative_to(self.folder)): path for path in paths}
        changed = {name: path for name, path in names.items() if self.sent.get(name) != _state(path)}
        self.sent |= {name: _state(path) for name, path in changed.items()}
        content = {name: path.read_bytes() for name, path in changed.items()}
        if forget:
            for path in paths:
                path.unlink()
            self.sent.clear()
        return content


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _failed(raised: Exception) -> Step:
    error = for_other_process(raised)
    if not isinstance(error, UserError):
        error.add_note(f"on {os.uname().nodename}: {traceback.format_exc()}")
    return Step("error", error)


def _installed(name: str) -> str:
    return ".".join(map(str, sys.version_info[:3])) if name == "python" else installed_version(name)
