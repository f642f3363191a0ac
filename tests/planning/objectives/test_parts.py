"""The robot's part of an objective and the rest: what each asks for, beside formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmplan.planning.objectives.combinations import SwitchByDistance, WeightedSum
from wmplan.planning.objectives.distances import ActionPenalty, CriticDistance, LatentDistance, ProprioDistance
from wmplan.planning.objectives.objective import Objective
from wmplan.planning.objectives.parts import RobotAnywhere, on_robot_state, on_scene

L = 5
ROBOT = torch.tensor([False, True, False, True, True])  # the last two are the robot's state
SCENE = [0, 2]
PENALTY = ActionPenalty((-1.0,), (1.0,))


def cost(objective: Objective, predicted: torch.Tensor, goal: torch.Tensor) -> np.ndarray:
    """Of latents (S, L) from one goal (L,), (S,)."""
    candidates = torch.full((1, len(predicted), 1, 1), 0.5)
    return objective(predicted[None, :, None], goal[None], candidates)[0].numpy()


@pytest.fixture
def latents() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(7, L, generator=generator), torch.randn(L, generator=generator)


def whitening(covariance: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.linalg.inv(np.linalg.cholesky(covariance))).float()


def test_a_whitened_distance_without_some_numbers_is_that_of_the_rest_by_themselves(latents: tuple) -> None:
    predicted, goal = latents
    mixing = np.random.default_rng(0).normal(size=(L, L))
    covariance = mixing @ mixing.T + 0.1 * np.eye(L)
    whole = WeightedSum([(2.0, LatentDistance(whitening=whitening(covariance))), (12.0, ProprioDistance(2))])
    off = (predicted - goal).numpy()[:, SCENE]
    own = np.linalg.inv(covariance[np.ix_(SCENE, SCENE)])
    expected = 2 * np.einsum("si,ij,sj->s", off, own, off) / L
    np.testing.assert_allclose(cost(on_scene(whole, ROBOT), predicted, goal), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["l2", "l1", "cosine"])
@pytest.mark.parametrize("size", [None, 3])
def test_where_the_robot_is_costs_nothing(kind: str, size: int | None, latents: tuple) -> None:
    predicted, goal = latents
    objective = WeightedSum([(1.0, LatentDistance(kind, size=size)), (3.0, ProprioDistance(2))])
    part = on_scene(objective, ROBOT)
    elsewhere = torch.where(ROBOT, predicted + 9.0, predicted)
    np.testing.assert_array_equal(cost(part, elsewhere, goal), cost(part, predicted, goal))
    assert np.ptp(cost(part, predicted, goal)) > 0.01
    kept = cost(LatentDistance(kind), predicted[:, SCENE], goal[SCENE])
    share = 1.0 if kind == "cosine" else len(SCENE) / (size or L)
    np.testing.assert_allclose(cost(part, predicted, goal), share * kept, rtol=1e-5)


def test_a_switch_keeps_switching_and_what_is_no_distance_stays(latents: tuple) -> None:
    predicted, goal = latents
    steps = CriticDistance(lambda latent, goal: (latent - goal).abs().amax(-1))
    switch = SwitchByDistance(LatentDistance(), steps, threshold=1.0, measure=LatentDistance())
    objective = on_scene(WeightedSum([(1.0, switch), (0.5, PENALTY)]), ROBOT)
    for start, chosen in ((goal + 9.0 * ROBOT, on_scene(LatentDistance(), ROBOT)), (goal + 9.0, steps)):
        found = cost(objective.for_start(start[None], goal[None]), predicted, goal)
        np.testing.assert_allclose(found, cost(chosen, predicted, goal) + 0.5 * 0.25, rtol=1e-5)


def test_an_objective_of_the_robot_alone_becomes_a_distance_of_the_rest(latents: tuple) -> None:
    predicted, goal = latents
    objective = WeightedSum([(4.0, ProprioDistance(2)), (1.0, PENALTY)])
    off = (predicted - goal).numpy()[:, SCENE]
    expected = np.square(off).sum(1) / L + 0.25
    np.testing.assert_allclose(cost(on_scene(objective, ROBOT), predicted, goal), expected, rtol=1e-5)


def test_the_robots_part_is_its_state_and_the_actions(latents: tuple) -> None:
    predicted, goal = latents
    terms = [(1.0, LatentDistance()), (4.0, ProprioDistance(2, read=lambda z: z[..., :2])), (1.0, PENALTY)]
    expected = np.square((predicted - goal).numpy()[:, 3:]).mean(1)
    np.testing.assert_allclose(
        cost(on_robot_state(WeightedSum(terms), 2), predicted, goal), 4 * expected + 0.25, rtol=1e-5
    )
    np.testing.assert_allclose(cost(on_robot_state(LatentDistance(), 2), predicted, goal), expected, rtol=1e-5)


SHADOW = torch.tensor([[0.7, -0.2, 1.3], [2.0, 0.4, -0.5]])  # what the robot's state, two numbers, adds to the rest


def place(latents: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Exactly, where a latent is [scene + state @ SHADOW | state]."""
    rest = latents[..., :3] + (state - latents[..., 3:]) @ SHADOW
    return torch.cat([rest, state], -1)


@pytest.mark.parametrize(
    "whole",
    [
        WeightedSum([(2.0, LatentDistance()), (12.0, ProprioDistance(2)), (1.0, PENALTY)]),
        CriticDistance(lambda latent, goal: (latent - goal).abs().amax(-1)),
        SwitchByDistance(LatentDistance("l1"), LatentDistance(), threshold=3.0),
    ],
)
def test_with_the_robot_put_to_the_goals_only_the_scene_is_judged(whole: Objective, latents: tuple) -> None:
    predicted, goal = latents
    anywhere = RobotAnywhere(whole, place, 2)
    assert anywhere.last_only == whole.last_only
    begun = anywhere.for_start(predicted[:1], goal[None])
    expected = whole.for_start(place(predicted[:1], goal[None, 3:]), goal[None])
    there = place(predicted, goal[3:].expand(7, 2))
    np.testing.assert_allclose(cost(begun, predicted, goal), cost(expected, there, goal), rtol=1e-5)
    elsewhere = place(predicted, torch.randn(7, 2))
    np.testing.assert_allclose(cost(begun, elsewhere, goal), cost(begun, predicted, goal), rtol=1e-4)
