"""Where the frames of a Gymnasium environment come from: its render(), its MuJoCo model, or its observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.environment import renders_any_size
from wmplan.errors import UserError

Frame = NDArray[np.uint8]
RENDER, OBSERVATION = "render", "observation"
KEY = "pixels"  # of a Dict observation, whose pictures are the frames where nothing is said


def frame_source(env: gymnasium.Env[Any, Any], pixels: str | None) -> str:
    """Where the frames come from: RENDER, OBSERVATION, or a key of a Dict observation.

    Args:
        pixels: what the user said, None for nothing.

    Raises:
        UserError: if there are no frames there.
    """
    space = env.observation_space
    parts = dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {OBSERVATION: space}
    pictures = [name for name, part in parts.items() if _is_picture(part)]
    if pixels is None:
        renders = env.render_mode is not None
        first = [name for name in (KEY, OBSERVATION) if name in pictures]
        pixels = first[0] if first else RENDER if renders or not pictures else pictures[0]
    if pixels != RENDER and pixels not in pictures:
        there = [RENDER, *pictures]
        raise UserError(f"env.pixels must be one of {', '.join(there)}, got {pixels!r}")
    return pixels


def _is_picture(space: object) -> bool:
    """uint8 in three dimensions, height x width x channels or channels first, of 1 or 3 channels."""
    if not isinstance(space, gymnasium.spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return bool({1, 3} & {space.shape[0], space.shape[2]})


def picture(observation: NDArray[np.uint8]) -> Frame:
    """An observed picture as a frame (H, W, 3): channels last, grey in all three."""
    frame = observation if observation.shape[2] in (1, 3) else np.moveaxis(observation, 0, -1)
    return check_frame(np.array(np.broadcast_to(frame, (*frame.shape[:2], 3))))


def check_frame(frame: object) -> Frame:
    """The frame, if it is one.

    Raises:
        UserError: if it is not uint8 (H, W, 3).
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise UserError(f"render() must give uint8 frames (H, W, 3), got {got}")
    return frame


Draw = Callable[[tuple[int, int] | None], Frame]
"""The present frame at a size (H, W), or at the environment's own."""


def drawing(env: gymnasium.Env[Any, Any]) -> tuple[Draw, Callable[[], None]]:
    """How to draw the environment by its render(), and how to free what that takes."""
    inner: Any = env.unwrapped
    outer: Any = env
    while isinstance(outer, gymnasium.Wrapper) and type(outer).__module__.startswith("gymnasium.wrappers"):
        outer = outer.env
    if outer is inner and renders_any_size(inner):
        return lambda size: check_frame(inner.render() if size is None else inner.render(size)), lambda: None
    if outer is inner and _is_gymnasium_mujoco(inner):
        from wmplan.gym.mujoco_camera import MujocoCamera  # loads the simulator

        camera = MujocoCamera(inner)
        return camera.render, camera.close

    def render(size: tuple[int, int] | None) -> Frame:
        try:
            frame: Any = env.render()
        except gymnasium.error.DependencyNotInstalled as error:  # some need a package only where they draw
            raise UserError(f"{type(inner).__name__} cannot be drawn: {error}") from error
        return check_frame(frame) if size is None else resized(check_frame(frame), size)

    return render, lambda: None


def _is_gymnasium_mujoco(env: Any) -> bool:
    """Whether render() is that of Gymnasium's MuJoCo environments, to arrays."""
    own = getattr(env.render, "__func__", None)
    return env.render_mode == "rgb_array" and getattr(own, "__module__", "") == "gymnasium.envs.mujoco.mujoco_env"


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """A frame (H, W, 3) at another size, by antialiased linear interpolation."""
    if frame.shape[:2] == tuple(size):
        return frame
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    new = interpolate(planes, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
    return new[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
