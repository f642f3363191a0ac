"""Goals beside a plain image: of a part of the image, of the robot's own state, several in turn, any of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_GOALS = 64
"""Single goals that one may be made of."""

Frames = Mapping[str, NDArray[np.uint8]] | NDArray[np.uint8]
"""Frames uint8 (H, W, 3) by camera name, or one camera's."""


@dataclass(frozen=True, eq=False)
class GoalImage:
    """What the camera should see: the same as the image alone, or {"pixels": image, "proprio": proprio}.

    Attributes:
        image: frames.
        proprio: the robot's own state at the goal, (P,); None where it is not known.

    Raises:
        ValueError: naming what is no frame or no row of finite numbers.
    """

    image: Frames
    proprio: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", _by_camera(self.image, "image", _frame))
        object.__setattr__(self, "proprio", _state(self.proprio))


@dataclass(frozen=True, eq=False)
class MaskedGoal:
    """An image of which a part matters: outside of it everything may be as it is.

    At each plan the inside is put onto the frame of that moment, and the robot heads for what that shows.

    Attributes:
        image: frames.
        mask: where they count, (H, W), true or 1 inside; by camera name where there are several cameras. A camera
            without a mask counts whole.
        box: in place of a mask, the rectangle that counts, in pixels: (left, top, right, bottom), right and bottom
            not included.
        proprio: the robot's own state at the goal, (P,); None where it does not matter either.

    Raises:
        ValueError: if there is no mask and no box, or both, or nothing is inside.
    """

    image: Frames
    mask: Mapping[str, NDArray[Any]] | NDArray[Any] | None = None
    box: tuple[int, int, int, int] | None = None
    proprio: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        frames = _by_camera(self.image, "image", _frame)
        if (self.mask is None) == (self.box is None):
            raise ValueError("MaskedGoal: give either mask or box")
        if self.mask is None:
            if isinstance(frames, Mapping) and len(frames) > 1:
                raise ValueError("MaskedGoal: box is of one camera, give a mask for each of several")
            frame = next(iter(frames.values())) if isinstance(frames, Mapping) else frames
            inside = _of_box(self.box, frame.shape[:2])
            masks: Any = {name: inside for name in frames} if isinstance(frames, Mapping) else inside
        else:
            masks = _by_camera(self.mask, "mask", _mask)
        if isinstance(frames, Mapping) and not isinstance(masks, Mapping) and len(frames) == 1:
            masks = {name: masks for name in frames}
        pairs = _pairs(frames, masks)
        for name, frame, mask in pairs:
            if frame is None:
                raise ValueError(f"MaskedGoal: mask {name[:40]} is of a camera that the image does not have")
            if mask.shape != frame.shape[:2]:
                raise ValueError(f"MaskedGoal: mask has shape {mask.shape}, its frame has {frame.shape[:2]} pixels")
        if not any(mask.any() for _, _, mask in pairs):
            raise ValueError("MaskedGoal: nothing is inside of the mask, so there is no goal")
        for name, value in (("image", frames), ("mask", masks), ("proprio", _state(self.proprio))):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class RobotStateGoal:
    """The robot's own state to reach, whatever the camera sees then; for models with proprioception.

    Attributes:
        proprio: (P,), in the robot's units.

    Raises:
        ValueError: if it is no row of finite numbers.
    """

    proprio: NDArray[Any]

    def __post_init__(self) -> None:
        state = _state(self.proprio)
        if state is None:
            raise ValueError("proprio must be a row of finite numbers, got None")
        object.__setattr__(self, "proprio", state)


@dataclass(frozen=True, eq=False)
class AnyGoal:
    """Any of several goals: the one that costs least from where the robot is.

    It is chosen at each plan; another takes its place only once it costs less than half, so that no robot dithers.

    Attributes:
        goals: images, masked ones, or all of them robot states: costs of the two kinds cannot be compared.

    Raises:
        ValueError: if there are none, or one cannot be among them.
    """

    goals: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "goals", _several(self.goals, "AnyGoal", (GoalSequence, AnyGoal)))
        kinds = {isinstance(one, RobotStateGoal) for one in self.goals}
        if len(kinds) > 1:
            raise ValueError("AnyGoal: images and robot states cannot be mixed, their costs cannot be compared")


@dataclass(frozen=True, eq=False)
class GoalSequence:
    """Goals to be reached in turn; the last is held.

    One is reached once the latent of what the robot sees is within the model's usual errors of it.

    Attributes:
        goals: of any kind but sequences.
        patience: robot steps after which the next one's turn comes although it was not reached; None for never. Models
            that do not know their usual error need it.

    Raises:
        ValueError: if there are none, or one cannot be among them, or the patience is below 1.
    """

    goals: tuple[Any, ...]
    patience: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "goals", _several(self.goals, "GoalSequence", (GoalSequence,)))
        told = self.patience
        if told is not None and (isinstance(told, bool) or not isinstance(told, (int, np.integer)) or told < 1):
            raise ValueError(f"GoalSequence: patience must be a whole number of at least 1, got {told!r:.100}")


DeclaredGoal = GoalImage | MaskedGoal | RobotStateGoal | AnyGoal | GoalSequence
DECLARED = (GoalImage, MaskedGoal, RobotStateGoal, AnyGoal, GoalSequence)


def declared(goal: Any) -> Any:
    """A map that holds the robot's own state alone, as a RobotStateGoal; anything else as it is."""
    if isinstance(goal, Mapping) and set(goal) == {"proprio"} and np.ndim(goal["proprio"]) == 1:
        return RobotStateGoal(goal["proprio"])
    return goal


