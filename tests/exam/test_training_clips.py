"""Clips to train on: possible ones, none of which an exam shows, the same however often the command is stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.exam.examine import quadruplets
from wmplan.exam.training_clips import export_clips
from wmplan.models.video_jepa import ViTConfig
from wmplan.random_streams import Stream
from wmplan.registry import EXAMS
from wmplan.training.pretraining.config import PretrainConfig
from wmplan.training.pretraining.masks import MaskConfig
from wmplan.training.pretraining.pretrain import pretrain

SMALL = {"properties": ("colour", "gravity"), "image_size": (32, 32)}


def test_the_clips_are_possible_and_no_exam_shows_them(tmp_path: Path) -> None:
    store = export_clips(tmp_path / "clips", pairs=2, seed=5, **SMALL)  # type: ignore[arg-type]
    assert len(store) == 12 and set(store.lengths) == {40} and store.meta.control_rate == 30
    assert np.isnan(store.read(0, "action", 39, 40)).all()
    trained_on = {store.read(episode, "pixels", 0, 40).tobytes() for episode in range(len(store))}
    assert len(trained_on) == 12
    source = EXAMS["scenes"]((32, 32))
    for stream in (Stream.EXAM, Stream.EXAM_CHOICE):
        for name in ("colour", "gravity"):
            for one in quadruplets(source, name, range(2), 5, stream):
                assert not trained_on & {clip.tobytes() for clip in (*one.clips, one.recoloured)}
    (same,) = quadruplets(source, "gravity", [1], 5, Stream.EXAM_TRAINING)
    assert np.array_equal(store.read(9, "pixels", 0, 40), same.frames[0])  # world A of the last pair
    source.close()


def test_frames_of_no_size_leave_nothing_behind(tmp_path: Path) -> None:
    for size in ((0, 32), (32, 100_000)):
        with pytest.raises(UserError, match="image_size must be .height, width. from 8 to 2048"):
            export_clips(tmp_path / "clips", pairs=1, image_size=size)
    assert not (tmp_path / "clips").exists()


def test_more_pairs_are_added_and_other_clips_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = export_clips(tmp_path / "clips", pairs=1, **SMALL)  # type: ignore[arg-type]
    first = few.read(3, "pixels", 0, 40)
    more = export_clips(tmp_path / "clips", pairs=2, **SMALL)  # type: ignore[arg-type]
    assert len(more) == 12 and np.array_equal(more.read(3, "pixels", 0, 40), first)
    with pytest.raises(UserError, match="seed"):
        export_clips(tmp_path / "clips", pairs=2, seed=1, **SMALL)  # type: ignore[arg-type]
    assert cli.main(["data", "clips", f"out={tmp_path / 'other'}", "exam=scene"]) == 2
    assert "did you mean 'scenes'" in capsys.readouterr().err


def test_a_model_of_what_comes_next_trains_on_them(tmp_path: Path) -> None:
    export_clips(tmp_path / "clips", pairs=1, **SMALL)  # type: ignore[arg-type]
    sizes = ViTConfig(width=24, depth=1, heads=2, predictor_width=12, predictor_depth=1, predictor_heads=2)
    config = PretrainConfig(
        str(tmp_path / "clips"),
        str(tmp_path / "run"),
        objective="vjepa",
        vit=sizes,
        stride=2,
        masks=(MaskConfig(future=(1, 2)),),
        steps=2,
        batch_size=4,
        validation=0.3,
        threads=1,
    )
    assert pretrain(config).standard is not None
