"""What is computed on cached latents: the whitening and the critic's regression."""

import numpy as np
import pytest
import torch

from wmplan.models import JEPA, JEPAConfig, ModelSpec
from wmplan.planning import CriticDistance, make_planner
from wmplan.training.latent_stages import critic_loss, dynamics_loss, latent_whitening, one_step_whitening


def make_model(critic: bool = True) -> JEPA:
    spec = ModelSpec((64, 64), 2, 5, (-1.0,), (1.0,), (0.0,), (1.0,), (4,))
    options = {"channels": [8], "keypoints": 4, "hidden": 8}
    return JEPA(JEPAConfig("keypoint", options, 4, critic=critic, predictor_options={"width": 32, "depth": 1}), spec)


def pairs(latent: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
    """Windows (N, 7, 4) of trajectories (N, T, 4), T at least 7, with goals between frame 1 and their ends."""
    count, time = latent.shape[:2]
    goals = torch.randint(1, time, (count,), generator=generator)
    return {
        "latent": latent[:, :7],
        "action": torch.zeros(count, 6, 5),
        "goal": latent[torch.arange(count), goals],
        "steps": (goals - 1).float(),
    }


def test_whitened_one_step_changes_have_unit_covariance() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    episodes = [np.cumsum(rng.normal(size=(400, 3)) @ mixing, axis=0) + 50 * rng.normal(size=3) for _ in range(5)]
    latents = np.concatenate(episodes).astype(np.float32)
    offsets = np.arange(5) * 400
    white = one_step_whitening(latents, offsets, stride=4, ridge=0.0).numpy()
    changes = np.concatenate([e[4:] - e[:-4] for e in episodes]) @ white.T  # none of them across two episodes
    np.testing.assert_allclose(changes.T @ changes / len(changes), np.eye(3), atol=1e-3)


@pytest.mark.parametrize("lengths", [[1, 60, 60], [60, 5, 60], [60, 60, 3], [2, 5, 60, 1, 4, 60]])
def test_episodes_without_a_model_step_change_nothing_wherever_they_stand(lengths: list[int]) -> None:
    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    long = [episode for episode in episodes if len(episode) > 5]
    found, wanted = (
        one_step_whitening(np.concatenate(some), np.cumsum([0, *map(len, some[:-1])]), stride=5)
        for some in (episodes, long)
    )
    torch.testing.assert_close(found, wanted)


def test_the_dynamics_loss_is_zero_for_latents_that_stand_still_and_an_untrained_predictor() -> None:
    latent = torch.randn(6, 1, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 7, -1)
    loss, _ = dynamics_loss(make_model(), {"latent": latent, "action": torch.rand(6, 6, 5)}, torch.Generator())
    assert loss.item() == 0.0


def test_the_noise_on_the_context_has_its_size_in_one_step_changes() -> None:
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    model.whitening.copy_(torch.tril(torch.randn(4, 4, generator=generator)) + 3 * torch.eye(4))
    latent = torch.randn(4096, 1, 4, generator=generator).expand(-1, 7, -1)
    batch = {"latent": latent, "action": torch.rand(4096, 6, 5, generator=generator)}
    _, figures = dynamics_loss(model, batch, generator, noise=0.3)  # an untrained predictor says that nothing moves
    assert figures["squared"] ** 0.5 == pytest.approx(0.3, rel=0.03)


def test_the_robots_state_counts_by_its_mean_absolute_error() -> None:
    """An untrained predictor says that nothing moves: what the state moved by is what it is off by."""
    spec = ModelSpec(
        (64, 64),
        2,
        5,
        (-1.0,),
        (1.0,),
        (0.0,),
        (1.0,),
        (6,),
        proprio_dim=2,
        proprio_mean=(0.0,) * 2,
        proprio_std=(1.0,) * 2,
    )
    options = {"channels": [8], "keypoints": 4, "hidden": 8}
    model = JEPA(JEPAConfig("keypoint", options, 4, predictor_options={"width": 32, "depth": 1}), spec)
    latent = torch.zeros(8, 7, 6)
    latent[:, 2:, 5] = torch.tensor([0.1, -0.3, 0.1, 0.3, 0.2])  # mean 0.2; the state's other number stands still
    batch = {"latent": latent, "action": torch.rand(8, 6, 5)}
    losses = [
        dynamics_loss(model, batch, torch.Generator().manual_seed(1), state_weight=w)[0].item() for w in (0.0, 5.0)
    ]
    context = 1 if torch.rand((), generator=torch.Generator().manual_seed(1)) < 0.2 else 2
    assert context == 2 and losses[1] - losses[0] == pytest.approx(5 * 0.2 / 2)


@pytest.mark.slow
def test_the_critic_learns_the_steps_of_a_straight_walk() -> None:
    """Latents on a line, one unit a step: the quasimetric that fits is the distance forward."""
    torch.manual_seed(0)
    model, generator = make_model(), torch.Generator().manual_seed(1)
    direction = torch.tensor([1.0, 0.5, -0.5, 0.0])
    optimizer = torch.optim.Adam(model.critic.parameters(), 3e-3)
    for _ in range(400):
        start = torch.rand(128, 1, 1, generator=generator) * 10
        batch = pairs((start + torch.arange(7.0)[None, :, None]) * direction / 3, generator)
        loss, _ = critic_loss(model, batch, generator, expectile=0.5, imagined=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    steps = torch.arange(6.0)
    with torch.no_grad():
        walk = (4 + steps)[:, None] * direction / 3
        learned = model.critic(walk[0].expand(6, -1), walk)
    assert learned[0].item() == 0.0
    torch.testing.assert_close(learned, steps, atol=0.6, rtol=0.2)


def test_a_low_expectile_punishes_what_is_too_far_more_than_what_is_too_near() -> None:
    model = make_model()
    seeded = torch.Generator().manual_seed(0)
    batch = pairs(torch.randn(256, 8, 4, generator=seeded), seeded)

    def regression(scale: float, expectile: float) -> float:
        model.critic.log_scale.data.fill_(scale)
        return critic_loss(model, batch, torch.Generator().manual_seed(3), expectile)[1]["regression"]

    far, near = 5.0, -5.0  # log scales: much too many steps, almost none
    assert regression(far, 0.1) == pytest.approx(9 * regression(far, 0.9), rel=0.05)
    assert regression(near, 0.9) == pytest.approx(9 * regression(near, 0.1), rel=0.05)


class Noted(torch.nn.Module):
    """A critic that says 0 and keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, latent: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        self.asked.append((latent, goal))
        return 0.0 * latent.sum(-1)


@pytest.mark.parametrize("imagined", [0.0, 0.5, 1.0])
def test_the_critic_is_asked_of_imagined_latents_as_of_recorded_ones(imagined: float) -> None:
    """Latents that count their time; a predictor that says time + 100. The steps to the goal are the same."""
    model = make_model()
    model.critic = noted = Noted()
    model.predict_windows = lambda latents, actions: latents[:, 2:] + 100.0
    time = torch.arange(21.0)[None, :, None].expand(400, -1, 4)
    batch = pairs(time, torch.Generator().manual_seed(0))
    _, figures = critic_loss(model, batch, torch.Generator().manual_seed(1), expectile=0.5, imagined=imagined)
    first = noted.asked[0][0][:, 0]
    is_made, start = first >= 100, first % 100
    assert ((start >= 1) & (start <= torch.minimum(batch["goal"][:, 0], torch.tensor(6.0)))).all()
    assert set(start.tolist()) == {1, 2, 3, 4, 5, 6}
    assert not is_made[start == 1].any()  # the context itself is not predicted
    assert is_made[start > 1].float().mean().item() == pytest.approx(imagined, abs=0.1)
    steps = batch["goal"][:, 0] - start
    assert figures["regression"] == pytest.approx(0.5 * steps.square().mean().item(), rel=1e-5)
    assert torch.equal(batch["latent"], time[:, :7])  # imagined latents go nowhere else


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_critic_can_be_trained_on_batches_however_small(count: int) -> None:
    """Where the draw pairs every trajectory with itself, there is no other to be far from."""
    model = make_model()
    seeded = torch.Generator().manual_seed(0)
    batch = pairs(torch.randn(count, 7, 4, generator=seeded), seeded)
    floors = []
    for seed in range(20):
        loss, figures = critic_loss(model, batch, torch.Generator().manual_seed(seed), expectile=0.5)
        model.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.critic.parameters() if p.grad is not None)
        floors.append(figures["floor"])
    assert np.isfinite(floors).all()
    assert (max(floors) > 0) == (count > 1)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "predictive_sampling", "gradient"])
def test_a_critic_judges_one_candidate_or_two_as_it_judges_many(name: str, samples: int) -> None:
    model = make_model()
    goal, start = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    objective = CriticDistance(model.critic)

    def cost(candidates: torch.Tensor) -> torch.Tensor:
        return objective(start[:, None, None] + candidates.cumsum(2), goal, candidates)

    few = {} if name in ("predictive_sampling", "gradient") else {"num_elites": 1}
    settings = {"num_samples": samples, "num_iterations": 3, "horizon": 2, **few}
    planner = make_planner(name, [-1.0] * 4, [1.0] * 4, action_block=1, **settings)
    planner.reset([0])
    plan = planner.plan(cost, record=True)
    assert torch.isfinite(plan.actions).all() and torch.isfinite(plan.cost).all()
    many = plan.actions[:, None].expand(-1, 50, -1, -1)
    torch.testing.assert_close(plan.cost.expand(50), cost(many)[0], atol=1e-5, rtol=0)


def test_the_robot_state_is_whitened_apart_from_what_the_camera_says_of_it() -> None:
    """The camera's copy of the state with a little noise must not make that noise the dearest direction."""
    rng = np.random.default_rng(1)
    state = np.cumsum(rng.normal(size=(2000, 1)), axis=0)
    seen = np.concatenate([state + 1e-2 * rng.normal(size=state.shape), rng.normal(size=(2000, 3)).cumsum(0)], axis=1)
    spec = ModelSpec((64, 64), 2, 5, (-1.0,), (1.0,), (0.0,), (1.0,), (5,), 1, (0.0,), (1.0,))
    model = JEPA(JEPAConfig("keypoint", {"channels": [8], "keypoints": 4, "hidden": 8}, 4), spec)
    white = latent_whitening(model, np.concatenate([seen, state], 1).astype(np.float32), np.array([0]), stride=1)
    assert white.abs().max() < 3.0
    assert (white[4, :4] == 0).all() and (white[:4, 4] == 0).all()
