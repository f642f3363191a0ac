"""A whole exam in a world of numpy, with answers that are known; and one in the scenes, in small."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wmplan import cli
from wmplan.errors import UserError
from wmplan.exam.examine import physics
from wmplan.exam.quadruplet import Quadruplet
from wmplan.exam.summary import exam_table
from wmplan.registry import EXAMS
from wmplan.report.physics_page import write_physics_report

spec = importlib.util.spec_from_file_location("dot_exam", Path(__file__).with_name("dot_exam.py"))
assert spec is not None and spec.loader is not None
dot_exam = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dot_exam)


@pytest.fixture
def dots() -> Iterator[str]:
    list(EXAMS)
    EXAMS._entries["dots"] = dot_exam.DotExam
    yield "dots"
    del EXAMS._entries["dots"]


def test_who_knows_the_world_wins_every_pair_and_who_does_not_wins_half(dots: str, tmp_path: Path) -> None:
    knows = physics(dot_exam.DotModel(), tmp_path, exam=dots, pairs=24, choice_pairs=4, pixel_steps=0)
    rows = knows["rows"]
    assert rows["model"]["mean"] == rows["true simulator"]["mean"] == 1
    assert rows["model"]["rows"]["auroc"] == 1 and rows["model"]["columns"]["quadruplets"]["rate"] == 1
    assert rows["identical twins"]["mean"] == 0.5 and rows["identical twins"]["rows"]["auroc"] == 0.5
    assert rows["model"]["rows"]["recoloured_above_violation"]["rate"] == 0
    assert knows["windows"]["model"]["window"]["context"] == 2  # one frame shows no motion
    assert knows["windows"]["model"]["over_windows"] == "mean"  # as good as the largest, and what is published
    assert knows["rows"]["copy last frame"]["mean"] == 0.5  # a dot that jumps changes as many pixels as one that moves
    blind = physics(dot_exam.DotModel(knows=False), None, exam=dots, pairs=24, choice_pairs=4, pixel_steps=0)
    for name in ("rows", "columns"):
        low, high = blind["rows"]["model"][name]["pairwise"]["ci95"]
        assert low <= 0.5 <= high
    assert blind["clips_sha256"] == knows["clips_sha256"]
    assert json.loads((tmp_path / "exam.json").read_text())["rows"] == rows
    page = write_physics_report(tmp_path).read_text()
    assert "100 %" in page and page.count("data:image/png") == 4
    assert "a clip's surprise is the mean of its windows'" in exam_table(knows)


def test_surprise_rises_at_the_break(dots: str) -> None:
    found = physics(dot_exam.DotModel(), None, exam=dots, pairs=6, choice_pairs=2, pixel_steps=0)
    over = found["over_time"]["rows"]
    surprising = [at for at, value in zip(over["frames_after_break"], over["impossible"], strict=True) if value > 0]
    assert min(surprising) == 0 and max(over["possible"]) == 0


def test_the_window_is_chosen_on_other_clips(dots: str) -> None:
    """Another number of clips to choose on leaves those of the exam as they are."""
    hashes = {
        physics(dot_exam.DotModel(), None, exam=dots, pairs=4, choice_pairs=count, pixel_steps=0)["clips_sha256"]
        for count in (2, 5)
    }
    assert len(hashes) == 1


def test_what_does_not_exist_is_named(dots: str) -> None:
    with pytest.raises(UserError, match="there is no exam 'dotts'; did you mean 'dots'"):
        physics(dot_exam.DotModel(), None, exam="dotts")
    with pytest.raises(UserError, match="this exam has no property 'row'; did you mean 'rows'"):
        physics(dot_exam.DotModel(), None, exam=dots, properties=["row"])
    with pytest.raises(UserError, match="pairs must be from 2 to 100000, got 1"):
        physics(dot_exam.DotModel(), None, exam=dots, pairs=1)
    with pytest.raises(UserError, match="clips have 14 frames, the window takes 31"):
        physics(dot_exam.DotModel(block=30), None, exam=dots)


class Killed(BaseException):
    """Nothing handles it, as nothing handles kill -9."""


def test_a_killed_exam_goes_on_without_drawing_again_what_is_finished(dots: str, tmp_path: Path) -> None:
    drawn: list[tuple[str, int]] = []

    class Counting(dot_exam.DotExam):  # type: ignore[misc, name-defined]
        last = 10**6

        def quadruplet(self, name: str, index: int, rng: np.random.Generator) -> Quadruplet:
            if len(drawn) == self.last:
                raise Killed
            drawn.append((name, index))
            return super().quadruplet(name, index, rng)  # type: ignore[no-any-return]

    EXAMS._entries[dots] = Counting
    settings = {"exam": dots, "pairs": 20, "choice_pairs": 3, "pixel_steps": 2, "untrained_networks": 1}
    whole = physics(dot_exam.DotModel(), None, **settings)
    in_all, drawn[:] = len(drawn), []
    Counting.last = in_all - 10  # in the second of three pieces of the second property
    with pytest.raises(Killed):
        physics(dot_exam.DotModel(), tmp_path, **settings)
    before, Counting.last = len(drawn), 10**6
    damaged = sorted((tmp_path / "progress").glob("rows-*.npz"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    found = physics(dot_exam.DotModel(), tmp_path, **settings)
    again = [("rows", index) for index in range(8, 16)] + [("columns", index) for index in range(8, 20)]
    assert drawn[before:] == again
    timeless = [{key: one[key] for key in one if key != "date"} for one in (whole, found)]
    assert timeless[0]["rows"] == timeless[1]["rows"] and timeless[0]["clips_sha256"] == timeless[1]["clips_sha256"]
    drawn.clear()
    more = physics(dot_exam.DotModel(), tmp_path, **{**settings, "pairs": 24})
    assert drawn == [(name, index) for name in ("rows", "columns") for index in range(16, 24)]
    assert more["rows"]["model"]["rows"]["pairwise"]["rate"] == 1
    with pytest.raises(UserError, match="holds an exam with seed=0, this one has 1: give another out=DIR"):
        physics(dot_exam.DotModel(), tmp_path, **{**settings, "seed": 1})


@pytest.mark.slow
def test_the_command_examines_a_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = "pairs=2 choice_pairs=1 untrained_networks=1 pixel_steps=0 properties=[permanence]"
    assert cli.main(["physics", "model=pusht", f"out={tmp_path}", *small.split()]) == 0
    said = capsys.readouterr().out
    assert "permanence" in said and (tmp_path / "report.html").exists()
    result = json.loads((tmp_path / "exam.json").read_text())
    assert result["rows"]["true simulator"]["permanence"]["pairwise"]["rate"] == 1
    assert result["rows"]["identical twins"]["permanence"]["pairwise"]["rate"] == 0.5
    with np.load(tmp_path / "examples.npz") as examples:
        assert examples["permanence/occluded/frames"].shape == (2, 40, 64, 64, 3)
    assert cli.main(["physics", "model=pusht", f"out={tmp_path}", "properties=[permanense]"]) == 2
    assert "did you mean 'permanence'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_of_the_task_sits_an_exam_with_its_own_actions() -> None:
    """The shipped Push-T model notices that its commands have no effect."""
    found = physics(
        "pusht",
        None,
        exam="pusht",
        properties=["command"],
        pairs=6,
        choice_pairs=2,
        untrained_networks=0,
        pixel_steps=0,
    )
    assert found["rows"]["model"]["command"]["pairwise"]["rate"] >= 0.9
    assert found["rows"]["true simulator"]["mean"] == 1 and found["rows"]["model"]["command"]["occluded"] is None
    with pytest.raises(UserError, match="^the exam's actions have 6 numbers, the model's 2: "):
        physics("pusht", None, exam="arm_reach", pairs=2)
