"""What the robots' loops record: the frames and actions that were seen and sent, in the format that training takes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.control import Limits, PlanRequest, RealtimeConfig, RealtimeController, make_controller
from wmplan.data.recorder import Recorder
from wmplan.data.store import EpisodeStore
from wmplan.models import load
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.serving import ServerConfig
from wmplan.serving.client import PolicyClient
from wmplan.serving.serve import make_server
from wmplan.training.config import StageConfig, TrainConfig
from wmplan.training.train import train

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from serving import running

SIZE, BOUND = 32, 0.1
PLANNER = {"name": "cem", "num_samples": 16, "num_iterations": 2, "num_elites": 4, "horizon": 2}


class Dot(WorldModel):
    """A robot whose place is its own state; it sees its place as the brightness of two halves of the frame."""

    def __init__(self, cameras: tuple[str, ...] = ("pixels",)) -> None:
        super().__init__()
        two = (0.0, 0.0)
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=1,
            action_block=2,
            action_low=(-BOUND, -BOUND),
            action_high=(BOUND, BOUND),
            action_mean=two,
            action_std=(1.0, 1.0),
            latent_shape=(2,),
            proprio_dim=2,
            proprio_mean=two,
            proprio_std=(1.0, 1.0),
            cameras=cameras,
        )

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        seen = frames if isinstance(frames, Tensor) else next(iter(frames.values()))
        return torch.zeros(*seen.shape[:2], 2) if proprio is None else proprio.clone()

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, -1, None, None] + actions.unflatten(-1, (2, 2)).sum(-2).cumsum(2)


class Table:
    """Where the dot is, and what it sees there; every frame is another."""

    def __init__(self, seed: int = 0) -> None:
        self.place, self.rng = np.zeros(2, np.float32), np.random.default_rng(seed)

    def see(self) -> dict[str, np.ndarray]:
        self.shown = {"pixels": self.rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8), "proprio": self.place.copy()}
        return self.shown

    def step(self, action: np.ndarray) -> None:
        self.place = self.place + action


GOAL = {"pixels": np.zeros((SIZE, SIZE, 3), np.uint8), "proprio": np.array([0.5, -0.3], np.float32)}


def check_physics(store: EpisodeStore) -> None:
    """Every action leads from the place of its row to that of the next."""
    for number in range(len(store)):
        episode = store.episode(number, ("proprio", "action"))
        moved = np.diff(episode["proprio"], axis=0)
        np.testing.assert_allclose(moved, episode["action"][:-1], atol=1e-6)


def test_a_controller_records_every_robot_and_every_reset_is_an_episode(tmp_path: Path) -> None:
    controller = make_controller(Dot(), PLANNER, record=tmp_path)
    tables = [Table(1), Table(2)]
    frames: list[list[np.ndarray]] = [[], []]
    for _ in range(2):
        controller.reset({name: np.stack([value] * 2) for name, value in GOAL.items()}, 0, at_rest=True)
        for _ in range(5):
            seen = [table.see() for table in tables]
            for kept, one in zip(frames, seen, strict=True):
                kept.append(one["pixels"])
            actions = controller.act({name: np.stack([one[name] for one in seen]) for name in seen[0]})
            for table, action in zip(tables, actions, strict=True):
                table.step(action)
    controller.close()
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [5] * 4 and store.meta.control_rate == 10 and store.meta.action_high == (0.1, 0.1)
    check_physics(store)
    told = {store.read(episode, "pixels", 0, 5).tobytes() for episode in range(4)}
    assert told == {np.stack(kept[at : at + 5]).tobytes() for kept in frames for at in (0, 5)}


def test_the_real_time_loop_records_what_was_sent_by_robot_step(tmp_path: Path) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock, table = Clock(), Table()
    limits, config = Limits((-BOUND,) * 2, (BOUND,) * 2), RealtimeConfig(wait_first=True, log_seconds=None)
    with RealtimeController.of(
        Dot(), PLANNER, limits=limits, config=config, clock=clock, record=tmp_path
    ) as controller:
        controller.reset(GOAL, at_rest=True)
        for _ in range(8):
            table.step(controller.act(table.see(), clock.now))
            clock.now += 0.1
        controller.set_goal(GOAL)
        for _ in range(4):
            table.step(controller.act(table.see(), clock.now))
            clock.now += 0.1
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [8, 4]
    check_physics(store)


def test_a_safe_stop_is_not_recorded(tmp_path: Path, simulate: Any) -> None:
    recorder = Recorder(tmp_path, action_low=(-1, -1), action_high=(1, 1), control_rate=10.0)
    loop = simulate()
    loop.loop.recording = recorder.stream()
    loop.reset()
    for _ in range(6):
        loop.tick()
    loop.loop.stop("button", loop.now)
    for _ in range(10):
        loop.tick()
    recorder.close()
    assert EpisodeStore.open(tmp_path).lengths.tolist() == [6]


def test_served_robots_are_recorded_where_a_frame_comes_every_step(tmp_path: Path) -> None:
    model = Dot()
    spec = model.spec
    recorder = Recorder(
        tmp_path, action_low=spec.action_low, action_high=spec.action_high, control_rate=spec.control_rate
    )
    server, table = make_server(model, ServerConfig(port=0), PLANNER, recorder=recorder), Table()
    with running(server), PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
        client.set_goal(GOAL)
        client.reset(0)
        executed = None
        for _ in range(6):
            action = client.plan(PlanRequest(table.see(), executed=executed)).actions[0]
            executed = action[None]
            table.step(action)
        client.reset(1)
        for _ in range(3):  # two steps a frame
            actions = client.plan(PlanRequest(table.see())).actions[:2]
            table.step(actions.sum(0))
    recorder.close()
    store = EpisodeStore.open(tmp_path)
    assert store.lengths.tolist() == [6] and recorder.counts.gaps == 2
    check_physics(store)


class TwoViews(Table):
    """A table that two cameras see, and a third that the model knows nothing of."""

    def see(self) -> dict[str, np.ndarray]:
        views = {name: self.rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8) for name in ("rear", *CAMERAS)}
        self.shown = {**views, "proprio": self.place.copy()}
        return self.shown


CAMERAS = ("left", "right")
TWO_GOALS = {**dict.fromkeys(CAMERAS, GOAL["pixels"]), "proprio": GOAL["proprio"]}


@pytest.mark.parametrize("loop", ["controller", "real-time", "robot state", "served"])
def test_every_camera_of_the_model_is_recorded_by_its_name_and_trains(tmp_path: Path, loop: str) -> None:
    model, table, shown = Dot(CAMERAS), TwoViews(), []
    use = tmp_path / "use"

    def drive(act: Any, steps: int) -> None:
        for _ in range(steps):
            seen = table.see()
            shown.append(seen)
            table.step(act(seen))

    if loop == "controller":
        controller = make_controller(model, PLANNER, record=use)
        for episode in range(2):
            controller.reset(TWO_GOALS, episode, at_rest=True)
            drive(controller.act, 40)
        controller.close()
    elif loop == "served":
        spec = model.spec
        recorder = Recorder(use, action_low=spec.action_low, action_high=spec.action_high, control_rate=10.0)
        server = make_server(model, ServerConfig(port=0), PLANNER, recorder=recorder)
        with running(server), PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
            client.set_goal(TWO_GOALS)
            client.reset(0)
            last: list[np.ndarray] = []

            def ask(seen: dict[str, np.ndarray]) -> np.ndarray:
                own = {name: value for name, value in seen.items() if name != "rear"}  # which a server refuses
                request = PlanRequest(own, executed=last[-1][None] if last else None)
                last.append(client.plan(request).actions[0])
                return last[-1]

            drive(ask, 40)
        recorder.close()
    else:
        now = [0.0]
        limits, config = Limits((-BOUND,) * 2, (BOUND,) * 2), RealtimeConfig(wait_first=True, log_seconds=None)
        with RealtimeController.of(
            model, PLANNER, limits=limits, config=config, clock=lambda: now[0], record=use
        ) as real_time:
            real_time.reset(TWO_GOALS if loop == "real-time" else {"proprio": GOAL["proprio"]}, at_rest=True)

            def act(seen: dict[str, np.ndarray]) -> np.ndarray:
                action = real_time.act(seen, now[0])
                now[0] += 0.1
                return action

            drive(act, 8)
    store = EpisodeStore.open(use, cameras=CAMERAS)
    assert store.lengths.tolist() == ([40, 40] if loop == "controller" else [len(shown)])
    assert "rear" not in store.columns and "pixels" not in store.columns
    check_physics(store)
    for camera in CAMERAS:
        np.testing.assert_array_equal(store.column(camera), np.stack([one[camera] for one in shown]))
    if loop == "controller":
        none, some = StageConfig(0, 1, 1.0), StageConfig(1, 4, 1e-3)
        config = TrainConfig(
            data=str(use), out=str(tmp_path / "run"), cameras=CAMERAS, latent_dim=6, robot_dim=0, validation=0.5,
            encoder_options={"channels": [8], "keypoints": 4, "hidden": 16}, predictor="mlp", joint_predictor=None,
            joint=some, dynamics=some, critic=none, decoder=none,
        )  # fmt: skip
        train(config)
        trained = load(tmp_path / "run" / "model")
        assert trained.spec.cameras == CAMERAS
        again = make_controller(trained, PLANNER, record=use)  # and on into the same folder
        again.reset(TWO_GOALS, 0, at_rest=True)
        again.act(table.see())
        again.act(table.see())
        again.close()
        assert EpisodeStore.open(use, cameras=CAMERAS).lengths.tolist() == [40, 40, 2]


def test_frames_of_one_camera_are_the_column_pixels_whatever_its_name(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, action_low=(-1.0,), action_high=(1.0,), control_rate=10.0)
    stream, frame = recorder.stream(("front",)), np.zeros((8, 8, 3), np.uint8)
    for _ in range(3):
        stream.see({"front": frame, "rear": frame + 1}, None, np.zeros((1, 1), np.float32))
    recorder.close()
    store = EpisodeStore.open(tmp_path)
    assert "front" not in store.columns and not store.read(0, "pixels", 0, 3).any()


def test_the_circle_closes_a_model_trained_on_the_recording_plans(tmp_path: Path) -> None:
    controller = make_controller(Dot(), PLANNER, record=tmp_path / "use")
    rng = np.random.default_rng(0)
    for episode in range(3):
        table = Table(episode)
        controller.reset({**GOAL, "proprio": rng.uniform(-1, 1, 2).astype(np.float32)}, episode, at_rest=True)
        for _ in range(40):
            table.step(controller.act(table.see()))
    controller.close()
    none = StageConfig(0, 1, 1.0)
    config = TrainConfig(
        data=str(tmp_path / "use"),
        out=str(tmp_path / "run"),
        encoder_options={"channels": [8], "keypoints": 4, "hidden": 16},
        latent_dim=6,
        robot_dim=0,
        predictor="mlp",
        predictor_options={"width": 32, "depth": 1},
        joint_predictor=None,
        joint=StageConfig(2, 8, 1e-3),
        dynamics=StageConfig(2, 8, 1e-3),
        critic=none,
        decoder=none,
    )
    train(config)
    model = load(tmp_path / "run" / "model")
    assert model.spec.control_rate == 10 and model.spec.action_high == pytest.approx((0.1, 0.1))
    again = make_controller(model, PLANNER, record=tmp_path / "use")  # and on into the same folder
    again.reset(GOAL, 0, at_rest=True)
    assert np.isfinite(again.act(Table().see())).all()
    again.close()
    assert torch.isfinite(model.encode(torch.zeros(1, 1, SIZE, SIZE, 3, dtype=torch.uint8), torch.zeros(1, 1, 2))).all()
