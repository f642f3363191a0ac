"""When the time to the arrival counts anew, by plain geometry, and what a robot's user sees of it in every loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import wmplan
from wmplan.control import Limits, PlanningSession, PlanRequest, RealtimeConfig, make_controller, plan_batch
from wmplan.control.arrival import Approach, Reach, continued, was_moved
from wmplan.control.schedule import Schedule
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.planning.objectives.distances import ActionPenalty, LatentDistance
from wmplan.planning.objectives.registry import WeightedSum
from wmplan.robot_sim.simulated_clock import SimulatedClock
from wmplan.robot_sim.simulated_controller import SimulatedController
from wmplan.serving import PolicyServer, ServerConfig
from wmplan.serving.client import PolicyClient
from wmplan.serving.metadata import make_metadata, read_shapes

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from serving import running

BLOCK, BOUND, SIZE = 5, 0.1, 8
REACH = BLOCK * BOUND  # of one model step, along either axis
ARRIVE_IN, HORIZON = 25, 3
PLANNER = {"name": "cem", "num_samples": 64, "num_iterations": 6, "num_elites": 8, "horizon": HORIZON}
SCHEDULE = {"replan_every": BLOCK, "arrival_step": ARRIVE_IN}
OBJECTIVE = {"latent": {"steps": "last"}}
GOAL = (0.7, -0.4)


class PointWorld(WorldModel):
    """A point that every action moves by itself; its latent is its place, in any unit."""

    def __init__(self, history: int = 2, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=history,
            action_block=BLOCK,
            action_low=(-BOUND, -BOUND),
            action_high=(BOUND, BOUND),
            action_mean=(0.0, 0.0),
            action_std=(1.0, 1.0),
            latent_shape=(2,),
            proprio_dim=2,
            proprio_mean=(0.0, 0.0),
            proprio_std=(1.0, 1.0),
        )

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        assert proprio is not None
        return proprio / self.unit

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        moves = actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)
        return context[:, -1, None, None] + moves / self.unit


# ------------------------------------------------------------------ by plain geometry

PLACES = st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
OBJECTIVES = {
    "l2": LatentDistance("l2"),
    "l1": LatentDistance("l1"),
    "l2 and effort": WeightedSum([(2.0, LatentDistance()), (1.0, ActionPenalty((-BOUND,) * 2, (BOUND,) * 2))]),
}


def length(name: str, place: Any) -> float:
    """What the objective makes of a way, up to a factor."""
    return float(np.abs(place).sum() if name == "l1" else np.square(place).sum())


def latent(model: PointWorld, *places: Any) -> Tensor:
    return torch.tensor(np.array(places), dtype=torch.float32) / model.unit


STILL = torch.zeros(1, 1, 2 * BLOCK)
LATE = 10 + BLOCK  # robot steps, with an arrival after 10


def late(model: PointWorld, objective: Any, way: list[Any], goal: Any, steps: int = 1) -> int:
    """What is over of the time of a robot that set out, came by and now stands still at places, when it is late."""
    schedule, aim = Schedule(arrival_step=10, min_horizon=steps), latent(model, goal)
    one = Approach()
    for place, elapsed in zip(way, [0, 10, LATE], strict=True):
        context = latent(model, place, place)[None]
        (one,) = continued(model, objective, schedule, context, STILL, aim, [replace(one, elapsed=elapsed)])
    return one.elapsed


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(PLACES, PLACES, PLACES),
    st.integers(1, 3),
    st.sampled_from(sorted(OBJECTIVES)),
    st.sampled_from([1.0, 1e-3, 1e3]),
)
def test_who_is_late_sets_out_again_if_driven_off_or_under_way(way: Any, steps: int, name: str, unit: float) -> None:
    goal = (0.2, -0.1)
    first, then, now = (length(name, np.subtract(place, goal)) / length(name, (steps * REACH, 0.0)) for place in way)
    nearest = min(first, then)
    expected = now > nearest + 1 or (now > 1 and first > nearest + 1)
    if min(abs(now - nearest - 1), abs(now - 1), abs(first - nearest - 1)) > 1e-3:
        assert late(PointWorld(unit=unit), OBJECTIVES[name], list(way), goal, steps) == (0 if expected else LATE)


def test_who_is_late_and_beside_the_goal_tries_once_more_in_half_the_time() -> None:
    """Errors of a tenth of the reach: beside is more than three of them away, and less than the reach."""
    schedule, aim = Schedule(arrival_step=10), (0.0, 0.0)

    def tries(model: PointWorld, off: float) -> list[tuple[int, bool]]:
        one, seen = Approach(), []
        place = latent(model, (off, off), (off, off))[None]
        for elapsed in (0, 10, LATE, LATE):
            (one,) = continued(
                model, LatentDistance(), schedule, place, STILL, latent(model, aim), [replace(one, elapsed=elapsed)]
            )
            seen.append((one.elapsed, one.is_second_try))
        return seen

    model = PointWorld()
    model.error_scale = torch.full((2,), 0.1 * REACH)
    assert tries(model, 0.35 * REACH) == [(0, False), (10, False), (5, True), (LATE, True)]  # and no third time
    assert tries(model, 0.25 * REACH) == [(0, False), (10, False), (LATE, False), (LATE, False)]
    assert tries(PointWorld(), 0.35 * REACH)[2:] == [(LATE, False)] * 2  # of errors that nobody knows


def test_there_is_one_second_try_however_short_the_time_and_however_often_a_frame_is_planned_from() -> None:
    reach, one, tries = Reach(0.1, 0.1), Approach(10, 1.0, 1.0, Reach(0.1, 0.1)), 0
    for _ in range(4):
        one = one.seen(1.0, reach, was_moved=False, is_late=True, is_beside=True, half_way=0)
        tries += one.elapsed == 0
        one = one.seen(1.0, reach, was_moved=False, is_late=False, is_beside=True, half_way=0).later(10)
    assert tries == 1


def test_what_the_objective_does_not_ask_for_sends_nobody_on_a_second_try() -> None:
    """The first number is at its goal, the second is not, and only an objective that asks for it misses it."""
    model, schedule = PointWorld(), Schedule(arrival_step=10)
    model.error_scale = torch.full((2,), 0.01)
    place, goal = (0.2, 0.0), latent(model, (0.2, 0.3))
    context = latent(model, place, place)[None]
    late = [Approach(LATE, 0.0, 0.0, Reach(1.0, 1.0))]
    for size, expected in ((1, False), (None, True)):
        (one,) = continued(model, LatentDistance(size=size), schedule, context, STILL, goal, late)
        assert one.is_second_try == expected


def test_a_second_try_starts_its_search_from_nothing() -> None:
    model = PointWorld()
    model.error_scale = torch.full((2,), 1e-6)
    planner = {**PLANNER, "cold_start_samples": 500}
    session = PlanningSession(model, planner, OBJECTIVE, {"replan_every": BLOCK, "arrival_step": 10})
    widths: list[int] = []
    session.core.listener = lambda search: widths.append(  # type: ignore[attr-defined]
        search.plan.diagnostics["candidates"][0].shape[1]
    )
    session.set_goal(observation(GOAL))
    still = np.zeros((BLOCK, 2), np.float32)  # the robot that does not move is late at step 15
    for _ in range(5):
        session.plan(PlanRequest(observation((0.0, 0.0)), executed=still))
    assert widths == [500, 64, 64, 500, 64]


@settings(max_examples=60, deadline=None)
@given(PLACES, PLACES, PLACES, st.sampled_from(sorted(OBJECTIVES)), st.sampled_from([1.0, 1e-3, 1e3]))
def test_a_robot_was_moved_if_it_is_beyond_its_reach_of_where_it_should_be(
    before: Any, push: Any, action: Any, name: str, unit: float
) -> None:
    model, done = PointWorld(unit=unit), np.clip(action, -BOUND, BOUND)
    here = np.add(before, BLOCK * done) + push
    off = length(name, push) / length(name, (REACH, 0.0))
    actions = torch.tensor(np.tile(done, BLOCK), dtype=torch.float32)[None]
    found = was_moved(model, OBJECTIVES[name], latent(model, before), actions, latent(model, here))
    if abs(off - 2) > 1e-2:
        assert found.tolist() == [off > 2]


def test_each_robot_has_a_time_of_its_own() -> None:
    """Four stand still where they were: at the goal or far, late or not yet; the fifth was put elsewhere."""
    model, schedule, objective = PointWorld(), Schedule(arrival_step=20), LatentDistance()
    before = np.array([(0.0, 0.0), (0.0, 0.0), (1.5, 0.0), (1.5, 0.0), (0.0, 0.0)])
    here = before + np.array([(0, 0)] * 4 + [(-3, 0)])
    context = latent(model, before, here).transpose(0, 1)
    past, goal = STILL.expand(5, -1, -1), latent(model, *[(0.2, 0.0)] * 5)
    so_far = [Approach(elapsed, 9.0, 0.0) for elapsed in (25, 10, 25, 24, 10)]

    def elapsed(context: Tensor, past: Tensor | None, schedule: Schedule) -> list[int]:
        return [one.elapsed for one in continued(model, objective, schedule, context, past, goal, so_far)]

    assert elapsed(context, past, schedule) == [25, 10, 0, 24, 0]
    assert elapsed(context[:, 1:], None, schedule) == [25, 10, 0, 24, 10]  # one frame tells of no motion
    assert elapsed(context, past, Schedule()) == [25, 10, 25, 24, 10]


def test_a_robot_that_is_still_under_way_was_not_moved() -> None:
    """At full speed along both axes it is farther from where it was than any one of them leads."""
    model, done = PointWorld(), torch.full((1, 1, 2 * BLOCK), BOUND)
    context, goal = latent(model, (0, 0), (REACH, REACH))[None], latent(model, (2, 2))
    schedule, so_far = Schedule(arrival_step=20), Approach(BLOCK, 8.0, 8.0)
    for past, elapsed in ((done, BLOCK), (-done, 0)):
        (one,) = continued(model, LatentDistance(), schedule, context, past, goal, [so_far])
        assert one.elapsed == elapsed


# ------------------------------------------------------------------ what its user sees in every loop


def observation(place: Any) -> dict[str, np.ndarray]:
    return {"pixels": np.zeros((SIZE, SIZE, 3), np.uint8), "proprio": np.float32(place)}


class Robot:
    """A point that a loop drives; another thing may move it, too.

    Args:
        act: from an observation to the robot step's action.
        lengths: model steps of the plans so far, which the loop fills.
        aim_again: sets the same goal once more.
    """

    def __init__(
        self,
        act: Callable[[dict[str, np.ndarray]], np.ndarray],
        lengths: list[int],
        aim_again: Callable[[], Any] = lambda: None,
    ) -> None:
        self.act, self.lengths, self.place = act, lengths, np.zeros(2, np.float32)
        self.aim_again = aim_again

    def run(self, steps: int) -> list[int]:
        """The lengths of the plans made in so many robot steps."""
        self.lengths.clear()
        for _ in range(steps):
            self.place = self.place + self.act(observation(self.place))
        return list(self.lengths)

    @property
    def off(self) -> float:
        return float(np.abs(self.place - GOAL).max())


@contextmanager
def controller() -> Iterator[Robot]:
    pilot, lengths = make_controller(PointWorld(), PLANNER, OBJECTIVE, SCHEDULE), []  # type: Any, list[int]
    pilot.reset(observation(GOAL), seeds=0)

    def act(seen: dict[str, np.ndarray]) -> np.ndarray:
        action = pilot.act(seen)
        if pilot.planned:
            lengths.append(pilot.last_plan.actions.shape[1])
        return action

    yield Robot(act, lengths, lambda: pilot.reset(observation(GOAL), seeds=0))


def by_chunks(ask: Callable[[dict[str, np.ndarray]], np.ndarray], aim_again: Callable[[], Any]) -> Robot:
    """A robot whose client asks for a plan, follows BLOCK steps of it and says nothing else."""
    lengths: list[int] = []
    chunk: list[np.ndarray] = []

    def act(seen: dict[str, np.ndarray]) -> np.ndarray:
        if not chunk:
            plan = ask(seen)
            lengths.append(len(plan) // BLOCK)
            chunk.extend(plan[:BLOCK])
        return chunk.pop(0)

    return Robot(act, lengths, aim_again)


def make_session() -> PlanningSession:
    return PlanningSession(PointWorld(), PLANNER, OBJECTIVE, SCHEDULE)


@contextmanager
def session() -> Iterator[Robot]:
    own = make_session()
    own.set_goal(observation(GOAL))
    yield by_chunks(lambda seen: own.plan(PlanRequest(seen)).actions, lambda: own.set_goal(observation(GOAL)))


@contextmanager
def served(sent_along: bool) -> Iterator[Robot]:
    """wmplan serve with a goal, or openpi's client, which sends the same goal's frame with every observation."""
    spec = PointWorld().spec
    metadata, shapes = make_metadata(spec, {}, HORIZON, BLOCK), read_shapes(spec, HORIZON)
    own = PolicyServer(metadata, shapes, make_session, plan_batch, ServerConfig(port=0), observation(GOAL))
    more = {"goal": observation(GOAL)["pixels"]} if sent_along else {}
    with running(own) as server, PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
        aim_again = (lambda: client.reset(0)) if sent_along else (lambda: client.set_goal(observation(GOAL)))
        yield by_chunks(lambda seen: np.array(client.infer({**seen, **more})["actions"]), aim_again)


class Told:
    """A backend that writes down how long its plans are."""

    def __init__(self, lengths: list[int]) -> None:
        self.session, self.lengths = make_session(), lengths
        self.set_goal, self.reset = self.session.set_goal, self.session.reset

    def plan(self, request: PlanRequest) -> Any:
        reply = self.session.plan(request)
        self.lengths.append(len(reply.actions) // BLOCK)
        return reply


@contextmanager
def realtime() -> Iterator[Robot]:
    """The real-time loop's decisions, planning taking no time."""
    lengths: list[int] = []
    clock = SimulatedClock()
    config = RealtimeConfig(replan_every=BLOCK, compensation=False, max_repeats=10**6, log_seconds=None)
    limits = Limits((-BOUND,) * 2, (BOUND,) * 2)
    loop = SimulatedController(lambda call: Told(lengths), limits, 10.0, config, clock, 10.0)
    loop.reset(observation(GOAL), 0)

    def act(seen: dict[str, np.ndarray]) -> np.ndarray:
        clock.sleep_until(clock() + 0.1)
        return loop.act(seen, clock())

    yield Robot(act, lengths, lambda: loop.reset(observation(GOAL), 0))


