"""Which tokens of a clip are seen and which are predicted: blocks of rows and columns over all its frames, or its end.

A block's scale and aspect are drawn apart, its place from the first to the last row and column. Every row of a batch
has as many tokens as any other: of what a row has more, tokens are left out at random, wherever they lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields

Grid = tuple[int, int, int]
"""Tokens along time, rows and columns."""
Cells = NDArray[np.bool_]
ATTEMPTS = 10
"""Places that are tried for a block that would leave too little to see, before it is left out."""
LEAST_SEEN = 1 / 8
"""Of the grid's cells."""
MOST_BLOCKS = 1000
LARGEST_SIDE = 64
"""Of the grids that are searched for the smallest that works."""


@dataclass(frozen=True)
class MaskConfig:
    """Blocks whose union is predicted from the rest of the grid, or of one block of it; or what comes next.

    Attributes:
        blocks: how many.
        scale: least and greatest share of the grid's cells in each.
        aspect: least and greatest ratio of its rows to its columns.
        context: least and greatest share of the cells in the block that is seen, less the predicted ones; the whole
            grid where it is null.
        future: least and greatest number of tokens along time that are predicted, all of each, from all of those
            before them: the causal masks of V-JEPA (Bardes et al. 2024, appendix). There are no blocks then.
        past: least and greatest number of tokens along time that are seen before these; as many as fit where it is
            null, but at least one.
    """

    blocks: int = 4
    scale: tuple[float, float] = (0.15, 0.2)
    aspect: tuple[float, float] = (0.75, 1.5)
    context: tuple[float, float] | None = None
    future: tuple[int, int] | None = None
    past: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        convert_fields(self, "masks")
        if not 1 <= self.blocks <= MOST_BLOCKS:
            raise UserError(f"masks.blocks must be from 1 to {MOST_BLOCKS}, got {self.blocks}")
        for name in ("scale", "context"):
            share = getattr(self, name)
            if share is not None and not 0 < share[0] <= share[1] <= 1:
                raise UserError(f"masks.{name} must be two shares above 0 and at most 1, in order, got {list(share)}")
        if not 0 < self.aspect[0] <= self.aspect[1] < math.inf:
            raise UserError(f"masks.aspect must be two ratios above 0, in order, got {list(self.aspect)}")
        for name in ("future", "past"):
            steps = getattr(self, name)
            if steps is not None and not 1 <= steps[0] <= steps[1]:
                raise UserError(f"masks.{name} must be two whole numbers of at least 1, in order, got {list(steps)}")
        if self.past is not None and self.future is None:
            raise UserError("masks.past is of masks with future=[least,most]: give both or neither")
        if self.future is not None:
            for name in ("blocks", "scale", "aspect", "context"):
                if getattr(self, name) != getattr(MaskConfig, name):
                    raise UserError(f"masks.{name} is of blocks, which masks with a future have not: leave it out")


class Masks(NamedTuple):
    """Numbers of tokens in a flattened grid, ascending, of every row of a batch.

    Attributes:
        seen: of shape (N, K).
        hidden: those to predict, of shape (N, M); none is among the seen.
    """

    seen: Tensor
    hidden: Tensor


def draw_masks(grid: Grid, batch: int, config: MaskConfig, generator: torch.Generator) -> Masks:
    """Masks for a batch; the shapes of the blocks are the batch's, their places each row's own.

    Raises:
        UserError: at a grid that is too small, see require_grid().
    """
    require_grid(grid, config)
    rng = np.random.default_rng(int(torch.randint(1 << 62, (), generator=generator)))
    if config.future is not None:
        return draw_future(grid, batch, config.future, config.past or (1, grid[0]), rng)
    time, rows, columns = grid
    least = least_seen(rows, columns)
    seen = np.ones((batch, rows, columns), np.bool_)
    if config.context is not None:
        shape = draw_shape(rows, columns, config.context, (1.0, 1.0), rng)
        seen = place_block(seen, shape, rng)
    room = int(seen[0].sum()) - least
    hidden = np.zeros_like(seen)
    for _ in range(config.blocks):
        shape = shrunk(draw_shape(rows, columns, config.scale, config.aspect, rng), room)
        block = place_block(seen, shape, rng, seen & ~hidden, least)
        hidden |= block
    return Masks(*(over_time(choose_equally_many(cells, rng), grid) for cells in (seen & ~hidden, hidden)))


def draw_future(
    grid: Grid, batch: int, future: tuple[int, int], past: tuple[int, int], rng: np.random.Generator
) -> Masks:
    """Everything at the first steps of time is seen, everything at the next ones hidden; the same for a whole batch.

    The seen are the first of the grid, so that a clip which ends with the hidden ones can stand in its place.
    """
    time, cells = grid[0], grid[1] * grid[2]
    ahead = int(rng.integers(future[0], min(future[1], time - past[0]), endpoint=True))
    before = int(rng.integers(past[0], min(past[1], time - ahead), endpoint=True))
    tokens = torch.arange((before + ahead) * cells).expand(batch, -1)
    return Masks(tokens[:, : before * cells], tokens[:, before * cells :])


