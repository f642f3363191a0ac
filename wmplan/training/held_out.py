"""What a model is measured on while it trains and in its card: held-out windows, and states that probes read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.data import WindowSampler
from wmplan.data.reader import Reader
from wmplan.models import JEPA
from wmplan.training.checks import Side
from wmplan.training.config import TrainConfig
from wmplan.training.losses import effective_rank
from wmplan.training.measures import medians, open_loop_error, probe_errors, proprio_read, worst_entry
from wmplan.training.regions import errors_by_region
from wmplan.training.stage import Batch
from wmplan.training.states import regions_of, state_names
from wmplan.training.windows import validation_frames

WINDOWS = 2048  # that a stage is evaluated on
PROBE_STRIDE = 4  # robot steps between the frames that the probe of the first stage sees
Latents = NDArray[np.float32]


class HeldOut:
    """The held-out episodes of a data set, and what is measured on them.

    Args:
        config: of the run.
        store: the data.
        training, held: numbers of the episodes; probes are fitted on the first.
    """

    def __init__(self, config: TrainConfig, store: Reader, training: Side, held: Side) -> None:
        self.config, self.store, self.training, self.held = config, store, training, held
        self.names, self.regions = state_names(store), regions_of(config, store)

    # ------------------------------------------------------------------ windows

    def batch(self, frames: int, size: int, columns: tuple[str, ...], **cached: Latents) -> Batch:
        """At most `size` held-out windows; what was encoded before is among the columns by its name, as `latent`."""
        return self.windows_of(self.held, frames, size, columns, **cached)

    def windows_of(self, episodes: Side, frames: int, size: int, columns: tuple[str, ...], **cached: Latents) -> Batch:
        """As batch(), of some episodes."""
        stride = self.config.action_block
        windows = int(np.maximum(self.store.lengths[episodes] - (frames - 1) * stride, 0).sum())
        sampler = WindowSampler(
            self.store, frames, stride, max(1, min(size, windows)), 0, episodes=episodes, columns=columns, extra=cached
        )
        return next(iter(sampler))

    def latent_windows(self, frames: int, latents: Latents) -> tuple[Tensor, Tensor]:
        """Latents (N, T, L) and actions (N, T - 1, A)."""
        batch = self.batch(frames, WINDOWS, ("action",), latent=latents)
        return batch["latent"], batch["action"]

    # ------------------------------------------------------------------ figures

    def open_loop(self, model: JEPA, latents: Latents) -> list[float]:
        """Open-loop error by model step; see open_loop_error."""
        frames = validation_frames(self.config, int(self.store.lengths[self.held].max()))
        return open_loop_error(model, *self.latent_windows(frames, latents))

    def card_figures(self, model: JEPA, latents: Latents) -> dict[str, Any]:
        """What the card says the model was measured to do; of states only where the data has any."""
        held = self.rows(latents, self.held)[:, : model.visual_dim]
        figures: dict[str, Any] = {"open_loop": self.open_loop(model, latents)}
        if model.proprio_head is not None:
            figures["proprio_read"] = self.proprio_read(model, latents)
        if self.names:
            fitted = self.training[:300]
            seen = self.rows(latents, fitted)[:, : model.visual_dim]
            states, held_states = (
                to_tensor(self.store.column("state", side)).flatten(1) for side in (fitted, self.held)
            )
            for kind in ("ridge", "mlp"):
                errors = probe_errors(seen, states, held, held_states, self.names, kind)
                figures[f"probe_{kind}"] = medians(errors, self.names)
            figures["probe_by_region"] = errors_by_region(errors, held_states.numpy(), self.names, self.regions)
        figures["effective_rank"] = round(effective_rank(held), 2)
        return figures

    def proprio_read(self, model: JEPA, latents: Latents) -> dict[str, dict[str, float]]:
        """How well the robot's state is read off frames, as goals given as images alone need it; see proprio_read()."""
        count, names = model.spec.proprio_dim, self.store.meta.proprio_names
        names = names if len(names) == count else tuple(f"proprio_{index}" for index in range(count))
        return proprio_read(model, self.rows(latents, self.held), names)

    def probe_by_region(self, model: JEPA) -> dict[str, float]:
        """How well a probe reads the worst entry of the state in each region, off the present encoder; see worst_entry.

        Empty where the data holds no states.
        """
        if not self.names:
            return {}
        sides = []
        for episodes in (self.training[:200], self.held):
            frames, states = [], []
            for episode in episodes:
                columns = self.store.episode(int(episode), (*model.spec.cameras, "state"))
                seen = {
                    camera: torch.from_numpy(columns[camera][None, ::PROBE_STRIDE]) for camera in model.spec.cameras
                }
                with torch.no_grad():
                    visual = model.encode_visual(seen)[0].cpu()
                frames.append(visual)
                states.append(columns["state"][::PROBE_STRIDE].reshape(len(visual), -1))
            sides.append((torch.cat(frames), np.concatenate(states)))
        (latents, states_), (held, held_states) = sides
        errors = probe_errors(latents, to_tensor(states_), held, to_tensor(held_states), self.names, "mlp")
        spread = dict(zip(self.names, held_states.std(0) + 1e-9, strict=True))
        return worst_entry(errors_by_region(errors, held_states, self.names, self.regions), spread)

    def rows(self, latents: Latents, episodes: Side) -> Tensor:
        """The cached latents of some episodes, of shape (rows, L)."""
        spans = [
            slice(o, o + n) for o, n in zip(self.store.offsets[episodes], self.store.lengths[episodes], strict=True)
        ]
        return to_tensor(np.concatenate([latents[span] for span in spans]))


def to_tensor(array: NDArray[Any]) -> Tensor:
    """The array as float32."""
    return torch.from_numpy(np.asarray(array, np.float32))