LOOPS = {
    "Controller": controller,
    "PlanningSession": session,
    "serve with a goal": lambda: served(False),
    "goal sent along": lambda: served(True),
    "real time": realtime,
}
SHRINKING = [3, 3, 3, 2, 1]


@pytest.fixture(params=sorted(LOOPS))
def robot(request: pytest.FixtureRequest) -> Iterator[Robot]:
    with LOOPS[request.param]() as made:
        yield made


def test_a_robot_at_its_goal_is_held_there_by_short_plans(robot: Robot) -> None:
    assert robot.run(ARRIVE_IN) == SHRINKING and robot.off < 0.05
    for _ in range(6):
        assert robot.run(ARRIVE_IN) == [1] * 5 and robot.off < 0.05


def test_a_goal_that_is_set_again_counts_anew_though_it_is_the_same(robot: Robot) -> None:
    for after in (10, 40):
        robot.run(after)
        robot.aim_again()
        assert robot.run(ARRIVE_IN + BLOCK) == [*SHRINKING, 1] and robot.off < 0.05


@pytest.mark.parametrize("after", [10, 20, 30, 75])
def test_a_robot_that_is_put_elsewhere_is_planned_for_as_at_first(robot: Robot, after: int) -> None:
    """A new episode of which nothing tells but the robot's place, before the arrival of the last one or after."""
    robot.run(after)
    robot.place = np.float32([-0.8, 0.9])
    assert robot.run(ARRIVE_IN + BLOCK) == [*SHRINKING, 1] and robot.off < 0.1


