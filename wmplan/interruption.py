"""Ctrl-C and SIGTERM for loops that save before they stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """What was asked to stop stops; the message, if there is one, says where the same command goes on.

    Attributes:
        signal: the one that asked.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = number


class Interruption:
    """A context in which the first SIGINT or SIGTERM is noted and no more: the loop inside looks, saves and stops.

    The second one stops at once, as Python's KeyboardInterrupt. Off the main thread nothing is changed, since signals
    arrive elsewhere.

    Attributes:
        signal: the number of the signal that asked to stop, None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise Interrupted("", number)
        self.signal = number


@contextmanager
def termination_raises() -> Iterator[None]:
    """A context in which SIGTERM raises Interrupted, as Ctrl-C raises KeyboardInterrupt, instead of ending silently."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted("", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
