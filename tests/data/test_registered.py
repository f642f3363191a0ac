"""Environments are made by their ids, in worker processes too, or one line says why not."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.registered import Registration, make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate

PROTOCOL = Protocol(offset=12, budget=3, episode_steps=40)
MODULE = """
import multiprocessing

from wmplan.envs.pusht import PushT

push_t = PushT.environment


class Mine:
    def __new__(cls, **options):
        return push_t(**options)


def only_in_the_first_process(**options):
    if multiprocessing.parent_process() is not None:
        raise RuntimeError("the licence is for one process")
    return push_t(**options)
"""


@pytest.fixture
def register() -> Iterator[Any]:
    """gymnasium.register for the length of a test."""
    yield lambda name, entry: gymnasium.register(name, entry_point=entry, max_episode_steps=300)
    for name in [name for name in gymnasium.registry if name.startswith("mine/")]:
        del gymnasium.registry[name]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the user's."""
    (tmp_path / "users_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import users_tasks  # type: ignore[import-not-found]

    yield users_tasks
    del sys.modules["users_tasks"]


def play(task: str, out: Path, workers: int = 2) -> dict[str, Any]:
    return evaluate(None, task, out, protocol=PROTOCOL, episodes=2, rows=["noop", "replay"], workers=workers)


def outcome(result: dict[str, Any]) -> list[Any]:
    return [[one["row"], one["instance"], one["final_distance"]] for one in result["per_episode"]]


def test_workers_make_what_only_the_calling_program_registered(register: Any, module: Any, tmp_path: Path) -> None:
    register("mine/ByText-v0", "users_tasks:Mine")
    register("mine/ByClass-v3", module.Mine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = outcome(play("wmplan.envs:wmplan/PushT-v0", tmp_path / "expected", workers=1))
        assert outcome(play("mine/ByText-v0", tmp_path / "text")) == expected
        store = collect(
            CollectConfig("mine/ByClass-v3", str(tmp_path / "data"), 2, steps=3, processes=2, episodes_per_shard=1)
        )
    assert len(store) == 2


@pytest.mark.filterwarnings("ignore:.*latest versioned environment.*")
def test_an_id_may_leave_its_version_out(register: Any, module: Any) -> None:
    register("mine/PushT-v0", "users_tasks:Mine")
    register("mine/PushT-v2", "users_tasks:Mine")
    registration = Registration.of("mine/PushT")
    for name in ("mine/PushT-v0", "mine/PushT-v2"):
        del gymnasium.registry[name]
    registration.register()
    assert {"mine/PushT-v0", "mine/PushT-v2"} <= set(gymnasium.registry)
    make_environment("mine/PushT", {}).close()


def test_what_does_not_travel_is_played_in_this_process_and_said(register: Any, tmp_path: Path) -> None:
    from wmplan.envs.pusht import PushT

    register("mine/Local-v0", lambda **options: PushT.environment(**options))
    with pytest.warns(UserWarning, match=r"'mine/Local-v0' .*write MODULE:mine/Local-v0"):
        result = play("mine/Local-v0", tmp_path / "results")
    assert len(result["per_episode"]) == 4
    with pytest.warns(UserWarning, match="MODULE:mine/Local-v0"):
        assert (
            len(
                collect(CollectConfig("mine/Local-v0", str(tmp_path / "data"), 2, 3, processes=2, episodes_per_shard=1))
            )
            == 2
        )


def test_a_worker_that_cannot_begin_says_why(register: Any, module: Any, tmp_path: Path) -> None:
    register("mine/Licensed-v0", module.only_in_the_first_process)
    for attempt in (
        lambda: play("mine/Licensed-v0", tmp_path / "results"),
        lambda: collect(
            CollectConfig("mine/Licensed-v0", str(tmp_path / "data"), 2, 3, processes=2, episodes_per_shard=1)
        ),
    ):
        with pytest.raises(UserError, match="the licence is for one process"):
            attempt()


def test_what_a_worker_does_not_find_is_said_with_the_way_out(register: Any, module: Any) -> None:
    register("mine/Lost-v0", module.Mine)
    registration = Registration.of("mine/Lost-v0")
    del module.Mine
    with pytest.raises(UserError, match=r"'mine/Lost-v0' .*write MODULE:mine/Lost-v0, or use one process"):
        registration.register()


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        ("nobody/Task-v0", {}, r"'nobody/Task-v0' cannot be made: .*write MODULE:nobody/Task-v0, with the module"),
        ("no.such.module:Task-v0", {}, r"cannot be made: .*No module named 'no'"),
        ("wmplan.envs:wmplan/PushT-v9", {}, r"cannot be made: .*v9"),
        ("wmplan.envs:wmplan/PushT-v0", {"sise": 3}, r"unexpected keyword argument 'sise'"),
        ("", {}, r"task '' cannot be made"),
        ("a:b:c", {}, r"task 'a:b:c' cannot be made"),
        ("Pendulum-v1", {"gravity": 3}, r"unexpected keyword argument 'gravity'"),
        (
            "CartPole-v1",
            {},
            r"cannot be planned in: .*must be a Box of one row of numbers, got Discrete\(2\)",
        ),
    ],
)
def test_what_cannot_be_made_is_one_line(task: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_environment(task, options)
