"""Push-T of stable-worldmodel, which LeWorldModel's figures and its own are about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array
from wmplan.envs import pusht
from wmplan.envs.suites.bare_import import import_bare
from wmplan.envs.suites.packages import STABLE_WORLDMODEL
from wmplan.envs.suites.pymunk_pusht import SIDE, PymunkPushT, PymunkPushTTask
from wmplan.envs.suites.smaller_picture import smaller_picture
from wmplan.envs.task import wrap_angle
from wmplan.registry import register_task

MODULES = ("stable_worldmodel.utils", "stable_worldmodel.spaces", "stable_worldmodel.envs.pusht.env")
TURNED = 2 * np.pi
SYMMETRIES = {  # about the middle of the table; the green T that each picture shows stays where it is
    name: {**symmetry, "proprio_about": [256.0, 256.0], "background": True}
    for name, symmetry in pusht.SYMMETRIES.items()
}
PLANNING = {
    "planner": {**pusht.PLANNING["planner"], "num_iterations": 5},
    # With as much weight on the disc as for our own Push-T, plans go to where it is to be and leave the block. Nothing
    # holds the disc on the table, and away from it the model has seen nothing.
    "objective": {
        **pusht.PLANNING["objective"],
        "proprio": {"weight": 0.1, "steps": "last"},
        "workspace": {"weight": 10.0, "low": [0.0, 0.0], "high": [SIDE, SIDE]},
    },
    # Early, and never too near to go round the block once more: what was missed is mended within the budget.
    "schedule": {"replan_every": 3, "arrival_step": 15, "min_horizon": 3},
}


class FasterNumpy:
    """numpy for the suite's module, whose copy of each picture from columns to rows takes half of the time for it.

    Args:
        screen: gives the pygame surface that is being copied.
    """

    def __init__(self, screen: Callable[[], Any]) -> None:
        self.screen = screen

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def array(self, what: Any, *args: Any, **options: Any) -> NDArray[Any]:
        """As numpy's; of a picture by columns (W, H, 3), one that lies in memory by rows."""
        if not isinstance(what, np.ndarray) or what.ndim != 3:
            return np.array(what, *args, **options)
        import pygame

        by_rows = np.frombuffer(pygame.image.tobytes(self.screen(), "RGB"), np.uint8)
        return by_rows.reshape(what.shape[1], what.shape[0], 3).transpose(1, 0, 2)


class SwmPushTTask(PymunkPushTTask):
    """Action: from the disc to the target that it is drawn to, in hundreds of pixels, as the suite has it."""

    action_names = ("target_dx_100px", "target_dy_100px")
    action_low, action_high = np.full(2, -1.0), np.full(2, 1.0)


@register_task(
    "swm_pusht",
    id="wmplan.envs:wmplan/SwmPushT-v0",
    suite=STABLE_WORLDMODEL,
    max_episode_steps=200,
    symmetries=SYMMETRIES,
    training={"dynamics": {"steps": 6000}, "critic": {"steps": 0}, "decoder": {"steps": 0}},
    planning=PLANNING,
)
class SwmPushT(PymunkPushT):
    """Push-T, 10 robot steps a second. The suite's success: disc and block within 20 pixels of its goal, and the turn.

    Frames are as the suite draws them, with a green T that is always at the same place and says nothing of the goal.
    """

    suite = STABLE_WORLDMODEL
    task = SwmPushTTask()
    goal_size = 5
    world_id = "swm/PushT-v1"

    def __init__(self, image_size: Any = 64, render_mode: str | None = "rgb_array") -> None:
        module: Any = import_bare(self.suite, MODULES)[-1]
        super().__init__(image_size, render_mode)
        module.np = FasterNumpy(lambda: self.inner.screen)  # the module is ours alone
        self.inner = module.PushT()
        self._reset(0)

    def start(self, rng: np.random.Generator) -> None:
        self._reset(int(rng.integers(2**31)))

    def _reset(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*Casting input x to numpy array")  # of its own space's own values
            self.inner.reset(seed=seed)
        self.started()

    def read_own_goal(self) -> Array:
        return np.array(self.inner.goal_state[:5], np.float64)

    def advance(self, action: Array) -> None:
        self.inner.step(action)
        self.keep()

    @property
    def succeeded(self) -> bool:
        return bool(self.inner.eval_state(self._own_goal, self.world_state()[:5])[0])

    def reach_own_goal(self) -> None:
        self.rest_at(self._own_goal[:2], self._own_goal[2:4], float(self._own_goal[4]))

    def with_other_goal(self, state: Array) -> Array:
        return np.append(state[:10], state[10:] + [20.0, 10.0, 20.0, 10.0, 1.0])

    def world_state(self) -> Array:
        """The present state as the suite's World has it, (7,): disc, block, its turn, and the disc's speed."""
        return np.array([*self._state[:2], *self._state[4:6], self._state[8] % TURNED, *self._state[2:4]])

    def from_world(self, states: Array) -> Array:
        """Task states (..., 5) of such states (..., 7)."""
        return np.concatenate([states[..., :4], wrap_angle(states[..., 4:5])], axis=-1)

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:  # type: ignore[override]
        return smaller_picture(self.inner.render(), size or self.image_size)
