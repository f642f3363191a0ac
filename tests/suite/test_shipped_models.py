"""The models of public suites that are shipped: found for their tasks, and loaded where no suite is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wmplan.models.loading import SHIPPED, shipped_models, tasks_of
from wmplan.registry import TASKS
from wmplan.suite.benchmarks import suites
from wmplan.suite.run import shipped_model

SUITE_PACKAGES = ("metaworld", "gymnasium_robotics", "ogbench", "dm_control", "gym_pusht", "stable_worldmodel")
OF_SUITES = {
    name: card
    for name, card in shipped_models().items()
    if any(TASKS[task].id in tasks_of(card) and TASKS[task].suite is not None for task in TASKS)
}


@pytest.mark.parametrize("name", OF_SUITES)
def test_a_suite_finds_the_model_for_every_task_that_its_card_lists(name: str) -> None:
    every = [one for own in suites().values() for one in own]
    listed = tasks_of(OF_SUITES[name])
    for identity in listed:
        rows = [one for one in every if TASKS[one.task].id == identity]
        assert rows and all(shipped_model(one) == name for one in rows)


@pytest.mark.parametrize("name", OF_SUITES)
def test_its_card_tells_what_was_measured_and_how_it_is_made_again(name: str) -> None:
    card = OF_SUITES[name]
    assert any("success" in figure for figure in card["figures"])
    assert card["command"].startswith("wmplan train task=") and card["data"]["seed"] is not None
    assert (SHIPPED / name / "curves.png").is_file()
    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) < 8e6


def test_they_load_without_the_suites() -> None:
    """In a process in which importing a suite's package fails."""
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SUITE_PACKAGES!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import wmplan
for name in {list(OF_SUITES)!r}:
    model = wmplan.load(name, device="cpu")
    assert model.spec.proprio_dim and model.card["planning"]["planner"]["name"]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_models_together_leave_the_wheel_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) <= 40e6


@pytest.mark.parametrize("name", [name for name in OF_SUITES if name in TASKS])
def test_it_plans_as_its_task_recommends(name: str) -> None:
    """Otherwise what `wmplan train task=NAME` makes would not plan as the model that was measured does."""
    assert OF_SUITES[name]["planning"] == TASKS[name].planning


@pytest.mark.parametrize("name", ["fetch_push", "fetch_reach", "metaworld_push", "ogbench_cube_single"])
def test_it_was_trained_as_its_task_recommends(name: str) -> None:
    """But for what the card's command sets."""
    trained, command = OF_SUITES[name]["training"], OF_SUITES[name]["command"]
    for key, value in TASKS[name].training.items():
        if isinstance(value, dict):
            wanted = {part: one for part, one in value.items() if f" {key}.{part}=" not in command}
            assert {part: trained[key][part] for part in wanted} == wanted
        elif f" {key}=" not in command:
            assert trained[key] == value
