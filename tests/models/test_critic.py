import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.models import TemporalCritic


@pytest.fixture(scope="module", params=[(12, 3), (1, 1)])
def critic(request):
    embedding, groups = request.param
    torch.manual_seed(0)
    return TemporalCritic(5, width=16, embedding=embedding, groups=groups).double()


@given(seed=st.integers(0, 10_000), spread=st.floats(0.01, 10.0))
@settings(max_examples=30, deadline=None)
def test_is_a_quasimetric(critic, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    x, y, z = spread * torch.randn(3, 50, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        assert (critic(x, z) <= critic(x, y) + critic(y, z) + 1e-9).all()
        assert torch.equal(critic(x, x), torch.zeros(50, dtype=torch.float64))
        assert (critic(x, y) > 0).all()


def test_going_may_cost_other_than_coming_back(critic):
    x, y = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        assert ((critic(x, y) - critic(y, x)).abs() > 1e-3).all()


@pytest.mark.parametrize("kind", ["quasimetric", "mlp", "interaction"])
def test_a_shared_goal_broadcasts(kind):
    critic = TemporalCritic(5, kind=kind, width=8, embedding=8)
    latents, goal = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 1, 5)
    with torch.no_grad():
        steps = critic(latents, goal)
        assert steps.shape == (2, 3, 4)
        assert (steps >= 0).all()
        torch.testing.assert_close(steps, critic(latents, goal.expand(2, 3, 4, 5)))


@pytest.mark.parametrize("kind", ["quasimetric", "mlp", "interaction"])
def test_gradients_are_finite_even_at_the_goal(kind):
    critic = TemporalCritic(5, kind=kind, width=8, embedding=8)
    latent = torch.randn(3, 5).requires_grad_()
    critic(latent, latent.detach()).sum().backward()
    assert torch.isfinite(latent.grad).all()


@pytest.mark.parametrize("kind", ["quasimetric", "mlp", "interaction"])
def test_learns_steps_that_depend_on_the_direction(kind):
    """On a slope: a step up moves 1, a step down moves 2, so d(x, y) = relu(y - x) + relu(x - y) / 2."""
    torch.manual_seed(0)
    critic = TemporalCritic(1, kind=kind, width=64, embedding=16)
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        x, y = torch.rand(2, 128, 1, generator=generator) * 6
        steps = ((y - x).relu() + (x - y).relu() / 2).squeeze(-1)
        loss = (critic(x, y) - steps).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        up = critic(torch.tensor([[1.0]]), torch.tensor([[5.0]])).item()
        down = critic(torch.tensor([[5.0]]), torch.tensor([[1.0]])).item()
    assert up == pytest.approx(4.0, abs=0.5)
    assert down == pytest.approx(2.0, abs=0.5)


def test_an_interaction_reads_both_their_difference_and_their_product():
    critic = TemporalCritic(3, kind="interaction", width=8)
    seen = []
    critic.latent_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    z, g = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, -1.0, 0.5]])
    critic(z, g)
    assert seen[0].tolist() == [[1, 2, 3, 4, -1, 0.5, -3, 3, 2.5, 4, -2, 1.5]]


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="kind must be one of quasimetric, mlp, interaction, got 'lstm'"):
        TemporalCritic(5, kind="lstm")
    with pytest.raises(ValueError, match="embedding must be a multiple of groups, 4, got 10"):
        TemporalCritic(5, embedding=10)
