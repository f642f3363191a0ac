"""The checks of a data set before it is trained on, each finding what is wrong, or what the user should know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.data.reader import Reader
from wmplan.data.resampled import Resampled, at_rate
from wmplan.data.varied_frames import varied
from wmplan.errors import UserError
from wmplan.training.action_statistics import ActionStatistics, action_statistics
from wmplan.training.config import TrainConfig
from wmplan.training.placement import pairs_alike
from wmplan.training.states import regions_of, state_names
from wmplan.training.windows import StageWindows, stage_windows, validation_rows

LOOKED_AT = 8  # episodes whose frames are compared
UNUSED_RANGE = 0.1  # share of its bounds' range below which a number of the action counts as hardly moved
OPTIONAL = {
    "appearance": "varied looks",
    "critic": "the critic",
    "decoder": "the decoder",
    "reader": "the reader of goals",
    "placement": "goals of which a part counts",
    "memory": "what is out of sight",
}  # stages that a model does without
LENGTH = {  # what the rows of a stage's windows grow with
    "joint": "rollout, history or action_block",
    "appearance": "action_block",
    "dynamics": "history or action_block",
    "critic": "history or action_block",
    "decoder": "action_block",
    "reader": "action_block",
    "placement": "action_block",
    "memory": "history or action_block",
}


@dataclass(frozen=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        message: what it is, and what would be right.
        fatal: whether the run could not come to its end.
        column: that is missing or cannot be used, so that nothing in it can be checked.
    """

    message: str
    fatal: bool = False
    column: str | None = None


Side = NDArray[np.int64]
Check = Callable[[TrainConfig, Reader, Side, Side], Iterator[Finding]]


def check_columns(config: TrainConfig, store: Reader) -> Iterator[Finding]:
    """Columns that there have to be, and their types."""
    cameras = config.camera_names
    for name, hint in {
        **dict.fromkeys(cameras, "a camera's frames, uint8 RGB of shape (H, W, 3)"),
        "action": "what was executed at each row, NaN in an episode's last",
        "proprio": "the robot's own state; set proprio=false to do without",
    }.items():
        if name not in store.columns:
            if name != "proprio" or config.proprio:
                why = store.unusable.get(name)
                lacks = f"column {name!r} {why}" if why else f"there is no column {name!r}"
                others = (
                    f"; set cameras=[{','.join(there)}]"
                    if name in cameras and (there := store.possible_cameras)
                    else ""
                )
                columns = ", ".join(sorted(store.columns))
                yield Finding(f"{lacks} ({hint}); the columns are {columns}{others}", True, name)
            continue
        shape, dtype = store.columns[name]
        if name in cameras and (dtype != np.uint8 or len(shape) != 3 or shape[2] != 3):
            yield Finding(f"column {name!r} must hold uint8 frames (H, W, 3), got {dtype} {shape}", True, name)
        elif name in cameras and name != cameras[0] and shape != store.columns.get(cameras[0], (shape,))[0]:
            yield Finding(
                f"camera {name!r} has frames of {shape[:2]}, {cameras[0]!r} of {store.columns[cameras[0]][0][:2]}: "
                f"bring them to one size, wmplan data convert cameras=[{','.join(cameras)}] image_size=[H,W]",
                True,
                name,
            )
        if name == "proprio" and config.proprio and (dtype.kind not in "fiu" or len(shape) != 1):
            yield Finding(f"column 'proprio' must hold one row of numbers (P,), got {dtype} {shape}", True, name)
    if "state" not in store.columns:
        yield Finding(
            "there is no column 'state': the model's card will not say how well a probe reads the state off its latents"
        )


