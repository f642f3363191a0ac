"""Runs that end as asked: SIGTERM and Ctrl-C say where the same command goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from wmplan.data.reader import Reader
from wmplan.interruption import Interrupted, termination_raises

R_co = TypeVar("R_co", covariant=True)


class Run(Protocol[R_co]):
    """A run over the stages of one folder."""

    store: Reader

    def run(self) -> R_co: ...
    def position(self) -> str: ...


def carry_out(make: Callable[[], Run[Any]], threads: int) -> Any:
    """Make a run and bring it to its end.

    Args:
        threads: of torch; 0 for as many as there are.

    Raises:
        Interrupted: after SIGINT or SIGTERM, saying where the same command goes on.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    with termination_raises():
        run = make()
        try:
            return run.run()
        except KeyboardInterrupt as stop:
            number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
            raise Interrupted(str(stop) or run.position(), number) from None
        finally:
            run.store.close()
