"""A hidden state that moves one robot step at a time; latents are read off it where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmplan.models.linear import Linear
from wmplan.models.predictors.base import Predictor
from wmplan.models.predictors.mlp import ResidualPerceptron
from wmplan.models.registry import require_positive
from wmplan.registry import register_predictor


class Transition(nn.Module):
    """h + W2 SiLU(W1 [LayerNorm(h), a] + b): one residual layer of a robot step."""

    def __init__(self, hidden: int, width: int, action_dim: int) -> None:
        super().__init__()
        self.inner = Linear(hidden + action_dim, width)
        self.outer = Linear(width, hidden, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, hidden: Tensor, action: Tensor) -> Tensor:
        """Hidden states (..., hidden) under one robot step's actions (..., a), in whose type the products are."""
        normed = F.layer_norm(hidden, hidden.shape[-1:]).to(action.dtype)
        inner = self.inner(torch.cat([normed, action], -1))
        return hidden + self.outer(F.silu(inner, inplace=not torch.is_grad_enabled()))


@register_predictor("hidden_state")
class HiddenStatePredictor(Predictor):
    """The window becomes a hidden state once; that is moved by robot steps, and latents are read off it.

    A predictor that feeds its latents back has to tell all of a latent at every step, the encoder's noise included,
    and its errors are next step's inputs. A hidden state keeps what moves, is trained over the whole rollout, and takes
    the actions at the robot's rate, as contact does (Hafner et al. 2019, PlaNet, whose deterministic path this is;
    Schrittwieser et al. 2020, MuZero). An untrained one reads the same latent for ever.

    Args:
        latent_dim: L.
        action_dim: A.
        history: h.
        action_block: robot steps in a model step; A is a multiple.
        hidden: numbers in the hidden state.
        width: of the hidden layers.
        depth: residual layers in a robot step.
        bfloat16: multiply in bfloat16 where no gradient is asked for, until WorldModel.compute_in() says otherwise. The
            hidden state itself stays as it is: only what a step adds is rounded.
    """

    def __init__(
        self,
        latent_dim: int,
        action_dim: int,
        history: int,
        action_block: int = 1,
        *,
        hidden: int = 128,
        width: int = 256,
        depth: int = 2,
        bfloat16: bool | None = None,
    ) -> None:
        super().__init__()
        require_positive("hidden_state predictor", hidden=hidden, width=width, depth=depth)
        self.history, self.action_block, self.robot_dim = history, action_block, action_dim // action_block
        self.rounds = bool(bfloat16)
        self.latent_in = nn.ModuleList(Linear(latent_dim, width, bias=i == 0) for i in range(history))
        self.action_in = nn.ModuleList(Linear(action_dim, width, bias=False) for _ in range(history - 1))
        self.begin_layers = nn.Sequential(
            ResidualPerceptron(width), ResidualPerceptron(width), nn.LayerNorm(width), Linear(width, hidden)
        )
        self.transitions = nn.ModuleList(Transition(hidden, width, self.robot_dim) for _ in range(depth))
        self.read_layers = nn.Sequential(
            nn.LayerNorm(hidden), Linear(hidden, width), nn.SiLU(), Linear(width, latent_dim)
        )

    def begin(self, latents: Sequence[Tensor], past_actions: Sequence[Tensor]) -> Tensor:
        """The hidden state (..., hidden) after h latents (..., L) and the h - 1 blocks (..., A) between them."""
        pairs = zip([*self.latent_in, *self.action_in], [*latents, *past_actions], strict=True)
        hidden: Tensor = self.begin_layers(reduce(add, [layer(x) for layer, x in pairs]))
        return hidden

    def states(self, hidden: Tensor, actions: Tensor) -> Iterator[Tensor]:
        """The hidden states (B, S, hidden) after each robot step of actions (B, S, T, a), from one (B, 1, hidden)."""
        hidden = hidden.expand(-1, actions.shape[1], -1)
        if self.rounds and hidden.dtype == torch.float32 and not torch.is_grad_enabled():
            actions = actions.bfloat16()
        for action in actions.unbind(2):
            for transition in self.transitions:
                hidden = transition(hidden, action)
            yield hidden

    def read(self, hidden: Tensor) -> Tensor:
        """Latents (..., L) of hidden states (..., hidden)."""
        latents: Tensor = self.read_layers(hidden)
        return latents

    def step(self, latents: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        hidden = self.begin(latents, actions[:-1])
        *_, hidden = self.states(hidden, self.robot_steps(actions[-1][:, :, None]))
        return self.read(hidden)

    def robot_steps(self, actions: Tensor) -> Tensor:
        """Blocks (B, S, H, A) as robot steps (B, S, H * action_block, a)."""
        return actions.unflatten(3, (self.action_block, self.robot_dim)).flatten(2, 3)

    def predict_at(self, context: Tensor, past_actions: Tensor, actions: Tensor, steps: Sequence[int]) -> Tensor:
        """Latents (B, S, len(steps), L) after some numbers of robot steps, rising, of actions (B, S, T, a)."""
        hidden = self.begin(context.unsqueeze(1).unbind(2), past_actions.unsqueeze(1).unbind(2))  # (B, 1, hidden)
        wanted = set(steps)
        moved = self.states(hidden, actions[:, :, : max(steps)])
        return self.read(torch.stack([state for step, state in enumerate(moved, 1) if step in wanted], 2))

    def rollout(self, context: Tensor, past_actions: Tensor, actions: Tensor, last_only: bool = False) -> Tensor:
        steps = range(self.action_block, actions.shape[2] * self.action_block + 1, self.action_block)
        return self.predict_at(context, past_actions, self.robot_steps(actions), steps[-1:] if last_only else steps)
