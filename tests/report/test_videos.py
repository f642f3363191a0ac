"""Films are decoded again and compared with what was put in."""

import imageio_ffmpeg
import numpy as np
import pytest

from wmplan.report.videos import BAR_PX, GREEN, MARGIN_PX, episode_film, film_frame, write_mp4


def decode(path):
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader]


def colour(rgb, size=64):
    return np.full((size, size, 3), rgb, np.uint8)


def test_film_decodes_to_the_frames_that_were_written(tmp_path):
    frames = [film_frame({"camera": colour(c), "goal": colour((0, 0, 255))}, f"step {i}")
              for i, c in enumerate([(255, 0, 0), (0, 255, 0), (200, 200, 40)])]  # fmt: skip
    path = write_mp4(tmp_path / "a" / "film.mp4", frames, fps=10)
    meta, decoded = decode(path)
    assert len(decoded) == 3 and meta["fps"] == 10 and meta["codec"] == "h264"
    assert decoded[0].shape == frames[0].shape
    for got, want in zip(decoded, frames, strict=True):
        assert np.abs(got.astype(int) - want).mean() < 4  # lossy, but the same picture
        centre = (BAR_PX + 128, MARGIN_PX + 128)
        assert np.abs(got[centre].astype(int) - want[centre]).max() < 12
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]  # nothing temporary is left


def test_panels_are_enlarged_by_whole_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    drawn = film_frame({"camera": picture})
    inside = drawn[BAR_PX : BAR_PX + 256, MARGIN_PX : MARGIN_PX + 256]
    np.testing.assert_array_equal(inside[2::4, 2::4], picture)


def test_success_marker_begins_at_the_step_of_success():
    frames = [colour((10, 10, 10))] * 4
    film = episode_film(frames, colour((0, 0, 0)), success_step=2, hold=3)
    marked = [bool((picture == GREEN).all(-1).any()) for picture in film]
    assert marked == [False, False, True, True, True, True, True]
    assert not any((picture == GREEN).all(-1).any() for picture in episode_film(frames, colour((0, 0, 0))))


def test_step_counter_changes_the_picture():
    film = episode_film([colour((10, 10, 10))] * 2, colour((0, 0, 0)), hold=0)
    changed = np.abs(film[0].astype(int) - film[1]).sum(-1) > 0
    assert changed.any() and not changed[: BAR_PX + 256].any()  # only in the caption


def test_imagined_panel_is_drawn():
    film = episode_film([colour((9, 9, 9))], colour((0, 0, 0)), imagined=[colour((1, 200, 1))], hold=0)
    assert ((film[0] == (1, 200, 1)).all(-1)).sum() == 256 * 256


def test_wrong_frames_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(tmp_path / "x.mp4", [])
    with pytest.raises(ValueError, match="even"):
        write_mp4(tmp_path / "x.mp4", [colour((1, 1, 1), 63)])
    with pytest.raises(ValueError, match="the first one"):
        write_mp4(tmp_path / "x.mp4", [colour((1, 1, 1)), colour((1, 1, 1), 32)])
    with pytest.raises(ValueError, match="'goal'"):
        film_frame({"camera": colour((1, 1, 1)), "goal": colour((1, 1, 1), 32)})
    assert list(tmp_path.iterdir()) == []
