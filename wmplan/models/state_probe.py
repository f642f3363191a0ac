"""Reads the task's state off a latent. For diagnosis only: unlike a world model, it is trained with true states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wmplan.errors import UserError

MAX_LATENT = 4096
"""Longer latents (patch tokens) are first projected to this many random directions."""


class StateCode:
    """Task states as targets of a regression: an angle (a name ending in `_rad`) as its sine and cosine.

    Args:
        names: of the D entries of a task state.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.angle = torch.tensor([name.endswith("_rad") for name in names])

    def encode(self, states: Tensor) -> Tensor:
        """Targets (..., D + angles) of states (..., D): plain entries, then sines, then cosines."""
        angles = states[..., self.angle]
        return torch.cat([states[..., ~self.angle], angles.sin(), angles.cos()], dim=-1)

    def decode(self, targets: Tensor) -> Tensor:
        """States (..., D) of targets (..., D + angles)."""
        plain, count = int((~self.angle).sum()), int(self.angle.sum())
        states = targets.new_empty((*targets.shape[:-1], len(self.angle)))
        states[..., ~self.angle] = targets[..., :plain]
        states[..., self.angle] = torch.atan2(targets[..., plain : plain + count], targets[..., plain + count :])
        return states


class StateProbe(nn.Module):
    """A regression from latents to task states, fitted once in the constructor.

    Args:
        latents: of shape (N, *latent).
        states: task states, of shape (N, D).
        names: of the entries of a task state.
        kind: "ridge", linear, or "mlp", the same and a small network for what it leaves: what only the second reads is
            there, but folded.
        seed: of the MLP's initial weights and batches.
        steps: of the MLP's training.
    """

    def __init__(
        self,
        latents: Tensor,
        states: Tensor,
        names: Sequence[str],
        kind: str = "mlp",
        *,
        seed: int = 0,
        steps: int = 1000,
    ) -> None:
        super().__init__()
        if kind not in ("ridge", "mlp"):
            raise UserError(f"kind of probe must be 'ridge' or 'mlp', got {kind!r}")
        self.code = StateCode(names)
        self.latent_dims = latents.ndim - 1
        generator = torch.Generator().manual_seed(seed)
        flat = latents.flatten(1).float()
        self.projection: Tensor | None = None
        if flat.shape[1] > MAX_LATENT:
            self.projection = torch.randn(flat.shape[1], MAX_LATENT, generator=generator) / flat.shape[1] ** 0.5
            flat = flat @ self.projection
        targets = self.code.encode(states.float())
        correction = min(1, len(flat) - 1)  # a single row has a deviation of 0, not nan
        self.mean, self.std = flat.mean(0), flat.std(0, correction=correction).clamp_min(1e-6)
        self.target_mean = targets.mean(0)
        self.target_std = targets.std(0, correction=correction).clamp_min(1e-6)
        inputs = (flat - self.mean) / self.std
        wanted = (targets - self.target_mean) / self.target_std
        self.linear = ridge(inputs, wanted)
        self.folded = mlp(inputs, wanted - self.linear(inputs), steps, generator) if kind == "mlp" else None
        self.requires_grad_(False)

    @torch.inference_mode()
    def forward(self, latents: Tensor) -> Tensor:
        """States (..., D) read off latents (..., *latent)."""
        flat = latents.flatten(latents.ndim - self.latent_dims).float()
        if self.projection is not None:
            flat = flat @ self.projection
        inputs = (flat - self.mean) / self.std
        read = self.linear(inputs) if self.folded is None else self.linear(inputs) + self.folded(inputs)
        return self.code.decode(read * self.target_std + self.target_mean)


def ridge(inputs: Tensor, targets: Tensor, penalty: float = 1e-3) -> nn.Linear:
    """Ridge regression of standardised targets (N, K) on standardised inputs (N, L); penalty is relative to N."""
    gram = inputs.double().T @ inputs.double() / len(inputs)  # (L, L)
    gram += penalty * torch.eye(gram.shape[0], dtype=torch.float64)
    solution = torch.linalg.solve(gram, inputs.double().T @ targets.double() / len(inputs))  # (L, K)
    layer = linear(inputs.shape[1], targets.shape[1], torch.Generator())
    with torch.no_grad():
        layer.weight.copy_(solution.T)
        layer.bias.zero_()
    return layer.requires_grad_(False)


def mlp(inputs: Tensor, targets: Tensor, steps: int, generator: torch.Generator, width: int = 160) -> nn.Sequential:
    """A small network fitted with AdamW and a cosine decay; it draws only from `generator`."""
    last = linear(width, targets.shape[1], generator)
    nn.init.zeros_(last.weight)  # it begins with adding nothing
    net = nn.Sequential(
        linear(inputs.shape[1], width, generator), nn.GELU(), linear(width, width, generator), nn.GELU(), last
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (min(256, len(inputs)),), generator=generator)
        loss = nn.functional.mse_loss(net(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer initialised from `generator` alone."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer


def state_errors(read: NDArray[np.float64], true: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """Absolute error of each entry of the states (..., D), angles the short way round."""
    error = np.abs(np.asarray(read, np.float64) - np.asarray(true, np.float64))
    angle = np.array([name.endswith("_rad") for name in names])
    return np.where(angle, np.minimum(error % (2 * np.pi), 2 * np.pi - error % (2 * np.pi)), error)