def test_a_robot_pushed_away_comes_back_with_full_plans(robot: Robot) -> None:
    """By less than what it could have moved itself, but farther than a short plan leads back."""
    robot.run(ARRIVE_IN + 10)
    robot.place = robot.place + np.float32([-0.55, 0.1])
    assert robot.run(ARRIVE_IN) == SHRINKING and robot.off < 0.1


def test_a_little_push_is_made_up_for_by_short_plans(robot: Robot) -> None:
    robot.run(ARRIVE_IN + 10)
    robot.place = robot.place + np.float32([-0.3, 0.2])
    assert robot.run(10) == [1, 1] and robot.off < 0.05


def test_a_goal_that_is_far_is_aimed_at_again(robot: Robot) -> None:
    """It takes 40 steps at full speed, the arrival is after 25: a model step later it counts anew."""
    robot.place = np.float32([-3.3, 0.0])
    assert robot.run(60) == [*SHRINKING, 1, *SHRINKING, 1] and robot.off < 0.1


def test_a_goal_out_of_the_robots_reach_is_not_tried_for_ever() -> None:
    """A wall keeps it from its goal: what it cannot get nearer to, it holds as near as it came."""
    with controller() as robot:
        lengths = []
        for _ in range(120):
            lengths += robot.run(1)
            robot.place = np.minimum(robot.place, np.float32([-0.1, 1.0]))
        assert lengths == [*SHRINKING, *[1] * 19]


