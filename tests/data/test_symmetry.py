"""Symmetries: what a declared one does to frames, actions and proprioception."""

import numpy as np
import pytest
import torch

from wmplan.data.meta import DataError
from wmplan.data.symmetry import FRAMES, Symmetry

EYE = ((1.0, 0.0), (0.0, 1.0))


def coordinates(size: int = 4) -> torch.Tensor:
    """A frame (size, size, 3) that holds x (right), y (up) and 1, about its middle."""
    y, x = np.meshgrid(np.arange(size)[::-1], np.arange(size), indexing="ij")
    middle = (size - 1) / 2
    return torch.from_numpy(np.stack([x - middle, y - middle, np.ones_like(x)], -1))


@pytest.mark.parametrize(
    ("name", "matrix"),  # of where a thing at (x, y) is seen afterwards
    [
        ("same", [[1, 0], [0, 1]]),
        ("flip_columns", [[-1, 0], [0, 1]]),
        ("flip_rows", [[1, 0], [0, -1]]),
        ("half_turn", [[-1, 0], [0, -1]]),
        ("quarter_turn", [[0, -1], [1, 0]]),
        ("three_quarter_turn", [[0, 1], [-1, 0]]),
        ("transpose", [[0, -1], [-1, 0]]),
        ("antitranspose", [[0, 1], [1, 0]]),
    ],
)
def test_frames_move_as_the_matrix_says(name: str, matrix: list[list[int]]) -> None:
    frame = coordinates()
    moved = Symmetry(name, EYE).map_frames(frame[None])[0]
    # Where the copy shows the thing that stood at (x, y), the pixel's own coordinates are the matrix times (x, y).
    torch.testing.assert_close(frame[..., :2], moved[..., :2] @ torch.tensor(matrix, dtype=moved.dtype).T)


def test_every_symmetry_of_the_square_is_there_once() -> None:
    frame = coordinates()
    assert len({tuple(apply(frame).flatten().tolist()) for apply in FRAMES.values()}) == 8


def test_actions_are_mapped_robot_step_by_robot_step_and_proprio_as_a_whole() -> None:
    symmetry = Symmetry("quarter_turn", ((0.0, -1.0), (1.0, 0.0)), ((0.0, 2.0), (1.0, 0.0)))
    blocks = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    assert symmetry.map_actions(blocks).tolist() == [[[-2.0, 1.0, -4.0, 3.0]]]
    assert symmetry.map_proprio(torch.tensor([[5.0, 7.0]])).tolist() == [[14.0, 5.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mirror", EYE), "frames must be one of same, flip_columns"),
        (("same", ((1.0, 0.0), (1.0,))), "action must be a square matrix"),
        (("same", ((1.0, 1.0), (1.0, 1.0))), "action must be a matrix that can be undone"),
        (("same", EYE, ((0.0,),)), "proprio must be a matrix that can be undone"),
    ],
)
def test_what_is_no_symmetry_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Symmetry(*arguments)


def test_one_that_does_not_fit_the_data_is_named() -> None:
    symmetry = Symmetry("flip_rows", EYE, ((1.0,),))
    symmetry.check("mirror", 2, 1, (64, 64))
    with pytest.raises(DataError, match=r"symmetries.mirror.action must be a 3 x 3 matrix, got 2 rows"):
        symmetry.check("mirror", 3, 1, (64, 64))
    with pytest.raises(DataError, match=r"symmetries.mirror.proprio must be a 2 x 2 matrix, got 1 rows"):
        symmetry.check("mirror", 2, 2, (64, 64))
    with pytest.raises(DataError, match=r"symmetries.turn.frames must keep the frames' shape"):
        Symmetry("transpose", EYE).check("turn", 2, 0, (64, 32))
    Symmetry("half_turn", EYE).check("turn", 2, 0, (64, 32))
    symmetry.check("mirror", 2, 0, (64, 64))  # proprioception that is not used needs no copy
