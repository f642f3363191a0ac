"""A goal from a picture: the camera's size, its colours, and a word for what is no such picture."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from wmplan.control.goal_image import read_goal_image
from wmplan.errors import UserError

RNG = np.random.default_rng(0)
SIZE = (16, 24)
FRAME = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
GREY = FRAME[..., 0]


def test_a_frame_that_was_saved_is_read_back_exactly(tmp_path: Path) -> None:
    Image.fromarray(FRAME).save(tmp_path / "goal.png")
    read = read_goal_image(tmp_path / "goal.png", SIZE)
    np.testing.assert_array_equal(read, FRAME)
    assert read.flags.writeable and read.dtype == np.uint8


def test_a_larger_picture_is_averaged_down(tmp_path: Path) -> None:
    big = RNG.integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(big).save(tmp_path / "goal.png")
    blocks = big.reshape(16, 4, 24, 4, 3).mean((1, 3))
    np.testing.assert_allclose(
        read_goal_image(tmp_path / "goal.png", SIZE), blocks, atol=1.01
    )  # rounded along either axis


def test_transparent_and_grey_pictures_become_rgb(tmp_path: Path) -> None:
    Image.new("RGBA", (24, 16), (9, 8, 7, 255)).save(tmp_path / "rgba.png")
    Image.new("L", (24, 16), 5).save(tmp_path / "grey.png")
    assert read_goal_image(tmp_path / "rgba.png", SIZE)[0, 0].tolist() == [9, 8, 7]
    assert read_goal_image(tmp_path / "grey.png", SIZE)[0, 0].tolist() == [5, 5, 5]


# ------------------------------------------------------------------ what else a picture can be


def png(array: np.ndarray, colour: int, transparent: bytes | None = None, size: Any = None) -> bytes:
    """A PNG of 16 bits a channel, as the standard has it; colour 0 is grey, 2 RGB, 4 and 6 the same with alpha."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = size or array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows))]
    if transparent is not None:
        parts.insert(1, (b"tRNS", transparent))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def saved(picture: Any, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, file_format, **options)
    return file.getvalue()


def with_alpha(alpha: int | np.ndarray, colours: np.ndarray = FRAME) -> np.ndarray:
    return np.dstack([colours, np.broadcast_to(np.uint8(alpha), SIZE)])


