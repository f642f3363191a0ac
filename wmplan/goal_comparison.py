"""How unlike recorded data a goal image is: brighter or darker, and far from its nearest frame in a model's latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wmplan.data.converted import resized
from wmplan.data.reader import Reader

if TYPE_CHECKING:
    from wmplan.models.base import WorldModel

LOOKED_AT = 400  # frames of the data that the goal is compared with
UNLIKE = 0.99  # part of the data's own frames that are nearer to their nearest than a goal worth a warning
SEED = 0


class DataFrames:
    """Frames from all over a data set, none of `left_out`, which the goal itself is of.

    Attributes:
        frames: by column, (N, H, W, 3) in the goal's size.
    """

    def __init__(self, data: Reader, sizes: Mapping[str, tuple[int, int]], left_out: int | None) -> None:
        rng = np.random.default_rng(SEED)
        episodes = [number for number in range(len(data)) if number != left_out] or list(range(len(data)))
        rows = [(number, row) for number in episodes for row in range(int(data.lengths[number]))]
        chosen = rng.choice(len(rows), min(LOOKED_AT, len(rows)), replace=False)
        self.places = sorted(rows[index] for index in chosen)
        self.frames = {
            name: np.concatenate([resized(data.read(*row_of(place, name)), *size) for place in self.places])
            for name, size in sizes.items()
        }

    def compare(self, goals: Mapping[str, NDArray[np.uint8]], model: WorldModel | None) -> list[str]:
        """How unlike these frames the goal is, in sentences."""
        told = [self._brightness(name, goal, len(goals) > 1) for name, goal in goals.items()]
        if model is None:
            return [*told, "with model=..., its latent is compared with the data's"]
        both = {name: np.concatenate([self.frames[name], goal[None]]) for name, goal in goals.items()}
        latents = _latents(model, both)  # (N + 1, L)
        latents = latents / np.maximum(latents[:-1].std(0), 1e-6) / latents.shape[1] ** 0.5
        to_goal = np.linalg.norm(latents[:-1] - latents[-1], axis=1)
        own = self._own_distances(latents[:-1])
        nearest = int(to_goal.argmin())
        episode, row = self.places[nearest]
        if not len(own):
            return [*told, "the data has one episode, so there is nothing to compare its latent's distance with"]
        usual, beyond = float(np.median(own)), float((own < to_goal[nearest]).mean())
        told.append(
            f"latent: nearest to episode {episode}, step {row}, at {to_goal[nearest]:.2f}; frames of the data have "
            f"{usual:.2f} (median) to the nearest of another episode, and {100 * beyond:.0f} % of them have less"
        )
        if beyond >= UNLIKE:
            told[-1] += ": it is unlike what the model has seen, and plans to it will be poor"
        return told

    def _brightness(self, name: str, goal: NDArray[np.uint8], is_one_of_several: bool) -> str:
        level, levels = goal.mean(), self.frames[name].mean((1, 2, 3))
        low, high = np.quantile(levels, (0.01, 0.99))
        of = f"{name}: " if is_one_of_several else ""
        told = f"{of}brightness {level:.0f} of 255; 98 % of the data's frames have {low:.0f} to {high:.0f}"
        return told if low - 5 <= level <= high + 5 else f"{told}: it is unlike them (exposure=match)"

    def _own_distances(self, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """From each frame to the nearest of another episode, (N,); none where there is one episode only."""
        import torch

        from wmplan.validation.nearest import nearest_apart

        episodes = np.array([episode for episode, _ in self.places])
        apart = torch.from_numpy(episodes[:, None] != episodes)
        distances = nearest_apart(torch.from_numpy(latents), apart)[0].numpy()
        return distances[np.isfinite(distances)]


def _latents(model: WorldModel, frames: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Of frames (N, H, W, 3) by camera, (N, L): what they show, without the robot's own state."""
    import torch

    spec = model.spec
    found = []
    count = len(next(iter(frames.values())))
    for part in np.array_split(np.arange(count), -(-count // 32)):
        pixels = {name: torch.from_numpy(whole[part])[:, None].to(model.device) for name, whole in frames.items()}
        state = None
        if spec.proprio_dim and not model.reads_proprio:
            state = torch.tensor(spec.proprio_mean, dtype=torch.float32).expand(len(part), 1, -1).to(model.device)
        seen = pixels if len(spec.cameras) > 1 else next(iter(pixels.values()))
        with torch.inference_mode():
            found.append(model.encode(seen, state)[:, 0].flatten(1).double().cpu().numpy())
    latents = np.concatenate(found)
    flat = len(spec.latent_shape) == 1 and spec.proprio_dim
    return latents[:, : -spec.proprio_dim] if flat and latents.shape[1] > spec.proprio_dim else latents


def row_of(place: tuple[int, int], column: str) -> tuple[int, str, int, int]:
    """What Reader.read() takes for one row of an episode."""
    return place[0], column, place[1], place[1] + 1
