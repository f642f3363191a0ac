"""Observations as cameras, simulators and messages hand them out: taken as they are meant, kept as they were."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wmplan.control import Limits, PlanningSession, PlanRequest, RealtimeConfig, make_controller, plan_batch
from wmplan.control.histories import read_observation
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.robot_sim.simulated_clock import SimulatedClock
from wmplan.robot_sim.simulated_controller import SimulatedController
from wmplan.serving import PolicyServer, ServerConfig
from wmplan.serving.client import PolicyClient, PolicyError
from wmplan.serving.metadata import make_metadata, read_shapes

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from serving import running

BLOCK, HEIGHT, WIDTH = 5, 6, 8
HERE = torch.device("cpu")
RNG = np.random.default_rng(0)
PATTERN = RNG.normal(size=(HEIGHT, WIDTH, 3, 2)).astype(np.float32)


class Painted(WorldModel):
    """A point that every action moves. Latent: two weighted sums of the whole picture, and its place (its proprio)."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(HEIGHT, WIDTH),
            history=2,
            action_block=BLOCK,
            action_low=(-0.1, -0.1),
            action_high=(0.1, 0.1),
            action_mean=(0.0, 0.0),
            action_std=(1.0, 1.0),
            latent_shape=(4,),
            proprio_dim=2,
            proprio_mean=(0.0, 0.0),
            proprio_std=(1.0, 1.0),
        )

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        assert proprio is not None
        picture = torch.einsum("bthwc,hwcd->btd", frames.float() / 255, torch.from_numpy(PATTERN))
        return torch.cat([picture, proprio], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        """The picture goes on as it went, and is moved, too."""
        moves = actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)
        drift = context[:, -1] - context[:, 0]
        return (context[:, -1] + drift)[:, None, None] + torch.cat([moves.flip(-1), moves], -1)


def frame(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def observation(seed: int, place: Any = (0.0, 0.0)) -> dict[str, np.ndarray]:
    return {"pixels": frame(seed), "proprio": np.float32(place)}


# ------------------------------------------------------------------ any memory

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "BGR turned to RGB": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "a camera upside down": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "mirrored": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "a message's bytes": lambda a: np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape),
    "Fortran's order": np.asfortranarray,
    "channels first": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "cut out of a larger picture": lambda a: np.pad(a, ((3, 1), (2, 2), (0, 1)))[3:-1, 2:-2, :3],
    "every other pixel of one": lambda a: a.repeat(2, 0).repeat(2, 1)[::2, ::2],
    "torch's": lambda a: torch.from_numpy(a.copy()),  # type: ignore[arg-type, return-value]
    "nested lists with a type": lambda a: np.array(a.tolist(), np.uint8),
}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("batch", [None, 2])
def test_frames_in_any_memory_are_the_same_frames(name: str, batch: int | None) -> None:
    plain = [frame(seed) for seed in range(batch or 1)]
    given = [LAYOUTS[name](one) for one in plain]
    together: Any = given[0] if batch is None else np.stack([np.asarray(one) for one in given])
    proprio = np.zeros(2 if batch is None else (batch, 2))[..., ::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen, batched = read_observation({"pixels": together, "proprio": proprio}, Painted(), HERE)
    assert isinstance(seen.frames, Tensor) and batched == (batch is not None)
    np.testing.assert_array_equal(seen.frames[:, 0].numpy(), np.stack(plain))
    assert seen.frames.is_contiguous() and not np.shares_memory(seen.frames.numpy(), np.asarray(together))


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1, 2, -3])] * 3), st.integers(0, 3), st.booleans())
def test_any_view_is_read_by_its_elements(order: Any, steps: Any, offset: int, writeable: bool) -> None:
    shape = (HEIGHT, WIDTH, 3)
    memory = RNG.integers(0, 256, [abs(steps[axis]) * shape[axis] + offset for axis in order], np.uint8)
    whole = memory.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]
    view = whole[tuple(slice(0, size) for size in shape)]
    view.flags.writeable = writeable
    before = memory.copy()
    seen, _ = read_observation(view, Painted(), HERE)
    assert isinstance(seen.frames, Tensor)
    memory[...] = 0
    expected = before.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]
    np.testing.assert_array_equal(seen.frames[0, 0].numpy(), expected[tuple(slice(0, size) for size in shape)])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i4", "u1", "?", ">i8", "g"])
def test_a_state_of_any_numbers_is_read_and_kept(dtype: str) -> None:
    proprio = np.array([1, 0], dtype)
    seen, _ = read_observation({"pixels": frame(), "proprio": proprio}, Painted(), HERE)
    proprio[:] = 0
    assert seen.proprio is not None and seen.proprio[0, 0].tolist() == [1.0, 0.0]


# ------------------------------------------------------------------ what would be a guess

