"""Probes against states that are known to be in the latents, or known not to be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.models.state_probe import StateCode, StateProbe, state_errors

NAMES = ("x_m", "angle_rad")


def states(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.rand(count, generator=generator) - 0.5,
                        (torch.rand(count, generator=generator) - 0.5) * 2 * torch.pi], -1)  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.floats(-3.14, 3.14), st.floats(-5, 5))
def test_code_goes_there_and_back(angle, x):
    state = torch.tensor([x, angle], dtype=torch.float64)
    code = StateCode(NAMES)
    torch.testing.assert_close(code.decode(code.encode(state)), state)


def test_ridge_reads_a_linear_latent_exactly():
    train, test = states(500), states(100, seed=1)
    mixing = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    code = StateCode(NAMES)
    probe = StateProbe(code.encode(train) @ mixing, train, NAMES, "ridge")
    read = probe(code.encode(test) @ mixing)
    assert state_errors(read.numpy(), test.numpy(), NAMES).max() < 0.02


def test_mlp_reads_what_ridge_cannot():
    train, test = states(1000), states(200, seed=1)

    def fold(s):  # x only through its sine and cosine at a high frequency
        return torch.cat([(6 * s[:, :1]).sin(), (6 * s[:, :1]).cos(), s[:, 1:].sin(), s[:, 1:].cos()], -1)

    def error(kind):
        read = StateProbe(fold(train), train, NAMES, kind, steps=400)(fold(test))
        return np.median(state_errors(read.numpy(), test.numpy(), NAMES), axis=0)[0]

    assert error("mlp") < 0.03 < 0.05 < error("ridge")


def test_blind_latent_reads_as_badly_as_the_mean():
    train, test = states(1000), states(300, seed=1)
    noise = torch.randn(1300, 8, generator=torch.Generator().manual_seed(5))
    read = StateProbe(noise[:1000], train, NAMES, "ridge")(noise[1000:])
    error = np.abs(read[:, 0].numpy() - test[:, 0].numpy()).mean()
    assert error > 0.2  # the mean absolute deviation of U(-.5, .5) is .25


def test_latents_of_any_shape_and_the_global_generator_is_left_alone():
    train = states(200)
    before = torch.random.get_rng_state()
    probe = StateProbe(train.repeat(1, 6).reshape(200, 3, 4), train, NAMES, "mlp", steps=5)
    assert probe(torch.zeros(7, 2, 3, 4)).shape == (7, 2, 2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_same_seed_same_probe_and_a_wrong_kind_is_named():
    train = states(200)
    reads = [StateProbe(train, train, NAMES, seed=s, steps=20)(train) for s in (3, 3, 4)]
    assert torch.equal(reads[0], reads[1]) and not torch.equal(reads[0], reads[2])
    with pytest.raises(ValueError, match="'tree'"):
        StateProbe(train, train, NAMES, "tree")


def test_angle_errors_take_the_short_way():
    error = state_errors(np.array([[0.0, 3.1]]), np.array([[0.1, -3.1]]), NAMES)
    np.testing.assert_allclose(error, [[0.1, 2 * np.pi - 6.2]])


@pytest.mark.parametrize("kind", ["ridge", "mlp"])
def test_a_probe_of_a_single_row_reads_that_row(kind):
    latents, states = torch.randn(1, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.5, -2.0]])
    probe = StateProbe(latents, states, ("x", "y"), kind, steps=5)
    torch.testing.assert_close(probe(latents), states, atol=1e-3, rtol=0)