def check_task(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Whose data it is, where the files do not say."""
    if config.task is not None and store.meta.seed is None:
        yield Finding(
            f"the files do not say what task they are of: they are taken to be of {config.task}, with that task's "
            "symmetries and settings for planning; data of another robot needs task=none"
        )


def check_frames(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Frames that show something."""
    for camera, frames in some_frames(store, config.camera_names).items():
        if (frames == frames[0]).all():
            of = f" of {camera!r}" if config.cameras else ""
            yield Finding(f"every frame{of} that was looked at is the same picture: did the camera run?", fatal=True)


def check_actions(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Bounds, and what never moves."""
    try:
        actions = action_statistics(config, store, training)
    except UserError as error:
        yield Finding(str(error), fatal=True)
        return
    names = named("action", len(actions.low), store.meta.action_names)
    if config.action_kind or config.action_bounds:
        yield Finding(told_of_actions(config, actions))
    unsaid = config.action_bounds is None and (config.action_low is None or config.action_high is None)
    if store.meta.policy == "unknown" and unsaid:
        low, high = np.round(actions.low, 6).tolist(), np.round(actions.high, 6).tolist()
        yield Finding(
            f"it does not say its action bounds; the smallest and largest seen are taken, {low} and {high} "
            "(set action_low and action_high to the robot's own)"
        )
    if actions.constant.all():
        yield Finding("no number of the action ever moves: nothing can be planned", fatal=True)
        return
    ranges = actions.high - actions.low
    for index in np.flatnonzero(actions.constant):
        yield Finding(
            f"{names[index]} is {actions.seen_low[index]:g} in every row: the model cannot know what it does, and "
            "plans will keep it there"
        )
    hardly = ~actions.constant & (actions.seen_high - actions.seen_low < UNUSED_RANGE * ranges)
    for index in np.flatnonzero(hardly):
        yield Finding(
            f"{names[index]} stays within {actions.seen_low[index]:.4g} and {actions.seen_high[index]:.4g}, its bounds "
            f"are {actions.low[index]:.4g} and {actions.high[index]:.4g}: plans will try what the model never saw "
            "(set action_low and action_high closer)"
        )
    if actions.outside and config.action_bounds != "quantiles":
        yield Finding(
            f"{100 * actions.outside:.2g} % of the actions lie outside of action_low={actions.low.tolist()} and "
            f"action_high={actions.high.tolist()}: plans will never take them"
        )


def check_proprio(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Proprioception that is finite and moves."""
    if not config.proprio:
        return
    values = store.column("proprio").astype(np.float64)
    bad = ~np.isfinite(values).all(-1)
    if bad.any():
        yield Finding(
            f"column 'proprio' is not finite in {bad.sum()} rows, the first in {place(store, int(bad.argmax()))}: "
            "remove these episodes or mend them, or set proprio=false",
            fatal=True,
        )
        return
    names = named("proprio", values.shape[1], store.meta.proprio_names)
    constant = np.ptp(values, axis=0) == 0
    if constant.all():
        yield Finding("column 'proprio' is the same in every row: set proprio=false", fatal=True)
        return
    for index in np.flatnonzero(constant):
        yield Finding(f"{names[index]} is {values[0, index]:g} in every row: the model will not know what it means")


def check_states(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """States that probes can be fitted to."""
    if "state" in store.columns and not state_names(store):
        yield Finding(
            "column 'state' does not hold finite numbers throughout: the model's card will not say how well a probe "
            "reads the state off its latents"
        )


def check_regions(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Regions of states that the data has."""
    absent = sorted(set(config.regions) - set(regions_of(config, store)))
    if absent and "state" in store.columns:
        names = ", ".join(state_names(store)) or "none"
        yield Finding(
            f"regions are of other states than the data's ({names}), these are left out: {', '.join(absent)} "
            "(task=none for data of no task here)"
        )


def check_rate(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Robot steps in a second."""
    told, given = store.meta.control_rate, config.control_rate
    if told is None and given is None:
        yield Finding("it does not say its control rate; 10 robot steps a second are taken (set control_rate)")
    elif told is not None and not (np.isfinite(told) and told > 0):
        yield Finding(f"control_rate of the data set must be above 0, got {told}", fatal=True)
    elif told is not None and isinstance(store, Resampled):
        yield Finding(
            f"it has {told * store.stride:g} rows a second, of which every {ordinal(store.stride)} is taken for "
            f"control_rate={given:g}: displacements are summed, velocities averaged, of the rest the last counts"
        )
    else:
        try:
            at_rate(store, given, config.action_kind, config.data_rate)
        except UserError as error:
            yield Finding(str(error), fatal=True)


def check_lengths(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Episodes that are long enough for the windows of every stage."""
    for windows in stage_windows(config):
        yield from check_stage(windows, store.lengths[training])
    needed = validation_rows(config)
    if store.lengths[held].max() < needed:
        yield Finding(
            f"no held-out episode has the {needed} rows that the model is evaluated on (the longest has "
            f"{store.lengths[held].max()}): lower action_block, history or rollout, or record longer episodes",
            fatal=True,
        )


def check_stage(windows: StageWindows, lengths: NDArray[np.int64]) -> Iterator[Finding]:
    """Training episodes that are long enough for one stage."""
    stage, count = windows.stage, windows.count(lengths)
    apart = f"{windows.frames} frames, {windows.action_block} robot steps apart"
    without = f", or do without {OPTIONAL[stage]} ({stage}.steps=0)" if stage in OPTIONAL else ""
    if not count:
        yield Finding(
            f"stage {stage} needs episodes of {windows.rows} rows ({apart}), the longest training episode has "
            f"{lengths.max()}: lower {LENGTH[stage]}, record longer episodes{without}",
            fatal=True,
        )
    elif count < windows.batch_size:
        yield Finding(
            f"{stage}.batch_size must be at most {count}, the windows of {windows.rows} rows ({apart}) in the training "
            f"episodes, got {windows.batch_size}{without}",
            fatal=True,
        )
    elif short := int((lengths < windows.rows).sum()):
        yield Finding(
            f"stage {stage} leaves out {short} of {len(lengths)} training episodes: they have less than {windows.rows} "
            f"rows ({apart})"
        )


def check_looks(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Second frames for the stage that learns from them."""
    wanted = config.appearance.steps > 0
    for camera in config.camera_names:
        column = varied(camera)
        there = column in store.columns
        if wanted and not there:
            yield Finding(
                f"stage appearance takes the column {column!r}, which the data does not have: collect with "
                "varied_frames=true, or set appearance.steps=0",
                fatal=True,
            )
        elif wanted and camera in store.columns and store.columns[column] != store.columns[camera]:
            shape, dtype = store.columns[column]
            yield Finding(
                f"column {column!r} must hold frames as {camera!r} does, {store.columns[camera][1]} "
                f"{store.columns[camera][0]}, got {dtype} {shape}",
                fatal=True,
            )
        elif there and not wanted and not config.reader.steps:
            yield Finding(f"column {column!r} is not used: set appearance.steps or reader.steps to train on it")


def check_moves(config: TrainConfig, store: Reader, training: Side, held: Side) -> Iterator[Finding]:
    """Frames between which only the robot moved, for the stage that learns from these."""
    windows = next((one for one in stage_windows(config) if one.stage == "placement"), None)
    usable = training[store.lengths[training] >= windows.rows] if windows is not None else training[:0]
    if windows is None or not len(usable):
        return
    looked_at = usable[np.unique(np.linspace(0, len(usable) - 1, LOOKED_AT).astype(int))].tolist()
    share, cameras, found, pairs = config.placement_pixels, config.camera_names, 0, 0
    for index in looked_at:
        start = (int(store.lengths[index]) - windows.rows) // 2
        episode = store.episode(index, cameras, start, start + windows.rows)
        views = [torch.from_numpy(episode[camera][None, :: windows.action_block]) for camera in cameras]
        found, pairs = found + len(pairs_alike(views, share)), pairs + windows.frames * (windows.frames - 1) // 2
    if not found:
        yield Finding(
            f"in none of {pairs} pairs of frames do at most {100 * share:g} % of the pixels differ, so that only "
            "the robot would have moved: set placement_pixels to twice the share that it covers, or placement.steps=0",
            fatal=True,
        )


CHECKS: tuple[Check, ...] = (
    check_looks,
    check_task,
    check_frames,
    check_actions,
    check_proprio,
    check_states,
    check_regions,
    check_rate,
    check_lengths,
    check_moves,
)
READS: dict[Check, str] = {check_actions: "action", check_proprio: "proprio"}
"""The column that a check cannot do without."""
OF_FRAMES: tuple[Check, ...] = (check_frames, check_moves)
"""Those that cannot do without the cameras' columns."""


# ------------------------------------------------------------------ helpers


def some_frames(store: Reader, cameras: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """First, middle and last frames of a few episodes, (n, H, W, 3) of each camera."""
    seen = [
        store.episode(int(index), cameras, row, row + 1)
        for index in np.unique(np.linspace(0, len(store) - 1, LOOKED_AT).astype(int))
        for row in sorted({0, int(store.lengths[index]) // 2, int(store.lengths[index]) - 1})
    ]
    return {camera: np.concatenate([one[camera] for one in seen]) for camera in cameras}


def told_of_actions(config: TrainConfig, actions: ActionStatistics) -> str:
    """Kinds, bounds and normaliser of the actions, in a sentence."""
    low, high, mean, std = (np.round(one, 6).tolist() for one in (*actions.planned, actions.mean, actions.std))
    kinds = f"actions are {', '.join(actions.kinds)}; " if actions.kinds else ""
    return (
        f"{kinds}bounds ({config.bounds_source}) are {low} and {high}, the normaliser's mean {mean} and deviation {std}"
    )


def ordinal(number: int) -> str:
    """2nd, 3rd, 4th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def named(column: str, count: int, names: Sequence[str]) -> list[str]:
    """A name for each number of a column."""
    return [f"{column} {names[index]!r}" if len(names) == count else f"{column}[{index}]" for index in range(count)]


def place(store: Reader, row: int) -> str:
    """Episode and step of a row."""
    episode = int(np.searchsorted(store.offsets, row, side="right")) - 1
    return f"episode {episode} at step {row - int(store.offsets[episode])}"