def single_goals(goal: Any) -> Iterator[Any]:
    """The goals that one is made of."""
    if isinstance(goal, (AnyGoal, GoalSequence)):
        for one in goal.goals:
            yield from single_goals(one)
    else:
        yield goal


def goal_frames(goal: Any) -> dict[str, NDArray[Any]]:
    """Frames by camera name of the first goal that has any, "pixels" where no name is given; none for robot states."""
    for one in single_goals(goal):
        frames = one.image if isinstance(one, (GoalImage, MaskedGoal)) else one
        if isinstance(frames, Mapping):
            frames = {name: frame for name, frame in frames.items() if name != "proprio"}
        elif isinstance(frames, RobotStateGoal):
            frames = {}
        else:
            frames = {"pixels": frames}
        if frames:
            return frames
    return {}


def as_message(goal: Any, camera: str) -> Any:
    """A goal as it goes over the wire: maps, lists and arrays.

    Args:
        camera: whose frame an image without a name is.
    """
    if isinstance(goal, GoalSequence):
        goals = [as_message(one, camera) for one in goal.goals]
        return {"kind": "sequence", "goals": goals, "patience": None if goal.patience is None else int(goal.patience)}
    if isinstance(goal, AnyGoal):
        return {"kind": "any", "goals": [as_message(one, camera) for one in goal.goals]}
    if isinstance(goal, RobotStateGoal):
        return {"kind": "robot_state", "proprio": goal.proprio}
    if isinstance(goal, (GoalImage, MaskedGoal)):
        message: dict[str, Any] = dict(goal.image) if isinstance(goal.image, Mapping) else {camera: goal.image}
        if goal.proprio is not None:
            message["proprio"] = goal.proprio
        if isinstance(goal, MaskedGoal):
            masks: Any = goal.mask if isinstance(goal.mask, Mapping) else {camera: goal.mask}
            message = {"kind": "masked", **message, **{f"mask.{name}": mask for name, mask in masks.items()}}
        return message
    return dict(goal) if isinstance(goal, Mapping) else goal


# ------------------------------------------------------------------ what goals are made of


def _by_camera(value: Any, name: str, read: Any) -> Any:
    if isinstance(value, Mapping):
        if not value:
            raise ValueError(f"{name} has no camera")
        return {camera: read(one, f"{name} {str(camera)[:40]}") for camera, one in value.items()}
    return read(value, name)


def _frame(value: Any, name: str) -> NDArray[np.uint8]:
    frame = _array(value, name)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"{name} must be uint8 of shape (H, W, 3), got {frame.dtype} of shape {frame.shape}")
    return np.array(frame, order="C")


def _mask(value: Any, name: str) -> NDArray[np.bool_]:
    mask = _array(value, name)
    if mask.ndim != 2 or mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1, 255)).all():
        raise ValueError(f"{name} must be (H, W) of true and false, got {mask.dtype} of shape {mask.shape}")
    return np.array(mask, bool, order="C")


def _state(value: Any) -> NDArray[np.float32] | None:
    if value is None:
        return None
    state = _array(value, "proprio")
    if state.dtype.kind not in "biuf" or state.ndim != 1 or not len(state):
        raise ValueError(f"proprio must be a row of finite numbers, got {state.dtype} of shape {state.shape}")
    with np.errstate(over="ignore"):
        numbers = np.array(state, np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("proprio must be a row of finite numbers, got one that is not finite")
    return numbers


def _array(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except Exception as error:  # of an object of the caller's
        raise ValueError(f"{name} cannot be read as an array: {type(error).__name__}") from error


def _of_box(box: Any, size: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = size
    wanted = f"box must be (left, top, right, bottom) within {width} x {height} pixels"
    try:
        left, top, right, bottom = (int(side) for side in box)
        exact = tuple(box) == (left, top, right, bottom)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"MaskedGoal: {wanted}, got {box!r:.100}") from None
    if not exact or not 0 <= left < right <= width or not 0 <= top < bottom <= height:
        raise ValueError(f"MaskedGoal: {wanted}, got {box!r:.100}")
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def _pairs(frames: Any, masks: Any) -> list[tuple[str, Any, NDArray[np.bool_]]]:
    if isinstance(masks, Mapping):
        of = frames if isinstance(frames, Mapping) else {}
        return [(str(name), of.get(name), mask) for name, mask in masks.items()]
    return [("", None if isinstance(frames, Mapping) else frames, masks)]


def _several(goals: Any, name: str, refused: tuple[type, ...]) -> tuple[Any, ...]:
    if isinstance(goals, (str, bytes, Mapping)) or not hasattr(goals, "__iter__"):
        raise ValueError(f"{name}: goals must be a list of goals, got a {type(goals).__name__}")
    found = tuple(_owned(declared(goal), name, refused) for goal in goals)
    count = sum(1 for one in found for _ in single_goals(one))
    if not 1 <= count <= MAX_GOALS:
        raise ValueError(f"{name}: goals must be 1 to {MAX_GOALS}, got {count}")
    return found


def _owned(goal: Any, name: str, refused: tuple[type, ...]) -> Any:
    if isinstance(goal, refused):
        raise ValueError(f"{name}: a {type(goal).__name__} cannot be among its goals")
    if isinstance(goal, DECLARED):
        return goal
    if isinstance(goal, Mapping):
        return GoalImage({key: frame for key, frame in goal.items() if key != "proprio"}, goal.get("proprio"))
    return GoalImage(goal)
