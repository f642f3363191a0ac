"""OGBench's scene: a UR5e arm, a cube, a drawer, a window, and two buttons that lock drawer and window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, Policy
from wmplan.envs.suites.ogbench_arm import HAND, OBJECT, TOLERANCE, ArmEnvironment, ArmTask, Errand
from wmplan.envs.suites.packages import OGBENCH
from wmplan.envs.suites.play import arm_play
from wmplan.registry import register_task

if TYPE_CHECKING:
    from wmplan.gym.mujoco_camera import ModelCamera

DRAWER, WINDOW, BUTTONS = 13, 14, slice(15, 17)  # of a task state
SLIDES = ("drawer", "window")  # each with the button of its place in this row
WIDE_OPEN = (-0.16, 0.2)  # of the joints, in metres
EXACT = 0.02  # metres within which the expert leaves a thing alone
IN_DRAWER = -0.15  # y in metres: what is to be beyond it is to be in the drawer
HOLD = 10.0  # action a metre from where the hand stays
REACHABLE = -0.12  # of the drawer's joint in metres: open enough to put something in, as the suite has it


class SceneTask(ArmTask):
    """Task state: hand and cube as the cube's task has them, how far drawer and window are open, and what is unlocked.

    A button locks (0) or unlocks (1) the drawer, the other the window.
    """

    state_names = (
        *ArmTask.state_names,
        "drawer_open_m",
        "window_open_m",
        "drawer_unlocked",
        "window_unlocked",
    )
    reported = ("cube", "drawer", "window", "buttons")

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """All four; cube, drawer and window within 4 cm of where the goal has them; both buttons as it has them."""
        apart = self._apart(state, goal) <= 1
        four = {name: np.asarray(apart[..., index]) for index, name in enumerate(self.reported)}
        return {"all": np.asarray(apart.all(axis=-1)), **four}

    def distance(self, state: Array, goal: Array) -> Array:
        """That of the object which is farthest; a button that is not as it should be counts as 2."""
        return np.asarray(self._apart(state, goal).max(axis=-1))

    def _apart(self, state: Array, goal: Array) -> Array:
        """Distances of cube, drawer, window and buttons (..., 4), 1 being where each one's rule begins to hold."""
        apart = np.abs(state - goal)
        return np.stack(
            [
                np.linalg.norm(apart[..., OBJECT], axis=-1) / TOLERANCE,
                apart[..., DRAWER] / TOLERANCE,
                apart[..., WINDOW] / TOLERANCE,
                2 * apart[..., BUTTONS].max(axis=-1),
            ],
            axis=-1,
        )


