"""Settings with several values, in Hydra's grammar for them: planner=cem,icem, seed=range(3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from wmplan.errors import UserError

FLAGS = ("-m", "--multirun")
MOST = 1000  # runs of one sweep


@dataclass(frozen=True, eq=False)
class Run:
    """One combination.

    Attributes:
        chosen: the settings that have several values, with this run's.
        arguments: all of the run.
    """

    chosen: dict[str, str]
    arguments: list[str]

    @property
    def name(self) -> str:
        """What its folder is called."""
        return ",".join(f"{key}={value}" for key, value in self.chosen.items()).replace("/", "-")


def combinations(arguments: Sequence[str]) -> list[Run]:
    """The runs that `key=value` arguments stand for, some with several values.

    Raises:
        UserError: if none has, or one that all runs share; or there are too many.
    """
    several, same = {}, []
    for argument in arguments:
        values = _values(argument)
        if values is None:
            same.append(argument)
        else:
            several[argument.partition("=")[0]] = values
    if not several:
        raise UserError(
            "-m runs a command for each of several values, as in planner=cem,icem seed=0,1,2; none has several"
        )
    for key in ("out", "shard"):
        if key in several:
            raise UserError(f"{key} cannot have several values: each run has a folder of its own in out")
    runs = [Run(dict(zip(several, one, strict=True)), []) for one in itertools.islice(_products(several), MOST + 1)]
    if len(runs) > MOST:
        raise UserError(f"these are more than {MOST} runs: give fewer values at once")
    if len({run.name for run in runs}) < len(runs):
        raise UserError("a value is given twice")
    return [Run(run.chosen, [*same, *(f"{key}={value}" for key, value in run.chosen.items())]) for run in runs]


def _products(several: dict[str, list[str]]) -> itertools.product[tuple[str, ...]]:
    return itertools.product(*several.values())


def _values(argument: str) -> list[str] | None:
    """The values of a setting that has several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser  # slow to import, and seldom needed
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(argument)
        return list(override.sweep_string_iterator()) if override.is_sweep_override() else None
    except (HydraException, ValueError, RecursionError):
        return None
