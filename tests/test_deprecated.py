"""Old names work, with a warning, and give the very same modules and classes."""

import importlib
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

import wmplan
from wmplan.control.realtime.state_machine import ControlLoop
from wmplan.data.registered import make_environment
from wmplan.deprecated import MOVED, new_name, renamed_methods
from wmplan.environment import has
from wmplan.environment_check import OK, trials
from wmplan.envs.pusht import PushT
from wmplan.training.config import StageConfig, TrainConfig


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_name_gives_the_module_of_the_new_one(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {MOVED[old]}"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])
    assert module.__name__ == MOVED[old] and module.__spec__ is not None and module.__spec__.name == MOVED[old]


def test_what_lies_below_a_package_that_moved_moves_with_it() -> None:
    assert new_name("wmplan.control.server.metrics") == "wmplan.serving.metrics"
    assert new_name("wmplan.models.public.lewm") == "wmplan.models.released.lewm"
    assert new_name("wmplan.planning.cem") is None and new_name("wmplan.nothing") is None


def test_new_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for new in set(MOVED.values()):
            importlib.import_module(new)


def test_a_module_that_never_was_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match="wmplan.control.nothing"):
        importlib.import_module("wmplan.control.nothing")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("wmplan.planning", "Penalty", "wmplan.planning.SoftConstraint"),
        ("wmplan.planning", "Rejection", "wmplan.planning.HardConstraint"),
        ("wmplan.planning", "OracleCost", "wmplan.evaluation.oracle.OracleCost"),
        ("wmplan.planning.constraints", "Penalty", "wmplan.planning.constraints.SoftConstraint"),
        ("wmplan.planning.constraints", "Rejection", "wmplan.planning.constraints.HardConstraint"),
    ],
)
def test_an_old_name_in_a_module_gives_what_the_new_one_does(module: str, old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.{old} is now {new}"):
        found = getattr(importlib.import_module(module), old)
    home, _, name = new.rpartition(".")
    assert found is getattr(importlib.import_module(home), name)


def test_a_name_that_never_was_in_a_module_is_still_missing() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'wmplan.planning'"):
        from wmplan.planning import Nothing  # noqa: F401


# ------------------------------------------------------------------ settings and arguments


def test_old_keys_of_a_schedule_work_wherever_they_are_given() -> None:
    from wmplan.control import Schedule, make_controller, planning_settings
    from wmplan.control.settings import card_settings

    with pytest.warns(DeprecationWarning, match="arrive_in is now arrival_step"):
        old: Any = Schedule(receding_horizon=3, arrive_in=20, correction=0.5)  # type: ignore[call-arg]
    assert old == Schedule(3, 20, correction=0.5) == Schedule(replan_every=3, arrival_step=20, correction=0.5)
    card = {"planning": {"schedule": {"receding_horizon": 5, "arrive_in": 45, "min_horizon": 1}}}
    with pytest.warns(DeprecationWarning, match="receding_horizon is now replan_every"):
        read = card_settings(card, schedule={"replan_every": 2})["schedule"]
    assert read == {"replan_every": 2, "arrival_step": 45, "min_horizon": 1}
    model = wmplan.load("pusht")
    with pytest.warns(DeprecationWarning, match="receding_horizon is now replan_every"):
        made = make_controller(model, schedule={"receding_horizon": 2})
    with pytest.warns(DeprecationWarning, match="arrive_in is now arrival_step"):
        again: Any = wmplan.Controller(model, made.core, receding_horizon=2, arrive_in=9)  # type: ignore[call-arg]
    assert made.schedule.replan_every == again.schedule.replan_every == 2 and again.schedule.arrival_step == 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert planning_settings(model)["schedule"].keys() <= {field.name for field in fields(Schedule)}


def test_old_keys_on_the_command_line_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from wmplan.settings.compose import compose

    for _ in range(2):
        assert compose("eval", ["schedule.arrive_in=9"])["schedule"]["arrival_step"] == 9
    told = "schedule.arrive_in is now schedule.arrival_step; the old name goes with the next version\n"
    assert capsys.readouterr().err == told


def test_a_run_that_an_older_version_began_goes_on(tmp_path: Path) -> None:
    from wmplan.evaluation.journal import Journal

    record = {"row": "planner", "planner_seed": 0, "instance": 0}
    with Journal(tmp_path / "j.jsonl", {"task": "t", "schedule": {"receding_horizon": 5, "arrive_in": 45}}) as journal:
        journal.append(record)
    with pytest.warns(DeprecationWarning):
        journal = Journal(tmp_path / "j.jsonl", {"task": "t", "schedule": {"arrival_step": 45, "replan_every": 5}})
    with journal:
        assert list(journal.records.values()) == [record]


def test_stages_of_training_by_their_old_names(capsys: pytest.CaptureFixture[str]) -> None:
    stage = StageConfig(7, 8, 1e-3)
    with pytest.warns(DeprecationWarning, match="temporal is now critic"):
        old: Any = TrainConfig("data", "out", temporal=stage, pictures=stage)  # type: ignore[call-arg]
    assert old == TrainConfig("data", "out", critic=stage, decoder=stage)
    from wmplan.settings.compose import compose

    given = compose("train", ["data=x", "out=y", "temporal.steps=7", "pictures.optimizer=muon"])
    assert given["critic"]["steps"] == 7 and given["decoder"]["optimizer"] == "muon"
    assert "temporal.steps is now critic.steps" in capsys.readouterr().err


def test_entry_points_of_environments_by_their_old_names() -> None:
    from wmplan.envs import make

    with pytest.warns(DeprecationWarning, match="PushT-v0"):
        env = make.push_t(image_size=16)
    assert env.reset(seed=0)[0]["pixels"].shape == (16, 16, 3)
    env.close()


class OldPoint(gymnasium.Env[Any, Any]):
    """A point whose environment has a frame, physics and a hand by their old names."""

    metadata = {"render_modes": ["rgb_array"]}
    control_rate = 10.0
    render_mode = "rgb_array"

    def __init__(self, image_size: Any = (16, 16)) -> None:
        self.image_size, self.point = tuple(image_size), np.zeros(2)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.task = SimpleNamespace(
            action_names=("x", "y"), action_low=-np.ones(2), action_high=np.ones(2), proprio_names=(), substeps=2
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.point = self.np_random.uniform(0, 1, 2)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.advance(action)
        return self.observe(), 0.0, False, False, {}

    def render(self) -> Any:
        return self.draw((99, 99))  # for people to look at

    def advance(self, action: Any) -> None:
        self.advance_part(action, self.task.substeps)

    def advance_part(self, action: Any, substeps: int) -> None:
        self.point = self.point + 0.01 * substeps * np.asarray(action)

    def draw(self, size: Any) -> Any:
        return np.full((*size, 3), int(100 + 50 * self.point.sum()), np.uint8)

    def observe(self) -> Any:
        return {"pixels": self.draw(self.image_size), "proprio": np.zeros(0, np.float32)}

    def knock(self, speed: float, rng: Any) -> None:
        self.point = self.point + speed


def test_an_environment_with_the_old_names_is_used_as_before() -> None:
    if "wmplan_tests/OldPoint-v0" not in gymnasium.registry:
        gymnasium.register("wmplan_tests/OldPoint-v0", entry_point=OldPoint)
    with pytest.warns(DeprecationWarning) as told:
        env: Any = make_environment("wmplan_tests/OldPoint-v0", {"image_size": (8, 12)})
    assert [str(one.message) for one in told] == [
        "OldPoint: advance() is now step_physics(), advance_part() is now step_substeps(), draw() is now render(), "
        "knock() is now perturb(); the old names go with the next version"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(env, OldPoint) and has(env, "perturbation", "physics_steps")
        lines = {line.name: line.status for line in trials(env, 0, 8)}
        assert {lines[name] for name in ("actions", "reset", "step", "render", "perturbation", "physics_steps")} == {OK}
        assert env.render().shape == (8, 12, 3) and env.render((4, 6)).shape == (4, 6, 3)


def test_a_task_whose_hand_has_its_old_name_is_knocked() -> None:
    class Old(PushT):
        def __getattribute__(self, name: str) -> Any:
            if name == "knock":
                return PushT.perturb.__get__(self)
            if name == "perturb" and name not in vars(self):
                raise AttributeError(name)
            return super().__getattribute__(name)

    with pytest.warns(DeprecationWarning, match=r"^Old: knock\(\) is now perturb\(\)"):
        env = Old.environment(image_size=16)
    env.reset(seed=0)
    env.perturb(0.5, np.random.default_rng(0))
    assert np.hypot(*env.physics.data.qvel[:2]) == pytest.approx(0.5)
    env.close()


def test_callers_that_use_the_old_names_of_an_environment() -> None:
    push: Any = make_environment("wmplan.envs:wmplan/PushT-v0", {"image_size": 16})
    push.reset(seed=0)
    for old, new, given in (("advance", "step_physics", np.zeros(2)), ("draw", "render", (8, 8))):
        with pytest.warns(DeprecationWarning, match=rf"{old}\(\) is now {new}\(\)"):
            getattr(push, old)(given)
    push.close()


def test_methods_by_their_old_names() -> None:
    @renamed_methods({"begin": "observe"})
    class Loop:
        def observe(self, frame: int, *, now: float) -> tuple[int, float]:
            return frame, now

    with pytest.warns(DeprecationWarning, match=r"begin\(\) is now observe\(\)"):
        assert Loop().begin(3, now=0.5) == (3, 0.5)  # type: ignore[attr-defined]
    assert all(callable(getattr(ControlLoop, name)) for name in ("begin", "take", "told", "deliver", "fail"))
