"""Symmetries: what a declared one does to frames, actions and proprioception."""

import numpy as np
import pytest
import torch

from wmplan.data.background import find_background
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


def test_proprio_is_mapped_about_the_place_that_stays() -> None:
    symmetry = Symmetry("flip_columns", EYE, ((-1.0, 0.0), (0.0, 1.0)), proprio_about=(256.0, 100.0))
    assert symmetry.map_proprio(torch.tensor([[256.0, 7.0], [200.0, 0.0]])).tolist() == [[256.0, 7.0], [312.0, 0.0]]


def test_the_background_stays_and_what_stands_before_it_is_copied() -> None:
    background = torch.full((4, 6, 3), 255, dtype=torch.uint8)
    background[1, 4] = 90  # a mark on the table
    frames = background.repeat(2, 1, 1, 1)
    frames[0, 1, 0] = 10  # something left of the middle, opposite of the mark's neighbour
    frames[1, 1, 4] = 10  # something that hides the mark
    symmetry = Symmetry("flip_columns", EYE, background=True)
    copies = symmetry.map_frames(frames, background)
    expected = background.repeat(2, 1, 1, 1)
    expected[0, 1, 5] = 10
    expected[1, 1, 1] = 10  # and the mark is in sight again
    assert torch.equal(copies, expected)
    # Where nothing marks the place, this is the plain copy.
    plain = torch.full((4, 6, 3), 255, dtype=torch.uint8)
    frames[:, 1, 4] = torch.tensor([255, 10], dtype=torch.uint8)[:, None]
    assert torch.equal(symmetry.map_frames(frames, plain), Symmetry("flip_columns", EYE).map_frames(frames))


def test_a_background_is_found_behind_what_moves() -> None:
    scene = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    episodes = []
    for start in range(6):
        frames = np.repeat(scene[None], 6, 0)
        for row in range(6):
            frames[row, start : start + 2, row : row + 2] = 255 - scene[start : start + 2, row : row + 2]
        episodes.append(frames)

    class Frames:
        lengths = np.full(6, 6)

        def read(self, episode: int, name: str, start: int, stop: int) -> np.ndarray:
            assert name == "front"
            return episodes[episode][start:stop]

    assert torch.equal(find_background(Frames(), "front"), torch.from_numpy(scene))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mirror", EYE), "frames must be one of same, flip_columns"),
        (("same", ((1.0, 0.0), (1.0,))), "action must be a square matrix"),
        (("same", ((1.0, 1.0), (1.0, 1.0))), "action must be a matrix that can be undone"),
        (("same", EYE, ((0.0,),)), "proprio must be a matrix that can be undone"),
        (("same", EYE, EYE, (1.0,)), "proprio_about must have 2 numbers, one for each of proprio's rows, got 1"),
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
