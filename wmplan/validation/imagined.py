"""What a model imagines under the recorded actions, picture by picture beside what the camera recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.output_folder import make_folder
from wmplan.validation.recordings import Recordings, Window


@dataclass(frozen=True, eq=False)
class Imagined:
    """One window, from its newest frame on; a frame a model step.

    Attributes:
        episode: its number in the data.
        row: of the episode's rows, the newest that the model saw.
        real, imagined: uint8 (1 + K, H, W, 3); the first of both is the newest that the model saw.
    """

    episode: int
    row: int
    real: NDArray[np.uint8]
    imagined: NDArray[np.uint8]


@torch.inference_mode()
def imagine(recordings: Recordings) -> list[Imagined]:
    """One window of each episode whose frames are kept, the one with most motion; empty without a decoder."""
    model, found = recordings.model, []
    if model.decoder is None:
        return []
    windows = recordings.windows(recordings.steps)
    for number, one in enumerate(recordings.recordings):
        own = [window.now for window in windows if window.recording == number]
        if one.frames is None or not own:
            continue
        now = max(own, key=lambda at: float((one.small[at + recordings.steps] - one.small[at]).square().sum()))
        batch = recordings.gather([Window(number, now)], recordings.steps)
        predicted = model.rollout(batch.context, batch.actions[:, None], batch.past)[0, 0]  # (K, *latent)
        pictures = model.decoder(torch.cat([batch.now, predicted]))
        imagined = (pictures * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        real = one.frames[now : now + recordings.steps + 1]
        if imagined.shape == real.shape:
            found.append(Imagined(one.episode, now * model.spec.action_block, real, imagined))
    return found


def save(folder: Path, windows: Sequence[Imagined]) -> None:
    """Write each as imagined/EPISODE.npz, in place of those that are there; no folder without any."""
    for old in (folder / "imagined").glob("*.npz"):
        old.unlink()
    for one in windows:
        make_folder(folder / "imagined")
        arrays: dict[str, Any] = {"row": np.array(one.row), "real": one.real, "imagined": one.imagined}
        write_durably(
            folder / "imagined" / f"{one.episode:06d}.npz",
            lambda file, arrays=arrays: np.savez_compressed(file, **arrays),  # type: ignore[misc]
        )


def load(folder: Path) -> list[Imagined]:
    """What save() wrote."""
    found = []
    for path in sorted((folder / "imagined").glob("*.npz")):
        with np.load(path) as arrays:
            found.append(Imagined(int(path.stem), int(arrays["row"]), arrays["real"], arrays["imagined"]))
    return found
