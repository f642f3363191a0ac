"""Objectives against NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from torch import Tensor

from wmplan.errors import UserError
from wmplan.models.base import Frames, ModelSpec, WorldModel
from wmplan.planning import (
    ActionPenalty,
    CriticDistance,
    LatentDistance,
    ProprioDistance,
    SwitchByDistance,
    WeightedSum,
    make_objective,
)
from wmplan.settings.groups import choice_settings

DRAW = torch.Generator().manual_seed(0)
PREDICTED = torch.randn(2, 3, 4, 5, generator=DRAW)  # (B, S, H, L)
GOAL = torch.randn(2, 5, generator=DRAW)
ACTIONS = torch.randn(2, 3, 4, 6, generator=DRAW)


def by_hand(measure, steps: str, predicted: Tensor = PREDICTED, goal: Tensor = GOAL) -> np.ndarray:
    """Costs (B, S), one number at a time."""
    costs = np.empty(predicted.shape[:2])
    for b, s in np.ndindex(*costs.shape):
        each = [measure(z, goal[b].double().numpy()) for z in predicted[b, s].double().numpy()]
        weights = 0.8 ** np.arange(len(each))[::-1]
        costs[b, s] = {
            "last": each[-1],
            "sum": sum(each),
            "min": min(each),
            "discounted": np.average(each, weights=weights),
        }[steps]
    return costs


@pytest.mark.parametrize("steps", ["last", "sum", "min", "discounted"])
@pytest.mark.parametrize("whitened", [False, True])
def test_latent_distances(steps: str, whitened: bool) -> None:
    whitening = torch.randn(5, 5, generator=torch.Generator().manual_seed(1)) if whitened else None
    w = np.eye(5) if whitening is None else whitening.double().numpy()
    measures = {
        "l2": lambda z, g: np.mean((w @ (z - g)) ** 2),
        "l1": lambda z, g: np.mean(np.abs(w @ (z - g))),
        "cosine": lambda z, g: cosine(w @ z, w @ g),
    }
    for kind, measure in measures.items():
        objective = LatentDistance(kind, steps, whitening)
        np.testing.assert_allclose(objective(PREDICTED, GOAL, ACTIONS), by_hand(measure, steps), rtol=1e-4, atol=1e-5)
        assert objective.last_only == (steps == "last")


def test_a_latent_may_have_any_shape_or_count_in_part() -> None:
    patches, goal = torch.randn(2, 3, 4, 6, 5), torch.randn(2, 6, 5)
    torch.testing.assert_close(
        LatentDistance()(patches, goal, ACTIONS), LatentDistance()(patches.flatten(3), goal.flatten(1), ACTIONS)
    )
    torch.testing.assert_close(
        LatentDistance(size=3)(PREDICTED, GOAL, ACTIONS), LatentDistance()(PREDICTED[..., :3], GOAL[..., :3], ACTIONS)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_latents_of_half_precision_are_told_apart_and_do_not_overflow(dtype: torch.dtype) -> None:
    """A distance in that precision has two or three digits, and squares above 65504 are infinite in float16."""
    goal = (300 * GOAL).to(dtype)
    predicted = (300 * PREDICTED).to(dtype) + 600
    whitening = (torch.eye(5) + 0.1).to(dtype)
    for objective in (
        *(LatentDistance(kind, "sum", matrix) for kind in ("l2", "l1", "cosine") for matrix in (None, whitening)),
        ProprioDistance(2, "sum"),
    ):
        given = objective(predicted, goal, ACTIONS)
        wide = (
            replace(objective, whitening=whitening.float())
            if getattr(objective, "whitening", None) is not None
            else objective
        )
        torch.testing.assert_close(given, wide(predicted.float(), goal.float(), ACTIONS))
        assert given.dtype == torch.float32 and torch.isfinite(given).all()


def test_last_steps_need_no_other() -> None:
    for objective in (
        LatentDistance(),
        LatentDistance("cosine"),
        ProprioDistance(2),
        CriticDistance(lambda z, g: (z - g).sum(-1)),
    ):
        assert objective.last_only
        torch.testing.assert_close(objective(PREDICTED[:, :, -1:], GOAL, ACTIONS), objective(PREDICTED, GOAL, ACTIONS))


def test_proprio_distance() -> None:
    np.testing.assert_allclose(
        ProprioDistance(2, "sum", (1.0, 3.0), kind="l1")(PREDICTED, GOAL, ACTIONS),
        by_hand(lambda z, g: (abs(z[3] - g[3]) + 3 * abs(z[4] - g[4])) / 2, "sum"),
        rtol=1e-5,
    )
    with pytest.raises(UserError, match="kind must be l2 or l1, got 'cosine'"):
        ProprioDistance(2, kind="cosine")
    np.testing.assert_allclose(
        ProprioDistance(2, "sum", (1.0, 3.0))(PREDICTED, GOAL, ACTIONS),
        by_hand(lambda z, g: ((z[3] - g[3]) ** 2 + 3 * (z[4] - g[4]) ** 2) / 2, "sum"),
        rtol=1e-5,
    )


def test_seen_proprio_is_read_off_both_latents_alike() -> None:
    read = lambda z: torch.stack([2 * z[..., 0], z[..., 1] - z[..., 2]], -1)  # noqa: E731
    objective = make_objective(
        {"proprio": {"steps": "sum", "seen": True}}, model(read_proprio=read, reads_proprio=True)
    )
    np.testing.assert_allclose(
        objective(PREDICTED, GOAL, ACTIONS),
        by_hand(lambda z, g: (4 * (z[0] - g[0]) ** 2 + (z[1] - z[2] - g[1] + g[2]) ** 2) / 2, "sum"),
        rtol=1e-5,
    )
    assert not torch.equal(objective(PREDICTED, GOAL, ACTIONS), ProprioDistance(2, "sum")(PREDICTED, GOAL, ACTIONS))


def test_a_workspace_counts_what_is_beyond_it_at_the_end_and_before_the_next_plan() -> None:
    mean, deviation = np.array([2.0, -1.0]), np.array([0.5, 4.0])
    units = tuple(torch.tensor(one, dtype=torch.float32) for one in (mean, deviation))
    given = {"weight": 3.0, "low": [1.8, None], "high": [2.4, 1.0]}
    objective = make_objective({"workspace": given}, model(proprio_units=units))
    assert objective.last_only and objective.at_executed is not None
    states = PREDICTED[:, :, -1, -2:].double().numpy() * deviation + mean
    low, high = np.array([1.8, -np.inf]), np.array([2.4, 1.0])
    beyond = np.maximum(low - states, 0) + np.maximum(states - high, 0)
    expected = 3 * ((beyond / deviation) ** 2).sum(-1)
    assert expected.min() < expected.max()
    for read in (objective, objective.at_executed):
        np.testing.assert_allclose(read(PREDICTED, GOAL, ACTIONS), expected, rtol=1e-4, atol=1e-6)
    wrong = [
        ({"low": [1.8], "high": [2.4, 1.0]}, "objective.workspace.low has 1 entries, it has to have 2"),
        ({"low": [2.4, 0], "high": [2.4, 1.0]}, "workspace.low must be below high"),
        ({"low": "far", "high": [2.4, 1.0]}, "objective.workspace.low must be"),
        ({"high": [2.4, 1.0]}, "low"),
    ]
    for settings, message in wrong:
        with pytest.raises(UserError, match=message):
            make_objective({"workspace": settings}, model(proprio_units=units))
    with pytest.raises(UserError, match="the model's latents do not hold the robot's state"):
        make_objective({"workspace": given}, model(proprio_units=None))


def test_critic_distance_pairs_each_step_with_its_own_goal() -> None:
    critic = lambda latent, goal: (latent * goal).sum(-1)  # noqa: E731
    np.testing.assert_allclose(
        CriticDistance(critic, "min")(PREDICTED, GOAL, ACTIONS), by_hand(np.dot, "min"), rtol=1e-4, atol=1e-5
    )


def test_action_penalty_in_halves_of_the_range() -> None:
    penalty = ActionPenalty((-2.0, 0.0), (2.0, 1.0), effort=0.5, change=2.0)
    scaled = ACTIONS.double().numpy().reshape(2, 3, 12, 2) / np.array([2.0, 0.5])
    expected = 0.5 * (scaled**2).mean((2, 3)) + 2.0 * (np.diff(scaled, axis=2) ** 2).mean((2, 3))
    np.testing.assert_allclose(penalty(PREDICTED, GOAL, ACTIONS), expected, rtol=1e-5)


def test_weighted_sum_and_what_it_reads() -> None:
    last, every = LatentDistance(), LatentDistance(steps="sum")
    total = WeightedSum([(2.0, last), (0.5, every)])
    torch.testing.assert_close(
        total(PREDICTED, GOAL, ACTIONS), 2 * last(PREDICTED, GOAL, ACTIONS) + 0.5 * every(PREDICTED, GOAL, ACTIONS)
    )
    assert not total.last_only and WeightedSum([(1.0, last), (1.0, last)]).last_only


def test_the_switch_chooses_once_a_plan_for_each_environment() -> None:
    near, far = LatentDistance("l1"), LatentDistance("l2")
    current = torch.stack([GOAL[0] + 0.1, GOAL[1] + 3.0])
    for objective in (SwitchByDistance(near, far, 1.0), WeightedSum([(1.0, SwitchByDistance(near, far, 1.0))])):
        begun = objective.for_start(current, GOAL)
        costs = begun(PREDICTED, GOAL, ACTIONS)
        torch.testing.assert_close(costs[0], near(PREDICTED, GOAL, ACTIONS)[0])
        torch.testing.assert_close(costs[1], far(PREDICTED, GOAL, ACTIONS)[1])
    with pytest.raises(ValueError, match="for_start"):
        SwitchByDistance(near, far, 1.0)(PREDICTED, GOAL, ACTIONS)


class Flat(WorldModel):
    """A model whose latents are five numbers, the last two of them the robot's state."""

    reads_proprio = False
    proprio_units = None

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec((8, 8), 1, 1, (-1.0,), (1.0,), (0.0,), (1.0,), (5,), 2, (0.0,) * 2, (1.0,) * 2)
        self.whitening = 2 * torch.eye(5)

    def encode(self, frames: Frames, proprio: Tensor | None = None) -> Tensor:
        raise AssertionError

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        raise AssertionError


