"""A residual MLP over the concatenated window: the fast predictor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

from torch import Tensor, nn

from wmplan.models.linear import Linear
from wmplan.models.predictors.base import Predictor
from wmplan.models.registry import require_positive
from wmplan.registry import register_predictor


class ResidualPerceptron(nn.Module):
    """x + W2 SiLU(W1 LayerNorm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(self.norm(x))


@register_predictor("mlp")
class MLPPredictor(Predictor):
    """The next latent is the newest one plus what a residual MLP gives for the window.

    The first layer is a sum of one linear map a frame and one an action, so that what all candidates of a robot share
    (the context, at the first steps of a rollout) goes through it once a robot and not once a candidate. The last
    layer starts at zero: an untrained predictor says that nothing moves.

    Args:
        latent_dim: L.
        action_dim: A.
        history: h.
        action_block: of no concern here: a block goes in whole.
        width, depth: of the residual blocks.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        history: int,
        action_block: int = 1,
        *,
        width: int = 256,
        depth: int = 3,
    ) -> None:
        super().__init__()
        require_positive("mlp predictor", width=width, depth=depth)
        self.history = history
        self.latent_in = nn.ModuleList(Linear(latent_dim, width, bias=i == 0) for i in range(history))
        self.action_in = nn.ModuleList(Linear(action_dim, width, bias=False) for _ in range(history))
        self.blocks = nn.Sequential(*(ResidualPerceptron(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.out = Linear(width, latent_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def step(self, latents: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        pairs = zip([*self.latent_in, *self.action_in], [*latents, *actions], strict=True)
        hidden: Tensor = reduce(add, [layer(x) for layer, x in pairs])  # (B, S, width), the shared parts broadcast
        return latents[-1] + self.out(self.norm(self.blocks(hidden)))
