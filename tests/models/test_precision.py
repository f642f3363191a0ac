"""The type that a model plans in: each reason for float32, and what bfloat16 changes and what not."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from wmplan.bench.models import LEWM
from wmplan.errors import UserError
from wmplan.models import WorldModel, load, precision
from wmplan.models.precision import GAIN, choose_dtype, measure_gain, take_dtype, why_worse
from wmplan.models.released.lewm import LeWM

AS_WELL = {
    "cost_ratio": 1.004,
    "success": {"float32": 0.75, "bfloat16": 0.745},
    "instances": 200,
    "p_value": 1.0,
}
PREDICTORS = {
    "mlp": {"width": 16, "depth": 2},
    "transformer": {"width": 16, "depth": 2, "heads": 2},
    "recurrent": {"width": 16, "depth": 2},
    "hidden_state": {"hidden": 8, "width": 16},
}


@pytest.fixture
def in_hardware(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


def model_with(card):
    return SimpleNamespace(card=card, device=torch.device("cpu"))


def test_a_processor_without_bfloat16_plans_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    chosen = choose_dtype(model_with({"bfloat16": AS_WELL}), "auto", lambda model: 9.0)
    assert str(chosen) == "float32: this processor has no bfloat16 in hardware"


def test_bfloat16_is_taken_where_it_is_faster_and_the_card_says_so(in_hardware):
    chosen = choose_dtype(model_with({"bfloat16": AS_WELL}), "auto", lambda model: 1.6)
    assert str(chosen) == (
        "bfloat16: measured 1.60 times as fast as float32 here, and its card says that it plans as well"
    )
    slow = choose_dtype(model_with({"bfloat16": AS_WELL}), "auto", lambda model: GAIN - 0.01)
    assert slow.dtype == torch.float32 and "measured 1.09 times as fast" in slow.why


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (None, "does not say how it plans in bfloat16, which wmplan precision measures"),
        ({"cost_ratio": 1.02}, "plans in bfloat16 cost 2.0 % more, 1 are allowed"),
        ({"cost_ratio": float("nan")}, "lacks figures"),
        ({"success": {"float32": 0.75}}, "lacks figures"),
        ({"success": "0.75"}, "lacks figures"),
        ({"instances": 150}, "on 150 instances, 200 are needed"),
        ({"success": {"float32": 0.75, "bfloat16": 0.72}}, "success is 72.0 % in bfloat16 and 75.0 in float32"),
        ({"p_value": 0.03}, "success is 74.5 % in bfloat16"),
    ],
)
def test_a_card_that_does_not_say_so_means_float32(in_hardware, changes, reason):
    card = {} if changes is None else {"bfloat16": {**AS_WELL, **changes}}
    chosen = choose_dtype(model_with(card), "auto", lambda model: 9.0)
    assert chosen.dtype == torch.float32 and reason in chosen.why


def test_more_success_is_no_fault():
    assert why_worse({**AS_WELL, "success": {"float32": 0.6, "bfloat16": 0.8}, "p_value": 0.001}) is None
    assert why_worse([1, 2]) is not None


def test_what_is_asked_for_is_taken(make_jepa, caplog):
    model = make_jepa()
    assert take_dtype(model, "bfloat16").dtype == model.computes_in == torch.bfloat16
    with caplog.at_level(logging.INFO):
        assert load("pusht", dtype="bfloat16").computes_in == torch.bfloat16
    assert caplog.messages == ["planning in bfloat16: as was asked for"]
    assert load("pusht").computes_in == torch.float32
    with pytest.raises(UserError, match="dtype must be one of auto, float32, bfloat16, got 'half'"):
        take_dtype(model, "half")


class Plain(WorldModel):
    """A model of no products."""

    def encode(self, frames, proprio=None):
        raise NotImplementedError

    def rollout(self, context, actions, past_actions=None):
        raise NotImplementedError


def test_a_model_that_has_no_bfloat16_says_so(in_hardware):
    with pytest.raises(UserError, match="a Plain computes in float32 alone, not in bfloat16"):
        Plain().compute_in(torch.bfloat16)
    model = Plain()
    model.card = {"bfloat16": AS_WELL}
    assert "computes in float32 alone" in choose_dtype(model).why


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_rollouts_are_rounded_and_frames_are_not(make_jepa, frames, predictor):
    model = make_jepa(predictor=predictor, predictor_options=PREDICTORS[predictor])
    context = model.encode(frames(), torch.zeros(2, 2, 2))
    actions, past = torch.rand(2, 5, 3, 6), torch.rand(2, 1, 6)
    with torch.no_grad():
        exact = model.rollout(context, actions, past)
        model.compute_in(torch.bfloat16)
        rounded = model.rollout(context, actions, past)
        assert torch.equal(model.encode(frames(), torch.zeros(2, 2, 2)), context)
        model.compute_in(torch.float32)
        assert torch.equal(model.rollout(context, actions, past), exact)
    assert rounded.dtype == torch.float32
    error = (rounded - exact).abs().max() / (exact - context[:, None, -1:]).abs().max()
    assert 0 < error < 0.05
    model.compute_in(torch.bfloat16)
    torch.testing.assert_close(model.rollout(context, actions, past), exact)  # with gradients nothing is rounded


def test_a_released_model_keeps_its_latents_in_float32():
    sizes = {**LEWM, "predictor": {**LEWM["predictor"], "depth": 2, "mlp_dim": 64}}
    model = LeWM.build(sizes).eval().requires_grad_(False)
    context, actions = torch.randn(1, 1, 192), torch.randn(1, 3, 2, 10)
    exact = model.rollout(context, actions)
    model.compute_in(torch.bfloat16)
    rounded = model.rollout(context, actions)
    assert model.computes_in == torch.bfloat16 and rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_the_gain_is_measured_on_the_model_which_stays_as_it_is(make_jepa):
    model = make_jepa()
    assert measure_gain(model) > 0
    assert model.computes_in == torch.float32
