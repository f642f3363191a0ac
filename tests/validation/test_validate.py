"""A right model gets error 0 and rank 1; wrong ones are told what is wrong with them, and score less."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stripe_world import StripeWorld, frames_of
from torch import Tensor

from wmplan.errors import UserError
from wmplan.validation import table, validate

FEW = {"episodes": 6, "windows": 64, "candidates": 20, "compared": 12}


def judged(model: StripeWorld, data: Path, out: Path | None = None, **settings: Any) -> dict[str, Any]:
    return validate(model, data, out, **{**FEW, **settings})


def test_a_right_model_errs_nowhere_and_ranks_the_recorded_actions_first(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(), recorded())
    assert found["steps"] == 6  # twice the planner's horizon
    assert found["seconds"] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    assert max(found["open_loop"]["error"]) < 2e-3  # the frames' rounding
    assert found["action_rank"]["rank"] == [1.0] * 6
    assert min(found["action_rank"]["beats_random"]) > 0.99
    assert max(found["action_rank"]["own_cost"]) < 1e-3
    assert min(found["planned_actions"]["action_score"]) > 90
    assert found["trusted_steps"] == 6
    assert found["trusted_seconds"] == pytest.approx(1.2)
    assert "plans up to 1.2 s ahead (6 model steps, as far as was looked) are trustworthy" in found["verdict"]
    assert "not predicted" not in found["verdict"]
    assert found["surprise"] is None  # no error_scale
    assert found["data"]["held_out"] is None
    assert "may be among it" in found["data"]["said"]


def test_errors_of_doing_nothing_and_of_copying_are_what_moves(recorded: Callable[..., Path]) -> None:
    loop = judged(StripeWorld(), recorded())["open_loop"]
    # A frame later two numbers of four have moved, by what is the unit of that number.
    assert loop["copy"][0] == pytest.approx(0.5**0.5, rel=0.2)
    assert loop["idle"] == pytest.approx(loop["copy"])  # without an action nothing moves in this model
    growth = np.array(loop["copy"]) / loop["copy"][0]
    assert growth == pytest.approx(np.sqrt(np.arange(1, 7)), rel=0.2)  # a random walk


def test_a_model_that_ignores_the_actions_is_told_so(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(gain=(0.0, 0.0)), recorded())
    assert "the prediction does not depend on the actions" in found["verdict"]
    assert "the cost tells no candidates apart" in found["verdict"]
    assert found["trusted_steps"] == 0
    assert found["action_rank"]["spread"] == [0.0] * 6
    assert found["action_rank"]["beats_random"] == [0.5] * 6  # ties count half
    assert found["score"] < 20


def test_one_entry_that_is_not_predicted_is_named(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(gain=(1.0, 0.0)), recorded())
    assert "entry 1 of the action, action[1], is not predicted" in found["verdict"]
    assert "entry 0" not in found["verdict"]
    first, second = found["action_use"]
    assert first["in_data"] > 0.3
    assert first["in_model"] == pytest.approx(first["in_data"], abs=0.02)
    assert second["in_data"] > 0.3
    assert second["in_model"] < 0.02
    assert second["error_rise"] == pytest.approx(0, abs=1e-6)


def test_an_entry_that_moves_nothing_need_not_be_predicted(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(gain=(1.0, 0.0)), recorded(deaf=(1,)))
    assert found["action_use"][1]["predicted"]
    assert "not predicted" not in found["verdict"]


def test_actions_of_other_rows_are_not_predicted(recorded: Callable[..., Path], tmp_path: Path) -> None:
    data = recorded()
    rng = np.random.default_rng(1)
    for path in data.glob("*.npz"):  # as a recorder that lost the order of the actions
        columns = dict(np.load(path))
        columns["action"][:-1] = rng.permutation(columns["action"][:-1])
        np.savez(path, **columns)
    found = judged(StripeWorld(), data)
    assert found["trusted_steps"] == 0
    assert found["action_rank"]["beats_recorded"][0] < 0.8
    assert found["open_loop"]["ratio"][0] > 1  # worse than saying that nothing moves


def test_better_models_score_higher(recorded: Callable[..., Path]) -> None:
    data = recorded()
    scores = [judged(StripeWorld(noise=noise), data)["score"] for noise in (0.0, 0.05, 0.2, 0.8)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_an_encoder_that_sees_nothing_is_told_so(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(seen=0.0), recorded())
    assert "the encoder sees no difference between frames" in found["verdict"]
    assert found["trusted_steps"] == 0
    assert found["score"] < 20


def test_predictions_that_are_not_finite_give_a_result_of_strict_json(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    judged(StripeWorld(noise=float("inf")), recorded(), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "validation.json").read_text(), parse_constant=pytest.fail)
    assert found["open_loop"]["error"] == [None] * 6
    assert found["trusted_steps"] == 0


def test_surprise_has_a_threshold_of_five_percent(recorded: Callable[..., Path]) -> None:
    model = StripeWorld(noise=0.3)
    model.error_scale = torch.full((4,), 0.3)
    found = judged(model, recorded(episodes=20), episodes=20)["surprise"]
    assert found["frames"] == 20 * 20
    assert 0.3 < found["above_usual"] < 0.55  # of a mean of four squares of deviation 1
    assert found["threshold"] == pytest.approx(1.54, abs=0.12)  # chi-squared, 4 degrees of freedom: sqrt(9.49 / 4)
    assert found["threshold_episode"] >= found["threshold"]
    assert len(found["by_episode"]) == 20


def test_goals_of_the_data_are_near_and_foreign_ones_far(recorded: Callable[..., Path], tmp_path: Path) -> None:
    own, foreign = tmp_path / "own.png", tmp_path / "foreign.png"
    data = recorded()
    Image.fromarray(np.load(data / "000.npz")["pixels"][4]).save(own)
    Image.fromarray(frames_of(np.full((1, 4), 3.9))[0]).save(foreign)
    near, far = judged(StripeWorld(), data, goals=[str(own), str(foreign)])["neighbours"]["goals"]
    assert near["distance"] == pytest.approx(0, abs=1e-3)
    assert near["share"] == 1
    assert far["share"] == 0
    with pytest.raises(UserError, match="absent.png"):
        judged(StripeWorld(), data, goals=["absent.png"])


def test_the_same_seed_gives_the_same_figures(recorded: Callable[..., Path]) -> None:
    data = recorded()
    first, second = (judged(StripeWorld(noise=0.1), data, seed=3) for _ in range(2))
    assert {**first, "date": 0} == {**second, "date": 0}
    assert judged(StripeWorld(noise=0.1), data, seed=4)["action_rank"] != first["action_rank"]


def test_short_episodes_are_looked_at_as_far_as_they_go(recorded: Callable[..., Path]) -> None:
    assert judged(StripeWorld(), recorded(rows=6))["steps"] == 2
    with pytest.raises(UserError, match="has the 3 rows that one prediction of this model takes; the longest has 2"):
        judged(StripeWorld(), recorded(rows=2))


class Wider(StripeWorld):
    """Latents with two axes, and a decoder for them."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, latent_shape=(2, 2))

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        return super().encode(frames).unflatten(-1, (2, 2))

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        own = self.spec
        self.spec = StripeWorld().spec
        predicted = super().rollout(context.flatten(2), actions, past_actions)
        self.spec = own
        return predicted.unflatten(-1, (2, 2))


