"""The demo on a small model: its files, what it tells, and that a plan's picture shows where things are."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from wmplan.data.registered import make_environment
from wmplan.demo import run_demo
from wmplan.errors import UserError
from wmplan.models.base import ModelSpec
from wmplan.models.checkpoint import save
from wmplan.models.jepa import JEPA, JEPAConfig
from wmplan.planning.planner import Plan
from wmplan.report.plan_picture import SIZE_PX, PlanView, draw_costs, project, traced

PLANNING = {
    "planner": {"name": "cem", "num_samples": 8, "num_iterations": 2, "num_elites": 2, "horizon": 2},
    "objective": {"latent": {"weight": 1.0, "kind": "l2", "steps": "last"}},
}


def tiny(folder: Path, *, decoder: bool, task: str = "pusht") -> str:
    spec = ModelSpec(
        image_size=(32, 32),
        history=1,
        action_block=5,
        action_low=(-0.2, -0.2),
        action_high=(0.2, 0.2),
        action_mean=(0.0, 0.0),
        action_std=(0.1, 0.1),
        latent_shape=(6,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(0.1, 0.1),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"decoder": True, "decoder_options": {"width": 8}} if decoder else {}
        model = JEPA(JEPAConfig(latent_dim=4, **options), spec)
    save(model, folder, {"name": "tiny", "task": task, "planning": PLANNING})
    return str(folder)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    base, lines = tmp_path_factory.mktemp("demo"), []
    found = run_demo(base / "out", tiny(base / "model", decoder=True), seed=3, budget=10, say=lines.append)
    return base / "out", found, lines


def test_it_writes_what_it_says(told: Any) -> None:
    out, found, lines = told
    files = {"episode.mp4", "plan.png", "still.png", "report.html", "demo.json"}
    assert {path.name for path in out.iterdir()} == files
    for name in ("episode.mp4", "plan.png", "report.html"):
        assert any(name in line for line in lines)
    assert json.loads((out / "demo.json").read_text()) == json.loads(json.dumps(found))
    assert len([line for line in lines if "imagined 16 futures" in line]) == len(found["plan_ms"]) == 2
    assert f"distance to the goal: {found['distance'][0]:.2f}" in "\n".join(lines)


def test_the_film_has_a_frame_a_step_with_three_panels(told: Any) -> None:
    out, found, _ = told
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(out / "episode.mp4"))
    assert frames == len(found["distance"]) + 12
    meta = next(imageio_ffmpeg.read_frames(str(out / "episode.mp4")))
    assert meta["size"][0] > 3 * 256 and meta["fps"] == 10


def test_the_page_holds_film_and_picture_and_nothing_outside(told: Any) -> None:
    text = (told[0] / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{5})', text)
    assert set(sources) == {"data:"}
    assert "data:video/mp4" in text and "data:image/png" in text and "num_samples" in text


def test_the_page_says_when_and_by_which_command(told: Any) -> None:
    out, found, _ = told
    text = (out / "report.html").read_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert f"Measured on {found['date'][:10]} {found['date'][11:19]} UTC" in text
    command = re.search(r"<pre>(wmplan demo .*?)</pre>", text)
    assert command is not None
    for setting in ("seed=3", "budget=10", f"model={found['model']}"):
        assert setting in command[1].split()


def test_a_narrow_screen_gets_a_picture_that_is_high_and_not_wide(told: Any) -> None:
    slim = re.search(
        r'max-width: 640px\)" srcset="data:image/png;base64,([^"]+)"', (told[0] / "report.html").read_text()
    )
    assert slim is not None
    width, height = Image.open(io.BytesIO(base64.b64decode(slim[1]))).size
    assert width < 600 and height > 2 * width


def test_every_point_of_the_best_so_far_is_one_of_the_dots() -> None:
    rng = np.random.default_rng(0)
    costs = [torch.from_numpy(rng.uniform(1, 9, (1, 2000))) for _ in range(4)]
    costs[2][0, 17] = float("nan")
    plan = Plan(torch.zeros(1, 1, 2), torch.zeros(1), {"candidate_costs": costs})
    axis = Figure().subplots()
    draw_costs(axis, PlanView(0, np.zeros(1), None, plan), np.zeros((4, 4)))  # type: ignore[arg-type]
    dots = [np.asarray(one.get_offsets()) for one in axis.collections]
    seen: set[float] = set()
    for own, best in zip(dots, axis.lines[0].get_xydata(), strict=True):
        seen |= set(own[:, 1])
        assert best[1] in seen
    assert axis.get_title() == "8000 imagined futures\n600 are drawn, with the best of each iteration"


def test_a_busy_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((1000 * i, 700 * i) for i in range(100))
    monkeypatch.setattr("wmplan.machine._run_and_waited", lambda: next(clock))
    lines: list[str] = []
    found = run_demo(tmp_path / "out", tiny(tmp_path / "model", decoder=False), budget=6, say=lines.append)
    assert any("41 % of the time was spent waiting" in line for line in lines) and "41 %" in found["busy"]
    assert "41 %" in (tmp_path / "out" / "report.html").read_text()


def test_the_still_ends_with_the_goal(told: Any) -> None:
    out, _, _ = told
    picture = np.asarray(Image.open(io.BytesIO((out / "still.png").read_bytes())))
    assert picture.shape[1] > 5 * 256
    assert np.asarray(Image.open(out / "plan.png")).shape[1] == 1210


def test_without_a_decoder_there_are_two_panels(tmp_path: Path) -> None:
    run_demo(tmp_path / "out", tiny(tmp_path / "model", decoder=False), budget=6, say=lambda line: None)
    meta = next(imageio_ffmpeg.read_frames(str(tmp_path / "out" / "episode.mp4")))
    assert 2 * 256 < meta["size"][0] < 3 * 256


def test_a_model_that_is_not_there_or_says_no_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing_of_that_name"):
        run_demo(tmp_path, "nothing_of_that_name")
    with pytest.raises(UserError, match="task"):
        run_demo(tmp_path, tiny(tmp_path / "model", decoder=False, task="?"), say=lambda line: None)


def test_points_are_projected_to_where_the_camera_draws_them() -> None:
    """The pusher is the only red thing: its pixels' centre is where project() says it is."""
    env = make_environment("wmplan.envs:wmplan/PushT-v0", {"image_size": (64, 64)})
    env.reset(seed=5)
    red = env.render((SIZE_PX, SIZE_PX)).astype(int)
    rows, columns = np.nonzero((red[..., 0] > 150) & (red[..., 1] < 110))
    where = traced(env.task.state_names)
    assert where == [0, 1]
    at = project(env, env.task_state()[None, where])[0]
    assert np.abs(at - [columns.mean() + 0.5, rows.mean() + 0.5]).max() < 6
    env.close()


def test_what_is_traced_is_the_first_point_of_a_state() -> None:
    assert traced(("a_rad", "hand_x_m", "hand_y_m", "hand_z_m")) == [1, 2, 3]
    assert traced(("a_rad", "b_rad")) is None
