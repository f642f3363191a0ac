"""Windows and goals of the same episode, on rows that spell out where they are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from wmplan.data import WindowSampler
from wmplan.training.goal_pairs import GoalPairs

LENGTHS = np.array([40, 31, 61, 36])
STRIDE, FRAMES, NEWEST = 5, 7, 1


class Rows:
    """A data set of actions alone, all zero."""

    name, decodes = "rows", False
    lengths, offsets = LENGTHS, np.cumsum(LENGTHS) - LENGTHS
    num_rows = int(LENGTHS.sum())
    columns = {"action": ((1,), np.dtype(np.float32))}

    def __len__(self) -> int:
        return len(LENGTHS)

    def require_column(self, name: str) -> None:
        assert name in self.columns

    def column(self, name: str, episodes: Any, progress: bool = False) -> np.ndarray:
        return np.zeros((int(LENGTHS[episodes].sum()), 1), np.float32)


def latents() -> np.ndarray:
    """(rows, 2): number of the episode, and of the row in it."""
    return np.concatenate([np.stack([np.full(n, e), np.arange(n)], 1) for e, n in enumerate(LENGTHS)]).astype("f4")


def pairs(seed: int = 0) -> GoalPairs:
    store: Any = Rows()
    extra = {"latent": latents(), "row": np.arange(Rows.num_rows)}
    sampler = WindowSampler(store, FRAMES, STRIDE, 8, seed, episodes=[0, 1, 2], columns=("action",), extra=extra)
    return GoalPairs(sampler, latents(), store, NEWEST)


def test_a_goal_is_of_the_same_episode_and_not_before_the_newest_context_frame() -> None:
    steps, ends = [], set()
    for batch in itertools.islice(pairs(), 300):
        assert set(batch) == {"latent", "action", "goal", "steps"}
        newest = batch["latent"][:, NEWEST]
        assert torch.equal(batch["goal"][:, 0], newest[:, 0])
        torch.testing.assert_close(batch["goal"][:, 1] - newest[:, 1], STRIDE * batch["steps"])
        assert (batch["steps"] >= 0).all() and batch["steps"].dtype == torch.float32
        steps += batch["steps"].tolist()
        ends |= {(int(e), int(t)) for e, t in batch["goal"].tolist()}
    assert max(steps) == (61 - 1 - STRIDE) / STRIDE  # from the first window of the longest episode to its end
    assert {(e, LENGTHS[e] - 1) for e in range(3)} <= ends
    assert {round(step * STRIDE) % STRIDE for step in steps} == set(range(STRIDE))  # between model steps, too


def test_goals_are_uniform_over_what_is_left() -> None:
    found = [
        step * STRIDE / (61 - 1 - row)
        for batch in itertools.islice(pairs(), 600)
        for step, (episode, row) in zip(batch["steps"].tolist(), batch["latent"][:, NEWEST].tolist(), strict=True)
        if episode == 2
    ]
    counts, _ = np.histogram(found, bins=4, range=(0, 1.0001))
    assert (np.abs(counts / len(found) - 0.25) < 0.03).all()


@pytest.mark.parametrize("taken", [0, 3, 7])
def test_a_stream_that_goes_on_draws_the_same_goals(taken: int) -> None:
    whole = list(itertools.islice(pairs(), 20))
    first = pairs()
    list(itertools.islice(first, taken))
    second = pairs()
    second.load_state_dict(first.state_dict())
    for wanted, found in zip(whole[taken:], second, strict=False):
        assert torch.equal(wanted["goal"], found["goal"]) and torch.equal(wanted["latent"], found["latent"])
    assert not torch.equal(next(iter(pairs(seed=1)))["goal"], whole[0]["goal"])
