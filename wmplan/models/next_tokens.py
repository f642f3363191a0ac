"""What comes next in a clip: an encoder that looks back in time alone, and a head that tells the tubelet after each."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.encoders.token_vit import TokenViT

SQUARE = 2
"""Pixels a side of the squares whose mean colour is predicted: a rendered edge is noise at a finer scale."""
LEAST_ERROR = 1e-3
"""Mean squared error of a token that is the least to be expected, colours having a variance of 1."""

FIRST_WEIGHTS, FIRST_EXPECTED = 0.002, 0.02
"""What training begins with: the last frame stands still but for little, and an error as that makes is expected."""


class CausalTokenViT(TokenViT):
    """A TokenViT whose tokens know nothing of later ones: one pass over a clip gives what is known at each time.

    Blocks look by turns back along time at their own place, and around over all places of their own time (divided
    attention, Bertasius et al. 2021, "Is space-time attention all you need for video understanding?"): of a clip with
    T times and S places a token looks at T + S others instead of T S. Before it looks around, a convolution tells it of
    its neighbours (Wu et al. 2021, "CvT"): what moves comes from next to where it goes, and attention learns that late.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.neighbours = nn.ModuleList(Neighbours(self.width) for _ in self.blocks[1::2])

    def forward(self, clips: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens (N, T' x rows x columns, width) of uint8 clips (N, T, H, W, 3), from their first frame on."""
        if seen is not None:
            raise UserError("a causal encoder looks at whole frames: seen must be None")
        return self.of_colours(self.colours(self.tubelets(clips)))

    def of_colours(self, colours: Tensor) -> Tensor:
        """Tokens of the colours (N, T' x rows x columns, pixels) of tubelets."""
        cells = self.grid[1] * self.grid[2]
        times = colours.shape[1] // cells
        place, time = (torch.arange(count, device=colours.device) for count in (cells, times))
        tokens = self.embed(colours) + self.place(place.repeat(times))
        tokens = tokens.unflatten(1, (times, cells))  # (N, T', S, width)
        around, back = (self.place.rotation(index, self.head_dim) for index in (place, time * cells))
        for number, block in enumerate(self.blocks):
            if number % 2:
                shown = self.neighbours[number // 2](tokens.flatten(0, 1), self.grid[1])
                tokens = block(shown, around).unflatten(0, (-1, times))
            else:
                histories = tokens.transpose(1, 2).flatten(0, 1)  # (N S, T', width)
                tokens = block(histories, back, causal=True).unflatten(0, (-1, cells)).transpose(1, 2)
        out: Tensor = self.norm(tokens.flatten(1, 2))
        return out


class Neighbours(nn.Module):
    """What the tokens around one add to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, tokens: Tensor, rows: int) -> Tensor:
        """Tokens (N, rows x columns, width) to the same."""
        image = self.norm(tokens).transpose(1, 2).unflatten(-1, (rows, -1))
        mixed: Tensor = self.mix(image).flatten(2).transpose(1, 2)
        return tokens + mixed


class NextErrors(NamedTuple):
    """How wrong the predictions of a clip's tubelets are, from the second one on.

    Attributes:
        found: mean squared error of each token, (N, T - 1, S), colours having a variance of 1.
        expected: the same as it was expected before, (N, T - 1, S).
    """

    found: Tensor
    expected: Tensor

    @property
    def excess(self) -> Tensor:
        """By how much colours are further off than was expected, (N, T - 1, S); negative where they are nearer."""
        return self.found.sqrt() - self.expected.sqrt()

    @property
    def log_loss(self) -> Tensor:
        """Half the negative logarithm of the likelihood, a number and without its constant, (N, T - 1, S).

        That of a normal distribution whose variance is what was expected.
        """
        return 0.5 * (self.found / self.expected + self.expected.log())


class NextTokens(nn.Module):
    """The tubelet after each one, and how wrong that may be: what changes is added to the last frame that was seen.

    Where an object moves, some error is usual, and on a still backdrop none is. Surprise is an error beyond what was
    expected (Kendall & Gal 2017, "What uncertainties do we need in Bayesian deep learning for computer vision?").

    Args:
        width: of the encoder's tokens.
        frames: of a tubelet.
        patch: pixels a side of a token.
    """

    def __init__(self, width: int, frames: int, patch: int) -> None:
        super().__init__()
        self.frames, self.patch = frames, patch
        self.leave = nn.Linear(width, frames * numbers(patch) + 1)
        nn.init.normal_(self.leave.weight, std=FIRST_WEIGHTS)
        nn.init.zeros_(self.leave.bias)
        nn.init.constant_(self.leave.bias[-1:], math.log(FIRST_EXPECTED))

    def forward(self, tokens: Tensor, colours: Tensor) -> NextErrors:
        """Errors from tokens (N, T, S, width) and the colours (N, T, S, pixels) of the same tubelets."""
        targets = thinned(colours, self.patch).float().unflatten(-1, (self.frames, -1))  # (N, T, S, frames, D)
        out = self.leave(tokens[:, :-1]).float()
        predicted = targets[:, :-1, :, -1:] + out[..., :-1].unflatten(-1, (self.frames, -1))
        found = (predicted - targets[:, 1:]).square().mean((-2, -1))
        return NextErrors(found, out[..., -1].exp() + LEAST_ERROR)


def numbers(patch: int) -> int:
    """Colours that thinned() leaves of a patch in one frame."""
    return 3 * (patch // square(patch)) ** 2


def square(patch: int) -> int:
    return SQUARE if patch % SQUARE == 0 else 1


def thinned(colours: Tensor, patch: int) -> Tensor:
    """Mean colours of the squares of patches: (..., frames patch^2 3) to (..., frames (patch / SQUARE)^2 3)."""
    size = square(patch)
    side = patch // size
    cells = colours.unflatten(-1, (-1, side, size, side, size, 3))
    return cells.mean((-4, -2)).flatten(-4)
