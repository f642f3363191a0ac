"""What the data says of its actions: bounds, a normaliser by their kinds, and which numbers of them never move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.action_kinds import HELD
from wmplan.data.reader import Reader
from wmplan.errors import UserError
from wmplan.planning.action_kinds import kinds_of_numbers
from wmplan.training.config import TrainConfig

Numbers = NDArray[np.float64]
CONSTANT = 1e-6  # spread of a number that never moves, as a share of its bounds' range or of its size
ROUNDING = 1e-5  # share of a range by which an action may be outside of it
MEASURED = 0.8  # share of a position's variance that the number of the robot's state shows which measures it
QUANTILES = 0.01, 0.99  # of the training episodes' actions, that bounds may be


@dataclass(frozen=True)
class ActionStatistics:
    """Of the numbers of one robot step's action, each array of shape (a,).

    Attributes:
        kinds: what each number is; empty where that is not said.
        low, high: bounds; of a gripper its two values.
        seen_low, seen_high: smallest and largest of any episode.
        mean, std: normaliser. Of velocities and displacements, and where nothing is said, 0, so that a null action
            stays null, and the root mean square over the training episodes; of positions and rotations their mean and
            deviation. A gripper's two values become -1 and 1. 1 for a number that never leaves the mean.
        outside: share of the robot steps whose action is not within the bounds.
        measured: which number of the robot's state measures each number that is a position, None of the others; empty
            where none does.
    """

    kinds: tuple[str, ...]
    low: Numbers
    high: Numbers
    seen_low: Numbers
    seen_high: Numbers
    mean: Numbers
    std: Numbers
    outside: float
    measured: tuple[int | None, ...] = ()

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which numbers never move, (a,)."""
        size = np.maximum(np.abs(self.seen_low), np.abs(self.seen_high))
        return self.seen_high - self.seen_low <= CONSTANT * np.maximum(size, self.high - self.low)

    @property
    def planned(self) -> tuple[Numbers, Numbers]:
        """Bounds to plan within. What never moved is fixed: a model cannot know what it would do."""
        return np.where(self.constant, self.seen_low, self.low), np.where(self.constant, self.seen_low, self.high)


def action_statistics(config: TrainConfig, store: Reader, training: NDArray[np.int64]) -> ActionStatistics:
    """Of all actions that are finite: the last row of an episode has none.

    Raises:
        UserError: where no action is finite, or bounds or kinds do not fit them.
    """
    every, trained = finite(store.column("action")), finite(store.column("action", training))
    if not len(trained):
        raise UserError("column 'action' of the training episodes has no row that is finite")
    kinds = kinds_of_numbers(config.action_kind, every.shape[1])
    low, high = bounds(config, store, every, trained)
    if not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
        raise UserError(
            f"action_low must be finite and at most action_high, got {low.tolist()} and {high.tolist()}: "
            "set both to what the robot may be sent"
        )
    slack = ROUNDING * (high - low)
    outside = float(((every < low - slack) | (every > high + slack)).any(-1).mean())
    mean, std = normaliser(kinds, trained)
    for number, kind in enumerate(kinds):
        if kind == "gripper":
            closed, opened = two_values(every[:, number], number)
            allowed = [
                value
                for value in (closed, opened)
                if low[number] - slack[number] <= value <= high[number] + slack[number]
            ]
            if not allowed:
                raise UserError(
                    f"action[{number}] is a gripper of {closed:g} and {opened:g}, its bounds {low[number]:g} and "
                    f"{high[number]:g} leave neither: set action_low and action_high to what it may be sent"
                )
            low[number], high[number] = min(allowed), max(allowed)
            mean[number], std[number] = (closed + opened) / 2, (opened - closed) / 2 or 1.0
    return ActionStatistics(
        kinds, low, high, every.min(0), every.max(0), mean, std, outside, measured_by(config, store, kinds, training)
    )


def measured_by(
    config: TrainConfig, store: Reader, kinds: tuple[str, ...], training: NDArray[np.int64]
) -> tuple[int | None, ...]:
    """Which number of the robot's state measures each position of the action: it is nearly that a row later."""
    if not config.proprio or "proprio" not in store.columns or not set(kinds) & set(HELD):
        return ()
    actions, states = (store.column(name, training).astype(np.float64) for name in ("action", "proprio"))
    actions, states = (one.reshape(len(one), -1) for one in (actions, states))
    rows = np.flatnonzero(np.isfinite(actions[:-1]).all(-1))  # an episode's last row has no action
    found: list[int | None] = []
    for number, kind in enumerate(kinds):
        wanted = actions[rows, number, None]
        if kind not in HELD or np.ptp(wanted) == 0:
            found.append(None)
            continue
        apart = ((states[rows + 1] - wanted) ** 2).mean(0) / wanted.var()  # (P,)
        nearest = int(np.argmin(apart))
        found.append(nearest if apart[nearest] < 1 - MEASURED else None)
    return tuple(found) if any(one is not None for one in found) else ()


def bounds(config: TrainConfig, store: Reader, every: Numbers, trained: Numbers) -> tuple[Numbers, Numbers]:
    """Bounds of actions (n, a), as TrainConfig.action_bounds says.

    Raises:
        UserError: where they are not as many as the numbers of an action.
    """
    if config.action_bounds == "quantiles":
        low, high = np.quantile(trained, QUANTILES, axis=0)
        rare = low == high  # what moves in less than a hundredth of the rows would be fixed
        return np.where(rare, every.min(0), low), np.where(rare, every.max(0), high)
    found = []
    for name in ("action_low", "action_high"):
        given, told = getattr(config, name), getattr(store.meta, name)
        bound = np.array(told if given is None else given, np.float64)
        if bound.shape != every.shape[1:]:
            source = "the data set's meta.json" if given is None else "the settings"
            raise UserError(f"{name} must have {every.shape[1]} entries as the actions, got {bound.size} in {source}")
        found.append(bound)
    return found[0], found[1]


def normaliser(kinds: tuple[str, ...], trained: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and deviation of actions (n, a), by their kinds; see ActionStatistics."""
    is_place = np.array([kind in ("absolute", "rotation_6d") for kind in kinds] or [False] * trained.shape[1])
    mean = np.where(is_place, trained.mean(0), 0.0)
    std = np.sqrt(((trained - mean) ** 2).mean(0)) + 1e-6
    std[np.abs(trained - mean).max(0) <= CONSTANT * np.abs(mean)] = 1.0
    return mean, std


def two_values(values: Numbers, number: int) -> tuple[float, float]:
    """The values of a gripper, which may be one.

    Raises:
        UserError: where there are more.
    """
    found = np.unique(values)
    if len(found) > 2:
        raise UserError(
            f"action[{number}] has {len(found)} values from {found[0]:g} to {found[-1]:g}, a gripper has two: say "
            "absolute of one that opens by degrees"
        )
    return float(found[0]), float(found[-1])


def finite(actions: NDArray[np.floating]) -> Numbers:
    """The rows (n, a) without a number that is not finite."""
    actions = actions.reshape(len(actions), -1).astype(np.float64)
    return actions[np.isfinite(actions).all(-1)]
