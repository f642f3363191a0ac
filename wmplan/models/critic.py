"""Temporal distance between latents: how many model steps from one to the other, as a planning cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.errors import UserError
from wmplan.models.registry import require_positive

KINDS = ("quasimetric", "mlp", "interaction")


class TemporalCritic(nn.Module):
    """Model steps from a latent to a goal latent, at least 0.

    As a quasimetric it is d(x, y) = mean over groups of max_i relu(f_i(x) - f_i(y)) + ||g(x) - g(y)||, the metric
    residual network of Liu et al. 2023 (MRN) in groups: whatever its weights, d(x, x) = 0 and the triangle inequality
    hold, as they do for the optimal number of steps, and going is not assumed to cost what coming back costs.
    The "mlp" is a plain MLP of both latents, with neither. Nor does "interaction" have them, an MLP of z, g, z - g and
    z * g (features as InferSent compares sentences by, Conneau et al. 2017), which need not learn to compare.

    Args:
        latent_dim: L.
        kind: "quasimetric", "mlp" or "interaction".
        width, depth: of the MLP.
        embedding: numbers in each of f and g; a multiple of groups.
        groups: groups of f and g, each with a distance of its own.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        kind: str = "quasimetric",
        width: int = 256,
        depth: int = 2,
        embedding: int = 64,
        groups: int = 4,
    ) -> None:
        super().__init__()
        require_positive("critic", width=width, depth=depth, embedding=embedding, groups=groups)
        if kind not in KINDS:
            raise UserError(f"critic: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if embedding % groups:
            raise UserError(f"critic: embedding must be a multiple of groups, {groups}, got {embedding}")
        self.kind, self.groups = kind, groups
        self.latent_in = nn.Linear(4 * latent_dim if kind == "interaction" else latent_dim, width)
        if kind == "mlp":
            self.goal_in = nn.Linear(latent_dim, width, bias=False)
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width)]
        out = nn.Linear(width, 2 * embedding if kind == "quasimetric" else 1)
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width), nn.SiLU(), out)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, latent: Tensor, goal: Tensor) -> Tensor:
        """Steps (...) from latents (..., L) to goals (..., L).

        The leading shapes broadcast, and a goal that several latents share, (B, 1, 1, L) beside (B, S, H, L), is
        embedded once.
        """
        if self.kind != "quasimetric":
            hidden = self.compare(latent, goal)
            return F.softplus(self.layers(hidden).squeeze(-1)) * self.log_scale.exp()
        apart = self.embed(latent) - self.embed(goal)  # (..., 2, groups, embedding / groups)
        one_way = apart[..., 0, :, :].relu().amax(-1)  # (..., groups)
        both_ways = torch.linalg.vector_norm(apart[..., 1, :, :], dim=-1)
        return (one_way + both_ways).mean(-1) * self.log_scale.exp()

    def compare(self, latent: Tensor, goal: Tensor) -> Tensor:
        """The first hidden layer (..., width) of the MLP kinds."""
        if self.kind == "mlp":
            hidden: Tensor = self.latent_in(latent) + self.goal_in(goal)
            return hidden
        latent, goal = torch.broadcast_tensors(latent, goal)
        both: Tensor = self.latent_in(torch.cat([latent, goal, latent - goal, latent * goal], -1))
        return both

    def embed(self, latent: Tensor) -> Tensor:
        """f and g of latents (..., L), of shape (..., 2, groups, embedding / groups)."""
        return self.layers(self.latent_in(latent)).unflatten(-1, (2, self.groups, -1))
