"""The loop's decisions in simulated time, with plans whose actions say which robot step they are for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.workspace import Workspace

PLAIN = RealtimeConfig(warmup=0, log_seconds=None)


def step_of(action: np.ndarray) -> int:
    """The robot step (modulo 199) that a labelled action is for."""
    return int(round(float(action[0]) * 200) * pow(7, -1, 199)) % 199


# ------------------------------------------------------------------ in time


@pytest.mark.parametrize("age", [0.0, 0.1, 0.23])
@pytest.mark.parametrize("wait_first", [False, True])
def test_every_action_is_the_plans_for_its_own_robot_step(
    simulate: Any, answer: Any, age: float, wait_first: bool
) -> None:
    rng = np.random.default_rng(0)
    config = replace(PLAIN, wait_first=wait_first)
    sim = simulate(config=config, answer=lambda now: answer(rng.uniform(0.0, 0.35)))
    sim.reset()
    for _ in range(120):
        sim.tick(age=age, after=0.1 + rng.uniform(-0.03, 0.03))
    following = [index for index, state in enumerate(sim.states) if state == "FOLLOW" and index >= 10]
    assert len(following) == 110
    for index in following:
        assert step_of(sim.sent[index]) == index
    numbers = [round(float(action[1]) * 1000) for action in sim.sent[20:]]
    assert len(set(numbers)) > 20  # many plans were followed, each for a while


@pytest.mark.parametrize("age", [0.0, 0.1, 0.2])
def test_the_planner_is_told_what_was_done_and_what_will_be(simulate: Any, answer: Any, age: float) -> None:
    rng = np.random.default_rng(1)
    limits = Limits((-1.0, -1.0), (1.0, 1.0), max_change=(0.3, 0.3))  # so that what is sent is not what is planned
    sim = simulate(limits, PLAIN, answer=lambda now: answer(rng.uniform(0.02, 0.25)))
    sim.reset()
    for _ in range(100):
        sim.tick(age=age)
    sent = np.stack(sim.sent)
    done = np.concatenate([request.executed for request, _, _ in sim.requests])
    first = sim.requests[0][1]
    np.testing.assert_array_equal(done, sent[first : first + len(done)])
    in_time = 0
    delivered = {number: at for *_, at, number in sim.plans}
    for number, (request, step, _) in enumerate(sim.requests[:-1]):
        will = step + len(request.committed)
        assert will > int(delivered.get(number - 1, 0) * 10) - 3
        if delivered[number] < 0.1 * (will + 1) - 1e-9:  # tick number n is at 0.1 (n + 1) seconds
            in_time += 1
            np.testing.assert_allclose(request.committed, sent[step:will], atol=1e-6)
    assert in_time > 30


def test_plans_take_effect_as_soon_as_they_can_be_expected(simulate: Any, answer: Any) -> None:
    for seconds, age, steps in ((0.03, 0.0, 1), (0.13, 0.0, 2), (0.03, 0.1, 2), (0.13, 0.2, 4)):
        sim = simulate(config=PLAIN, answer=lambda now, s=seconds: answer(s))
        sim.reset()
        for _ in range(20):
            sim.tick(age=age)
        assert len(sim.requests[-1][0].committed) == steps


def test_a_late_plan_loses_the_actions_whose_time_has_passed(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.55 if 1.05 < now < 1.15 else 0.03))
    sim.reset()
    for _ in range(30):
        sim.tick()
    assert sim.loop.statistics.counter("plans", "late") == 1
    assert set(sim.states[2:]) == {"FOLLOW"}  # the plan before lasted
    for index in range(2, 30):
        assert step_of(sim.sent[index]) == index


def test_ticks_left_out_are_left_out_of_the_plan(simulate: Any) -> None:
    sim = simulate(config=PLAIN)
    sim.reset()
    for _ in range(10):
        sim.tick()
    sim.tick(after=0.4)  # three ticks did not come
    assert step_of(sim.sent[-1]) == 13 and sim.loop.statistics.counter("skipped") == 3


def test_without_compensation_a_plan_begins_when_it_arrives(simulate: Any, answer: Any) -> None:
    sim = simulate(config=replace(PLAIN, compensation=False), answer=lambda now: answer(0.13))
    sim.reset()
    for _ in range(30):
        sim.tick(age=0.2)
    assert all(len(request.committed) == 0 for request, _, _ in sim.requests)
    # The frame of tick n counts as robot step n; its plan arrives before tick n + 2, and begins with its first action.
    late = [(index - step_of(sim.sent[index])) for index in range(10, 30)]
    assert set(late) == {2, 3}


def test_the_control_rate_may_be_higher_than_the_models(simulate: Any) -> None:
    sim = simulate(config=PLAIN, rate=20.0, step_rate=10.0)
    sim.reset()
    for _ in range(60):
        sim.tick()
    for index in range(8, 60):
        assert step_of(sim.sent[index]) == index // 2
    assert all(len(request.executed) == 1 for request, _, _ in sim.requests[1:])  # one request a robot step


def test_replan_every_leaves_frames_out(simulate: Any) -> None:
    sim = simulate(config=replace(PLAIN, replan_every=5))
    sim.reset()
    for _ in range(41):
        sim.tick()
    # The first frame of all is planned from, and until a plan is there the next ones.
    assert [len(request.executed) for request, _, _ in sim.requests[2:]] == [5] * len(sim.requests[2:])
    assert 7 <= len(sim.requests) <= 10


def test_a_robot_at_rest_begins_with_the_plans_first_action_however_long_it_took(simulate: Any, answer: Any) -> None:
    sim = simulate(config=replace(PLAIN, hold_seconds=60.0), length=12, answer=lambda now: answer(3.05))
    for seed in range(2):  # the second time it is known how long planning takes
        sim.reset(seed)
        for _ in range(80):
            sim.tick()
        request, step, _ = next(one for one in sim.requests if one[0].epoch == seed + 1)
        assert len(request.committed) <= 1  # what will be committed at rest needs no telling
        followed = [index for index in range(80 * seed, 80 * seed + 80) if sim.states[index] == "FOLLOW"]
        assert len(followed) >= 12
        assert step_of(sim.sent[followed[0]]) == step + len(request.committed)


# ------------------------------------------------------------------ late, held, stopped


def test_follow_then_hold_then_safe_stop_which_only_reset_ends(simulate: Any, answer: Any) -> None:
    sim = simulate(config=replace(PLAIN, hold_seconds=1.0), answer=lambda now: answer(1e9 if 1 < now < 9 else 0.03))
    sim.reset()
    for _ in range(60):
        sim.tick()
    last = max(end for _, end, _, _ in sim.plans)
    assert sim.states[2:last] == ["FOLLOW"] * (last - 2)
    assert sim.states[last : last + 10] == ["HOLD"] * 10
    assert sim.states[last + 10 :] == ["SAFE_STOP"] * (60 - last - 10)
    np.testing.assert_array_equal(np.stack(sim.sent[last:]), 0.0)
    assert sim.loop.statistics.counter("stops", "hold_too_long") == 1
    sim._busy = None  # the planner answers again
    sim.now = 10.0
    for _ in range(10):
        sim.tick()
    assert set(sim.states[60:]) == {"SAFE_STOP"}
    sim.reset()
    for _ in range(5):
        sim.tick()
    assert sim.states[-1] == "FOLLOW"


def test_the_first_plan_may_take_longer(simulate: Any, answer: Any) -> None:
    config = replace(PLAIN, hold_seconds=0.5, first_seconds=3.0)
    sim = simulate(config=config, answer=lambda now: answer(2.0 if now < 1 else 0.03))
    sim.reset()
    for _ in range(40):
        sim.tick()
    assert "SAFE_STOP" not in sim.states and sim.states[-1] == "FOLLOW"
    never = simulate(config=config, answer=lambda now: answer(1e9))
    never.reset()
    for _ in range(40):
        never.tick()
    assert never.states == ["HOLD"] * 30 + ["SAFE_STOP"] * 10
    assert never.loop.reason == "no_first_plan"


def test_a_plan_is_followed_for_no_longer_than_allowed(simulate: Any, answer: Any) -> None:
    config = replace(PLAIN, follow_seconds=0.55)
    sim = simulate(config=config, answer=lambda now: answer(1e9 if now > 1 else 0.03))
    sim.reset()
    for _ in range(20):
        sim.tick()
    newest = max(now for _, _, now in sim.requests[:-1])  # the last request was not answered
    for index, state in enumerate(sim.states[3:], 3):
        assert state == ("FOLLOW" if 0.1 * (index + 1) - newest <= 0.55 else "HOLD")


@pytest.mark.parametrize("kind", ["pressed", "broken"])
def test_an_e_stop_stops_at_once_and_latches(simulate: Any, kind: str) -> None:
    pressed: list[bool] = []

    def estop() -> bool:
        if pressed and pressed[-1] and kind == "broken":
            raise OSError("no answer from the button")
        return bool(pressed and pressed[-1])

    sim = simulate(Limits((-1.0, -1.0), (1.0, 1.0), max_change=(0.05, 0.05), estop=estop), PLAIN)
    sim.reset()
    for index in range(40):
        pressed.append(index == 15)  # for one tick only
        sim.tick()
    assert sim.states[14] == "FOLLOW" and sim.states[15:] == ["SAFE_STOP"] * 25
    changes = np.abs(np.diff(np.stack(sim.sent), axis=0))
    assert changes.max() <= 0.05 + 1e-6 and not sim.sent[-1].any()
    assert sim.loop.statistics.counter("stops", "estop") == 1


def test_a_violation_stops_where_that_is_asked_for(simulate: Any) -> None:
    sim = simulate(
        Limits((-0.5, -1.0), (0.5, 1.0), on_violation="stop"),
        PLAIN,
        actions=lambda step, plan: [0.4 if step < 10 else 0.6, 0.0],
    )
    sim.reset()
    for _ in range(15):
        sim.tick()
    assert sim.states[9] == "FOLLOW" and sim.states[10:] == ["SAFE_STOP"] * 5
    assert sim.loop.statistics.counter("stops", "bounds") == 1 and not np.stack(sim.sent[10:]).any()


# ------------------------------------------------------------------ goals


def test_a_plan_for_an_earlier_goal_is_never_followed(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.25))
    sim.reset()
    for _ in range(30):
        sim.tick()
    sim.loop.set_goal({"pixels": np.ones((4, 4, 3), np.uint8)}, sim.now)
    asked = len(sim.requests)
    for _ in range(30):
        sim.tick()
    assert sim.loop.statistics.counter("plans", "discarded") == 1
    of_goal = {number: request.epoch for number, (request, _, _) in enumerate(sim.requests)}
    used = [round(float(a[1]) * 1000) for a, s in zip(sim.sent[34:], sim.states[34:], strict=True) if s == "FOLLOW"]
    assert len(used) > 20 and all(of_goal[number] == 2 for number in used)
    # What was done is told once, whichever goal it was done for.
    done = np.concatenate([request.executed for request, _, _ in sim.requests])
    np.testing.assert_array_equal(done, np.stack(sim.sent)[: len(done)])
    assert asked > 5 and set(sim.states[40:]) == {"FOLLOW"}


def test_another_goal_may_be_of_another_camera(simulate: Any) -> None:
    sim = simulate(config=PLAIN)
    sim.reset()
    for _ in range(5):
        sim.tick()
    sim.loop.set_goal({"wrist": np.ones((2, 2, 3), np.uint8)}, sim.now)
    for number in range(5):
        sim.tick({"wrist": np.full((2, 2, 3), number, np.uint8), "proprio": np.zeros(2)})
    assert sim.loop.statistics.counter("rejected") == 0 and sim.states[-1] == "FOLLOW"


def test_reset_during_planning_drops_the_plan_and_the_past(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.25))
    sim.reset(seed=1)
    for _ in range(31):
        sim.tick()
    before = len(sim.requests)
    sim.reset(seed=2)
    for _ in range(20):
        sim.tick()
    assert [command.seed for command in sim.told] == [1, 2]
    first, step, _ = sim.requests[before]
    assert first.epoch == 2 and len(first.executed) == 0
    for index in range(5, 20):
        assert sim.states[31 + index] == "FOLLOW" and step_of(sim.sent[31 + index]) == index


def test_a_goal_that_the_planner_does_not_take_is_told_and_sent_again(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.03, ValueError("no such goal") if now < 1.2 else None))
    sim.reset()
    for _ in range(30):
        sim.tick()
    assert sim.loop.statistics.counter("errors", "ValueError") == 2  # at 0.1 and, half a second later, at 0.7 s
    assert sim.loop.statistics.last_error == "ValueError: no such goal"
    assert sim.states[10] == "HOLD" and sim.states[-1] == "FOLLOW"


# ------------------------------------------------------------------ what goes wrong


def test_what_the_planner_raises_is_counted_told_and_survived(simulate: Any, answer: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.03, ConnectionError("gone") if 1 < now < 1.5 else None))
    sim.reset()
    for _ in range(30):
        sim.tick()
    assert (
        sim.loop.statistics.counter("errors", "ConnectionError") == sim.loop.statistics.counter("plans", "failed") > 3
    )
    assert sim.loop.statistics.last_error == "ConnectionError: gone"
    assert set(sim.states[2:]) == {"FOLLOW"}
    done = np.concatenate(
        [
            request.executed
            for number, (request, _, _) in enumerate(sim.requests)
            if number in {number for *_, number in sim.plans}
        ]
    )
    np.testing.assert_array_equal(done, np.stack(sim.sent)[: len(done)])  # nothing is told twice or lost


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: replace(reply, actions=reply.actions * np.nan),
        lambda reply: replace(reply, actions=reply.actions[:, :1]),
        lambda reply: replace(reply, actions=reply.actions[:0]),
        lambda reply: replace(reply, actions=reply.actions[0]),
        lambda reply: replace(reply, cost=float("inf")),
        lambda reply: replace(reply, cost=float("nan")),
    ],
)
def test_a_reply_that_is_no_plan_is_dropped(simulate: Any, answer: Any, spoil: Any) -> None:
    sim = simulate(config=PLAIN, answer=lambda now: answer(0.03, None, spoil if now > 1 else lambda reply: reply))
    sim.reset()
    for _ in range(60):
        sim.tick()
    last = max(end for _, end, _, _ in sim.plans)
    assert sim.states[2:last] == ["FOLLOW"] * (last - 2) and sim.states[last] == "HOLD"
    assert np.isfinite(np.stack(sim.sent)).all()
    assert sim.loop.statistics.counter("plans", "failed") > 10


BAD = {
    "missing": lambda sim: dict(observation=None),
    "shape": lambda sim: dict(observation={"pixels": np.zeros((4, 5, 3), np.uint8), "proprio": np.zeros(2)}),
    "non_finite": lambda sim: dict(observation={**sim.picture(), "proprio": np.array([0.0, np.nan])}),
    "clock": lambda sim: dict(age=-1.0),
    "stale": lambda sim: dict(age=0.8),
    "repeated": lambda sim: dict(observation=sim.picture(77)),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_observation_is_counted_and_never_planned_from(simulate: Any, kind: str) -> None:
    sim = simulate(config=replace(PLAIN, max_repeats=3), actions=lambda step, plan: [0.9, 0.0])
    sim.reset()
    for _ in range(10):
        sim.tick()
    asked = len(sim.requests)
    for _ in range(10):
        sim.tick(**BAD[kind](sim))
    allowed = 4 if kind == "repeated" else 0
    assert sim.loop.statistics.counter("rejected", kind) == 10 - allowed
    assert sim.loop.statistics.counter("rejected") == 10 - allowed
    assert len(sim.requests) == asked + allowed
    assert set(sim.states[2:]) == {"FOLLOW"}  # the plan lasts
    sim.tick()
    assert len(sim.requests) == asked + allowed + 1


def test_a_still_robot_sees_the_same_picture_as_long_as_it_likes(simulate: Any) -> None:
    sim = simulate(config=replace(PLAIN, max_repeats=3), actions=lambda step, plan: [0.01, 0.0])
    sim.reset()
    for _ in range(30):
        sim.tick(sim.picture(5))
    assert sim.loop.statistics.counter("rejected") == 0 and sim.states[-1] == "FOLLOW"


def test_a_slow_camera_is_no_frozen_one(simulate: Any) -> None:
    sim = simulate(config=replace(PLAIN, max_repeats=3), actions=lambda step, plan: [0.9, 0.0])
    sim.reset()
    for index in range(50):
        picture = sim.picture(index // 5)
        sim.tick(picture, age=0.1 * (index % 5))  # one frame for five ticks, its age growing
    assert sim.loop.statistics.counter("rejected") == 0 and set(sim.states[2:]) == {"FOLLOW"}
    assert len(sim.requests) == 10


def test_a_long_gap_makes_the_planner_forget(simulate: Any) -> None:
    sim = simulate(config=replace(PLAIN, hold_seconds=1e6))
    sim.reset(seed=3)
    for _ in range(10):
        sim.tick()
    sim.tick(after=3600.0)
    for _ in range(10):
        sim.tick()
    assert [(command.seed, command.goal is None) for command in sim.told] == [(3, False), (3, True)]
    assert sim.states[-1] == "FOLLOW"
    assert max(len(request.executed) for request, _, _ in sim.requests) < 10


# ------------------------------------------------------------------ surprise


def surprised(simulate: Any, answer: Any, **config: Any) -> Any:
    """One frame, at 1.5 s, is a surprise."""

    def spoil(now: float) -> Any:
        return lambda reply: replace(reply, surprise=9.0 if 1.45 < now < 1.55 else 1.0)

    sim = simulate(
        config=replace(PLAIN, surprise_threshold=3.0, **config), answer=lambda now: answer(0.03, None, spoil(now))
    )
    sim.reset()
    for _ in range(40):
        sim.tick()
    assert sim.loop.statistics.counter("surprises") == 1
    return sim


def test_surprise_is_counted_or_stops_or_holds_until_it_is_over(simulate: Any, answer: Any) -> None:
    assert set(surprised(simulate, answer).states[2:]) == {"FOLLOW"}
    states = surprised(simulate, answer, surprise_action="stop").states
    assert states[14] == "FOLLOW" and states[15:] == ["SAFE_STOP"] * 25
    states = surprised(simulate, answer, surprise_action="hold").states
    assert states[14] == "FOLLOW" and states[15] == "HOLD" and states[18:] == ["FOLLOW"] * 22


def test_surprise_makes_it_plan_again_before_its_time(simulate: Any, answer: Any) -> None:
    calm = surprised(simulate, answer, replan_every=1, surprise_action="replan")
    assert set(calm.states[2:]) == {"FOLLOW"}
    times = []
    for threshold in (3.0, 100.0):
        config = replace(PLAIN, replan_every=7, surprise_threshold=threshold, surprise_action="replan")
        sim = simulate(config=config, answer=lambda now: answer(0.03, None, lambda reply: replace(reply, surprise=9.0)))
        sim.reset()
        for _ in range(40):
            sim.tick()
        times.append(len(sim.requests))
    assert times[0] > 35 and times[1] < 10


# ------------------------------------------------------------------ statistics and settings


def test_warm_up_counts_in_no_statistics(simulate: Any, answer: Any) -> None:
    config = replace(PLAIN, warmup=1)
    sim = simulate(config=config, answer=lambda now: answer(2.0 if now < 0.15 else 0.03))
    sim.reset()
    for _ in range(50):
        sim.tick()
    told = sim.loop.statistics.as_dict()
    assert told["plans"]["warmup"] == 1 and told["missed_deadlines"] == 0.0
    assert told["plan_seconds"]["max"] == pytest.approx(0.03) and told["plan_seconds"]["count"] > 20
    assert told["control_rate"] == pytest.approx(10.0)
    assert told["age_seconds"]["p50"] == pytest.approx(0.1)


def test_a_workspace_keeps_the_place_that_the_frame_and_the_actions_since_give(simulate: Any) -> None:
    box = Workspace((-0.3,), (0.3,), action=(0,), proprio=(0,), gain=0.1)
    sim = simulate(Limits((-1.0, -1.0), (1.0, 1.0), workspace=box), PLAIN, actions=lambda step, plan: [1.0, 0.0])
    sim.reset()
    place, places = 0.0, [0.0, 0.0, 0.0]
    for _ in range(20):
        observation = {**sim.picture(), "proprio": np.array([places[-3], 0.0], np.float32)}  # two ticks old
        place += 0.1 * float(sim.tick(observation, age=0.2)[0])
        places.append(place)
    assert place == pytest.approx(0.3, abs=1e-3) and max(places) <= 0.3 + 1e-6
    assert sim.loop.statistics.counter("violations", "workspace") > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replan_every": 0}, "replan_every"),
        ({"max_age": -1.0}, "max_age"),
        ({"quantile": 1.5}, "quantile"),
        ({"hold_seconds": float("inf")}, "hold_seconds"),
        ({"surprise_action": "panic"}, "surprise_action"),
        ({"surprise_action": "stop"}, "surprise_threshold"),
        ({"wait_first": 1}, "wait_first"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RealtimeConfig(**settings)


def test_rates_have_to_fit(simulate: Any) -> None:
    with pytest.raises(ValueError, match="got 5 and 10"):
        simulate(rate=5.0, step_rate=10.0)