OTHERS = ["?", "i1", "u2", ">u2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "O", "U3"]


@pytest.mark.parametrize("dtype", OTHERS)
def test_frames_of_other_numbers_are_refused_by_name(dtype: str) -> None:
    other = frame().astype(dtype)
    with pytest.raises(ValueError, match=rf"^pixels must be uint8, got {other.dtype}: RGB from 0 to 255$"):
        read_observation(other, Painted(), HERE)


@pytest.mark.parametrize("proprio", [np.array(["a", "b"]), np.array([1j, 2]), np.array([None, 1])])
def test_a_state_that_is_no_numbers_is_refused_by_name(proprio: np.ndarray) -> None:
    with pytest.raises(ValueError, match="^proprio must be an array of numbers, got "):
        read_observation({"pixels": frame(), "proprio": proprio}, Painted(), HERE)


def test_a_state_beyond_floats_is_not_finite() -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match="not finite"):
        warnings.simplefilter("error")
        read_observation({"pixels": frame(), "proprio": np.array([1e300, 0.0])}, Painted(), HERE)


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 1), (HEIGHT, WIDTH, 4), (3, HEIGHT, WIDTH), (0,)])
def test_grey_transparent_and_channels_first_are_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^pixels.* shape .*(6, 8, 3|H, W, 3)"):
        read_observation(np.zeros(shape, np.uint8), Painted(), HERE)


# ------------------------------------------------------------------ in every loop

PLANNER = {"name": "cem", "num_samples": 16, "num_iterations": 2, "num_elites": 4, "horizon": 2}
SCHEDULE = {"replan_every": 3}  # not at every frame, and not at a model step
Act = Callable[[Any], np.ndarray]


def make_session() -> PlanningSession:
    return PlanningSession(Painted(), PLANNER, None, SCHEDULE)


@contextmanager
def controller(goal: Any) -> Iterator[Act]:
    pilot = make_controller(Painted(), PLANNER, None, SCHEDULE)
    pilot.reset(goal, seeds=0)
    yield pilot.act


@contextmanager
def session(goal: Any) -> Iterator[Act]:
    own = make_session()
    own.set_goal(goal)
    yield lambda seen: own.plan(PlanRequest(seen)).actions[0]


@contextmanager
def served(goal: Any) -> Iterator[Act]:
    spec = Painted().spec
    metadata, shapes = make_metadata(spec, {}, 2, 3), read_shapes(spec, 2)
    own = PolicyServer(metadata, shapes, make_session, plan_batch, ServerConfig(port=0))
    with running(own) as server, PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
        client.set_goal(goal)
        yield lambda seen: client.plan(PlanRequest(seen)).actions[0]


@contextmanager
def realtime(goal: Any) -> Iterator[Act]:
    clock, config = SimulatedClock(), RealtimeConfig(replan_every=3, log_seconds=None)
    loop = SimulatedController(lambda call: make_session(), Limits((-0.1, -0.1), (0.1, 0.1)), 10.0, config, clock, 10.0)
    loop.reset({name: np.array(value) for name, value in goal.items()}, 0)  # as RealtimeController copies it

    def act(seen: Any) -> np.ndarray:
        clock.sleep_until(clock() + 0.1)
        action = loop.act(seen, clock())
        if loop.loop.reason is not None and "refused" in loop.loop.reason:
            raise ValueError(loop.loop.reason)
        return action

    yield act


LOOPS: dict[str, Any] = {"Controller": controller, "PlanningSession": session, "served": served, "real time": realtime}


def drive(
    name: str,
    prepare: Callable[[dict[str, np.ndarray]], Any] = lambda seen: seen,
    after: Callable[[], None] = lambda: None,
    scale: float = 1.0,
) -> np.ndarray:
    """The actions of some robot steps; `after` runs when a call has returned, and actions are scaled in place."""
    goal = prepare(observation(99, (0.3, -0.2)))
    with LOOPS[name](goal) as act:
        after()
        place, actions = np.zeros(2, np.float32), []
        for step in range(14):
            action = act(prepare(observation(step, place)))
            actions.append(action.copy())
            place = place + action
            action *= scale  # in place, as to the robot's own units
            after()
    return np.array(actions)


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_a_buffer_that_is_used_again_changes_nothing(name: str) -> None:
    """The case of cameras and vectorised environments; whatever is in the buffer between calls is noise."""
    buffer = {key: np.empty_like(value) for key, value in observation(0).items()}

    def prepare(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for key, value in seen.items():
            buffer[key][...] = value
        return buffer

    def spoil() -> None:
        buffer["pixels"][...], buffer["proprio"][...] = RNG.integers(0, 256, buffer["pixels"].shape), RNG.normal(size=2)

    np.testing.assert_array_equal(drive(name, prepare, spoil), drive(name))


@pytest.mark.parametrize("name", sorted(LOOPS))
@pytest.mark.parametrize("layout", ["BGR turned to RGB", "a message's bytes", "Fortran's order"])
def test_every_loop_takes_views_without_a_word(name: str, layout: str) -> None:
    def prepare(seen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        proprio = np.ascontiguousarray(seen["proprio"][::-1])[::-1]
        proprio.flags.writeable = False
        return {"pixels": LAYOUTS[layout](seen["pixels"]), "proprio": proprio}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(drive(name, prepare), drive(name))


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_an_action_scaled_in_place_changes_nothing(name: str) -> None:
    np.testing.assert_array_equal(drive(name, scale=100.0), drive(name))


@pytest.mark.parametrize("name", sorted(LOOPS))
@pytest.mark.parametrize("dtype", ["u2", "f4", "i8"])
def test_no_loop_guesses_what_other_numbers_mean(name: str, dtype: str) -> None:
    with (
        pytest.raises((ValueError, PolicyError), match="pixels.*uint8"),
        LOOPS[name](observation(99)) as act,
    ):
        act({**observation(1), "pixels": frame(1).astype(dtype)})
