"""Which episodes count as held out, by what the model's card and the data say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wmplan.data.sampler import split_episodes
from wmplan.errors import UserError
from wmplan.validation.held_out import choose_episodes

TASK = "wmplan.envs:wmplan/PushT-v0"
TRAINING = {"task": TASK, "validation": 0.25, "history": 1, "action_block": 2}


class Data:
    """What is read of a reader."""

    def __init__(self, episodes: int = 40, seed: int | None = 7, rows: int = 101, task: str | None = TASK) -> None:
        self.meta = SimpleNamespace(seed=seed, task=task, steps=rows - 1)
        self.lengths, self.name = np.full(episodes, rows), "data"

    def __len__(self) -> int:
        return len(self.lengths)


def card(episodes: int = 40, seed: int | None = 7, steps: int | None = 100) -> dict[str, Any]:
    return {"task": TASK, "training": TRAINING, "data": {"seed": seed, "episodes": episodes, "steps": steps}}


def chosen(card: dict[str, Any], data: Any, count: int = 100) -> Any:
    return choose_episodes(card, data, count, seed=0, rows=3)


def test_of_its_own_training_data_a_model_is_judged_on_what_its_training_held_out() -> None:
    choice = chosen(card(), Data())
    assert choice.episodes == split_episodes(40, 0.25)[1].tolist()
    assert choice.held_out is True
    assert "own training data" in choice.said


def test_episodes_collected_after_the_training_are_held_out_too() -> None:
    assert chosen(card(episodes=40), Data(episodes=50)).episodes == [*split_episodes(40, 0.25)[1], *range(40, 50)]


def test_data_of_another_seed_or_task_was_never_seen() -> None:
    for other in (Data(seed=8), Data(task="mine:mine/Other-v0"), Data(seed=None, task=None)):
        choice = chosen(card(), other)
        assert choice.held_out is True
        assert choice.episodes == list(range(40))


def test_recorded_data_as_large_as_what_it_was_trained_on_counts_as_that() -> None:
    assert chosen(card(seed=None), Data(seed=None)).episodes == split_episodes(40, 0.25)[1].tolist()
    choice = chosen(card(seed=None), Data(seed=None, episodes=41))
    assert choice.held_out is None
    assert "cannot tell" in choice.said


def test_a_card_that_says_nothing_leaves_it_open() -> None:
    choice = chosen({}, Data())
    assert choice.held_out is None
    assert "may be among it" in choice.said


def test_trained_on_episodes_are_told_where_no_other_is_long_enough() -> None:
    short = Data()
    short.lengths[split_episodes(40, 0.25)[1]] = 50  # long enough for training to hold them out
    choice = choose_episodes(card(), short, 100, seed=0, rows=100)
    assert choice.held_out is False
    assert "TRAINED" in choice.said


def test_a_few_are_drawn_from_the_seed() -> None:
    first, again, other = (choose_episodes(card(), Data(), 4, seed, 3).episodes for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 4


def test_too_short_episodes_are_refused() -> None:
    with pytest.raises(UserError, match="no episode of data has the 300 rows"):
        choose_episodes(card(), Data(), 4, 0, 300)
