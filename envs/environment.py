"""A task as a Gymnasium environment with a goal image, a full state and a simulator to plan with."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wmplan.envs.physics import Physics
from wmplan.envs.task import Array, Policy, Task
from wmplan.envs.variation import Variation

import mujoco.rollout  # isort: skip  after the GL backend was chosen by wmplan.envs.physics


class Environment(gymnasium.Env[dict[str, NDArray[Any]], Array]):
    """Observation: `pixels` uint8 (H, W, 3) and `proprio` float32 (P,). Action: float32 (A,), in the robot's units.

    The reward is minus the task's distance to the goal; an episode ends only by its time limit. `info` holds
    the task state, `success` by the task's first rule, and all `rules`.

    reset() takes the options `state` and `goal_state` (full states, both random where left out) and
    `variation` (True for a random look and physics drawn from the seed, or a dict of factors to use).

    Args:
        task: the task to run.
        image_size: (height, width) of the observation in pixels, or one number for both.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, task: Task, image_size: int | tuple[int, int] = 64, render_mode: str | None = "rgb_array") -> None:
        self.task = task
        self.physics = Physics(task.xml)
        self.variation = Variation(self.physics.model)
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if min(self.image_size) < 8 or max(self.image_size) > 1024:
            raise ValueError(f"image_size is {image_size}, it has to be from 8 to 1024 pixels a side")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}, it has to be 'rgb_array' or None")
        self.render_mode = render_mode
        self.control_rate = 1.0 / (task.substeps * self.physics.model.opt.timestep)
        self.action_space = gymnasium.spaces.Box(
            task.action_low.astype(np.float32), task.action_high.astype(np.float32), dtype=np.float32
        )
        self.observation_space = gymnasium.spaces.Dict(
            {
                "pixels": gymnasium.spaces.Box(0, 255, (*self.image_size, 3), np.uint8),
                "proprio": gymnasium.spaces.Box(-np.inf, np.inf, (len(task.proprio_names),), np.float32),
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
        unknown = set(options) - {"state", "goal_state", "variation"}
        if unknown:
            raise ValueError(f"reset has no option {sorted(unknown)[0]!r}; it has state, goal_state and variation")
        self.variation.restore()
        if options.get("variation") is True:
            self.variation.sample(self.np_random)
        elif options.get("variation"):
            self.variation.apply(options["variation"])
        if options.get("goal_state") is None:
            self.task.place_random(self.physics, self.np_random)
            self.set_goal(self.physics.get_state())
        else:
            self.set_goal(options["goal_state"])
        if options.get("state") is None:
            self.task.place_random(self.physics, self.np_random)
        else:
            self.physics.set_state(options["state"])
        return self.observe(), self._info()

    def step(self, action: Array) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        self.advance(action)
        info = self._info()
        return self.observe(), -float(self.task.distance(info["state"], self.goal)), False, False, info

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        return self.draw(self.image_size)

    def close(self) -> None:
        self.physics.close()

    # ------------------------------------------------------------------ one robot step, without a picture

    def advance(self, action: Array) -> None:
        """One robot step without drawing it.

        Raises:
            ValueError: if the action has the wrong shape or holds numbers that are not finite.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape:
            raise ValueError(f"action has shape {action.shape}, this task's is {self.action_space.shape}")
        if not np.isfinite(action).all():
            raise ValueError("action holds numbers that are not finite")
        ctrl = self.task.controls(self.physics.data.ctrl.copy(), action[None])[0]
        self.physics.step(ctrl, self.task.substeps)

    def observe(self) -> dict[str, NDArray[Any]]:
        """The present observation."""
        proprio = self.task.proprio(self.task_state()).astype(np.float32)
        return {"pixels": self.draw(self.image_size), "proprio": proprio}

    def draw(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The task's camera picture, uint8 (H, W, 3), at any size (H, W)."""
        return self.physics.render(self.task.camera, *size)

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
        pixels = self.draw(size or self.image_size)
        self.physics.set_state(present)
        return {"pixels": pixels, "proprio": self.task.proprio(self.goal).astype(np.float32)}

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """A fresh scripted policy for one episode of data collection: task state (D,) -> action (A,)."""
        return self.task.exploration_policy(rng)

    # ------------------------------------------------------------------ the simulator as a model

    def simulate(self, actions: Array, threads: int = 2) -> Array:
        """Task states (S, T, D) that the action sequences (S, T, A) lead to from the present state.

        The present state is left as it is. This is the true dynamics, for planners that may cheat.
        """
        samples, steps, _ = actions.shape
        model, substeps = self.physics.model, self.task.substeps
        ctrl = self.task.controls(self.physics.data.ctrl.copy(), np.asarray(actions, np.float64))
        ctrl = np.repeat(ctrl, substeps, axis=1)  # (S, T * substeps, nu)
        full = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
        mujoco.mj_getState(model, self.physics.data, full, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        warmstart = self.physics.data.qacc_warmstart.copy()
        if not hasattr(self, "_rollout_data"):
            self._rollout_data = [copy.copy(self.physics.data) for _ in range(threads)]
        states, _ = mujoco.rollout.rollout(
            model, self._rollout_data, np.tile(full, (samples, 1)), ctrl, initial_warmstart=np.tile(warmstart, (samples, 1))
        )
        last = slice(substeps - 1, None, substeps)
        qpos = states[:, last, 1 : 1 + model.nq]  # full physics states begin with the time
        return self.task.task_state(qpos)

    def _info(self) -> dict[str, Any]:
        state = self.task_state()
        rules = {name: bool(holds) for name, holds in self.task.rules(state, self.goal).items()}
        return {"state": state, "success": next(iter(rules.values())), "rules": rules}
