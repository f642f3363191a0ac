"""Sessions: the same plans as the controller's, alone or together, from frames at whatever steps they come."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.control import Limits, PlanningSession, PlanRequest, make_controller, plan_batch
from wmplan.models.base import ModelSpec, WorldModel

BLOCK, SIZE = 5, 8
PLANNER = {"name": "icem", "num_samples": 24, "num_iterations": 3, "num_elites": 6, "horizon": 3}
OBJECTIVE = {"latent": {"steps": "sum"}}


class PointWorld(WorldModel):
    """A point that every action moves by itself. Latent: brightness of the frame, then the point (its proprio).

    The brightness is predicted to grow by one each model step. It writes down what it predicts from.
    """

    error_scale: Tensor

    def __init__(self, history: int = 2) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=history,
            action_block=BLOCK,
            action_low=(-0.1, -0.1),
            action_high=(0.1, 0.1),
            action_mean=(0.0, 0.0),
            action_std=(1.0, 1.0),
            latent_shape=(3,),
            proprio_dim=2,
            proprio_mean=(0.0, 0.0),
            proprio_std=(1.0, 1.0),
        )
        self.register_buffer("error_scale", torch.tensor([1.0, 0.1, 0.1]))
        self.contexts: list[tuple[Tensor, Tensor | None]] = []
        self.encoded = 0

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.encoded += 1
        brightness = frames.float().mean((2, 3, 4))[..., None]
        point = brightness.new_zeros(*brightness.shape[:2], 2) if proprio is None else proprio
        return torch.cat([brightness, point], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        self.contexts.append((context.clone(), None if past_actions is None else past_actions.clone()))
        moves = actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)
        start = context[:, -1, None, None]
        steps = torch.arange(1, actions.shape[2] + 1)[:, None].expand(*moves.shape[:3], 1)
        return torch.cat([0.0 * moves[..., :1], start[..., 1:] + moves], -1) + torch.cat(
            [start[..., :1] + steps, 0 * moves], -1
        )


def goal(x: float, y: float) -> dict[str, np.ndarray]:
    return {"pixels": np.zeros((SIZE, SIZE, 3), np.uint8), "proprio": np.float32([x, y])}


def seen(step: float, place: Any = (0.0, 0.0)) -> dict[str, np.ndarray]:
    return {"pixels": np.full((SIZE, SIZE, 3), step, np.uint8), "proprio": np.float32(place)}


def session(
    model: WorldModel, where: tuple[float, float] = (0.6, -0.4), seed: int = 0, **options: Any
) -> PlanningSession:
    options = {"planner": PLANNER, "objective": OBJECTIVE, **options}
    made = PlanningSession(model, seed=seed, **options)
    made.set_goal(goal(*where))
    return made


def actions(*rows: float) -> np.ndarray:
    return np.array([[row, -row] for row in rows], np.float32).reshape(-1, 2)


# ------------------------------------------------------------------ the same as the controller


@pytest.mark.parametrize("name", ["icem", "cem", "mppi"])
@pytest.mark.parametrize("receding", [3, 5])
@pytest.mark.parametrize("told", [True, False])
def test_it_plans_exactly_what_the_controller_plans(name: str, receding: int, told: bool) -> None:
    planner = {"name": name, "num_samples": 24, "num_iterations": 2, "num_elites": 6, "horizon": 3}
    schedule = {"replan_every": receding, "arrival_step": 20, "min_horizon": 1}
    limits = Limits((-0.1, -0.1), (0.1, 0.1), max_change=(0.04, 0.04))
    pilot = make_controller(PointWorld(), planner, OBJECTIVE, schedule, limits)
    pilot.reset(goal(0.6, -0.4), seeds=7)
    own = session(PointWorld(), seed=7, planner=planner, schedule=schedule, limits=limits)
    place, executed = np.zeros(2, np.float32), []
    for step in range(24):
        observation = seen(step, place)
        sent = pilot.act(observation)
        if pilot.planned:
            request = PlanRequest(
                observation, np.stack(executed) if told and executed else (None if not told else actions())
            )
            reply = own.plan(request)
            assert pilot.last_plan is not None
            np.testing.assert_array_equal(reply.actions, pilot.last_plan.actions.numpy().reshape(-1, 2))
            assert reply.cost == float(pilot.last_plan.cost[0])
            executed = []
        executed.append(sent)
        place = place + sent


def test_a_plan_made_longer_by_what_is_committed_still_arrives_in_time() -> None:
    """Past its arrival a plan is to be at the goal one model step ahead, and stay: not to come by at its new end."""
    planner = {"name": "cem", "num_samples": 256, "num_iterations": 12, "num_elites": 16, "horizon": 3}
    own = session(
        PointWorld(),
        (0.1, -0.05),
        planner=planner,
        objective={"latent": {"steps": "last"}},
        schedule={"arrival_step": 5},
    )
    for committed in (0, 1, 3):
        own.reset(committed)
        reply = own.plan(PlanRequest(seen(0), committed=np.zeros((committed, 2), np.float32)))
        assert len(reply.actions) + committed == (BLOCK if committed == 0 else 2 * BLOCK)
        path = np.cumsum(reply.actions, axis=0)
        for model_step in range(1, len(path) // BLOCK + 1):
            np.testing.assert_allclose(path[model_step * BLOCK - committed - 1], [0.1, -0.05], atol=0.02)


def test_a_plan_of_a_robot_reset_in_motion_goes_on_from_what_it_is_committed_to() -> None:
    planner = {"name": "icem", "num_samples": 64, "num_iterations": 3, "num_elites": 6, "horizon": 3}
    limits = Limits((-0.1, -0.1), (0.1, 0.1), max_change=(0.02, 0.02))
    own = session(PointWorld(), (-0.5, 0.5), planner=planner, limits=limits)
    committed = actions(0.07, 0.05)  # it brakes from a motion that the session knows nothing of
    reply = own.plan(PlanRequest(seen(0), committed=committed))
    path = np.concatenate([committed, reply.actions])
    assert np.abs(np.diff(path, axis=0)).max() <= 0.02 + 1e-6 and path[:, 0].min() < 0


# ------------------------------------------------------------------ together


def test_a_reply_does_not_depend_on_the_others_of_its_batch() -> None:
    rng = np.random.default_rng(0)
    places = [(0.6, -0.4), (-0.3, 0.2), (0.1, 0.8), (0.0, -0.9)]
    model = PointWorld()
    alone = [session(model, where, seed) for seed, where in enumerate(places)]
    together = [session(model, where, seed) for seed, where in enumerate(places)]
    for round_ in range(5):
        requests = [
            PlanRequest(
                seen(10 * round_ + robot, rng.uniform(-1, 1, 2)),
                executed=rng.uniform(-0.1, 0.1, ((round_ + robot) % 4 + 1, 2)) if round_ else None,
                committed=rng.uniform(-0.1, 0.1, (robot, 2)),
                epoch=100 * round_ + robot,
            )
            for robot in range(4)
        ]
        present = [robot for robot in range(4) if round_ != 2 or robot != 1]  # one stays away once
        replies = plan_batch([together[robot] for robot in present], [requests[robot] for robot in present])
        for robot, reply in zip(present, replies, strict=True):
            single = alone[robot].plan(requests[robot])
            np.testing.assert_allclose(reply.actions, single.actions, atol=1e-5)
            assert reply.cost == pytest.approx(single.cost, rel=1e-4) and reply.epoch == 100 * round_ + robot
            assert (reply.surprise is None) == (single.surprise is None)
            if reply.surprise is not None:
                assert reply.surprise == pytest.approx(single.surprise, rel=1e-4)


def test_sessions_at_the_same_point_are_planned_in_one_search() -> None:
    model = PointWorld()
    robots = [session(model, seed=seed) for seed in range(6)]
    model.contexts.clear()
    plan_batch(robots, [PlanRequest(seen(0))] * 6)
    assert len(model.contexts) == 3 + 1 and model.contexts[0][0].shape[0] == 6  # three iterations and the final mean
    assert model.encoded == 6 + 1  # the goals, one by one, and all frames together


def test_models_and_settings_may_differ_in_a_batch() -> None:
    robots = [
        session(PointWorld(), seed=1),
        session(PointWorld(1), seed=2),
        session(PointWorld(), seed=3, planner={**PLANNER, "horizon": 2}),
        session(PointWorld(), seed=4, planner={"name": "mppi", "num_samples": 16, "num_elites": 4, "horizon": 4}),
    ]
    replies = plan_batch(robots, [PlanRequest(seen(0))] * 4)
    assert [len(reply.actions) for reply in replies] == [15, 15, 10, 20]


# ------------------------------------------------------------------ committed actions


@pytest.mark.parametrize("name", ["icem", "cem", "mppi", "predictive_sampling"])
def test_what_is_committed_is_part_of_what_is_planned(name: str) -> None:
    model = PointWorld(1)
    planner = {"name": name, "num_samples": 128, "num_iterations": 8, "horizon": 2}
    robot = session(model, (0.35, -0.35), planner=planner, objective={"latent": {"steps": "last"}})
    reply = robot.plan(PlanRequest(seen(0), committed=actions(-0.1, -0.1, -0.1)))
    assert reply.actions.shape == (7, 2)
    # Ten steps end at the goal although the first three lead away: the rest has to make up for them.
    np.testing.assert_allclose(reply.actions.sum(0) + actions(-0.3)[0], [0.35, -0.35], atol=0.06)


def test_a_plan_always_looks_a_model_step_beyond_what_is_committed() -> None:
    robot = session(PointWorld(), schedule={"arrival_step": 5, "min_horizon": 1})
    assert len(robot.plan(PlanRequest(seen(0))).actions) == 5
    for count, left in ((1, 9), (5, 5), (6, 9), (9, 6)):
        assert len(robot.plan(PlanRequest(seen(0), actions(), np.zeros((count, 2), np.float32))).actions) == left
    with pytest.raises(ValueError, match="committed has 15 robot steps, a plan has 15"):
        robot.plan(PlanRequest(seen(0), committed=np.zeros((15, 2), np.float32)))


# ------------------------------------------------------------------ history


def drive(model: PointWorld, robot: PlanningSession, steps: list[int]) -> None:
    """Frames at these robot steps, brightness and action n being those of robot step n."""
    last = None
    for step in steps:
        executed = actions(*(0.001 * n for n in range(last or 0, step)))
        model.contexts.clear()
        robot.plan(PlanRequest(seen(step), executed))
        last = step


def search_context(model: PointWorld) -> tuple[Tensor, Tensor | None]:
    return model.contexts[0]


def test_the_context_is_of_frames_a_model_step_apart() -> None:
    model = PointWorld(history=3)
    drive(model, session(model), list(range(0, 18)))
    context, past = search_context(model)
    assert context[0, :, 0].tolist() == [7, 12, 17]
    assert past is not None
    steps = past[0].unflatten(-1, (BLOCK, 2))[..., 0].flatten().numpy()
    np.testing.assert_allclose(steps, 0.001 * np.arange(7, 17), atol=1e-7)


def test_where_no_frame_was_it_is_interpolated_and_beyond_that_the_history_ends() -> None:
    model = PointWorld(history=3)
    drive(model, session(model), [0, 3, 6, 9, 12, 15])
    context, past = search_context(model)
    np.testing.assert_allclose(context[0, :, 0], [5, 10, 15], atol=1e-5)  # 5 and 10 are between two frames
    assert past is not None and past.shape == (1, 2, 10)
    drive(model, session(model), [0, 1, 30])
    context, past = search_context(model)
    assert context[0, :, 0].tolist() == [30] and past is None


def test_a_frame_that_is_observed_between_plans_is_one_of_the_context() -> None:
    model = PointWorld(history=3)
    robot = session(model)
    for step in range(18):
        robot.observe(seen(step), actions(*([0.001 * (step - 1)] if step else [])))
    model.encoded = 0
    model.contexts.clear()
    reply = robot.plan()
    context, past = search_context(model)
    assert context[0, :, 0].tolist() == [7, 12, 17] and past is not None and model.encoded == 1
    steps = past[0].unflatten(-1, (BLOCK, 2))[..., 0].flatten().numpy()
    np.testing.assert_allclose(steps, 0.001 * np.arange(7, 17), atol=1e-7)
    robot.observe(seen(19), reply.actions[:2])
    model.contexts.clear()
    robot.plan(PlanRequest(seen(22)))  # all that was told: what is left of five
    context, past = search_context(model)
    assert context[0, -1, 0] == 22 and past is not None
    np.testing.assert_array_equal(past[0, -1].numpy(), reply.actions[:5].reshape(-1))


def test_a_frame_after_no_action_replaces_the_one_before() -> None:
    model = PointWorld(history=2)
    robot = session(model)
    robot.plan(PlanRequest(seen(50)))
    robot.plan(PlanRequest(seen(60), actions()))
    model.contexts.clear()
    robot.plan(PlanRequest(seen(70), actions(0, 0, 0, 0, 0)))
    assert search_context(model)[0][0, :, 0].tolist() == [60, 70]


def test_what_is_left_out_is_what_was_told_last() -> None:
    model = PointWorld(history=2)
    robot = session(model, schedule={"replan_every": 3})
    first = robot.plan(PlanRequest(seen(0), committed=actions(0.01, 0.02))).actions
    model.contexts.clear()
    robot.plan(PlanRequest(seen(9)))
    _, past = search_context(model)
    assert past is not None
    np.testing.assert_allclose(past[0, 0].reshape(5, 2), np.concatenate([actions(0.01, 0.02), first[:3]]), atol=1e-7)


def test_a_frame_is_copied() -> None:
    model = PointWorld(history=2)
    robot = session(model)
    observation = seen(40)
    robot.plan(PlanRequest(observation))
    observation["pixels"][:] = 0
    robot.plan(PlanRequest(seen(41), actions(0)))
    observation = seen(45)
    model.contexts.clear()
    robot.plan(PlanRequest(observation, actions(0, 0, 0, 0)))
    assert search_context(model)[0][0, :, 0].tolist() == [40, 45]


# ------------------------------------------------------------------ surprise


def test_surprise_is_the_standardised_error_of_the_models_own_prediction() -> None:
    robot = session(PointWorld(history=1))
    assert robot.plan(PlanRequest(seen(0, (0.0, 0.0)))).surprise is None  # nothing was predicted yet
    executed = actions(0.02, 0.02, 0.02, 0.02, 0.02)  # to (0.1, -0.1), brightness 1
    assert robot.plan(PlanRequest(seen(1, (0.1, -0.1)), executed)).surprise == pytest.approx(0.0, abs=1e-5)
    # From there, as predicted: brightness 2, (0.2, -0.2). Seen: 4, (0.5, -0.2): errors of 2, 3 and 0 deviations.
    reply = robot.plan(PlanRequest(seen(4, (0.5, -0.2)), executed))
    assert reply.surprise == pytest.approx(np.sqrt((2**2 + 3**2 + 0) / 3), rel=1e-5)


def test_surprise_needs_a_frame_of_one_model_step_ago() -> None:
    robot = session(PointWorld(history=1))
    robot.plan(PlanRequest(seen(0)))
    assert robot.plan(PlanRequest(seen(1), actions(0, 0, 0))).surprise is None
    assert robot.plan(PlanRequest(seen(1), actions(0, 0))).surprise is not None
    assert robot.plan(PlanRequest(seen(1), actions(0))).surprise is None


def test_a_model_that_does_not_know_its_error_is_never_surprised() -> None:
    model = PointWorld(history=1)
    model.error_scale = None
    robot = session(model)
    robot.plan(PlanRequest(seen(0)))
    assert robot.plan(PlanRequest(seen(1), actions(0, 0, 0, 0, 0))).surprise is None


# ------------------------------------------------------------------ goals, resets, mistakes


def test_reset_repeats_and_another_goal_keeps_the_past() -> None:
    model = PointWorld(history=2)
    robot = session(model, seed=5)

    def run() -> list[np.ndarray]:
        return [
            robot.plan(PlanRequest(seen(5 * n), None if not n else actions(0, 0, 0, 0, 0))).actions for n in range(3)
        ]

    first = run()
    robot.reset(5)
    np.testing.assert_array_equal(np.stack(run()), np.stack(first))
    robot.set_goal(goal(-0.6, 0.4))
    model.contexts.clear()
    reply = robot.plan(PlanRequest(seen(15), actions(0, 0, 0, 0, 0)))
    assert search_context(model)[0][0, :, 0].tolist() == [10, 15]
    assert reply.actions[:5, 0].sum() < 0 < first[-1][:5, 0].sum()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (PlanRequest({"pixels": np.zeros((9, SIZE, 3), np.uint8), "proprio": np.zeros(2)}), "9, 8, 3"),
        (PlanRequest({"proprio": np.zeros(2)}), "no 'pixels'"),
        (PlanRequest({"pixels": seen(0)["pixels"]}, actions(0)), "proprio is missing here"),
        (PlanRequest({name: value[None] for name, value in seen(0).items()}), "batch axis"),
        (
            PlanRequest(seen(0), np.zeros((1, 3), np.float32)),
            "executed must be a finite table of 2 numbers a row, got one that has 3 numbers a row",
        ),
        (
            PlanRequest(seen(0), committed=np.full((1, 2), np.nan, np.float32)),
            "committed must be a finite table of 2 numbers a row, got one that holds numbers not finite",
        ),
    ],
)
def test_a_wrong_request_is_named_and_changes_no_session(request_: PlanRequest, message: str) -> None:
    def run(disturbed: bool) -> list[np.ndarray]:
        model = PointWorld(history=2)
        robots = [session(model, seed=1), session(model, seed=2)]
        replies = []
        for step in range(4):
            good = [PlanRequest(seen(5 * step), actions(0, 0, 0, 0, 0))] * 2
            if disturbed and step == 2:
                with pytest.raises(ValueError, match=message):
                    plan_batch(robots, [good[0], request_])
            replies += [reply.actions for reply in plan_batch(robots, good)]
        return replies

    np.testing.assert_array_equal(np.stack(run(True)), np.stack(run(False)))


def test_a_session_without_a_goal_says_so() -> None:
    with pytest.raises(RuntimeError, match="set_goal"):
        PlanningSession(PointWorld(), PLANNER, OBJECTIVE).plan(PlanRequest(seen(0)))
    with pytest.raises(ValueError, match="batch axis"):
        session(PointWorld()).set_goal({name: value[None] for name, value in goal(0, 0).items()})
    one = session(PointWorld())
    with pytest.raises(ValueError, match="different"):
        plan_batch([one, one], [PlanRequest(seen(0))] * 2)


def test_a_model_that_gives_no_numbers_gives_an_infinite_cost() -> None:
    class Broken(PointWorld):
        def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
            return super().rollout(context, actions, past_actions) * torch.nan

    reply = session(Broken()).plan(PlanRequest(seen(0)))
    assert reply.cost == float("inf") and np.isfinite(reply.actions).all()


def test_a_deadline_ends_the_search_early() -> None:
    model = PointWorld()
    robot = session(model, planner={**PLANNER, "num_iterations": 50})
    model.contexts.clear()
    robot.plan(PlanRequest(seen(0), deadline_ms=0.0))
    assert len(model.contexts) <= 2  # one iteration, and no final mean


def test_requests_are_checked_where_they_are_made() -> None:
    with pytest.raises(ValueError, match=r"executed must have shape \(robot steps, numbers in an action\), got \(3,\)"):
        PlanRequest(seen(0), np.zeros(3))
    with pytest.raises(ValueError, match="deadline_ms"):
        replace(PlanRequest(seen(0)), deadline_ms=-1.0)
