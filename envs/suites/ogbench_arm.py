"""What OGBench's manipulation tasks have in common: a UR5e arm, starts and goals, and what the suite's oracles do."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.envs.suites.environment import SuiteTask
from wmplan.envs.suites.mujoco_environment import MujocoSuiteEnvironment
from wmplan.envs.suites.packages import OGBENCH
from wmplan.errors import UserError

HAND, TURN, GRIPPER, OBJECT = slice(0, 3), slice(3, 5), 5, slice(6, 9)  # of a task state
TOLERANCE = 0.04  # metres, the suite's own
TASKS = 5
GOALS = ("random", "tasks")
ORACLES = "ogbench.manipspace.oracles.markov"


def check_goals(goals: str) -> str:
    """One of GOALS, or a UserError that names them."""
    if goals not in GOALS:
        raise UserError(f"goals must be one of {', '.join(GOALS)}, got {goals!r}")
    return goals


class ArmTask(SuiteTask):
    """Task state: hand, its turn about the vertical, opening of the gripper from 0 to 1, the cube's place and turn."""

    action_names = ("hand_x", "hand_y", "hand_z", "hand_yaw", "gripper")
    action_low, action_high = np.full(5, -1.0), np.full(5, 1.0)
    proprio_names = ("hand_x_m", "hand_y_m", "hand_z_m", "hand_yaw_cos", "hand_yaw_sin", "gripper_closing")
    state_names = (*proprio_names, *(f"cube_{name}" for name in ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")))


class Errand:
    """One thing that an oracle of the suite does, until it has gone away again.

    Args:
        oracle: one of the suite's Markov oracles.
        observe: what the suite observes, and what the oracle is to do, under the names that it reads.
    """

    def __init__(self, oracle: Any, observe: Callable[[], dict[str, Any]]) -> None:
        self.oracle, self.observe = oracle, observe

    @property
    def over(self) -> bool:
        """Whether the oracle is done, or has tried for as long as the suite lets it."""
        return bool(self.oracle.done)

    def __call__(self, state: Array) -> Array:
        return np.asarray(self.oracle.select_action(None, self.observe()), np.float64)


class ArmEnvironment(MujocoSuiteEnvironment):
    """A task of the arm with a cube, 20 robot steps a second.

    The arm is nearly transparent, as in the suite's own pictures; what tells of success or of the goal is left out.

    Args:
        goals: "random", starts and targets anywhere, as the suite's own data are collected; or "tasks", the five tasks
            that the suite evaluates.
    """

    suite = OGBENCH
    control_rate = 20.0
    world: ClassVar[tuple[str, str, str]]
    """Module of the suite, class and variant of the task."""

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array", goals: str = "random") -> None:
        self.goals = check_goals(goals)
        self.suite.require()
        from wmplan.envs.suites.mujoco_suite import SuiteState

        super().__init__(image_size, render_mode)
        module, name, variant = self.world
        self.inner: Any = getattr(importlib.import_module(module), name)(
            variant,
            ob_type="pixels",  # for the looks of its materials
            mode="task" if goals == "tasks" else "data_collection",
            visualize_info=False,
            terminate_at_goal=False,
        )
        self.inner.get_pixel_observation = lambda: np.empty(0)  # drawn here
        self._begin(0, 1)
        model, data = self.inner.model, self.inner.data
        pinch = data.site("ur5e/robotiq/pinch")
        self.pinch = pinch.xpos, pinch.xmat  # read by the next step, from before the last substep
        self.cube = data.joint("object_joint_0")
        self.target = int(model.body("object_target_0").mocapid[0])
        arrays, numbers = self._kept()
        self.full = SuiteState(model, data, arrays=arrays, numbers=numbers, kinematics=self.pinch)

    def _kept(self) -> tuple[Sequence[NDArray[Any]], Sequence[tuple[Any, str]]]:
        """Arrays of the model and numbers of the suite's that belong to the state, as SuiteState takes them."""
        return (), ()

    def _begin(self, seed: int, number: int) -> None:
        """The suite's reset, without what it leaves to chance: the task, and what is left of two random steps."""
        import mujoco

        self.inner.reset(seed=seed, options={"task_id": number} if self.goals == "tasks" else None)
        model, data = self.inner.model, self.inner.data
        data.time, data.ctrl[:], data.qacc_warmstart[:] = 0.0, 0.0, 0.0
        mujoco.mj_forward(model, data)
        data.qacc_warmstart[:] = 0.0

    def start(self, rng: np.random.Generator) -> None:
        self._begin(int(rng.integers(2**31)), int(rng.integers(TASKS)) + 1)

    def advance(self, action: Array) -> None:
        self.inner.step(action)

    def task_state(self) -> Array:
        place, turned = self.pinch
        yaw = float(np.arctan2(turned[3], turned[0]))  # of the rotation's first column
        closing = np.clip(self.inner.data.qpos[self.inner._gripper_opening_joint_id] / 0.8, 0, 1)
        return np.concatenate([place, [np.cos(yaw), np.sin(yaw), closing], self.cube.qpos])

    def reach_own_goal(self) -> None:
        """All is where the goal has it, at rest, and the arm where it was, above."""
        state = self.get_state()
        self._put_at_goal()
        moved = self.get_state()
        self.set_state(state)
        self.set_state(moved)

    @abstractmethod
    def _put_at_goal(self) -> None:
        """Write where the goal has the objects into the simulator's data."""

    def _put_cube_at_goal(self) -> None:
        data = self.inner.data
        self.cube.qpos[:] = np.concatenate([data.mocap_pos[self.target], data.mocap_quat[self.target]])
        self.cube.qvel[:] = 0

    def with_other_goal(self, state: Array) -> Array:
        self.set_state(state)
        self.inner.data.mocap_pos[self.target, :2] += 0.05
        return self.get_state()

    # ------------------------------------------------------------------ policies

    @property
    def target_yaw(self) -> float:
        """How the cube's target is turned about the vertical, in radians."""
        quat = self.inner.data.mocap_quat[self.target]
        return 2 * float(np.arctan2(quat[3], quat[0]))

    def errand(
        self, name: str, rng: np.random.Generator, told: Callable[[], dict[str, Any]], lowest: float = 0.0
    ) -> Errand:
        """What the suite's Markov oracle of a name does, which then goes to a random place above.

        Args:
            name: "cube", "button", "drawer" or "window".
            told: what it is to do, under the suite's names without "privileged/".
            lowest: height in metres above which it ends.
        """
        oracle = getattr(importlib.import_module(f"{ORACLES}.{name}_markov"), f"{name.title()}MarkovOracle")(
            env=self.inner
        )
        low, high = self.inner._arm_sampling_bounds
        oracle._final_pos = rng.uniform(np.maximum(low, [-np.inf, -np.inf, lowest]), high)
        oracle._final_yaw, oracle._step, oracle._done = rng.uniform(-np.pi, np.pi), 0, False

        def observe() -> dict[str, Any]:
            return self.inner.compute_ob_info() | {f"privileged/{key}": value for key, value in told().items()}

        return Errand(oracle, observe)

    def place(self, rng: np.random.Generator, target: Array, yaw: float) -> Errand:
        """Grasp the cube, place it on a target (3,), turned by so much about the vertical, and go away."""
        told = {"target_block": 0, "target_block_pos": target, "target_block_yaw": np.array([yaw])}
        return self.errand("cube", rng, lambda: told)

    def place_anywhere(self, rng: np.random.Generator) -> Errand:
        """Place the cube anywhere that the suite's own starts have it."""
        low, high = self.inner._object_sampling_bounds
        return self.place(rng, np.append(rng.uniform(low, high), 0.02), rng.uniform(-np.pi, np.pi))