def test_latents_of_any_shape_are_judged(recorded: Callable[..., Path]) -> None:
    data = recorded()
    flat, wide = judged(StripeWorld(), data), judged(Wider(), data)
    for name in ("open_loop", "action_rank", "planned_actions", "trusted_steps"):
        assert wide[name] == flat[name]


def test_data_of_another_robot_is_refused(recorded: Callable[..., Path]) -> None:
    data = recorded()
    for path in data.glob("*.npz"):
        columns = dict(np.load(path))
        np.savez(path, **{**columns, "action": columns["action"].repeat(2, 1)})
    with pytest.raises(UserError, match="actions of 4 numbers, the model's have 2: give data of this model's robot"):
        judged(StripeWorld(), data)


def test_a_model_that_needs_the_robots_state_is_not_judged_without_it(
    recorded: Callable[..., Path], tmp_path: Path
) -> None:
    model, data = StripeWorld(), recorded()
    model.spec = replace(model.spec, proprio_dim=1, proprio_mean=(0.0,), proprio_std=(1.0,))
    with pytest.raises(UserError, match="has no robot state \\(proprio\\), which this model does not read off frames"):
        judged(model, data)
    with pytest.raises(UserError, match="goals: this model reads no robot state off images"):
        judged(model, data, goals=["goal.png"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"compared": 1}, "compared must be at least 2, got 1"),
        ({"steps": 0}, "steps must be from 1 to 100, got 0"),
    ],
)
def test_a_wrong_setting_is_named(recorded: Callable[..., Path], setting: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        judged(StripeWorld(), recorded(), **setting)


def test_the_table_ends_with_score_and_verdict(recorded: Callable[..., Path]) -> None:
    found = judged(StripeWorld(), recorded())
    lines = table(found).splitlines()
    assert lines[-1] == found["verdict"]
    assert lines[-2].startswith(f"score {found['score']:.1f}: prediction ")
