"""`wmplan goal`: what is written, what is said of it beside recorded data, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from wmplan import goal_preparation
from wmplan.cli import main
from wmplan.client.goals import MaskedGoal
from wmplan.control.goal_image import read_goal_image, read_goal_mask
from wmplan.data.recorder import Recorder
from wmplan.goal_preparation import prepare_goal
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.serving import ServerConfig
from wmplan.serving.serve import make_server

SIZE = 16


class Halves(WorldModel):
    """Latents are the brightness of the left and the right half."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=1,
            action_block=1,
            action_low=(-1.0, -1.0),
            action_high=(1.0, 1.0),
            action_mean=(0.0, 0.0),
            action_std=(1.0, 1.0),
            latent_shape=(2,),
        )

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        return frames.float().unflatten(3, (2, SIZE // 2)).mean((2, 4, 5)) / 255

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, -1, None, None] + actions.cumsum(2)


def picture(left: float, right: float, size: int = SIZE) -> np.ndarray:
    frame = np.empty((size, size, 3), np.uint8)
    frame[:, : size // 2], frame[:, size // 2 :] = left, right
    return frame


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four episodes in which both halves are of about the same brightness, 60 to 140; the folder is the present one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(goal_preparation, "_load", lambda name: Halves())
    recorder = Recorder(tmp_path / "data", action_low=(-1, -1), action_high=(1, 1), control_rate=10.0)
    rng = np.random.default_rng(0)
    for _ in range(4):
        stream = recorder.stream()
        for step in range(30):
            level = 60 + 80 * rng.random()
            stream.see(picture(level, level + rng.uniform(-4, 4)), None, np.zeros((min(step, 1), 2), np.float32))
    recorder.close()
    Image.fromarray(picture(100, 102)).save("usual.png")
    Image.fromarray(picture(60, 140)).save("unlike.png")
    Image.fromarray(picture(10, 14)).save("dark.png")
    return "data"


def test_a_recorded_frame_is_written_as_it_was(data: str) -> None:
    told = prepare_goal(frame="data:2:7", model="halves")
    store = goal_preparation.open_data("data")
    np.testing.assert_array_equal(read_goal_image("goal.png", (SIZE, SIZE)), store.read(2, "pixels", 7, 8)[0])
    assert "unlike" not in told and "nearest to episode 2" not in told  # it is not compared with its own episode


def test_a_goal_unlike_the_data_is_said_to_be_and_a_usual_one_is_not(data: str) -> None:
    usual = prepare_goal(Path("usual.png"), data=data, model="halves")
    unlike = prepare_goal(Path("unlike.png"), data=data, model="halves")
    assert "unlike" not in usual and "unlike what the model has seen" in unlike
    assert "brightness 100 of 255" in unlike and "exposure=match" not in unlike  # bright as the data on the whole


@pytest.mark.parametrize("given", [{"exposure": "match", "data": "data"}, {"exposure": "match:data"}])
def test_exposure_is_matched(data: str, given: Any) -> None:
    dark = prepare_goal(Path("dark.png"), data=data, model="halves")
    assert "it is unlike them (exposure=match)" in dark
    told = prepare_goal(Path("dark.png"), model="halves", **given)
    assert "exposure=match" not in told
    levels = np.stack([goal_preparation.open_data("data").column("pixels")]).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(read_goal_image("goal.png", (SIZE, SIZE)).mean((0, 1)), levels, atol=1)


def test_a_picture_is_rotated_then_cropped_then_made_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    wide = rng.integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(wide).save("wide.png")
    prepare_goal(Path("wide.png"), rotate=90.0, crop=(0, 8, 32, 40), resize=(SIZE, SIZE))
    turned = np.rot90(wide)[8:40, 0:32].astype(float)
    expected = turned.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    np.testing.assert_allclose(read_goal_image("goal.png", (SIZE, SIZE)), expected, atol=1)


def test_a_mask_is_written_and_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(10, 200)).save("photo.png")
    corners = ((0.0, 0.0), (7.0, 0.0), (7.0, 15.0), (0.0, 15.0))
    told = prepare_goal(Path("photo.png"), Path("here.png"), mask=corners)
    inside = read_goal_mask("here.mask.png", (SIZE, SIZE))
    assert inside[:, :8].all() and not inside[:, 8:].any() and "goal_mask=here.mask.png" in told
    planner = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 2, "horizon": 1}
    config = ServerConfig(port=0)
    server = make_server(Halves(), config, planner, goal=Path("here.png"), goal_mask=Path("here.mask.png"))
    assert isinstance(server.served.goal, MaskedGoal)
    np.testing.assert_array_equal(server.served.goal.mask, inside)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "give either a picture, in=FILE, or a recorded frame"),
        ("usual.png frame=data:0:0", "give either a picture"),
        ("nothing.png", "nothing.png"),
        ("data/meta.json", "is not a picture"),
        ("usual.png out=goal.jpg", "out must end in .png"),
        ("usual.png out=nowhere/goal.png", "out=nowhere/goal.png cannot be written"),
        ("frame=data", "frame must be DATA:EPISODE:STEP"),
        ("frame=data:9:0", "data has the episodes 0 to 3, not 9"),
        ("frame=data:0:99", "episode 0 has the steps 0 to 29, not 99"),
        ("frame=data:-1:0", "frame must be DATA:EPISODE:STEP"),
        ("usual.png data=nothing", "nothing"),
        ("usual.png exposure=match", "exposure=match needs data=DIR"),
        ("usual.png exposure=bright", "exposure must be as-is, match or match:DATA"),
        ("usual.png crop=[0,0,99,4]", "crop must be [left, top, right, bottom] within 16 x 16 pixels"),
        ("usual.png crop=[0,0,8,16]", "crop=[0,4,8,12] takes its middle"),
        ("usual.png resize=[0,4]", "resize must be [height, width]"),
        ("usual.png rotate=inf", "rotate must be"),
        ("usual.png mask=[[0,0],[1,1]]", "mask must have at least 3 corners"),
        ("usual.png mask=[[90,90],[99,90],[90,99]]", "mask has no inside"),
        ("usual.png mask=[[0,0,1]]", "mask"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    data: str, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = line.split()
    if "crop=[0,0,8,16]" in line:
        arguments.append("model=halves")
    assert main(["goal", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not Path("goal.png").exists()
