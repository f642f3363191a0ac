"""Settings come from the code, from presets that hold what differs, and from what is registered."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from wmplan import cli
from wmplan.control.schedule import Schedule
from wmplan.errors import UserError
from wmplan.planning import make_config
from wmplan.registry import ENCODERS, PLANNERS, TASKS
from wmplan.settings.compose import compose, has_config, keys
from wmplan.settings.describe import default_settings
from wmplan.settings.groups import choice_settings, group_options, read_yaml

CONFIGURED = [name for name in cli.COMMANDS if has_config(name)]


def value_of(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = settings[name] if isinstance(settings, dict) and name in settings else None
    return settings


@pytest.mark.parametrize("name", CONFIGURED)
def test_no_file_repeats_a_default(name: str) -> None:
    target, file = cli.COMMANDS[name].load_target(), read_yaml(f"{name}.yaml")
    file.pop("defaults", None)
    own = default_settings(target) if target else {}
    repeated = [key for key in keys(file) if key in keys(own) and value_of(file, key) == value_of(own, key)]
    assert not repeated


@pytest.mark.parametrize("name", ["realtime", "research"])
def test_no_preset_repeats_a_default_of_its_planner(name: str) -> None:
    settings = choice_settings("planner", name)
    plain = make_config(settings.pop("name"))
    assert not [key for key, value in settings.items() if getattr(plain, key) == value]


def test_choices_are_presets_and_what_is_registered() -> None:
    assert set(group_options("planner")) == {*PLANNERS, "preset", "realtime", "research"}
    with pytest.raises(UserError, match="there is no objective 'zzz'; it is one of action, .*latent") as refused:
        choice_settings("objective", "zzz")
    assert "preset" not in str(refused.value)
    assert set(group_options("task")) == set(TASKS) and set(group_options("encoder")) == set(ENCODERS)
    assert group_options("../task") == group_options("nothing") == []
    assert {field.name for field in fields(Schedule)} <= {*choice_settings("schedule", "preset")}


def test_a_task_is_also_chosen_by_its_gymnasium_id() -> None:
    named = compose("collect", ["task=pusht"])["task"]
    for identity in ("wmplan.envs:wmplan/PushT-v0", "wmplan/PushT-v0"):
        assert compose("collect", [f"task={identity}"])["task"] == named
    other = compose("collect", ["task=mine.envs:mine/Stack-v3"])["task"]
    assert other["id"] == "mine.envs:mine/Stack-v3" and other["symmetries"] == {}
    with pytest.raises(UserError, match="there is no task 'pusth'; did you mean 'pusht'"):
        compose("collect", ["task=pusth"])


def test_a_map_stands_for_a_choice() -> None:
    given = "objective={latent: {weight: 1, kind: l2, whitened: true}, proprio: {weight: 12}}"
    wanted = {"latent": {"weight": 1, "kind": "l2", "whitened": True}, "proprio": {"weight": 12}}
    for command in ("eval", "serve", "validate"):
        assert compose(command, [given])["objective"] == wanted
    settings = compose(
        "eval", ["planner={name: icem, num_samples: 20}", "planner.horizon=3", "schedule={arrival_step: 30}"]
    )
    assert settings["planner"] == {"name": "icem", "num_samples": 20, "horizon": 3}
    assert settings["schedule"] == {**choice_settings("schedule", "preset"), "arrival_step": 30}
    assert compose("eval", [given, "objective.proprio.weight=3"])["objective"]["proprio"] == {"weight": 3}
    for text in ("planner={name: icem", "task={id: wmplan/PushT-v0}"):
        with pytest.raises(UserError, match="there is no"):
            compose("eval", [text])


def test_a_tasks_own_settings_of_training_lie_over_the_defaults_and_give_way_to_values() -> None:
    plain = compose("train", ["task=pointmaze_umaze", "training=none"])
    own = compose("train", ["task=pointmaze_umaze", "joint.steps=7"])
    told = TASKS["pointmaze_umaze"].training
    assert own["action_block"] == told["action_block"] != plain["action_block"]
    assert own["joint"]["steps"] == 7 and own["joint"]["learning_rate"] == plain["joint"]["learning_rate"]
    assert "training" not in own and compose("train", ["task=none"])["joint"] == plain["joint"]
    with pytest.raises(UserError, match="there is no training 'nine'"):
        compose("train", ["training=nine"])


def test_choices_follow_each_other_and_give_way_to_values() -> None:
    settings = compose("train", ["task=arm_reach", "planning.planner.horizon=3"])
    assert settings["name"] == "arm_reach" and settings["planning"]["objective"]["proprio"]["weight"] == 4.0
    assert settings["planning"]["planner"]["horizon"] == 3 and TASKS["arm_reach"].planning["planner"]["horizon"] == 5
    for task in ("none", "Reacher-v5"):  # that recommend nothing
        planning = compose("train", [f"task={task}", "planning.planner.num_samples=100"])["planning"]
        assert planning["planner"]["name"] == "icem" and planning["planner"]["num_samples"] == 100
        assert planning["objective"]["latent"]["steps"] == "sum" and planning["schedule"] == {}
    assert compose("eval", ["planner=icem", "planner.momentum=0.3"])["planner"] == {"name": "icem", "momentum": 0.3}
