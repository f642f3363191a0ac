"""A worker elsewhere hands over what a job yields and every file it writes, once, and goes on from files of before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wmplan.engines.host import Host, Sealed
from wmplan.engines.work import Work
from wmplan.errors import UserError


def make(folder: Path) -> Any:
    def job(number: int) -> Iterator[str]:
        path = folder / "parts" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        for word in ("one", "two"):
            path.write_text((path.read_text() if path.exists() else "") + word)
            try:
                yield word
            except GeneratorExit:
                path.write_text(path.read_text() + ", closed")
                raise

    return job


def in_folder(config: Any, folder: Path) -> Any:
    return folder


def work(folder: Path, **changes: Any) -> Work[Any]:
    names = {"names": {7: "seven"}, "continues": {7: ["parts/7.txt"]}, **changes}
    return Work(make, None, in_folder, folder, [7], **names)


def test_files_come_with_what_is_yielded(tmp_path: Path) -> None:
    given = work(tmp_path)
    host = Host(Sealed.of(given))
    steps = [host.begin(7, given.begun_files(7)), host.step(), host.step()]
    assert [(step.kind, step.value) for step in steps] == [("yielded", "one"), ("yielded", "two"), ("done", None)]
    assert [dict(step.files) for step in steps] == [{"parts/7.txt": b"one"}, {"parts/7.txt": b"onetwo"}, {}]
    assert not [path for path in host.folder.rglob("*") if path.is_file()]  # the next job begins with nothing
    for step in steps:
        given.keep(step.files)
    assert (tmp_path / "parts" / "7.txt").read_bytes() == b"onetwo"
    host.close()
    assert not host.folder.exists()


def test_a_job_goes_on_from_the_files_of_another_worker(tmp_path: Path) -> None:
    given = work(tmp_path)
    first, second = Host(Sealed.of(given)), Host(Sealed.of(given))
    given.keep(first.begin(7, given.begun_files(7)).files)
    step = second.begin(7, given.begun_files(7))
    assert dict(step.files) == {"parts/7.txt": b"oneone"}
    assert dict(second.stop().files) == {"parts/7.txt": b"oneone, closed"}
    first.stop()
    for host in (first, second):
        host.close()


def test_other_versions_are_refused(tmp_path: Path) -> None:
    host = Host(Sealed.of(work(tmp_path, versions={"numpy": "0.1"})))
    step = host.begin(7, {})
    assert step.kind == "error" and isinstance(step.value, UserError)
    assert "this machine 0.1: install the same on all machines" in str(step.value)
    host.close()


def test_what_cannot_travel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be given to other machines"):
        Sealed.of(Work(make, threading.Lock(), in_folder, tmp_path, [7], {7: "seven"}))
