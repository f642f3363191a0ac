"""A plain Gymnasium environment as wmplan.environment describes one: what it leaves out is filled in here.

All it needs is a box of finite actions and render() to uint8 RGB. Abilities of its own stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.deprecated import ENVIRONMENT, renamed_methods, with_new_methods
from wmplan.environment import Array, Observation, renders_any_size
from wmplan.errors import UserError

COMPLETE = ("task", "control_rate", "image_size", "step_physics", "observe")
"""Members beyond Gymnasium's that every environment is used with; its render() takes a size, too."""
SUCCESS_FLAGS = ("success", "is_success")
"""Entries of `info` that say whether the environment counts the present state as success."""
DEFAULT_RATE = 10.0  # robot steps a second of an environment that does not say it


@dataclass(frozen=True)
class BoxTask:
    """What a box of actions tells of a task."""

    action_low: Array
    action_high: Array
    action_names: tuple[str, ...]
    proprio_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()


def adapt(env: gymnasium.Env[Any, Any], image_size: tuple[int, int] | None = None) -> Any:
    """The environment itself where it is complete, else with what it lacks filled in.

    Args:
        env: made with render_mode "rgb_array", without wrappers.
        image_size: of the frames; None for what render() gives.

    Raises:
        UserError: if its actions or its frames cannot be used.
    """
    check_actions(env.action_space)
    with_new_methods(env)
    return env if is_complete(env) else AdaptedEnvironment(env, image_size)


def is_complete(env: object) -> bool:
    """Whether the environment has all members that it is used with."""
    return all(hasattr(env, name) for name in COMPLETE) and renders_any_size(env)


def check_actions(space: object) -> None:
    """Raise a UserError unless the actions are one row of numbers within finite bounds."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise UserError(f"its actions must be a Box of one row of numbers, got {space}")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(f"its actions must have finite bounds, got {space.low.tolist()} to {space.high.tolist()}")
    if space.dtype is None or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"its actions must be floats, got {space.dtype}")


def check_frame(frame: object) -> NDArray[np.uint8]:
    """The frame, if it is one.

    Raises:
        UserError: if it is not uint8 (H, W, 3).
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise UserError(f"render() must give uint8 frames (H, W, 3), got {got}")
    return frame


@renamed_methods(ENVIRONMENT)
class AdaptedEnvironment:
    """A Gymnasium environment with what it lacks of wmplan.environment.Environment; the rest is its own.

    The success that it tells in `info` (`success` or `is_success`; or what its attribute `success_flag` names, one of
    these or "terminated") is kept as `succeeded`.

    Attributes:
        ended: whether the newest step ended the episode.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], image_size: tuple[int, int] | None) -> None:
        self.env = env
        self.action_space, self.observation_space = env.action_space, env.observation_space
        self.metadata, self.spec = env.metadata, env.spec
        self.ended = False
        self._success: bool | None = None
        self._observation: Any = None
        self.task: Any = getattr(env, "task", None)
        if not hasattr(self.task, "action_low"):
            self.task = self._box_task()
        self.control_rate = float(getattr(env, "control_rate", None) or _rate(env))
        self.reset(seed=0)
        self.step(np.clip(np.zeros_like(self.task.action_low), self.task.action_low, self.task.action_high))
        self.reset(seed=0)  # after a step that shows what is told of success
        shown = check_frame(env.render())
        self.image_size: tuple[int, int] = tuple(image_size or getattr(env, "image_size", None) or shown.shape[:2])

    @property
    def unwrapped(self) -> Any:
        """Itself: it is used instead of the environment."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "succeeded" and self.__dict__.get("_success") is not None:
            return self._success
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        return getattr(self.env, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._observation, info = self.env.reset(seed=seed, options=options)
        self.ended = False
        self._note(info, False)
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        given = np.asarray(action, self.action_space.dtype)
        self._observation, reward, terminated, truncated, info = self.env.step(given)
        self.ended = bool(terminated or truncated)
        self._note(info, bool(terminated))
        return self._observation, reward, terminated, truncated, info

    def step_physics(self, action: Any) -> None:
        """One robot step; the observation that comes with it is kept for observe()."""
        if hasattr(self.env, "step_physics"):
            self.env.step_physics(action)
        else:
            self.step(action)

    def observe(self) -> Observation:
        """The present observation: the frame, and `proprio` where the environment's own has one."""
        if hasattr(self.env, "observe"):
            own: Observation = self.env.observe()
            return own
        proprio = self._observation["proprio"] if self.task.proprio_names else np.zeros(0)
        return {"pixels": self.render(), "proprio": np.asarray(proprio, np.float32)}

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The frame, uint8 (H, W, 3), of image_size or of another size (H, W)."""
        size = size or self.image_size
        own: Any = self.env.render
        return check_frame(own(size)) if renders_any_size(self.env) else resized(check_frame(own()), size)

    def close(self) -> None:
        self.env.close()

    def _note(self, info: dict[str, Any], terminated: bool) -> None:
        """Keep what the environment says of success."""
        declared = getattr(self.env, "success_flag", None)
        if declared == "terminated":
            self._success = terminated
            return
        for name in SUCCESS_FLAGS if declared is None else (declared,):
            if name in info:
                self._success = bool(info[name])
                return
        if self._success is not None:  # told at other steps
            self._success = False

    def _box_task(self) -> BoxTask:
        space, observed = self.action_space, self.observation_space
        assert isinstance(space, gymnasium.spaces.Box)  # checked by adapt()
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        own = observed.spaces.get("proprio") if isinstance(observed, gymnasium.spaces.Dict) else None
        proprio = own.shape[0] if isinstance(own, gymnasium.spaces.Box) and len(own.shape) == 1 else 0
        return BoxTask(
            low,
            high,
            tuple(f"action_{index}" for index in range(len(low))),
            tuple(f"proprio_{index}" for index in range(proprio)),
        )


def _rate(env: gymnasium.Env[Any, Any]) -> float:
    """Robot steps a second, by what Gymnasium environments usually say it with."""
    step = getattr(env, "dt", None)
    return 1 / float(step) if step else float(env.metadata.get("render_fps") or DEFAULT_RATE)


def resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) at another size, by antialiased linear interpolation."""
    if frame.shape[:2] == tuple(size):
        return frame
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    new = interpolate(planes, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return new[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
