"""Runs that end as asked: SIGTERM and Ctrl-C say where the same command goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from wmplan.data.reader import Reader
from wmplan.interruption import Interrupted, termination_raises
from wmplan.training.processes import joined
from wmplan.training.ranks import Ranks

R_co = TypeVar("R_co", covariant=True)


class Run(Protocol[R_co]):
    """A run over the stages of one folder."""

    store: Reader

    def run(self) -> R_co: ...
    def position(self) -> str: ...


def carry_out(
    make: Callable[[Ranks], Run[Any]], *, threads: int = 0, device: str | None = "auto", devices: int = 1
) -> Any:
    """Make a run and bring it to its end, in this process and the others that train with it.

    Args:
        threads: of torch; 0 for as many as there are.
        device: to train on.
        devices: how many processes there should be.

    Raises:
        Interrupted: after SIGINT or SIGTERM, saying where the same command goes on.
    """
    with termination_raises(), joined(device, devices, threads) as ranks:
        run = ranks.first_then_all(lambda: make(ranks))
        try:
            return run.run()
        except KeyboardInterrupt as stop:
            number = stop.signal if isinstance(stop, Interrupted) else signal.SIGINT
            raise Interrupted(str(stop) or run.position(), number) from None
        finally:
            run.store.close()