def test_robots_of_a_batch_keep_to_their_goals_while_another_sets_out_again() -> None:
    pilot = make_controller(PointWorld(), PLANNER, OBJECTIVE, SCHEDULE)
    goal = {"pixels": np.zeros((2, SIZE, SIZE, 3), np.uint8), "proprio": np.float32([GOAL, GOAL])}
    pilot.reset(goal, seeds=0)
    places = np.zeros((2, 2), np.float32)
    for step in range(3 * ARRIVE_IN):
        if step == ARRIVE_IN + BLOCK:
            places[1] = [-0.8, 0.9]
        places = places + pilot.act({"pixels": goal["pixels"], "proprio": places})
        if step >= ARRIVE_IN + BLOCK:
            np.testing.assert_allclose(places[0], GOAL, atol=0.1)
            if step == ARRIVE_IN + BLOCK:
                assert pilot.last_plan is not None and pilot.last_plan.actions.shape[1] == HORIZON
    np.testing.assert_allclose(places[1], GOAL, atol=0.1)


@pytest.mark.parametrize("every", [BLOCK, 2 * BLOCK])
def test_a_robot_that_sets_out_again_changes_no_plan_of_the_others(every: int) -> None:
    """Neither how far these look nor, where plans are followed to a short end, when they are made."""
    starts = np.float32([[0.0, 0.0], [0.2, 0.1], [-0.3, 0.2]])

    def drive(robots: list[int]) -> np.ndarray:
        pilot = make_controller(PointWorld(), PLANNER, OBJECTIVE, {**SCHEDULE, "replan_every": every})
        frames = np.zeros((len(robots), SIZE, SIZE, 3), np.uint8)
        pilot.reset({"pixels": frames, "proprio": np.tile(np.float32(GOAL), (len(robots), 1))}, seeds=robots)
        places, sent = starts[robots], []
        for step in range(2 * ARRIVE_IN + BLOCK):
            if step == ARRIVE_IN + 2 and 1 in robots:
                places[robots.index(1)] = [-0.8, 0.9]
            sent.append(pilot.act({"pixels": frames, "proprio": places}))
            places = places + sent[-1]
        return np.stack(sent, 1)  # (B, steps, a)

    together = drive([0, 1, 2])
    for robot in range(3):
        np.testing.assert_array_equal(together[robot], drive([robot])[0])


