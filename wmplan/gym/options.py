"""Options of an adapted Gymnasium environment, given as env.KEY=VALUE: what it does not say itself, the user does.

All other options are given to gymnasium.make (max_episode_steps, camera_name, default_camera_config, ...).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields


@dataclass(frozen=True)
class AdapterOptions:
    """What of a plain environment is used, and how.

    Attributes:
        pixels: where the frames come from: "render", "observation" (uint8, height x width x 3 or channels first), or a
            key of a Dict observation; None for the key "pixels" where there is one, an observation that is a picture,
            else render(), and another picture of a Dict observation where that draws nothing.
        proprio: what the robot knows of itself: "observation", a key of a Dict observation, or a function of the
            environment, MODULE:NAME; None for the key "proprio" where there is one, else nothing.
        state: the task state, the few true numbers that success is about: a function of the environment, MODULE:NAME;
            None for the observation, where that is numbers.
        success: when a goal is reached: a function of task states and the goal's, MODULE:NAME, each (..., D), that
            gives whether it is reached, or how far it is, 1 being where it is reached; or the name of an entry of
            `info`, or "terminated". None for what the environment says in `info`.
        control_rate: robot steps a second; None for what the environment says.
        action_low, action_high: bounds to stay within that are narrower than the environment's, a number each or one.
    """

    pixels: str | None = None
    proprio: str | None = None
    state: str | None = None
    success: str | None = None
    control_rate: float | None = None
    action_low: list[float] | None = None
    action_high: list[float] | None = None

    def __post_init__(self) -> None:
        for name in ("action_low", "action_high"):
            if isinstance(value := getattr(self, name), int | float):
                object.__setattr__(self, name, [value])
        convert_fields(self, "env")
        if self.control_rate is not None and self.control_rate <= 0:
            raise UserError(f"env.control_rate must be above 0, got {self.control_rate:g}")

    @property
    def reads_environment(self) -> bool:
        """Whether a function of the user's looks into the environment."""
        return any(":" in path for path in (self.state, self.proprio) if path)


def split_options(options: Mapping[str, Any]) -> tuple[AdapterOptions, dict[str, Any]]:
    """The adapter's options, and those that are for gymnasium.make."""
    own = {field.name for field in fields(AdapterOptions)}
    given = {name: value for name, value in options.items() if name in own and value is not None}
    return AdapterOptions(**given), {name: value for name, value in options.items() if name not in own}


def load_function(path: str, key: str) -> Callable[..., Any]:
    """The function that MODULE:NAME names; a module may be a file in the working directory.

    Args:
        key: the setting that holds it, for the error.

    Raises:
        UserError: if there is none.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise UserError(f"{key} must be MODULE:NAME, got {path!r}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a module raises when it is imported
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{key}={path} cannot be loaded: {said}") from error
    if not callable(found):
        raise UserError(f"{key}={path} must be a function or a class, it is {type(found).__name__}")
    return found  # type: ignore[no-any-return]