class Distance(torch.nn.Module):
    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        return (latents - goals).abs().sum(-1)


def model(**more: object) -> Flat:
    found = Flat()
    for name, value in {"critic": Distance(), **more}.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize("name", ["latent", "l1", "cosine", "whitened", "critic", "proprio", "switch"])
def test_every_choice_makes_an_objective(name: str) -> None:
    objective = make_objective(choice_settings("objective", name), model())
    begun = objective.for_start(GOAL + 0.1, GOAL)
    assert begun(PREDICTED, GOAL, ACTIONS).shape == (2, 3)


def test_terms_are_weighed_and_zeros_left_out() -> None:
    config = {
        "latent": {"weight": 2, "whitened": True, "steps": "sum"},
        "proprio": {"weight": 0},
        "critic": {"weight": 0.5},
    }
    expected = 2 * LatentDistance("l2", "sum", 2 * torch.eye(5))(PREDICTED, GOAL, ACTIONS)
    expected += 0.5 * (PREDICTED[:, :, -1] - GOAL[:, None]).abs().sum(-1)
    torch.testing.assert_close(make_objective(config, model())(PREDICTED, GOAL, ACTIONS), expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"latents": {}}, "there is no objective 'latents'; did you mean 'latent'"),
        ({}, "the objective has no term"),
        ({"latent": {"weight": 0}}, "the objective has no term"),
        ({"latent": {"kind": "l3"}}, "kind must be l2, l1 or cosine, got 'l3'"),
        ({"latent": {"steps": "first"}}, "steps must be one of last, sum, min, discounted, got 'first'"),
        (
            {"latent": {"metric": "l2"}},
            "objective latent has no setting 'metric'; it has weight, kind, steps, whitened",
        ),
        ({"latent": {"weigth": 1}}, "objective latent has no setting 'weigth'; it has weight, kind, steps"),
        (
            {"switch": {"near": {"latent": {"kid": 1}}, "far": {}, "threshold": 1}},
            "objective latent has no setting 'kid'",
        ),
        (
            {"switch": {"threshold": 1.0}},
            "objective switch: missing 2 required keyword-only arguments: 'near' and 'far'",
        ),
    ],
)
def test_mistakes_in_a_configuration_are_named(config: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make_objective(config, model())
    assert message in str(error.value)


def test_what_a_model_lacks_is_named() -> None:
    bare = model(whitening=None, critic=None)
    bare.spec = replace(bare.spec, proprio_dim=0, proprio_mean=(), proprio_std=())
    for config, message in (
        ({"latent": {"whitened": True}}, "the model has no whitening"),
        ({"critic": {}}, "without a critic"),
        ({"proprio": {}}, "no proprioception"),
        ({"proprio": {"seen": True}}, "no proprioception"),
    ):
        with pytest.raises(ValueError, match=message):
            make_objective(config, bare)
    with pytest.raises(ValueError, match="reads no robot state off its frames"):
        make_objective({"proprio": {"seen": True}}, model())


def test_an_imported_model_brings_its_own_objective() -> None:
    class Imported(Flat):
        def native_objective(self, alpha: float = 1.0) -> LatentDistance:
            return LatentDistance("l1" if alpha > 1 else "l2")

    objective = make_objective({"native": {"alpha": 2.0}}, Imported())
    assert isinstance(objective, LatentDistance) and objective.kind == "l1"
    with pytest.raises(ValueError, match="objective native: the model brings no objective of its own"):
        make_objective({"native": {}}, model())
