"""The planning core's seam: a policy that does not search, chosen by configuration, in every loop."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import wmplan
from wmplan.control import (
    Controller,
    Limits,
    PlanningCore,
    PlanningQuery,
    PlanningSession,
    PlanRequest,
    RealtimeConfig,
    RobotPlan,
    make_controller,
    plan_batch,
)
from wmplan.errors import UserError
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.planning.objectives.distances import LatentDistance
from wmplan.registry import CORES
from wmplan.robot_sim.simulated_clock import SimulatedClock
from wmplan.robot_sim.simulated_controller import SimulatedController
from wmplan.serving import PolicyServer, ServerConfig
from wmplan.serving.client import PolicyClient
from wmplan.serving.metadata import make_metadata, read_shapes

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from serving import running

BLOCK, SIZE, HORIZON, BOUND = 5, 8, 2, 0.1
GOAL = np.float32([0.35, -0.6])


class PointWorld(WorldModel):
    """A point that every action moves by itself; its latent is its place."""

    def __init__(self, history: int = 2) -> None:
        super().__init__()
        plane = (0.0, 0.0), (1.0, 1.0)
        self.spec = ModelSpec((SIZE, SIZE), history, BLOCK, (-BOUND,) * 2, (BOUND,) * 2, *plane, (2,), 2, *plane)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        assert proprio is not None
        return proprio.clone()

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return context[:, -1, None, None] + actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)


class Steering(PlanningCore):
    """What a learned policy is: straight to the goal, a function of the context and the goal."""

    horizon = HORIZON

    def __init__(self, model: WorldModel, settings: Mapping[str, Any]) -> None:
        self.settings, self.asked = settings, []  # type: Mapping[str, Any], list[PlanningQuery]

    def plan(self, queries: Sequence[PlanningQuery]) -> list[RobotPlan]:
        self.asked += queries
        return [self.plan_one(query) for query in queries]

    def plan_one(self, query: PlanningQuery) -> RobotPlan:
        place, actions = query.context[-1].numpy() + query.committed.sum(0), list(query.committed)
        for _ in range(len(actions), HORIZON * BLOCK):
            actions.append(np.clip(query.goal.numpy() - place, -BOUND, BOUND))
            place = place + actions[-1]
        count = (query.memory or 0) + 1
        return RobotPlan(np.array(actions, np.float32), float(np.abs(query.goal.numpy() - place).max()), memory=count)


CORES.add("steering_test", Steering, Steering)
SCHEDULE = {"core": "steering_test", "replan_every": 3}


def seen(place: Any) -> dict[str, np.ndarray]:
    return {"pixels": np.zeros((SIZE, SIZE, 3), np.uint8), "proprio": np.float32(place)}


# ------------------------------------------------------------------ in every loop

Act = Callable[[dict[str, np.ndarray]], np.ndarray]


def make_session(**options: Any) -> PlanningSession:
    return PlanningSession(PointWorld(), schedule=SCHEDULE, **options)


@contextmanager
def controller() -> Iterator[Act]:
    pilot = make_controller(PointWorld(), schedule=SCHEDULE)
    pilot.reset(seen(GOAL))
    yield pilot.act


@contextmanager
def session() -> Iterator[Act]:
    own = make_session()
    own.set_goal(seen(GOAL))
    yield lambda observation: own.plan(PlanRequest(observation, np.zeros((1, 2)))).actions[0]


@contextmanager
def served() -> Iterator[Act]:
    spec = PointWorld().spec
    metadata, shapes = make_metadata(spec, {}, HORIZON, 3), read_shapes(spec, HORIZON)
    own = PolicyServer(metadata, shapes, make_session, plan_batch, ServerConfig(port=0))
    with running(own) as server, PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
        client.set_goal(seen(GOAL))
        yield lambda observation: client.plan(PlanRequest(observation, np.zeros((1, 2)))).actions[0]


@contextmanager
def realtime() -> Iterator[Act]:
    clock, config = SimulatedClock(), RealtimeConfig(replan_every=3, compensation=False, log_seconds=None)
    loop = SimulatedController(
        lambda call: make_session(), Limits((-BOUND,) * 2, (BOUND,) * 2), 10.0, config, clock, 10.0
    )
    loop.reset(seen(GOAL), 0)

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        clock.sleep_until(clock() + 0.1)
        return loop.act(observation, clock())

    yield act


@pytest.mark.parametrize("loop", [controller, session, served, realtime])
def test_a_policy_chosen_by_configuration_drives_every_loop(loop: Any) -> None:
    place = np.zeros(2, np.float32)
    with loop() as act:
        for step in range(7):
            action = act(seen(place))
            np.testing.assert_allclose(action, np.clip(GOAL - place, -BOUND, BOUND), atol=1e-6)
            place = place + action
            np.testing.assert_allclose(place[1], max(-0.6, -BOUND * (step + 1)), atol=1e-6)
    np.testing.assert_allclose(place, GOAL, atol=1e-6)


# ------------------------------------------------------------------ what a core is told


def test_it_is_told_what_was_seen_done_and_committed_and_what_it_left_itself() -> None:
    model = PointWorld(history=2)
    core = Steering(model, {})
    limits = Limits((-BOUND,) * 2, (BOUND,) * 2, max_change=(0.05, 0.04))
    own = PlanningSession(model, schedule={"arrival_step": 40}, limits=limits, core=core)
    own.set_goal(seen(GOAL))
    done = np.random.default_rng(0).uniform(-BOUND, BOUND, (7, 2)).astype(np.float32)
    committed = np.float32([[0.01, 0.02]])
    own.plan(PlanRequest(seen((0, 0)), committed=committed))
    own.plan(PlanRequest(seen((0.02, 0)), done[:2], deadline_ms=1e6))
    own.observe(seen((0.05, 0)), done[2:5])
    own.plan(PlanRequest(seen((0.07, 0)), done[5:], committed))
    first, second, third = core.asked
    assert first.context.tolist() == [[0, 0]] and first.past_actions is None
    assert torch.equal(third.context, torch.tensor([[0.02, 0], [0.07, 0]]))
    assert third.past_actions is not None and third.past_actions.flatten().tolist() == done[2:].flatten().tolist()
    assert [query.elapsed for query in core.asked] == [0, 2, 7]
    assert [query.since for query in core.asked] == [0, 2, 5]
    assert [query.memory for query in core.asked] == [None, 1, 2]
    assert [len(query.committed) for query in core.asked] == [1, 0, 1]
    assert first.last_action.tolist() == committed[0].tolist() and third.last_action.tolist() == done[-1].tolist()
    assert first.max_change == (0.05, 0.04) and first.goal.tolist() == GOAL.tolist()
    assert second.deadline_ms is not None and 0 < second.deadline_ms <= 1e6 and third.deadline_ms is None
    own.set_goal(seen(-GOAL))
    own.plan(PlanRequest(seen((0.08, 0)), done[:1]))
    assert core.asked[-1].memory is None and core.asked[-1].elapsed == 0 and len(core.asked[-1].context) == 2


def test_the_same_seed_gives_a_core_the_same_random_numbers_in_any_batch() -> None:
    class Random(Steering):
        def plan_one(self, query: PlanningQuery) -> RobotPlan:
            return RobotPlan(torch.rand(10, 2, generator=query.generator).numpy() * BOUND)

    def drive(seeds: list[int]) -> np.ndarray:
        pilot = Controller(PointWorld(), Random(PointWorld(), {}), replan_every=2)
        frames = np.zeros((len(seeds), SIZE, SIZE, 3), np.uint8)
        view = {"pixels": frames, "proprio": np.zeros((len(seeds), 2), np.float32)}
        pilot.reset(view, seeds)
        return np.stack([pilot.act(view) for _ in range(5)])

    np.testing.assert_array_equal(drive([4, 9])[:, 1], drive([9])[:, 0])


def test_a_controller_shows_the_plans_of_a_core_that_does_not_search() -> None:
    pilot = make_controller(PointWorld(), schedule=SCHEDULE)
    goals = np.stack([GOAL, -GOAL])
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    pilot.reset({"pixels": frames, "proprio": goals})
    sent = pilot.act({"pixels": frames, "proprio": np.zeros((2, 2), np.float32)})
    assert pilot.last_plan is not None and pilot.last_plan.actions.shape == (2, HORIZON, 2 * BLOCK)
    np.testing.assert_array_equal(pilot.last_plan.actions[:, 0, :2].numpy(), sent)
    np.testing.assert_allclose(pilot.last_plan.cost.numpy(), [0.0, 0.0], atol=1e-6)
    assert pilot.last_cost is None and isinstance(pilot.objective, LatentDistance)


# ------------------------------------------------------------------ mistakes


@pytest.mark.parametrize("shape", [(0, 2), (10, 3), (10,), (2, 2)])
def test_a_plan_of_a_wrong_shape_is_named_and_changes_nothing(shape: tuple[int, ...]) -> None:
    class Wrong(Steering):
        def plan_one(self, query: PlanningQuery) -> RobotPlan:
            return RobotPlan(np.zeros(shape, np.float32))

    own = PlanningSession(PointWorld(), core=Wrong(PointWorld(), {}))
    own.set_goal(seen(GOAL))
    with pytest.raises(ValueError, match=r"Wrong must plan actions of shape \(at least 3, 2\), got \("):
        own.plan(PlanRequest(seen((0, 0)), committed=np.zeros((2, 2))))
    with pytest.raises(RuntimeError, match="no frame"):
        own.plan()


def test_an_unknown_core_and_a_core_with_an_objective_are_refused() -> None:
    with pytest.raises(UserError, match="^there is no planning core 'serch'; did you mean 'search'"):
        make_controller(PointWorld(), schedule={"core": "serch"})
    with pytest.raises(ValueError, match="objective must be left out"):
        Controller(PointWorld(), Steering(PointWorld(), {}), LatentDistance())
    with pytest.raises(ValueError, match="min_horizon is 3, the planner's horizon is 2"):
        make_controller(PointWorld(), schedule={**SCHEDULE, "min_horizon": 3})


def test_it_is_registered_from_a_package_of_the_users() -> None:
    @wmplan.register_core("own_core_test")
    def make(model: WorldModel, settings: Mapping[str, Any]) -> PlanningCore:
        return Steering(model, settings)

    core = make_session(planner={"name": "cem", "horizon": 4}).core
    assert isinstance(core, Steering) and core.settings["planner"] == {"name": "cem", "horizon": 4}
    other = PlanningSession(PointWorld(), schedule={"core": "own_core_test"}).core
    assert isinstance(other, Steering)
