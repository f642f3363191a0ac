"""The windows of frames that the stages of a run train on and are evaluated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.training.config import TrainConfig

DYNAMICS_STEPS = 5  # model steps that the dynamics stage predicts
PLACEMENT_FRAMES = 6  # frames of which each is compared with each, a few model steps apart at most
CRITIC_FRAMES = 11  # frames of the critic's windows at most, or else short episodes would be left out for its sake


@dataclass(frozen=True)
class StageWindows:
    """What one stage takes of an episode at a time.

    Attributes:
        stage: its name.
        frames: of a window.
        action_block: robot steps between two of them.
        batch_size: windows in a batch.
    """

    stage: str
    frames: int
    action_block: int
    batch_size: int

    @property
    def rows(self) -> int:
        """Rows that an episode needs to have one window."""
        return (self.frames - 1) * self.action_block + 1

    def count(self, lengths: NDArray[np.int64]) -> int:
        """Windows in episodes of these lengths."""
        return int(np.maximum(lengths - self.rows + 1, 0).sum())


def stage_windows(config: TrainConfig) -> list[StageWindows]:
    """Those of every stage that the run has, in their order."""
    frames = {
        "joint": 0 if config.pretrained is not None and not config.train_encoder else config.history + config.rollout,
        "appearance": 1,
        "dynamics": config.history + DYNAMICS_STEPS,
        "critic": config.history + critic_rollout(config.history),
        "decoder": 1,
        "reader": 1,
        "placement": PLACEMENT_FRAMES,
        "memory": config.history,
    }
    return [
        StageWindows(name, count, config.action_block, getattr(config, name).batch_size)
        for name, count in frames.items()
        if count and getattr(config, name).steps
    ]


def critic_rollout(history: int) -> int:
    """Model steps that the critic's pairs are imagined ahead at most."""
    return max(min(DYNAMICS_STEPS, CRITIC_FRAMES - history), 1)


def validation_rows(config: TrainConfig) -> int:
    """Rows that an episode needs to be evaluated on: a window of the stages that are, and two of one prediction."""
    evaluated = [one.rows for one in stage_windows(config) if one.stage in ("joint", "dynamics")]
    return max([config.history * config.action_block + 2, *evaluated])


def validation_frames(config: TrainConfig, longest: int) -> int:
    """Frames of the windows that open-loop errors are measured on; the longest held-out episode has `longest` rows."""
    return min(config.history + DYNAMICS_STEPS, (longest - 1) // config.action_block + 1)