@register_task("ogbench_scene", id="wmplan.envs:wmplan/OGBenchScene-v0", suite=OGBENCH, max_episode_steps=750)
class Scene(ArmEnvironment):
    """Four kinds of objects, 20 robot steps a second. The suite's success: all of them where its task has them.

    The colours of buttons and handles tell what is locked, and stay. A random goal is one of those for which the suite
    collects data, to move one object, with all others as they are at the start.
    """

    task = SceneTask()
    expert_steps = 400
    world = ("ogbench.manipspace.envs.scene_env", "SceneEnv", "scene")

    def _kept(self) -> tuple[Sequence[NDArray[Any]], Sequence[tuple[Any, str]]]:
        """What is locked, with the dampings and colours that follow from it, and the goal."""
        model = self.inner.model
        self.slides = [self.inner.data.joint(f"{name}_slide") for name in SLIDES]
        arrays = [
            *(model.joint(f"{name}_slide").damping for name in SLIDES),
            *(model.material(f"{name}_handle").rgba for name in SLIDES),
            *(model.geom(f"btngeom_{index}").rgba for index in range(2)),
        ]
        names = ("_cur_button_states", "_target_button_states", "_target_drawer_pos", "_target_window_pos")
        return arrays, [(self.inner, name) for name in names]

    def _begin(self, seed: int, number: int) -> None:
        super()._begin(seed, number)
        if self.goals == "random":
            self._keep_all_but(str(self.inner._target_task))

    def _keep_all_but(self, new: str) -> None:
        """Make what is there the goal of all that has no new target; the suite leaves them those of earlier resets."""
        inner, data = self.inner, self.inner.data
        if new != "cube":
            cube, target = data.joint("object_joint_0").qpos, inner._cube_target_mocap_ids[0]
            data.mocap_pos[target], data.mocap_quat[target] = cube[:3], cube[3:]
        for button in range(2):
            if new != "button" or button != inner._target_button:
                inner._target_button_states[button] = inner._cur_button_states[button]
        for name in set(SLIDES) - {new}:
            setattr(inner, f"_target_{name}_pos", float(data.joint(f"{name}_slide").qpos[0]))

    def advance(self, action: Array) -> None:
        # Where the cube was thrown off the table, the suite draws a new place for it: always the same one.
        self.inner.np_random = np.random.default_rng(0)
        super().advance(action)

    def task_state(self) -> Array:
        drawer, window = self._slid()
        return np.concatenate([super().task_state(), [-drawer, window], self.inner._cur_button_states])

    def _slid(self) -> list[float]:
        """Joint positions of drawer and window, in metres."""
        return [float(joint.qpos[0]) for joint in self.slides]

    @property
    def succeeded(self) -> bool:
        cubes, buttons, drawer, window = self.inner._compute_successes()
        return bool(all(cubes) and all(buttons) and drawer and window)

    @property
    def _target_slid(self) -> tuple[float, float]:
        return self.inner._target_drawer_pos, self.inner._target_window_pos

    def _put_at_goal(self) -> None:
        self._put_cube_at_goal()
        for joint, target in zip(self.slides, self._target_slid, strict=True):
            joint.qpos[:], joint.qvel[:] = target, 0
        self.inner._cur_button_states = self.inner._target_button_states.copy()
        self.inner._apply_button_states()

    def with_other_goal(self, state: Array) -> Array:
        self.set_state(state)
        self.inner._target_button_states = 1 - self.inner._target_button_states
        self.inner._target_drawer_pos -= 0.1
        return super().with_other_goal(self.get_state())

    def make_camera(self) -> ModelCamera:
        from wmplan.envs.suites.mujoco_suite import fast_camera, free_camera

        view = free_camera((0.34, -0.07, 0.14), distance=1.12, azimuth=150, elevation=-41)
        return fast_camera(self.inner.model, view, cell=0.01)

    # ------------------------------------------------------------------ policies

    def press(self, rng: np.random.Generator, button: int) -> Errand:
        """Press a button once."""
        wanted = 1 - int(self.inner._cur_button_states[button])
        site = self.inner.data.site(f"btntop_{button}")
        return self.errand(
            "button",
            rng,
            lambda: {
                "target_button": button,
                "target_button_state": wanted,
                "target_button_top_pos": site.xpos.copy(),
            },
        )

    def slide(self, rng: np.random.Generator, which: int, target: float) -> Errand:
        """Bring drawer (0) or window (1) to a joint position in metres."""
        name, joint = SLIDES[which], self.slides[which]
        handle = self.inner.data.site(f"{name}_handle_center")
        axis = self.inner.data.joint(f"{name}_slide").xaxis

        def told() -> dict[str, Any]:
            return {f"target_{name}_handle_pos": handle.xpos + axis * (target - joint.qpos[0])}

        return self.errand(name, rng, told, lowest=0.3 if name == "window" else 0.0)

    def next_errand(self, rng: np.random.Generator) -> Errand | None:
        """What is to be done first on the way to the suite's goal; None when all is done.

        What is to be put into the drawer needs it open, and what is to slide has to be unlocked; the locks come last.
        """
        inner, cube = self.inner, self.cube.qpos[:3]
        place, targets = inner.data.mocap_pos[self.target].copy(), list(self._target_slid)
        misplaced = bool(np.linalg.norm(cube - place) > EXACT)
        if misplaced and place[1] < IN_DRAWER and targets[0] > REACHABLE:  # where the hand cannot go
            if inner._is_in_drawer(cube):
                misplaced = False
            else:
                place, targets[0] = inner._drawer_center.copy(), WIDE_OPEN[0]
        cube_first = misplaced and place[1] >= IN_DRAWER  # in the way of which an open drawer's handle is
        for which, (slid, target) in enumerate(zip(self._slid(), targets, strict=True)):
            opening = which == 0 and target < slid
            if abs(slid - target) > EXACT and not (cube_first and opening):
                locked = inner._cur_button_states[which] == 0
                return self.press(rng, which) if locked else self.slide(rng, which, target)
        if misplaced:
            return self.place(rng, place, self.target_yaw)
        wrong = np.flatnonzero(inner._cur_button_states != inner._target_button_states)
        return self.press(rng, int(wrong[0])) if len(wrong) else None

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """The suite's Markov oracles one after the other, to the goal of the present reset; then it stays above."""
        errand: Errand | None = None
        above = self.task_state()[HAND]

        def act(state: Array) -> Array:
            nonlocal errand, above
            if errand is None or errand.over:
                above = state[HAND] if errand is not None else above
                errand = self.next_errand(rng)
            if errand is not None:
                return errand(state)
            return np.append(np.clip(HOLD * (above - state[HAND]), -1, 1), [0.0, 0.0])

        return act

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """Opens, closes, presses and places, also what is locked, and now and then goes for the suite's goal."""

        def slide(which: int) -> Errand:
            return self.slide(rng, which, WIDE_OPEN[which] * float(rng.choice([0.0, rng.random(), 1.0])))

        def place() -> Errand:
            if self._slid()[0] < REACHABLE and rng.random() < 0.3:  # as the suite has it
                return self.place(rng, self.inner._drawer_center.copy(), rng.uniform(-np.pi, np.pi))
            return self.place_anywhere(rng)

        tries: list[Callable[[], Policy]] = [
            lambda: self.expert_policy(rng),
            lambda: self.press(rng, int(rng.integers(2))),
            lambda: slide(0),
            lambda: slide(1),
            place,
        ]

        def solve(state: Array) -> Policy:
            return tries[int(rng.integers(len(tries)))]()

        data = self.inner.data
        sites = [f"{name}_handle_center" for name in SLIDES] + ["btntop_0", "btntop_1"]
        others = [data.site(name).xpos for name in sites]
        return arm_play(rng, solve, self.inner._workspace_bounds, HAND, OBJECT, turns=1, others=others)