class Strict(PointWorld):
    """A goal may lack the robot's state, which then is no number; nothing is predicted from that."""

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        if proprio is None:
            return torch.full((*frames.shape[:2], 2), torch.nan)
        return super().encode(frames, proprio)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        assert torch.isfinite(context).all()
        return super().rollout(context, actions, past_actions)


def test_a_goal_of_which_not_all_is_known_is_taken() -> None:
    own = PlanningSession(Strict(), PLANNER, OBJECTIVE, SCHEDULE)
    own.set_goal(observation(GOAL)["pixels"])
    robot = by_chunks(lambda seen: own.plan(PlanRequest(seen)).actions, lambda: None)
    assert robot.run(ARRIVE_IN + 2 * BLOCK) == [*SHRINKING, 1, 1]


def test_without_a_past_to_compare_with_a_missed_goal_is_still_noticed() -> None:
    own = PlanningSession(PointWorld(history=1), PLANNER, OBJECTIVE, SCHEDULE)
    own.set_goal(observation(GOAL))
    robot = by_chunks(lambda seen: own.plan(PlanRequest(seen)).actions, lambda: None)
    robot.run(ARRIVE_IN + 2 * BLOCK)
    robot.place = np.float32([-0.8, 0.9])
    assert robot.run(ARRIVE_IN) == SHRINKING and robot.off < 0.1


