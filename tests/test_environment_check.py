"""wmplan check-env tries what an environment has: sound ones pass, and each way to be broken is found and named."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from wmplan.cli import main
from wmplan.environment import ABILITIES
from wmplan.environment_check import FAULTY, OK, Line, check_environment, trials
from wmplan.environment_uses import USES, usable
from wmplan.errors import UserError

ROBOTS = str(Path(__file__).parent / "robot_sim")


def whole_robot() -> Any:
    """A point with every ability."""
    if ROBOTS not in sys.path:
        sys.path.append(ROBOTS)
    from point_robot import PointRobot

    class WholeRobot(PointRobot):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            given = super().reset(seed=seed, options=options)
            if (options or {}).get("variation"):
                self.vary({"mass": 1.0} if options["variation"] is True else options["variation"])
            return given

        def __init__(self) -> None:
            super().__init__()
            self.variation.names, self.variation.draw = ("mass",), lambda rng, names, strength: {"mass": 1 + strength}

        @property
        def succeeded(self) -> bool:
            return bool(self.task.rules(self.point, self.goal)["near"])

        def expert_policy(self, rng: Any) -> Any:
            return lambda state: np.clip(self.goal - state[:2], self.task.action_low, self.task.action_high)

        def get_state(self) -> Any:
            return np.concatenate([self.point, self.drift])

        def set_state(self, state: Any) -> None:
            self.point, self.drift = np.array(state[:2], float), np.array(state[2:], float)

        def set_goal(self, state: Any) -> None:
            self.goal = np.array(state[:2], float)

        def goal_mask(self, size: Any = None) -> Any:
            return np.ones(size or self.image_size, bool)

    robot = WholeRobot()
    plain = robot.reset

    def reset(*, seed: int | None = None, options: Any = None) -> Any:
        cut = {name: value[:2] if name != "variation" else value for name, value in (options or {}).items()}
        return plain(seed=seed, options=cut)

    robot.reset = reset
    return robot


def lines_of(env: Any) -> dict[str, Line]:
    return {line.name: line for line in trials(env, 0, 12)}


def test_a_sound_environment_passes_every_trial() -> None:
    lines = lines_of(whole_robot())
    assert list(lines) == ["actions", "reset", "step", "render", *ABILITIES, "speed"]
    assert {name: line.said for name, line in lines.items() if line.status != OK} == {}


@pytest.mark.parametrize("task", ["pusht", "wmplan.envs:wmplan/ArmReach-v0"])
def test_the_native_tasks_pass(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-env", task, "options.image_size=[24,32]", "steps=6"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("FAULTY") for line in told)
    missing = [line.split()[1] for line in told if line.startswith("missing")]
    # all of the arm is robot: no goal mask
    assert missing == (["success", "expert"] if task == "pusht" else ["success", "goal", "expert"])
    assert "missing success         no succeeded: success is judged by the task's rules alone" in told
    assert "uint8 (24, 32, 3)" in told[3] and "ms a render" in told[-3]
    assert told[-1] == "you can:    wmplan collect, train, eval instances=policy, eval instances=goals, diagnose, robot"


def noisy_reset(env: Any) -> None:
    plain, counter = env.reset, iter(range(100))
    env.reset = lambda **given: plain(**{**given, "seed": next(counter)})


def noisy_step(env: Any) -> None:
    plain, rng = env.step_physics, np.random.default_rng(0)
    env.step_physics = lambda action: plain(rng.uniform(-1, 1, 2))


def float_frames(env: Any) -> None:
    plain = env.render
    env.render = lambda size=None: plain(size) / 255


def one_size(env: Any) -> None:
    plain = env.render
    env.render = lambda size=None: plain((8, 8))


def other_size(env: Any) -> None:
    plain = env.render
    env.render = lambda size=None: plain(size or (9, 9))


def frozen_camera(env: Any) -> None:
    env.render = lambda size=None: np.zeros((*(size or env.image_size), 3), np.uint8)


def endless_bounds(env: Any) -> None:
    env.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))


def half_state(env: Any) -> None:
    plain = env.set_state
    env.set_state = lambda state: plain([*state[:2], 0.1, 0.1])


def rounded_state(env: Any) -> None:
    plain = env.step_substeps
    env.step_substeps = lambda action, substeps: (plain(action, substeps), setattr(env, "hidden", env.hidden + 1))
    env.hidden = 0
    moved = env.step_physics
    env.step_physics = lambda action: (moved(action), setattr(env, "point", env.point + 1e-3 * env.hidden))
    fresh = env.reset
    env.reset = lambda **given: (setattr(env, "hidden", 0), fresh(**given))[1]


def optimistic_simulator(env: Any) -> None:
    plain = env.simulate
    env.simulate = lambda actions: plain(1.01 * np.asarray(actions))


def moving_simulator(env: Any) -> None:
    plain = env.simulate
    env.simulate = lambda actions: (plain(actions), env.step_physics(actions[0, 0]))[0]


def deaf_goal(env: Any) -> None:
    env.set_goal = lambda state: None


def moving_goal(env: Any) -> None:
    env.goal_observation = lambda size=None: (env.step_physics(np.ones(2)), {"pixels": env.render(size or (8, 8))})[1]


def never_there(env: Any) -> None:
    env.task.rules = lambda state, goal: {"near": np.zeros(np.shape(state)[:-1], bool)}


def far_from_itself(env: Any) -> None:
    env.task.distance = lambda state, goal: np.linalg.norm(state - goal, axis=-1) + 0.2


def names_of_others(env: Any) -> None:
    env.task.state_names = ("x",)


def no_variation(env: Any) -> None:
    env.variation = SimpleNamespace(factors={}, apply=lambda factors: None)
    env.vary = lambda factors: None


def other_choice(env: Any) -> None:
    env.variation.draw = lambda rng, names, strength: {"hue": 0.1}


def small_mask(env: Any) -> None:
    env.goal_mask = lambda size=None: np.ones((2, 2), bool)


def empty_mask(env: Any) -> None:
    env.goal_mask = lambda size=None: np.zeros(env.image_size, bool)


def soft_hand(env: Any) -> None:
    env.perturb = lambda speed, rng: None


def wide_policy(env: Any) -> None:
    env.exploration_policy = lambda rng: lambda state: np.zeros(3)


def blind_encoders(env: Any) -> None:
    env.observe = lambda: {"pixels": env.render((8, 8)), "proprio": np.full(2, np.nan)}


@pytest.mark.parametrize(
    ("spoil", "name", "says"),
    [
        (noisy_reset, "reset", "two resets with seed=0 give different frames"),
        (noisy_step, "step", "the same actions from seed=0 give another frame at step 1"),
        (float_frames, "render", r"uint8 frames \(H, W, 3\), got float64"),
        (one_size, "render", r"a frame of \(48, 64\) was asked for, it has \(8, 8\)"),
        (other_size, "render", r"a frame of \(8, 8\) was asked for, it has \(9, 9\)"),
        (frozen_camera, "render", "no pixel changes in 12 random steps"),
        (endless_bounds, "actions", "finite bounds"),
        (half_state, "state", r"get_state\(\) after set_state\(\) is another state"),
        (rounded_state, "state", "a replay from set_state.. has another state at step 1"),
        (optimistic_simulator, "simulator", "off what stepping gives at step 1"),
        (moving_simulator, "simulator", "changes the present state"),
        (deaf_goal, "goal_state", "the goal's frame is not that of its state"),
        (moving_goal, "goals", "changes what the camera sees"),
        (never_there, "rules", "at the goal itself the rule near does not hold"),
        (far_from_itself, "rules", "the distance from the goal to itself is 0.2"),
        (names_of_others, "task_state", "1 names for numbers of shape"),
        (no_variation, "variation", "varies nothing"),
        (other_choice, "factor_choice", r"draw\(rng, \['mass'\]\) gives hue"),
        (small_mask, "goal_mask", r"gives bool of shape \(2, 2\)"),
        (empty_mask, "goal_mask", "leaves nothing of the goal"),
        (soft_hand, "perturbation", "a knock changes no frame"),
        (wide_policy, "policy", r"actions of shape \(3,\)"),
        (blind_encoders, "proprioception", "not finite"),
    ],
)
def test_each_fault_is_found(spoil: Callable[[Any], None], name: str, says: str) -> None:
    env = whole_robot()
    spoil(env)
    line = lines_of(env)[name]
    assert line.status == FAULTY
    assert re.search(says, line.said), line.said


def test_what_is_missing_is_told_with_its_cost_and_what_is_required_decides(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert main(["check-env", "plain_point:wmplan_tests/PlainPoint-v0"]) == 0
    told = capsys.readouterr().out
    assert "missing simulator       no simulate: there is no row oracle" in told
    assert "ok      success         told by the environment, False after a reset" in told
    assert "you can:    wmplan collect, train" in told
    assert (
        "\nyou cannot: eval instances=policy (no state, no goals, no goal state); eval instances=goals (no goals"
        in told
    )
    assert main(["check-env", "plain_point:wmplan_tests/ShakyPoint-v0"]) == 2
    out, err = capsys.readouterr()
    assert "FAULTY  reset" in out and "missing state" in out and "you can" not in out
    assert err.count("\n") == 1 and "two resets with seed=0 give different frames" in err
    assert main(["check-env", "CartPole-v1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_which_commands_can_use_it_is_said() -> None:
    env = whole_robot()
    assert usable(env) == (list(USES), {})
    can, cannot = usable(env, ["state"])
    assert can == ["collect", "train", "eval instances=goals"] and cannot["robot"] == "faulty state"
    can, cannot = usable(env, ["success"])
    assert can == list(USES)  # the task's rules judge
    can, cannot = usable(env, ["rules", "success", "proprioception"])
    assert can == ["collect", "train proprio=false"] and "env.success=MODULE:NAME" in cannot["eval instances=goals"]
    env.sets_goals = False
    assert usable(env)[1] == {"eval instances=goals": "its resets set no goals"}


def test_what_the_environment_raises_is_a_fault_of_that_ability_alone() -> None:
    env = whole_robot()

    def broken(actions: Any) -> Any:
        raise RuntimeError("no\nsimulator today")

    env.simulate = broken
    lines = lines_of(env)
    assert lines["simulator"].said == "it raised RuntimeError: no simulator today"
    assert lines["state"].status == OK and lines["speed"].status == OK


@pytest.mark.skipif(find_spec("pygame") is None, reason="Gymnasium draws Pendulum with pygame")
def test_a_task_of_gymnasium_itself_can_be_used() -> None:
    lines = {line.name: line for line in check_environment("Pendulum-v1", say=lambda text: None)}
    assert lines["render"].status == OK and lines["simulator"].status == OK


@pytest.mark.skipif(find_spec("pygame") is not None, reason="Gymnasium can draw Pendulum")
def test_what_cannot_be_drawn_here_is_one_line() -> None:
    with pytest.raises(UserError, match="'Pendulum-v1' cannot be planned in: .*pygame"):
        check_environment("Pendulum-v1", say=lambda text: None)