def require_grid(grid: Grid, config: MaskConfig) -> None:
    """Raise a UserError that names the smallest grid that works, where this one is too small for the masks."""
    time, rows, columns = grid
    if config.future is not None:
        least = config.future[0] + (config.past or (1, 1))[0]
        if time < least:
            raise UserError(
                f"clips have {time} tokens along time, masks with a future take at least {least}: take more frames, or "
                "a smaller tubelet"
            )
        return
    if time >= 1 and fits(rows, columns, config):
        return
    side = next((side for side in range(1, LARGEST_SIDE) if fits(side, side, config)), None)
    works = "no grid works with these masks" if side is None else f"the smallest that works is {side} x {side}"
    raise UserError(
        f"a grid of {rows} x {columns} patches is too small for masks of {config.scale[0]:g} to {config.scale[1]:g} of "
        f"it: {works}; take a smaller patch, larger frames or smaller masks"
    )


@lru_cache
def fits(rows: int, columns: int, config: MaskConfig) -> bool:
    """Whether any block that can be drawn leaves enough to see, and none is the whole of what is looked at."""
    if rows < 1 or columns < 1:
        return False
    view = rows * columns
    if config.context is not None:
        view = min(height * width for height, width in possible_shapes(rows, columns, config.context, (1.0, 1.0)))
    largest = max(height * width for height, width in possible_shapes(rows, columns, config.scale, config.aspect))
    return view - largest >= least_seen(rows, columns)


def least_seen(rows: int, columns: int) -> int:
    """Cells that have to stay visible."""
    return max(2, math.ceil(LEAST_SEEN * rows * columns))


# ------------------------------------------------------------------ shapes


def block_shape(rows: int, columns: int, scale: float, aspect: float) -> tuple[int, int]:
    """(height, width) of a block with a share `scale` of the cells, `aspect` times as high as wide where that fits."""
    area = max(1, round(scale * rows * columns))
    height = min(max(round(math.sqrt(area * aspect)), 1), rows)
    width = min(max(round(area / height), 1), columns)
    other = min(max(round(area / width), 1), rows)  # where the width had to give way, the height may make up for it
    return min(height, other, key=lambda one: (abs(one * width - area), abs(math.log(one / width / aspect)))), width


def draw_shape(
    rows: int, columns: int, scale: tuple[float, float], aspect: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int]:
    """A block_shape() of a uniform scale, and of an aspect that is drawn by itself, uniformly in its logarithm."""
    return block_shape(rows, columns, rng.uniform(*scale), math.exp(rng.uniform(*np.log(aspect))))


def possible_shapes(
    rows: int, columns: int, scale: tuple[float, float], aspect: tuple[float, float], steps: int = 16
) -> set[tuple[int, int]]:
    """The shapes over the ranges of scale and aspect."""
    scales, aspects = np.linspace(*scale, steps), np.geomspace(*aspect, steps)
    return {block_shape(rows, columns, float(one), float(other)) for one in scales for other in aspects}


def shrunk(shape: tuple[int, int], room: int) -> tuple[int, int]:
    """The shape, its longer side shortened until it has at most `room` cells."""
    height, width = shape
    while height * width > max(room, 1):
        height, width = (height - 1, width) if height >= width else (height, width - 1)
    return height, width


# ------------------------------------------------------------------ places


def place_block(
    grid: Cells, shape: tuple[int, int], rng: np.random.Generator, seen: Cells | None = None, least: int = 0
) -> Cells:
    """A block of cells in each row of a batch, anywhere in the grid (N, rows, columns).

    Args:
        seen: cells of which at least `least` must stay uncovered. Where ATTEMPTS places did not leave them, there is no
            block.
    """
    block = np.zeros_like(grid)
    wanting = np.arange(len(grid))
    for _ in range(ATTEMPTS if seen is not None else 1):
        block[wanting] = somewhere(len(wanting), grid.shape[1:], shape, rng)
        if seen is None:
            break
        wanting = wanting[(seen & ~block)[wanting].sum((1, 2)) < least]
        if not len(wanting):
            break
        block[wanting] = False
    return block


def somewhere(count: int, grid: tuple[int, ...], shape: tuple[int, int], rng: np.random.Generator) -> Cells:
    """A block at a place of its own in each of `count` grids, (count, rows, columns); the last row and column count."""
    inside = []
    for size, side in zip(grid, shape, strict=True):
        first = rng.integers(0, size - side, count, endpoint=True)[:, None]
        inside.append((np.arange(size) >= first) & (np.arange(size) < first + side))
    return inside[0][:, :, None] & inside[1][:, None, :]


def choose_equally_many(cells: Cells, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of set cells, (N, K) ascending: all of the row that has the fewest, as many of the others at random."""
    flat = cells.reshape(len(cells), -1)
    order = np.where(flat, rng.random(flat.shape), np.inf).argsort(1)
    return np.sort(order[:, : int(flat.sum(1).min())], 1)


def over_time(cells: NDArray[np.int64], grid: Grid) -> Tensor:
    """Tokens (N, T K) of cells (N, K): the same in each of the T steps of time."""
    time, rows, columns = grid
    tokens = np.arange(time)[None, :, None] * (rows * columns) + cells[:, None, :]  # (N, T, K)
    return torch.from_numpy(tokens.reshape(len(cells), -1))
