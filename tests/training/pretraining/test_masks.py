"""Masks over every small grid: where blocks lie, how large they are, and that drawing them ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wmplan.errors import UserError
from wmplan.training.pretraining.config import RECIPES
from wmplan.training.pretraining.masks import (
    MaskConfig,
    block_shape,
    choose_equally_many,
    draw_masks,
    draw_shape,
    fits,
    least_seen,
    require_grid,
)

IMAGES, SHORT, LONG = *RECIPES["ijepa"].masks, *RECIPES["vjepa"].masks
CONFIGS = {"ijepa": IMAGES, "short": SHORT, "long": LONG}
SIDES = range(4, 17)


def draw(
    grid: tuple[int, int, int], config: MaskConfig, batch: int = 6, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    masks = draw_masks(grid, batch, config, torch.Generator().manual_seed(seed))
    return masks.seen.numpy(), masks.hidden.numpy()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_grid_has_masks(name: str) -> None:
    """From 4 x 4 to 16 x 16 x 8: seen and hidden are apart, enough stays to see, and all times are alike."""
    for rows in SIDES:
        for columns in SIDES:
            time = 1 + (rows * columns) % 8
            cells = rows * columns
            seen, hidden = draw((time, rows, columns), CONFIGS[name], seed=cells)
            assert seen.shape[1] >= time * least_seen(rows, columns)
            assert hidden.shape[1] >= time
            for one, other in zip(seen, hidden, strict=True):
                assert not set(one) & set(other)
                for tokens in (one, other):
                    assert len(set(tokens)) == len(tokens) and tokens.min() >= 0 and tokens.max() < time * cells
                    by_time = tokens.reshape(time, -1) - cells * np.arange(time)[:, None]
                    assert (by_time == by_time[0]).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_cell_is_hidden_and_seen_at_times(name: str) -> None:
    """The last row and column too."""
    for rows, columns in [(4, 4), (4, 16), (16, 4), (5, 7), (8, 8), (16, 16)]:
        counts = np.zeros((2, rows * columns))
        for seed in range(12):
            for count, tokens in zip(counts, draw((1, rows, columns), CONFIGS[name], 64, seed), strict=True):
                np.add.at(count, tokens.ravel(), 1)
        assert (counts[1] > 0).all(), (rows, columns)
        assert name == "long" or (counts[0] > 0).all()  # a block of 70 % always lies over the middle
        flipped = counts.reshape(2, rows, columns)[:, ::-1, ::-1]  # no corner is dearer than another
        assert np.abs(flipped - counts.reshape(2, rows, columns)).max() < 0.35 * counts.max()


def test_the_largest_grid_of_a_clip() -> None:
    seen, hidden = draw((8, 16, 16), LONG, 2)
    assert seen.shape[1] % 8 == hidden.shape[1] % 8 == 0 and seen.shape[1] + hidden.shape[1] <= 2048


@settings(max_examples=200, deadline=None)
@given(st.integers(4, 16), st.integers(4, 16), st.floats(0.05, 1.0), st.floats(0.2, 5.0))
@example(5, 5, 0.28125, 0.9375)
def test_a_block_has_the_share_that_is_asked_for(rows: int, columns: int, scale: float, aspect: float) -> None:
    """To half a row or column, which is as near as whole cells come; the aspect gives way at the border."""
    height, width = block_shape(rows, columns, scale, aspect)
    assert 1 <= height <= rows and 1 <= width <= columns
    assert abs(height * width - scale * rows * columns) <= max(height, width) / 2 + 1
    if rows == columns and math.sqrt(scale) * max(aspect, 1 / aspect) ** 0.5 * rows <= rows:
        assert (height >= width) == (aspect >= 1) or abs(height - width) <= 1


def test_scale_and_aspect_are_drawn_apart() -> None:
    rng = np.random.default_rng(0)
    shapes = np.array([draw_shape(64, 64, (0.1, 0.3), (0.5, 2.0), rng) for _ in range(2000)])
    area, ratio = shapes.prod(1), np.log(shapes[:, 0] / shapes[:, 1])
    assert abs(np.corrcoef(area, ratio)[0, 1]) < 0.06
    assert np.quantile(area / 4096, [0.05, 0.95]) == pytest.approx([0.11, 0.29], abs=0.01)
    assert np.exp(np.quantile(ratio, [0.05, 0.95])) == pytest.approx([0.536, 1.866], rel=0.06)


def test_what_a_row_has_more_is_left_out_at_random() -> None:
    """Every set cell is kept equally often: none goes because it comes last."""
    cells = np.zeros((2, 4, 4), np.bool_)
    cells[0, 0, :2] = True  # two cells
    cells[1, 1:] = True  # twelve, of which two are kept
    rng = np.random.default_rng(0)
    kept = np.concatenate([choose_equally_many(cells, rng)[1] for _ in range(3000)])
    counts = np.bincount(kept, minlength=16)
    assert (counts[:4] == 0).all() and counts[4:].min() > 400 and counts[4:].max() < 600


def test_the_generator_alone_decides() -> None:
    one, same, other = (draw((2, 8, 8), IMAGES, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[1][:, :4], other[1][:, :4])


def test_a_grid_that_is_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(UserError, match="1 x 1 patches is too small .* the smallest that works is 2 x 2"):
        require_grid((1, 1, 1), IMAGES)
    with pytest.raises(UserError, match="the smallest that works is 3 x 3"):
        require_grid((4, 2, 2), LONG)
    require_grid((4, 3, 3), LONG)
    draw((4, 3, 3), LONG)
    with pytest.raises(UserError, match="no grid works"):
        require_grid((1, 8, 8), MaskConfig(1, (1.0, 1.0)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 16),
    st.integers(1, 16),
    st.integers(1, 12),
    st.floats(0.05, 0.9),
    st.floats(0.05, 0.9),
    st.booleans(),
)
def test_drawing_ends_wherever_it_is_not_refused(
    rows: int, columns: int, blocks: int, low: float, high: float, context: bool
) -> None:
    config = MaskConfig(blocks, (min(low, high), max(low, high)), (0.3, 3.0), (0.85, 1.0) if context else None)
    if not fits(rows, columns, config):
        with pytest.raises(UserError, match="too small"):
            draw((1, rows, columns), config)
        return
    seen, hidden = draw((1, rows, columns), config, 16)
    assert seen.shape[1] >= least_seen(rows, columns) and hidden.shape[1] >= 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"blocks": 0}, "masks.blocks must be from 1 to 1000, got 0"),
        ({"scale": (0.5, 0.2)}, r"masks.scale must be two shares .* got \[0.5, 0.2\]"),
        ({"context": (0.5, 1.2)}, "masks.context must be two shares"),
        ({"aspect": (0.0, 1.0)}, "masks.aspect must be two ratios above 0"),
        ({"blocks": 10**6}, "masks.blocks must be from 1 to 1000, got 1000000"),
        ({"future": (1, 2), "blocks": 7}, "masks.blocks is of blocks, which masks with a future have not"),
    ],
)
def test_wrong_settings(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        MaskConfig(**({"blocks": 1, "scale": (0.1, 0.2)} | wrong))  # type: ignore[arg-type]


def test_the_future_of_a_clip_is_predicted_from_all_that_comes_before() -> None:
    grid, config = (5, 3, 4), MaskConfig(future=(1, 2), past=(2, 9))
    found = set()
    for seed in range(60):
        seen, hidden = draw(grid, config, seed=seed)
        both = np.concatenate([seen, hidden], 1)
        assert (both == np.arange(both.shape[1])).all() and seen.shape[1] % 12 == hidden.shape[1] % 12 == 0
        found.add((seen.shape[1] // 12, hidden.shape[1] // 12))
    assert found == {(before, ahead) for before in (2, 3, 4) for ahead in (1, 2) if before + ahead <= 5}
    with pytest.raises(UserError, match="^clips have 2 tokens along time, masks with a future take at least 3"):
        draw((2, 3, 4), config)
    with pytest.raises(
        UserError, match=r"^masks.future must be two whole numbers of at least 1, in order, got \[2, 1\]"
    ):
        MaskConfig(future=(2, 1))
    with pytest.raises(UserError, match="^masks.past is of masks with future"):
        MaskConfig(past=(1, 2))
