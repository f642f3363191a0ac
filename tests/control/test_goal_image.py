"""A goal from a picture: the camera's size, its colours, and a word for what is no such picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wmplan.control.goal_image import read_goal_image
from wmplan.errors import UserError

RNG = np.random.default_rng(0)


def test_a_frame_that_was_saved_is_read_back_exactly(tmp_path: Path) -> None:
    frame = RNG.integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(frame).save(tmp_path / "goal.png")
    read = read_goal_image(tmp_path / "goal.png", (16, 24))
    np.testing.assert_array_equal(read, frame)
    assert read.flags.writeable and read.dtype == np.uint8


def test_a_larger_picture_is_averaged_down(tmp_path: Path) -> None:
    big = RNG.integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(big).save(tmp_path / "goal.png")
    blocks = big.reshape(16, 4, 24, 4, 3).mean((1, 3))
    np.testing.assert_allclose(
        read_goal_image(tmp_path / "goal.png", (16, 24)), blocks, atol=1.01
    )  # rounded along either axis


def test_transparent_and_grey_pictures_become_rgb(tmp_path: Path) -> None:
    Image.new("RGBA", (24, 16), (9, 8, 7, 255)).save(tmp_path / "rgba.png")
    Image.new("L", (24, 16), 5).save(tmp_path / "grey.png")
    assert read_goal_image(tmp_path / "rgba.png", (16, 24))[0, 0].tolist() == [9, 8, 7]
    assert read_goal_image(tmp_path / "grey.png", (16, 24))[0, 0].tolist() == [5, 5, 5]


def test_another_shape_than_the_cameras_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "goal.png")
    with pytest.raises(UserError, match="640 x 480, the camera's frames are 64 x 64: cut it"):
        read_goal_image(tmp_path / "goal.png", (64, 64))


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    for name in ("text.png", "cut.png"):
        with pytest.raises(UserError, match=name):
            read_goal_image(tmp_path / name, (64, 64))
    with pytest.raises(FileNotFoundError):
        read_goal_image(tmp_path / "none.png", (64, 64))
