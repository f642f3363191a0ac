"""Alarm rates from values that are known, and surprise of a whole episode against the session's."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from wmplan.control import PlanningSession, PlanRequest, make_controller
from wmplan.evaluation.disturbances import DISTURBANCES, BlockMoved, CameraCovered, Disturbance
from wmplan.evaluation.instances import generate_instances
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.surprise import WITHIN, Watched, false_alarms, surprises, threshold, true_alarms, watch
from wmplan.models import JEPA, JEPAConfig, ModelSpec

PLANNER = {"name": "icem", "num_samples": 4, "num_iterations": 1, "num_elites": 2, "horizon": 2}


@pytest.fixture
def model() -> JEPA:
    spec = ModelSpec(
        image_size=(32, 32),
        history=2,
        action_block=5,
        action_low=(-0.2, -0.2),
        action_high=(0.2, 0.2),
        action_mean=(0.0, 0.0),
        action_std=(0.1, 0.1),
        latent_shape=(6,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(0.1, 0.1),
    )
    options = {"channels": [4, 4], "keypoints": 5, "hidden": 8}
    torch.manual_seed(0)  # of its initial weights
    made = JEPA(JEPAConfig(latent_dim=4, encoder_options=options), spec)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():  # those that start at zero too: every action has its own cost
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


@pytest.fixture
def env() -> Any:
    made: Any = gymnasium.make("wmplan.envs:wmplan/PushT-v0", image_size=32).unwrapped
    yield made
    made.close()


def test_the_values_of_an_episode_are_those_the_session_gives(model: JEPA) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (14, 32, 32, 3), dtype=np.uint8)
    proprio = rng.normal(0, 0.1, (14, 2)).astype(np.float32)
    actions = rng.uniform(-0.2, 0.2, (14, 2)).astype(np.float32)
    values = surprises(model, frames, proprio, actions)
    session = PlanningSession(model, PLANNER, {"latent": {}})
    session.set_goal({"pixels": frames[0]})
    for at in range(14):
        request = PlanRequest({"pixels": frames[at], "proprio": proprio[at]}, actions[at - 1 : at] if at else None)
        value = session.plan(request).surprise
        assert np.isnan(values[at]) if value is None else values[at] == pytest.approx(value, rel=1e-3)
    assert np.isnan(values[:5]).all() and np.isfinite(values[5:]).all()


def test_a_threshold_lets_so_many_calm_episodes_alarm() -> None:
    rng = np.random.default_rng(1)
    calm = [np.concatenate([[np.nan] * 5, rng.exponential(1, 50)]) for _ in range(400)]
    limit = threshold(calm, 0.05)
    alarmed = sum(np.nanmax(values) > limit for values in calm)
    assert 0.03 <= alarmed / 400 <= 0.05
    assert false_alarms([Watched(values, 20) for values in calm], limit).rate == alarmed / 400
    assert false_alarms([Watched(values, 20) for values in calm], threshold(calm, 0.0)).rate == 0.0
    with pytest.raises(ValueError, match="over 0 episodes"):
        threshold([], 0.05)


def test_an_alarm_counts_if_it_comes_soon_after() -> None:
    def at(*steps: int) -> Watched:
        values = np.ones(50)
        values[list(steps)] = 9.0
        return Watched(values, 20)

    told = true_alarms([at(), at(22), at(26, 40), at(20 + WITHIN), at(21 + WITHIN), at(5), at(5, 24)], 3.0)
    assert told.episodes == 7 and told.rate == pytest.approx(4 / 7) and told.before == pytest.approx(2 / 7)
    assert told.delay_steps == pytest.approx(5.0)  # of 2, 6, 10 and 4


@pytest.mark.parametrize("kind", [Disturbance, *DISTURBANCES])
def test_until_the_disturbance_all_is_as_without(model: JEPA, env: Any, kind: type[Disturbance]) -> None:
    instance = generate_instances(env, Protocol(), 1, seed=3)[0]
    controller = make_controller(model, PLANNER, {"latent": {}})
    calm = watch(env, controller, instance, Disturbance, 5, 20)
    disturbed = watch(env, controller, instance, kind, 5, 20)
    assert calm.begin == disturbed.begin and 5 <= calm.begin < 15 and len(calm.values) == 21
    np.testing.assert_array_equal(calm.values[: calm.begin], disturbed.values[: calm.begin])
    same = np.array_equal(calm.values[calm.begin :], disturbed.values[calm.begin :])
    assert same == (kind is Disturbance)
    env.reset(seed=0)  # nothing lasts beyond the episode
    assert not env.variation.factors


def test_disturbances_do_what_they_say(env: Any) -> None:
    rng = np.random.default_rng(0)
    env.reset(seed=1)
    before = env.task_state()
    BlockMoved(env, rng).begin()
    for _ in range(3):
        env.step_physics(np.zeros(2))
    moved = env.task_state()
    assert np.linalg.norm(moved[2:4] - before[2:4]) > 0.005 and np.allclose(moved[:2], before[:2], atol=2e-3)
    covered = CameraCovered(env, rng).seen(env.observe()["pixels"])
    assert covered.dtype == np.uint8 and covered.max() < 40
