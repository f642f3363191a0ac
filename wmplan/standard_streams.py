"""Standard output and error as shells leave them: closed, a pipe that head has left, a full disk, an odd encoding."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
from collections.abc import Iterator


def prepare() -> None:
    """Give closed streams somewhere to go, and write what their encoding lacks as escapes.

    A file that is opened later must not get the number of a closed stream: what libraries print would end up in it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_WRONLY), "w"))  # noqa: SIM115  stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def told(logger: str) -> Iterator[None]:
    """Write what a logger says inside, from INFO on, to standard error."""
    found, handler = logging.getLogger(logger), logging.StreamHandler(sys.stderr)
    before = found.level
    found.setLevel(logging.INFO)
    found.addHandler(handler)
    try:
        yield
    finally:
        found.removeHandler(handler)
        found.setLevel(before)


def reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # on Windows
        return True
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # it has no number
        return False
    return bool(poll.poll(0))


def finish() -> None:
    """Write what standard output still holds, and leave nothing to be tried again at exit.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
