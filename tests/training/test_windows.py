"""What the stages ask of an episode's length."""

from __future__ import annotations

import pytest

from wmplan.training.config import TrainConfig
from wmplan.training.windows import stage_windows


@pytest.mark.parametrize("history", [1, 2, 6, 10, 11, 15])
def test_the_critic_needs_no_longer_episodes_than_it_did_and_imagines_a_step_at_least(history: int) -> None:
    windows = {one.stage: one for one in stage_windows(TrainConfig("data", "out", history=history))}
    assert history + 1 <= windows["critic"].frames <= max(11, history + 1)
    assert windows["critic"].rows <= max(51, windows["joint"].rows)
    assert windows["critic"].frames <= windows["dynamics"].frames
