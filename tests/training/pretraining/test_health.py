"""The measures of health, on features whose health is known."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from wmplan.training.pretraining.health import (
    feature_figures,
    is_collapsed,
    lag,
    likely_cause,
    relative_probe_errors,
    thumbnail_rank,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_collapse_is_told_from_features_that_spread() -> None:
    healthy = feature_figures(normal(500, 10))
    assert healthy["effective_rank"] > 9 and healthy["spread"] == pytest.approx(1, abs=0.05)
    assert not is_collapsed(healthy, healthy)
    for collapsed in (normal(500, 1) * torch.ones(10), 0.01 * normal(500, 10), torch.zeros(500, 10)):
        assert is_collapsed(feature_figures(collapsed), healthy)


def test_the_probe_knows_all_or_nothing() -> None:
    states, held = normal(400, 2), normal(100, 2, seed=1)
    mixed = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    told = relative_probe_errors(states @ mixed, states, held @ mixed, held, ("x", "y"))
    assert told.keys() == {"x", "y"} and max(told.values()) < 0.02
    blind = relative_probe_errors(normal(400, 3, seed=2), states, normal(100, 3, seed=3), held, ("x", "y"))
    assert all(0.85 < value < 1.2 for value in blind.values())


def test_the_lag_is_a_share_of_the_encoders_size() -> None:
    encoder = nn.Linear(4, 4)
    target = copy.deepcopy(encoder)
    assert lag(target, encoder) == 0
    with torch.no_grad():
        for weight in target.parameters():
            weight.mul_(0.9)
    assert lag(target, encoder) == pytest.approx(0.1, abs=1e-4)


def test_frames_that_are_all_alike_are_noticed() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (40, 16, 16, 3), np.uint8)
    assert thumbnail_rank(frames) > 20 and thumbnail_rank(np.repeat(frames[:1], 40, 0)) == 0


CAUSES = {
    "frames": ({"thumbnail_rank": 1.0}, {}, "frames hardly differ"),
    "momentum": ({"lag": 0.0001}, {"momentum": 0.5}, r"momentum is 0.5: take .99 to .9995"),
    "masks": ({"hidden": 0.05}, {}, "masks hide 5 % of the tokens"),
    "risen": ({}, {"losses": [0.5, 0.2, 0.4]}, r"fell to 0.2 and rose to 0.4: take a lower learning_rate, or"),
    "sigreg": ({}, {"momentum": None, "sigreg": 0.01}, r"sigreg=0.01 is too little"),
    "lejepa": ({}, {"momentum": None, "sigreg": 0.1}, r"larger sigreg than 0.1"),
    "else": ({}, {}, r"a momentum nearer to 1 than 0.996"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_likely_cause_of_a_collapse_is_named(name: str) -> None:
    figures, settings, says = CAUSES[name]
    figures = {"thumbnail_rank": 9.0, "lag": 0.05, "hidden": 0.4} | figures
    given = {"losses": [0.5, 0.4], "objective": "ijepa", "momentum": 0.996, "learning_rate": 1e-3, "sigreg": 0.1}
    assert says in likely_cause(figures, **(given | settings))  # type: ignore[arg-type]
