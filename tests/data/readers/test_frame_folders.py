"""Folders of images and of videos without actions."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wmplan.data import WindowSampler
from wmplan.data.converted import resized
from wmplan.data.frames import open_frames
from wmplan.data.meta import DataError
from wmplan.data.readers.frame_folders import ClipFolder, ImageFolder

RNG = np.random.default_rng(0)


def moving(rows: int, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    frames = np.zeros((rows, *size, 3), np.uint8)
    for row in range(rows):
        frames[row, :, 2 * row : 2 * row + 9] = (200, 20 * row, 40)
    return frames


def test_videos_are_read_whatever_their_size_and_codec(tmp_path: Path, write_video: Callable[..., None]) -> None:
    one, other, third = moving(7), moving(5, (64, 64)), moving(6)
    write_video(tmp_path / "a.mp4", one)
    write_video(tmp_path / "deeper" / "b.mp4", other, "libx264")
    write_video(tmp_path / "deeper" / "c.mp4", third, "libsvtav1")
    store = open_frames(tmp_path, image_size=(16, 24))
    assert isinstance(store, ClipFolder) and store.lengths.tolist() == [7, 5, 6]
    assert store.told() == "" and store.meta.control_rate == 10
    np.testing.assert_array_equal(store.read(0, "pixels", 2, 6), resized(one[2:6], 16, 24))
    for episode, frames in ((1, other), (2, third)):
        apart = store.read(episode, "pixels", 0, len(frames)).astype(int) - resized(frames, 16, 24)
        assert np.abs(apart).mean() < 12  # these codecs lose colours
    batch = next(iter(WindowSampler(store, 3, 2, 4, columns=("pixels",))))
    assert batch["pixels"].shape == (4, 3, 16, 24, 3)
    assert pickle.loads(pickle.dumps(store)).read(0, "pixels", 0, 1).shape == (1, 16, 24, 3)
    store.close()


def test_videos_that_cannot_be_read_are_left_out_and_named(tmp_path: Path, write_video: Callable[..., None]) -> None:
    write_video(tmp_path / "good.mp4", moving(6))
    content = (tmp_path / "good.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mkv").write_text("no video")
    (tmp_path / "._good.mp4").write_text("of macOS")
    store = open_frames(tmp_path)
    assert isinstance(store, ClipFolder) and [file.name for file in store.files] == ["good.mp4"]
    assert sorted(file.name for file in store.skipped) == ["cut.mp4", "empty.mp4", "text.mkv"]
    assert store.told().startswith("3 left out: cut.mp4 (")
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(DataError, match="holds no file that can be read: 3 left out"):
        open_frames(tmp_path)


def test_images_become_rows_of_one_size(tmp_path: Path) -> None:
    pictures = [RNG.integers(0, 255, (*size, 3), np.uint8) for size in ((20, 30), (64, 64), (9, 9))]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    for number in range(8):
        (tmp_path / f"x{number}.jpg").touch()
    store = open_frames(tmp_path, image_size=(16, 16))
    assert isinstance(store, ImageFolder) and store.lengths.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(
        store.column("pixels"), np.concatenate([resized(one[None], 16, 16) for one in pictures])
    )
    assert "8 left out" in store.told() and store.told().endswith("and 3 more")


def test_a_data_set_is_read_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no data set"):
        open_frames(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        open_frames(tmp_path / "nowhere")


def test_pictures_of_16_bits_keep_their_shades(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray((ramp // 257).astype(np.uint8)).save(tmp_path / "b.png")
    store = open_frames(tmp_path, image_size=(32, 48))
    deep, plain = (store.read(episode, "pixels", 0, 1)[0].astype(int) for episode in (0, 1))
    assert np.abs(deep - plain).max() <= 1
    store.close()
