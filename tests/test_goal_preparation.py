"""`wmplan goal`: what is written, what is said of it beside recorded data, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from wmplan import goal_preparation
from wmplan.cli import main
from wmplan.client.goals import MaskedGoal
from wmplan.control.goal_image import read_goal_image, read_goal_mask
from wmplan.data.recorder import Recorder
from wmplan.errors import UserError
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


CAMERAS = ("front", "wrist")


class TwoHalves(Halves):
    """Halves of two cameras' frames, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = replace(self.spec, cameras=CAMERAS, latent_shape=(4,))

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        return torch.cat([super(TwoHalves, self).encode(frames[name]) for name in CAMERAS], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, -1, None, None] + actions.cumsum(2).tile(2)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four episodes of two cameras, the wrist's frames brighter; pictures that are usual, but for one of the wrist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(goal_preparation, "_load", lambda name: TwoHalves() if name == "two" else Halves())
    recorder = Recorder(tmp_path / "two", action_low=(-1, -1), action_high=(1, 1), control_rate=10.0)
    rng = np.random.default_rng(0)
    for _ in range(4):
        stream = recorder.stream(CAMERAS)
        for step in range(30):
            level = 60 + 80 * rng.random()
            views = {"front": picture(level, level + 2), "wrist": picture(level + 60, level + 62)}
            stream.see(views, None, np.zeros((min(step, 1), 2), np.float32))
    recorder.close()
    Image.fromarray(picture(100, 102, 2 * SIZE)).save("front.png")
    Image.fromarray(picture(160, 162)).save("wrist.png")
    Image.fromarray(picture(60, 62)).save("odd.png")
    return "two"


def test_a_goal_of_several_cameras_is_one_picture_of_each(two: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["in.front=front.png", "in.wrist=wrist.png", "model=two", "data=two", "out=here.png"]
    assert main(["goal", *line, "mask.wrist=[[0,0],[7,0],[7,15],[0,15]]", "crop.front=[0,0,32,32]"]) == 0
    told = capsys.readouterr().out
    for name, levels in {"front": (100, 102), "wrist": (160, 162)}.items():
        np.testing.assert_array_equal(read_goal_image(f"here.{name}.png", (SIZE, SIZE)), picture(*levels))
    assert "wrist: brightness 161 of 255" in told and "unlike" not in told and "nearest to episode" in told
    assert "goal_mask.wrist=here.wrist.mask.png" in told and not Path("here.front.mask.png").exists()
    planner = {"name": "cem", "num_samples": 8, "num_iterations": 1, "num_elites": 2, "horizon": 1}
    files: Any = {name: Path(f"here.{name}.png") for name in CAMERAS}
    server = make_server(TwoHalves(), ServerConfig(port=0), planner, goal=files)
    assert isinstance(server.served.goal, dict)
    np.testing.assert_array_equal(server.served.goal["wrist"], picture(160, 162))
    masks: Any = {"wrist": Path("here.wrist.mask.png")}
    masked = make_server(TwoHalves(), ServerConfig(port=0), planner, goal=files, goal_mask=masks).served.goal
    assert isinstance(masked, MaskedGoal) and masked.mask["wrist"][:, :8].all() and "front" not in masked.mask
    with pytest.raises(UserError, match="there is no picture of 'wrist', the model sees front, wrist: goal.front=FILE"):
        make_server(TwoHalves(), ServerConfig(port=0), planner, goal={"front": Path("front.png")})
    with pytest.raises(UserError, match="goal: the model sees front, wrist: goal.front=FILE goal.wrist=FILE"):
        make_server(TwoHalves(), ServerConfig(port=0), planner, goal=Path("front.png"))


def test_a_camera_whose_picture_is_unlike_the_data_makes_the_goal_unlike(two: str) -> None:
    pictures = {"front": Path("front.png"), "wrist": Path("odd.png")}
    told = prepare_goal(pictures, model="two", data="two")
    assert "unlike what the model has seen" in told and "wrist: brightness 61 of 255" in told
    assert told.count("it is unlike them (exposure=match)") == 1
    assert "exposure=match)" not in prepare_goal(pictures, model="two", data="two", exposure="match")


def test_recorded_frames_of_every_camera_are_written(two: str) -> None:
    for given in ({"model": "two"}, {"cameras": CAMERAS}):
        prepare_goal(frame="two:2:7", **given)  # type: ignore[arg-type]
        store = goal_preparation.open_data("two", cameras=CAMERAS)
        for name in CAMERAS:
            read = read_goal_image(f"goal.{name}.png", (SIZE, SIZE))
            np.testing.assert_array_equal(read, store.read(2, name, 7, 8)[0])
            Path(f"goal.{name}.png").unlink()
    prepare_goal(frame="two:2:7", camera="wrist")
    np.testing.assert_array_equal(read_goal_image("goal.png", (SIZE, SIZE)), store.read(2, "wrist", 7, 8)[0])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("front.png model=two", "the goal is of front, wrist: give a picture of each, in.front=FILE in.wrist=FILE"),
        ("in.front=front.png model=two", "the model sees front, wrist, the goal is of front"),
        ("in.front=front.png in.wrist=wrist.png model=one", "the model sees one camera, the goal is of front, wrist"),
        ("frame=two:0:0 model=two camera=wrist", "camera must be left out"),
        ("frame=two:0:0 model=two crop.top=[0,0,1,1]", "crop.top: the goal has no such camera; front, wrist"),
        ("front.png mask.front=[[0,0],[1,1],[0,1]]", "mask.front: the goal has no such camera; it has one"),
        ("frame=two:0:0 cameras=[front,top]", "no camera 'top'"),
        ("in.front=front.png in.wrist=7", "in"),
    ],
)
def test_what_cannot_be_of_several_cameras_is_said_in_one_line(
    two: str, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["goal", *line.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
