"""Symmetric copies of the data: measured on the trained encoder, then cached and mixed into the batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wmplan.data import WindowSampler
from wmplan.data.symmetry import Symmetry
from wmplan.models import JEPA
from wmplan.models.predictors import make_predictor
from wmplan.training.config import TrainConfig
from wmplan.training.held_out import WINDOWS, HeldOut
from wmplan.training.initial_model import seeded_initialisation
from wmplan.training.muon import Muon
from wmplan.training.stage import Batch


class SymmetricWindows:
    """Batches of which equal parts come from the recorded data and from its copies under symmetries.

    Args:
        samplers: one for the recorded data, then one for each symmetry, whose latents are of the copied frames.
        symmetries: one for each sampler but the first.
    """

    def __init__(self, samplers: Sequence[WindowSampler], symmetries: Sequence[Symmetry]) -> None:
        self.samplers, self.symmetries = list(samplers), [None, *symmetries]

    def __iter__(self) -> Iterator[Batch]:
        for parts in zip(*self.samplers, strict=True):
            copies = [
                part if symmetry is None else {**part, "action": symmetry.map_actions(part["action"])}
                for part, symmetry in zip(parts, self.symmetries, strict=True)
            ]
            yield {name: torch.cat([copy[name] for copy in copies]) for name in copies[0]}

    def state_dict(self) -> dict[str, Any]:
        """Where each stream stands."""
        return {"samplers": [sampler.state_dict() for sampler in self.samplers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken.

        Raises:
            DataError: where it was taken from another order.
        """
        for sampler, saved in zip(self.samplers, state["samplers"], strict=True):
            sampler.load_state_dict(saved)


class SymmetryTest:
    """How much worse copies are predicted than what was recorded, by a small predictor that has seen no copy.

    Of an exact symmetry, the copies are as likely as the recorded windows where the data covers both sides alike, and
    are predicted as well. Frames that cannot be what the camera sees, actions that lead elsewhere, or proprioception
    that contradicts the frames, are not.

    Args:
        windows: of the recorded data, to train on: `latent` (N, 3, L) and `action` (N, 2, A), whitened and normalised.
        held: others of it, to compare with.
        seed: of the predictor and its batches.
        steps: of its training.
    """

    def __init__(self, windows: Batch, held: Batch, *, seed: int = 0, steps: int = 800) -> None:
        latents, actions = windows["latent"], windows["action"]
        self.predictor = make_predictor("mlp", latents.shape[2], actions.shape[2], 2, width=128, depth=2)
        generator = torch.Generator().manual_seed(seed)
        optimizer = Muon(self.predictor.parameters(), lr=3e-3)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
            rows = torch.randint(len(latents), (min(256, len(latents)),), generator=generator)
            loss = self.loss(latents[rows], actions[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            self.recorded = float(self.loss(held["latent"], held["action"]))

    def loss(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Mean absolute error, which a few contacts do not decide."""
        return F.l1_loss(self.predictor(latents[:, :2], actions), latents[:, 2])

    @torch.no_grad()
    def excess(self, copies: Batch) -> float:
        """By what share the error on copied windows is above that on recorded ones; 0 for an exact symmetry."""
        return float(self.loss(copies["latent"], copies["action"])) / self.recorded - 1.0


def measure_symmetries(
    config: TrainConfig,
    model: JEPA,
    held_out: HeldOut,
    latents: NDArray[np.float32],
    backgrounds: Mapping[str, Tensor],
) -> dict[str, dict[str, Any]]:
    """By what share copies under each symmetry are predicted worse than what was recorded; whether it is used.

    Args:
        model: with the trained encoder and its whitening.
        latents: of the whole data set, (rows, L).
        backgrounds: of each camera (H, W, 3), where a symmetry leaves them in place.
    """
    columns = (*config.camera_names, "action", *(("proprio",) if config.proprio else ()))
    train = held_out.windows_of(held_out.training, 3, 4 * WINDOWS, ("action",), latent=latents)
    held = held_out.batch(3, WINDOWS, columns, latent=latents)

    def prepared(latents: Tensor, actions: Tensor) -> Batch:
        latents = latents.to(model.device) @ model.whitening.T
        return {"latent": latents.cpu(), "action": model.normalise_actions(actions).cpu()}

    with seeded_initialisation(config.seed + 2):
        test = SymmetryTest(
            prepared(train["latent"], train["action"]), prepared(held["latent"], held["action"]), seed=config.seed
        )
    found: dict[str, dict[str, Any]] = {}
    for name, symmetry in config.symmetries.items():
        proprio = symmetry.map_proprio(held["proprio"]) if config.proprio else None
        with torch.no_grad():
            seen = {
                camera: symmetry.map_frames(held[camera], backgrounds.get(camera)).contiguous()
                for camera in config.camera_names
            }
            copied = model.encode(seen, proprio)
        excess = test.excess(prepared(copied, symmetry.map_actions(held["action"])))
        used = excess <= config.symmetry_tolerance
        found[name] = {"excess": round(excess, 4), "used": used}
        print(
            f"symmetry {name}: the prediction error on copies differs from that on recorded data by "
            f"{100 * excess:+.1f} %; "
            + ("used" if used else f"left out, symmetry_tolerance is {config.symmetry_tolerance}"),
            file=sys.stderr,
        )
    return found
