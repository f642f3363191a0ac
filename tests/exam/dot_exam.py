"""An exam in plain numpy: a dot moves steadily along a row, and at the break it is suddenly in another row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.exam.quadruplet import Quadruplet
from wmplan.models.base import ModelSpec, WorldModel

SIZE, LENGTH, BREAK = 32, 14, 7


def frames_of(states: NDArray[np.float64], ground: int = 0) -> NDArray[np.uint8]:
    """A white dot at row and column of the states (T, 4), on grey."""
    frames = np.full((len(states), SIZE, SIZE, 3), ground, np.uint8)
    rows, columns = states[:, :2].astype(int).T
    frames[np.arange(len(states)), rows, columns] = 255
    return frames


class DotExam:
    """Severity is how many rows the dot jumps."""

    properties = {"rows": "rows that the dot jumps", "columns": "columns that the dot jumps"}
    length, rate, action_dim = LENGTH, 10.0, 0

    def __init__(self, image_size: tuple[int, int]) -> None:
        assert image_size == (SIZE, SIZE)

    def quadruplet(self, name: str, index: int, rng: np.random.Generator) -> Quadruplet:
        row, column = rng.integers(0, 8, 2)
        jump = int(rng.integers(2, 8))
        other = (row + jump, column) if name == "rows" else (row, column + jump)
        starts = [np.array([*place, 0.0, 1.0]) for place in ((row, column), other)]
        states = np.stack([self._moved(one, LENGTH) for one in starts])
        frames = np.stack([frames_of(one) for one in states])
        return Quadruplet(
            violates=name,
            index=index,
            occluded=index % 2 == 0,
            break_at=BREAK,
            severity=float(jump),
            frames=frames,
            recoloured=np.concatenate([frames[0, :BREAK], frames_of(states[0, BREAK:], 40)]),
            states=states,
        )

    def predict(self, quadruplet: Quadruplet, world: int, frame: int) -> NDArray[np.float64]:
        return self._moved(quadruplet.states[world, frame], LENGTH - frame)

    def close(self) -> None: ...

    @staticmethod
    def _moved(state: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        return np.array([[*(state[:2] + step * state[2:]), *state[2:]] for step in range(count)])


class DotModel(WorldModel):
    """Reads the dot's place off the frame and goes on as it did between the last two.

    Args:
        knows: whether it predicts; if not, its prediction has nothing to do with the frames.
    """

    def __init__(self, knows: bool = True, block: int = 1) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=2,
            action_block=block,
            action_low=(-1.0,),
            action_high=(1.0,),
            action_mean=(0.0,),
            action_std=(1.0,),
            latent_shape=(2,),
        )
        self.knows = knows

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        flat = frames[..., 0].flatten(2).float().argmax(-1)
        return torch.stack([flat // SIZE, flat % SIZE], -1).float()

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        steps = torch.arange(1, actions.shape[2] + 1).view(1, 1, -1, 1)
        last = context[:, None, -1:]
        if not self.knows:
            return torch.zeros(len(context), 1, actions.shape[2], 2) + 0 * steps
        motion = last - context[:, None, -2:-1] if context.shape[1] > 1 else 0 * last
        return last + motion * steps