def oriented(array: np.ndarray, tag: int, file_format: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = tag
    return saved(array, file_format, exif=exif)


PALETTE = Image.fromarray(FRAME).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
PALETTED = np.asarray(PALETTE.convert("RGB"))
WIDE = FRAME.astype(np.uint16) * 257  # the same with 16 bits
OPAQUE = np.full((*SIZE, 1), 65535, np.uint16)
RIGHT = {
    "16-bit grey PNG": (png(WIDE[..., :1], 0), GREY),
    "16-bit RGB PNG": (png(WIDE, 2), FRAME),
    "16-bit grey PNG with alpha": (png(np.dstack([WIDE[..., :1], OPAQUE]), 4), GREY),
    "16-bit RGB PNG with alpha": (png(np.dstack([WIDE, OPAQUE]), 6), FRAME),
    "16-bit TIFF": (saved(WIDE[..., 0], "TIFF"), GREY),
    "16-bit PGM": (b"P5\n24 16\n65535\n" + WIDE[..., 0].astype(">u2").tobytes(), GREY),
    "12-bit PGM": (
        b"P5\n24 16\n4095\n" + (GREY.astype(np.uint16) * 16).astype(">u2").tobytes(),
        GREY * (16 * 255 / 4095),
    ),
    "16-bit PPM": (b"P6\n24 16\n65535\n" + WIDE.astype(">u2").tobytes(), FRAME),
    "8-bit grey": (saved(GREY, "PNG"), GREY),
    "black and white": (saved(GREY > 99, "PNG"), 255 * (GREY > 99)),
    "palette PNG": (saved(PALETTE, "PNG"), PALETTED),
    "palette GIF": (saved(PALETTE, "GIF"), PALETTED),
    "palette with a transparent colour that no pixel has": (saved(PALETTE, "PNG", transparency=255), PALETTED),
    "opaque RGBA": (saved(with_alpha(255), "PNG"), FRAME),
    "BMP": (saved(FRAME, "BMP"), FRAME),
    **{
        f"turned as by orientation tag {tag}": (oriented(stored, tag), FRAME)
        for tag, stored in {
            1: FRAME,
            2: FRAME[:, ::-1],
            3: FRAME[::-1, ::-1],
            4: FRAME[::-1],
            5: FRAME.transpose(1, 0, 2),
            6: FRAME.transpose(1, 0, 2)[::-1],
            7: FRAME.transpose(1, 0, 2)[::-1, ::-1],
            8: FRAME.transpose(1, 0, 2)[:, ::-1],
            9: FRAME,
        }.items()
    },
    "16-bit and turned": (oriented(WIDE[::-1, ::-1, 0], 3), GREY),
}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_it_looks_as_it_is_meant_to(tmp_path: Path, name: str) -> None:
    data, expected = RIGHT[name]
    (tmp_path / "goal").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = read_goal_image(tmp_path / "goal", SIZE)
    expected = np.broadcast_to(expected if np.ndim(expected) == 3 else np.asarray(expected)[..., None], read.shape)
    assert np.abs(read.astype(float) - expected).max() <= 1


@pytest.mark.parametrize("tag", [1, 6])
def test_a_photograph_of_a_telephone_is_turned(tmp_path: Path, tag: int) -> None:
    """A JPEG, which is not exact: the left half is bright."""
    scene = np.zeros((32, 48, 3), np.uint8)
    scene[:, :24] = 240
    (tmp_path / "goal.jpg").write_bytes(oriented(scene if tag == 1 else scene.transpose(1, 0, 2)[::-1], tag, "JPEG"))
    read = read_goal_image(tmp_path / "goal.jpg", SIZE)
    assert read[:, :11].min() > 200 and read[:, 13:].max() < 50


HOLE = np.full(SIZE, 255)
HOLE[3, 4] = 254
REFUSED = {
    "floats from 0 to 1": (saved((GREY / 255).astype(np.float32), "TIFF"), "floats, whose black and white"),
    "32-bit numbers": (saved(GREY.astype(np.int32), "TIFF"), "32-bit numbers"),
    "CMYK": (saved(Image.fromarray(FRAME).convert("CMYK"), "TIFF"), "CMYK colours"),
    "CMYK JPEG": (saved(Image.fromarray(FRAME).convert("CMYK"), "JPEG"), "CMYK colours"),
    "RGBA with a hole": (saved(with_alpha(HOLE), "PNG"), "transparent pixels"),
    "all transparent": (saved(with_alpha(0), "PNG"), "transparent pixels"),
    "grey with a hole": (saved(np.dstack([GREY, HOLE]).astype(np.uint8), "PNG"), "transparent pixels"),
    "palette with a hole": (saved(PALETTE, "PNG", transparency=int(np.asarray(PALETTE)[0, 0])), "transparent pixels"),
    "RGB with a transparent colour": (
        saved(FRAME, "PNG", transparency=tuple(map(int, FRAME[0, 0]))),
        "transparent pixels",
    ),
    "16-bit with a transparent colour": (png(WIDE[..., :1], 0, b"\0\1"), "a transparent colour"),
    "animated GIF": (saved(GREY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]), "2 frames"),
    "animated PNG": (saved(GREY, "PNG", save_all=True, append_images=[Image.fromarray(255 - GREY)]), "2 frames"),
    "pages": (saved(GREY, "TIFF", save_all=True, append_images=[Image.fromarray(GREY)] * 2), "3 frames"),
    "too large": (png(WIDE[..., :1], 0, size=(6000, 9000)), "too many pixels: 9000 x 6000"),
    "far too large": (png(WIDE[..., :1], 0, size=(60000, 90000)), "too many pixels"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_be_a_guess_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, message = REFUSED[name]
    (tmp_path / "goal").write_bytes(data)
    with pytest.raises(UserError, match=message) as refusal, warnings.catch_warnings():
        warnings.simplefilter("error")
        read_goal_image(tmp_path / "goal", SIZE)
    assert str(refusal.value).startswith(f"goal: {tmp_path / 'goal'}") and "\n" not in str(refusal.value)


WHOLE = [
    saved(FRAME, "PNG"),
    saved(PALETTE, "PNG", transparency=3),
    oriented(FRAME, 6, "JPEG"),
    saved(FRAME, "TIFF"),
    saved(PALETTE, "GIF"),
    saved(FRAME, "BMP"),
    *([saved(FRAME, "WEBP")] if features.check("webp") else []),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(WHOLE), st.data())
def test_damage_is_a_picture_or_one_line(tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: Any) -> None:
    """Cut short, or with bytes that changed: never another exception, whatever the decoder makes of it."""
    bytes_ = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if bytes_:
            bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(bytes_))
    try:
        assert read_goal_image(path, SIZE).shape == (*SIZE, 3)
    except UserError as refusal:
        assert str(path) in str(refusal) and "\n" not in str(refusal)


# ------------------------------------------------------------------ shapes, and what is no picture


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


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "goal.tiff"
    path.write_bytes(saved(np.zeros((64, 64), np.float32), "TIFF"))
    command = [sys.executable, "-m", "wmplan.cli", "serve", "model=pusht", f"goal={path}", "port=0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.count("\n") == 1 and "floats" in ended.stderr and "Traceback" not in ended.stderr