def lengths_of_plans(schedule: dict[str, int], steps: int, elsewhere_at: int, seed: int) -> list[int]:
    """Robot steps of every plan of the shipped Push-T model, made anew every 5; at some step all lies elsewhere."""
    planner = {"name": "icem", "num_samples": 20, "num_iterations": 1, "num_elites": 4}
    own = PlanningSession(wmplan.load("pusht"), planner, schedule={**schedule, "replan_every": 5})
    env = gymnasium.make("wmplan.envs:wmplan/PushT-v0")
    seen, _ = env.reset(seed=1)
    own.set_goal(env.unwrapped.goal_observation()["pixels"])
    lengths = []
    for step in range(steps):
        if step == elsewhere_at:
            seen, _ = env.reset(seed=seed)
        if step % 5 == 0:
            reply = own.plan(PlanRequest(dict(seen)))
            lengths.append(len(reply.actions))
        seen, *_ = env.step(reply.actions[step % 5])
    env.close()
    return lengths


def test_a_second_episode_of_pusht_towards_the_same_goal() -> None:
    lengths = lengths_of_plans({"arrival_step": 45}, 90, elsewhere_at=80, seed=4)
    assert lengths[:10] == [25, 25, 25, 25, 25, 20, 15, 10, 5, 5] and lengths[16:] == [25, 25]


@pytest.mark.parametrize("seed", [4, 5, 6])
def test_a_scene_that_is_put_elsewhere_is_noticed_by_the_shipped_model(seed: int) -> None:
    """Also where the pusher stays near: distances saturate, the prediction's error does not."""
    lengths = lengths_of_plans({}, 55, elsewhere_at=50, seed=seed)
    assert lengths[-1] == lengths[0] > lengths[-2]
