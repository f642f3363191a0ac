"""A task as a Gymnasium environment with a goal image, a full state and a simulator to plan with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.deprecated import ENVIRONMENT, renamed_methods, with_new_methods
from wmplan.envs.curtain import Curtain
from wmplan.envs.physics import Physics
from wmplan.envs.rollouts import Rollouts
from wmplan.envs.task import Array, Policy, Task
from wmplan.envs.variation import Variation
from wmplan.errors import UserError

OPTIONS = ("state", "goal_state", "variation")


@renamed_methods(ENVIRONMENT)
class Environment(gymnasium.Env[dict[str, NDArray[Any]], Array]):
    """Observation: `pixels` uint8 (H, W, 3) and `proprio` float32 (P,). Action: float32 (A,), in the robot's units.

    The reward is minus the task's distance to the goal; an episode ends only by its time limit. `info` holds
    the task state, `success` by the task's first rule, and all `rules`.

    reset() takes the options `state` and `goal_state` (full states, both random where left out) and
    `variation` (True for a random look and physics drawn from the seed, or a dict of factors to use).

    Args:
        task: the task to run.
        image_size: (height, width) of the observation in pixels, or one number for both.
        curtain: robot steps [first, last] of an episode in which observations do not show the middle third of the
            image; None for never. Goal images and render() show all.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: Task,
        image_size: int | Sequence[int] = 64,
        render_mode: str | None = "rgb_array",
        curtain: Sequence[int] | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
        self.render_mode = render_mode
        self.image_size = picture_size(image_size)
        self.curtain = None if curtain is None else Curtain.of(curtain)
        self.begun = 0.0  # simulated time at the episode's first observation
        self.task = task
        with_new_methods(task, {"knock": "perturb"})
        self.physics = Physics(task.xml)
        self.variation = Variation(self.physics.model, task.distractor_area)
        self.rollouts = Rollouts(self.physics)
        self.control_rate = 1.0 / (task.substeps * self.physics.model.opt.timestep)
        self.action_space = box(task.action_low, task.action_high)
        self.observation_space = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {
                "pixels": gymnasium.spaces.Box(0, 255, (*self.image_size, 3), np.uint8),
                "proprio": box(task.proprio_low, task.proprio_high),
            }
        )
        self.goal = self.task_state()
        self.goal_state = self.physics.get_state()

    # ------------------------------------------------------------------ Gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise UserError(f"reset has no option {unknown[0]!r}; it has {', '.join(OPTIONS)}")
        self.variation.restore()
        goal_state, state = self._given_or_random(options, "goal_state"), self._given_or_random(options, "state")
        # Varied last, so that a seed gives the same start and goal with variation and without.
        if options.get("variation") is True:
            self.variation.sample(self.np_random)
        elif options.get("variation"):
            self.variation.apply(options["variation"])
        self.physics.set_state(state)
        self.begun = self.physics.data.time
        self.set_goal(goal_state)
        return self.observe(), self._info()

    def step(self, action: Array) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        self.step_physics(action)
        info = self._info()
        return self.observe(), -float(self.task.distance(info["state"], self.goal)), False, False, info

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        """The task's camera picture, uint8 (H, W, 3), of image_size or of another size (H, W)."""
        size, varied = size or self.image_size, self.variation
        if not varied.factors:
            return self.physics.render(self.task.camera, *size)
        data, distractors = self.physics.data, varied.distractors
        added = distractors and (lambda scene: distractors.add_to(scene, data.time))
        return varied.photograph(self.physics.render(self.task.camera, *size, added), data)

    def close(self) -> None:
        self.physics.close()
        self.rollouts.close()

    # ------------------------------------------------------------------ one robot step, without a frame

    def step_physics(self, action: Array) -> None:
        """One robot step without a frame; what is beyond the bounds counts as the bound.

        Raises:
            ValueError: if the action has the wrong shape or holds numbers that are not finite.
        """
        self.step_substeps(action, self.task.substeps)

    def step_substeps(self, action: Array, substeps: int) -> None:
        """Give the command of `action` and simulate `substeps` physics steps, task.substeps of which are a robot step.

        Raises:
            ValueError: as step_physics() does.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise UserError(f"action has shape {action.shape}, this task's is {self.action_space.shape}")
        self.physics.step(self._controls(action[None])[0], substeps)

    @property
    def perturb(self) -> Callable[[float, np.random.Generator], None]:
        """Set what the task moves going in a random direction at a speed; there only if the task says how."""
        return partial(getattr(self.task, "perturb"), self.physics)  # noqa: B009  the task need not have it

    def observe(self) -> dict[str, NDArray[Any]]:
        """The present observation."""
        proprio = self.task.proprio(self.task_state()).astype(np.float32)
        pixels = self.render()
        if self.curtain is not None:
            pixels = self.curtain.before(pixels, round((self.physics.data.time - self.begun) * self.control_rate))
        return {"pixels": pixels, "proprio": proprio}

    # ------------------------------------------------------------------ states and goals

    def get_state(self) -> Array:
        """Full simulator state, of shape (N,); replay from it is bit-exact."""
        return self.physics.get_state()

    def set_state(self, state: Array) -> None:
        """Restore a full simulator state, of shape (N,)."""
        self.physics.set_state(state)

    def task_state(self) -> Array:
        """The few numbers the task is about, of shape (D,)."""
        return self.task.task_state(self.physics.data.qpos)

    def set_goal(self, state: Array) -> None:
        """Make the full state (N,) the goal; the physics stays where it is."""
        present = self.physics.get_state()
        self.physics.set_state(state)
        self.goal_state, self.goal = np.array(state, dtype=np.float64), self.task_state()
        self.physics.set_state(present)

    def goal_observation(self, size: tuple[int, int] | None = None) -> dict[str, NDArray[Any]]:
        """What the camera and the robot would report at the goal: `pixels` (H, W, 3) and `proprio` (P,)."""
        present = self.physics.get_state()
        self.physics.set_state(self.goal_state)
        pixels = self.render(size)
        self.physics.set_state(present)
        return {"pixels": pixels, "proprio": self.task.proprio(self.goal).astype(np.float32)}

    @property
    def goal_mask(self) -> Callable[..., NDArray[np.bool_]]:
        """Where the goal image does not show the robot, of `size` or of image_size: (H, W). There only if the task says
        what the robot is."""
        bodies: tuple[str, ...] = getattr(self.task, "robot_bodies")  # noqa: B009
        return partial(self._without, bodies)

    def _without(self, bodies: tuple[str, ...], size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Which pixels of the goal image are the same where some bodies are not drawn."""
        whole = self.goal_observation(size)["pixels"]
        with self.physics.hidden(bodies):
            bare: NDArray[np.uint8] = self.goal_observation(size)["pixels"]
        same: NDArray[np.bool_] = (whole == bare).all(-1)
        return same

    @property
    def exploration_policy(self) -> Callable[[np.random.Generator], Policy]:
        """A fresh scripted policy for one episode of data collection; there only if the task has one."""
        policy: Callable[[np.random.Generator], Policy] = getattr(self.task, "exploration_policy")  # noqa: B009
        return policy

    # ------------------------------------------------------------------ the simulator as a model

    def simulate(self, actions: Array, threads: int = 2) -> Array:
        """Task states (S, T, D) that the action sequences (S, T, A) lead to from the present state.

        The present state is left as it is. This is the true dynamics, for planners that may cheat.

        Raises:
            ValueError: if the actions have the wrong shape or hold numbers that are not finite, or threads < 1.
        """
        actions = np.asarray(actions, dtype=np.float64)
        if actions.ndim != 3 or 0 in actions.shape or actions.shape[2:] != self.action_space.shape:
            raise UserError(f"actions must have shape (S, T, {len(self.task.action_names)}), got {actions.shape}")
        if threads < 1:
            raise UserError(f"threads must be 1 or more, got {threads}")
        substeps = self.task.substeps
        ctrl = np.repeat(self._controls(actions), substeps, axis=1)  # (S, T * substeps, nu)
        return self.task.task_state(self.rollouts.positions(ctrl, threads)[:, substeps - 1 :: substeps])

    # ------------------------------------------------------------------ helpers

    def _controls(self, actions: Array) -> Array:
        """Actuator commands (..., T, nu) of the actions (..., T, A) from here on."""
        if not np.isfinite(actions).all():
            raise UserError("action holds numbers that are not finite")
        return self.task.controls(self.physics.data.ctrl.copy(), actions)

    def _given_or_random(self, options: dict[str, Any], name: str) -> Array:
        """The full state that the reset option holds, or a random one."""
        if options.get(name) is not None:
            return options[name]
        self.task.place_random(self.physics, self.np_random)
        return self.physics.get_state()

    def _info(self) -> dict[str, Any]:
        state = self.task_state()
        rules = {name: bool(holds) for name, holds in self.task.rules(state, self.goal).items()}
        return {"state": state, "success": next(iter(rules.values())), "rules": rules}


def picture_size(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) in pixels from a pair or one number for both.

    Raises:
        ValueError: if it is neither, or out of range.
    """
    try:
        height, width = map(operator.index, size if isinstance(size, Sequence) else (size, size))
    except (TypeError, ValueError):
        raise UserError(f"image_size must be a number of pixels or (height, width), got {size!r}") from None
    if min(height, width) < 8 or max(height, width) > 4096:
        raise UserError(f"image_size must be from 8 to 4096 pixels a side, got {size}")
    return height, width


def box(low: Array, high: Array) -> gymnasium.spaces.Box:
    """The space of float32 vectors between two bounds."""
    return gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
