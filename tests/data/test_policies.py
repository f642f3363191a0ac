"""Policies to collect with: noise has its spectrum, a user's is called as told, play plans to recorded frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wmplan.data import open_data
from wmplan.data.collection import CollectConfig, collect, run_episode
from wmplan.data.meta import DataError
from wmplan.data.policies import CollectionPolicy, HeldActions, Noise, Play, policy_of
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation.instance_sources import instance_source

TASK = "wmplan.envs:wmplan/PushT-v0"


def space(low: Any = (-1.0, -1.0), high: Any = (1.0, 3.0)) -> Any:
    return SimpleNamespace(task=SimpleNamespace(action_low=np.array(low), action_high=np.array(high)))


def noise(beta: float, scale: float = 0.2, steps: int = 500, seed: int = 0) -> np.ndarray:
    policy = CollectionPolicy("noise", Noise(beta, scale)).start(space(), np.random.default_rng(seed), steps)
    return np.stack([policy(np.empty(0)) for _ in range(steps)])


def test_noise_has_its_middle_its_deviation_and_its_colour() -> None:
    draws = np.concatenate([noise(0.0, seed=seed) for seed in range(20)])
    np.testing.assert_allclose(draws.mean(0), [0, 1], atol=0.02)
    np.testing.assert_allclose(draws.std(0), [0.2, 0.4], rtol=0.03)

    def correlation(beta: float) -> float:
        rows = [noise(beta, seed=seed)[:, 0] for seed in range(10)]
        return float(np.mean([np.corrcoef(row[1:], row[:-1])[0, 1] for row in rows]))

    white, pink, red = (correlation(beta) for beta in (0.0, 1.0, 2.0))
    assert abs(white) < 0.05 and 0.4 < pink < 0.9 and red > 0.95
    np.testing.assert_array_equal(noise(1.0, seed=3), noise(1.0, seed=3))
    assert (noise(1.0, seed=3) != noise(1.0, seed=4)).all()


def test_an_episode_of_noise_is_as_strong_however_long() -> None:
    for steps in (1, 40, 300):
        rows = np.stack([noise(1.0, steps=steps, seed=seed)[:, 0] for seed in range(200)])
        np.testing.assert_allclose(rows.std(), 0.2, rtol=0.15)


@pytest.mark.parametrize("wrong", [{"beta": -1}, {"scale": 0}, {"scale": float("inf")}])
def test_wrong_noise_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"noise.{next(iter(wrong))} must be"):
        Noise(**wrong)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_policy.py").write_text(
        "class Go:\n"
        "    def __init__(self, env, rng):\n"
        "        self.speed, self.high = rng.uniform(0.1, 0.2), env.task.action_high\n"
        "    def __call__(self, state):\n"
        "        return [self.speed, state[0]]\n"
        "def nothing(env, rng):\n"
        "    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_policy", None)


def config(out: Path, **settings: Any) -> CollectConfig:
    return CollectConfig(
        TASK, str(out), **{"episodes": 2, "steps": 6, "image_size": (16, 16), "processes": 1, **settings}
    )


def test_a_policy_of_the_users_sees_the_task_state(mine: None, tmp_path: Path) -> None:
    data = collect(config(tmp_path / "data", policy="my_policy:Go"), progress=False)
    first, second = data.episode(0), data.episode(1)
    assert 0.1 <= first["action"][0, 0] <= 0.2 and (first["action"][:-1, 0] == first["action"][0, 0]).all()
    assert first["action"][0, 0] != second["action"][0, 0]
    high = data.meta.action_high[1]
    np.testing.assert_allclose(first["action"][:-1, 1], np.clip(first["state"][:-1, 0], -high, high), rtol=1e-6)
    assert data.meta.policy == "my_policy:Go"
    with pytest.raises(DataError, match="policy"):
        collect(config(tmp_path / "data", policy="noise"), progress=False)
    with pytest.raises(UserError, match="policy=my_policy:nothing must give a function"):
        collect(config(tmp_path / "other", policy="my_policy:nothing"), progress=False)


def test_the_policy_of_the_data_is_that_of_held_out_episodes(tmp_path: Path) -> None:
    data = collect(config(tmp_path / "data", policy="noise", noise=Noise(2.0, 0.1)), progress=False)
    policy = policy_of({"data": {"policy_options": data.meta.policy_options}})
    assert policy == CollectionPolicy("noise", Noise(2.0, 0.1))
    assert instance_source("policy", policy).policy == policy  # type: ignore[attr-defined]
    assert policy_of({"data": {"policy": "exploration"}}) == policy_of({}) == CollectionPolicy()
    assert policy_of({"data": {"policy_options": {"name": "pusht", "goals": "data"}}}) == CollectionPolicy()


def test_an_expert_is_the_environments_own() -> None:
    env = space()
    env.expert_policy = lambda rng: lambda state: state + 1
    assert CollectionPolicy("expert").start(env, np.random.default_rng(0), 5)(np.zeros(2)).tolist() == [1, 1]
    assert not CollectionPolicy("expert").is_play and CollectionPolicy("expert").as_dict() == {"name": "expert"}
    with pytest.raises(UserError, match="policy=expert cannot be had: the environment has no expert_policy"):
        CollectionPolicy("expert").start(space(), np.random.default_rng(0), 5)


def test_without_a_policy_of_its_own_actions_are_held() -> None:
    env = space()
    assert isinstance(CollectionPolicy().start(env, np.random.default_rng(0), 5), HeldActions)
    rows = np.stack([CollectionPolicy("held").start(env, np.random.default_rng(0), 5)(np.empty(0)) for _ in range(2)])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_a_model_plays_towards_recorded_frames(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    collect(config(recorded, image_size=(64, 64)), progress=False)
    play = config(tmp_path / "play", policy="pusht", goals=str(recorded), image_size=(64, 64), steps=3, episodes=1)
    data = collect(play, progress=False)
    actions = data.episode(0)["action"][:-1]
    assert np.isfinite(actions).all() and np.abs(actions).max() > 0
    assert open_data(tmp_path / "play").meta.policy_options == {
        "name": "pusht",
        "goals": str(recorded),
        "goal_steps": 50,
        "replan_every": None,
    }
    with pytest.raises(DataError, match=r"with goals=DATA, a model, got 'pusht'"):
        config(tmp_path / "none", policy="pusht")
    with pytest.raises(UserError, match="there is no model"):
        collect(config(tmp_path / "none", policy="nowhere", goals=str(recorded)), progress=False)


@pytest.mark.parametrize(("replan_every", "plans"), [(12, 1), (4, 3), (None, 6)])
def test_play_plans_as_often_as_it_is_told(tmp_path: Path, replan_every: int | None, plans: int) -> None:
    """None is what the card says: every second robot step."""
    collect(config(tmp_path / "recorded", image_size=(64, 64)), progress=False)
    env = make_environment("wmplan.envs:wmplan/PushT-v0", {"image_size": (64, 64)})
    env.reset(seed=0)
    policy = CollectionPolicy("pusht", goals=str(tmp_path / "recorded"), goal_steps=12, replan_every=replan_every)
    play = policy.start(env, np.random.default_rng(0), 12)
    assert isinstance(play, Play)
    made = []
    for _ in range(12):
        env.step(play(np.empty(0)))
        if not any(play.controller.last_plan is plan for plan in made):
            made.append(play.controller.last_plan)
    assert len(made) == plans


def test_play_needs_whole_steps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="goal_steps must be at least 1, got 0"):
        config(tmp_path / "none", policy="pusht", goals="data", goal_steps=0)
    with pytest.raises(DataError, match="replan_every must be at least 1, got 0"):
        config(tmp_path / "none", policy="pusht", goals="data", replan_every=0)


def test_play_draws_each_frame_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(config(tmp_path / "recorded", image_size=(64, 64)), progress=False)
    env = make_environment("wmplan.envs:wmplan/PushT-v0", {"image_size": (64, 64)})
    drawn, render = [], env.render
    monkeypatch.setattr(env, "render", lambda *size: drawn.append(size) or render(*size))
    counts = []
    for policy in (CollectionPolicy(), CollectionPolicy("pusht", goals=str(tmp_path / "recorded"))):
        drawn.clear()
        run_episode(env, np.random.default_rng(0), 4, policy=policy)
        counts.append(len(drawn))
    assert counts[0] == counts[1] >= 5
