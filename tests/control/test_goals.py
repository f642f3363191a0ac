"""Goals beside a plain image, on a board whose two halves and whose robot move by themselves: what is reached, in every
loop and over the wire; and what is no goal, in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.client.goals import MAX_GOALS, as_message
from wmplan.client.wire import pack, unpack
from wmplan.control import Limits, PlanningSession, PlanRequest, RealtimeConfig, RealtimeController, make_controller
from wmplan.control.goals import AnyGoal, GoalImage, GoalSequence, MaskedGoal, RobotStateGoal
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.serving import ServerConfig
from wmplan.serving.client import PolicyClient, PolicyError
from wmplan.serving.messages import MessageError, SetGoal, Shapes, read_message
from wmplan.serving.serve import make_server

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
from serving import running

SIZE, BLOCK, BOUND, USUAL = 8, 2, 0.1, 0.01
PLANNER = {"name": "cem", "num_samples": 128, "num_iterations": 8, "num_elites": 10, "horizon": 1}
TOP = np.zeros((SIZE, SIZE), bool)
TOP[: SIZE // 2] = True
BOX = (0, 0, SIZE, SIZE // 2)
NEAR = 0.03


class Board(WorldModel):
    """Latents are the brightness of the frame's upper and lower half, and the robot's own place; each has an action."""

    def __init__(self, knows_its_error: bool = True, proprio: bool = True) -> None:
        super().__init__()
        zeros, width = (0.0,) * 3, int(proprio)
        self.spec = ModelSpec(
            image_size=(SIZE, SIZE),
            history=1,
            action_block=BLOCK,
            action_low=(-BOUND,) * 3,
            action_high=(BOUND,) * 3,
            action_mean=zeros,
            action_std=(1.0,) * 3,
            latent_shape=(2 + width,),
            proprio_dim=width,
            proprio_mean=zeros[:width],
            proprio_std=(1.0,) * width,
        )
        if knows_its_error:
            self.error_scale = torch.full((2 + width,), USUAL)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        self.check_frames(frames)
        halves = frames.float().unflatten(2, (2, SIZE // 2)).mean((3, 4, 5)) / 255  # (B, T, 2)
        if not self.spec.proprio_dim:
            return halves
        return torch.cat([halves, torch.zeros_like(halves[..., :1]) if proprio is None else proprio], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        moves = actions.unflatten(-1, (BLOCK, 3)).sum(-2).cumsum(2)
        return context[:, -1, None, None] + moves[..., : self.spec.latent_shape[0]]


def picture(upper: float, lower: float) -> np.ndarray:
    frame = np.empty((SIZE, SIZE, 3), np.uint8)
    frame[: SIZE // 2], frame[SIZE // 2 :] = round(255 * upper), round(255 * lower)
    return frame


def shown(place: Any) -> dict[str, np.ndarray]:
    return {"pixels": picture(*np.clip(place[:2], 0, 1)), "proprio": np.asarray(place[2:], np.float32)}


def drive(goal: Any, steps: int = 30, start: Any = (0.5, 0.5, 0.0), model: Board | None = None) -> np.ndarray:
    """Where a controller leads, (steps + 1, 3)."""
    controller = make_controller(model or Board(), PLANNER)
    controller.reset(goal, 0, at_rest=True)
    way = [np.array(start, np.float64)]
    for _ in range(steps):
        way.append(way[-1] + controller.act(shown(way[-1])))
    return np.array(way)


IMAGE = {"pixels": picture(0.9, 0.1), "proprio": np.array([0.3], np.float32)}


def test_a_declared_image_is_the_image() -> None:
    plain = drive(IMAGE, 6)
    np.testing.assert_array_equal(drive(GoalImage(IMAGE["pixels"], IMAGE["proprio"]), 6), plain)
    np.testing.assert_array_equal(drive(GoalImage({"pixels": IMAGE["pixels"]}, IMAGE["proprio"]), 6), plain)
    assert np.abs(drive(IMAGE)[-1] - [0.9, 0.1, 0.3]).max() < NEAR


@pytest.mark.parametrize("where", [{"mask": TOP}, {"mask": TOP.astype(np.uint8) * 255}, {"box": BOX}])
def test_only_the_inside_of_a_mask_counts(where: Any) -> None:
    way = drive(MaskedGoal(picture(0.9, 0.1), **where))
    assert abs(way[-1, 0] - 0.9) < NEAR  # the upper half is as in the image
    assert np.abs(way[:, 1] - 0.5).max() < 0.15  # the lower half, which the image shows darker, stays about as it was
    told = drive(MaskedGoal(picture(0.9, 0.1), **where, proprio=np.array([0.4])))
    assert abs(told[-1, 0] - 0.9) < NEAR and abs(told[-1, 2] - 0.4) < NEAR


def test_what_is_outside_of_a_mask_is_taken_from_each_frame_anew() -> None:
    """Plans from one present do not lead back to that of an earlier one."""
    session = PlanningSession(Board(), PLANNER)
    session.set_goal(MaskedGoal(picture(0.5, 0.0), mask=TOP))
    for lower in (0.2, 0.8, 0.4):
        session.plan(PlanRequest(shown((0.5, lower, 0.0)), executed=np.zeros((BLOCK, 3), np.float32)))
        assert session.goal is not None
        np.testing.assert_allclose(session.goal[0], [0.5, lower, 0.0], atol=0.01)


class Towing(Board):
    """A board whose upper half moves with the robot alone."""

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        own = actions.unflatten(-1, (BLOCK, 3)).sum(-2).cumsum(2)[..., 2:]
        return context[:, -1, None, None] + torch.cat([own, torch.zeros_like(own), own], -1)


def test_a_mask_does_not_hold_the_robot_where_it_is() -> None:
    """Its own state counts in the objective, and only if the goal gives it."""
    objective = {"latent": {"weight": 1.0}, "proprio": {"weight": 20.0}}
    ends = []
    for state in (None, np.array([0.0])):
        controller = make_controller(Towing(), PLANNER, objective)
        controller.reset(MaskedGoal(picture(0.9, 0.1), mask=TOP, proprio=state), 0, at_rest=True)
        place = np.array([0.5, 0.5, 0.0])
        for _ in range(20):
            place = place + controller.act(shown(place))[2] * np.array([1, 0, 1])
        ends.append(place)
    assert abs(ends[0][0] - 0.9) < NEAR and abs(ends[0][2] - 0.4) < NEAR
    assert abs(ends[1][2]) < 0.1  # where the state was to be


def test_a_masked_stage_is_over_wherever_the_robot_is() -> None:
    session = PlanningSession(Board(), PLANNER)
    session.set_goal(GoalSequence((MaskedGoal(picture(0.9, 0.0), mask=TOP, proprio=np.array([0.2])), IMAGE)))
    still = np.zeros((BLOCK, 3), np.float32)
    session.plan(PlanRequest(shown((0.9, 0.5, 0.7)), executed=still))
    assert session.pursuit is not None and session.pursuit.stage == 0  # the state was given
    session.set_goal(GoalSequence((MaskedGoal(picture(0.9, 0.0), mask=TOP), IMAGE)))
    session.plan(PlanRequest(shown((0.9, 0.5, 0.7)), executed=still))
    assert session.pursuit.stage == 1


def test_robots_with_masked_goals_plan_in_one_search() -> None:
    controller = make_controller(Board(), PLANNER)
    controller.reset([MaskedGoal(picture(0.9, 0.1), mask=TOP), MaskedGoal(picture(0.2, 0.1), mask=TOP)], 0)
    controller.act({"pixels": np.stack([picture(0.5, 0.5)] * 2), "proprio": np.zeros((2, 1), np.float32)})
    assert len(controller.core.searches) == 1


@pytest.mark.parametrize("goal", [RobotStateGoal(np.array([0.6])), {"proprio": np.array([0.6])}])
@pytest.mark.parametrize("objective", [None, {"latent": {"weight": 1.0}, "proprio": {"weight": 2.0}}])
def test_a_robot_state_is_reached_whatever_the_camera_sees(goal: Any, objective: Any) -> None:
    controller = make_controller(Board(), PLANNER, objective)
    controller.reset(goal, 0, at_rest=True)
    place = np.array([0.9, 0.1, 0.0])
    for _ in range(20):
        place = place + controller.act(shown(place))
    assert abs(place[2] - 0.6) < NEAR
    assert controller.last_plan is not None and float(controller.last_plan.cost) < 0.01


def test_costs_of_a_robot_state_do_not_depend_on_the_picture() -> None:
    costs = []
    for upper in (0.0, 1.0):
        session = PlanningSession(Board(), PLANNER)
        session.set_goal(RobotStateGoal(np.array([0.6])))
        costs.append(session.plan(PlanRequest(shown((upper, 0.5, 0.0)))).cost)
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)


def test_a_sequence_is_reached_in_turn() -> None:
    first, second = (0.9, 0.5, 0.0), (0.1, 0.5, 0.3)
    way = drive(GoalSequence((shown(first), shown(second))), 40)
    off = [np.sqrt(np.mean(np.square(way - stage), 1)) for stage in (first, second)]
    reached = int(np.argmax(off[0] <= 3 * USUAL))
    assert off[0][reached] <= 3 * USUAL and off[1][:reached].min() > 0.1  # not before the first one
    assert off[1][-1] < NEAR


def test_stages_of_any_kind_and_a_reset_begins_anew() -> None:
    goal = GoalSequence((MaskedGoal(picture(0.9, 0.0), mask=TOP), RobotStateGoal(np.array([0.5]))))
    session = PlanningSession(Board(), PLANNER)
    session.set_goal(goal)
    still = np.zeros((BLOCK, 3), np.float32)
    session.plan(PlanRequest(shown((0.5, 0.5, 0.0)), executed=still))
    assert session.pursuit is not None and session.pursuit.stage == 0
    session.plan(PlanRequest(shown((0.9, 0.5, 0.0)), executed=still))
    assert session.pursuit.stage == 1
    session.plan(PlanRequest(shown((0.5, 0.5, 0.0)), executed=still))
    assert session.pursuit.stage == 1  # what was reached stays reached
    session.reset(0)
    session.plan(PlanRequest(shown((0.5, 0.5, 0.0))))
    assert session.pursuit.stage == 0


def test_patience_ends_a_stage_that_cannot_be_reached() -> None:
    impossible = {"pixels": picture(0.5, 0.5), "proprio": np.array([50.0], np.float32)}
    model = Board(knows_its_error=False)
    way = drive(GoalSequence((impossible, shown((0.5, 0.5, -0.4))), patience=10), 60, model=model)
    assert way[:, 2].max() > 0.8 and abs(way[-1, 2] + 0.4) < NEAR
    with pytest.raises(ValueError, match="give patience"):
        drive(GoalSequence((impossible, impossible)), model=model)


def test_the_nearest_of_several_is_chosen_and_kept() -> None:
    left, right = shown((0.1, 0.5, 0.0)), shown((1.0, 0.5, 0.0))
    assert abs(drive(AnyGoal((left, right)))[-1, 0] - 0.1) < NEAR  # 0.5 is nearer to 0.1 than to 1
    assert abs(drive(AnyGoal((left, right)), start=(0.6, 0.5, 0.0))[-1, 0] - 1.0) < NEAR
    session = PlanningSession(Board(), PLANNER)
    session.set_goal(AnyGoal((left, right)))
    chosen = []
    for upper in (0.5, 0.57, 0.8, 0.54):
        session.plan(PlanRequest(shown((upper, 0.5, 0.0)), executed=np.zeros((BLOCK, 3), np.float32)))
        chosen.append(session.pursuit.choice if session.pursuit else None)
    assert chosen == [0, 0, 1, 1]  # another one has to be clearly nearer


def test_each_robot_of_a_batch_has_a_goal_of_its_own_kind() -> None:
    goals = [IMAGE, MaskedGoal(picture(0.9, 0.1), mask=TOP), RobotStateGoal(np.array([0.6]))]
    controller = make_controller(Board(), PLANNER)
    controller.reset(goals, 0, at_rest=True)
    places = np.array([[0.5, 0.5, 0.0]] * 3)
    for _ in range(30):
        seen = [shown(place) for place in places]
        places = places + controller.act({name: np.stack([one[name] for one in seen]) for name in seen[0]})
    assert np.abs(places[0] - [0.9, 0.1, 0.3]).max() < NEAR
    assert abs(places[1, 0] - 0.9) < NEAR and abs(places[2, 2] - 0.6) < NEAR


ALL = {
    "image": GoalImage(IMAGE["pixels"], IMAGE["proprio"]),
    "masked": MaskedGoal(picture(0.9, 0.1), box=BOX),
    "masked with a state": MaskedGoal(picture(0.9, 0.1), mask=TOP, proprio=np.array([0.2])),
    "robot state": RobotStateGoal(np.array([0.6])),
    "only proprio": {"proprio": np.array([0.6], np.float32)},
    "sequence": GoalSequence((AnyGoal((IMAGE, MaskedGoal(picture(0.2, 0.1), mask=TOP))), RobotStateGoal([0.1])), 7),
    "any": AnyGoal((IMAGE, picture(0.1, 0.1))),
}


@pytest.mark.parametrize("name", ALL)
def test_a_served_planner_plans_to_declared_goals_as_one_in_this_process(name: str) -> None:
    """Also after the connection was lost, which the client has the server told again."""
    server = make_server(Board(), ServerConfig(port=0), PLANNER)
    own = PlanningSession(Board(), PLANNER)
    own.set_goal(ALL[name])
    own.reset(3)
    expected = own.plan(PlanRequest(shown((0.5, 0.4, 0.0)))).actions
    with running(server), PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client:
        client.set_goal(ALL[name])
        client.reset(3)
        np.testing.assert_array_equal(client.plan(PlanRequest(shown((0.5, 0.4, 0.0)))).actions, expected)
        client._drop()
        np.testing.assert_array_equal(client.plan(PlanRequest(shown((0.5, 0.4, 0.0)))).actions, expected)


@pytest.mark.parametrize("name", ALL)
def test_the_real_time_loop_takes_them(name: str) -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock, place = Clock(), np.array([0.5, 0.5, 0.0])
    limits, config = Limits((-BOUND,) * 3, (BOUND,) * 3), RealtimeConfig(wait_first=True, log_seconds=None)
    with RealtimeController.of(Board(), PLANNER, limits=limits, config=config, clock=clock) as controller:
        controller.reset(ALL[name], at_rest=True)
        controller.act(shown(place), clock.now)
        assert controller.state == "FOLLOW", controller.reason
        if name in ("robot state", "only proprio"):  # no goal says what frames look like: the first one does
            clock.now += 0.1
            controller.act({"pixels": np.zeros((3, 3, 3), np.uint8), "proprio": np.zeros(1)}, clock.now)
            assert controller.statistics.as_dict()["rejected"]["shape"] == 1


def test_without_a_frame_a_robot_state_waits_for_one() -> None:
    limits, config = Limits((-BOUND,) * 3, (BOUND,) * 3), RealtimeConfig(log_seconds=None)
    with RealtimeController.of(Board(), PLANNER, limits=limits, config=config) as controller:
        controller.reset(RobotStateGoal(np.array([0.6])), at_rest=True)
        controller.act({"proprio": np.zeros(1)})
        assert "it has no frame" in str(controller.reason)


# ------------------------------------------------------------------ what is no goal


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GoalImage(np.zeros((8, 8, 3))), "image must be uint8 of shape (H, W, 3), got float64"),
        (lambda: GoalImage({}), "image has no camera"),
        (lambda: GoalImage("goal.png"), "image must be uint8"),
        (lambda: MaskedGoal(picture(1, 1)), "give either mask or box"),
        (lambda: MaskedGoal(picture(1, 1), mask=TOP, box=BOX), "give either mask or box"),
        (lambda: MaskedGoal(picture(1, 1), mask=TOP[:4]), "mask has shape (4, 8), its frame has (8, 8) pixels"),
        (lambda: MaskedGoal(picture(1, 1), mask=np.zeros_like(TOP)), "nothing is inside"),
        (lambda: MaskedGoal(picture(1, 1), mask=np.full((8, 8), 0.5)), "mask must be (H, W) of true and false"),
        (lambda: MaskedGoal(picture(1, 1), mask={"wrist": TOP}), "is of a camera that the image does not have"),
        (lambda: MaskedGoal(picture(1, 1), box=(0, 0, 9, 4)), "box must be (left, top, right, bottom) within 8 x 8"),
        (lambda: MaskedGoal(picture(1, 1), box=(4, 0, 4, 4)), "box must be"),
        (lambda: MaskedGoal(picture(1, 1), box="full"), "box must be"),
        (lambda: RobotStateGoal(np.array([np.nan])), "not finite"),
        (lambda: RobotStateGoal(np.zeros((1, 1))), "proprio must be a row of finite numbers"),
        (lambda: RobotStateGoal(None), "got None"),
        (lambda: GoalSequence(()), "goals must be 1 to 64, got 0"),
        (lambda: GoalSequence(picture(1, 1)[0, 0, 0]), "goals must be a list of goals"),
        (lambda: GoalSequence((GoalSequence((IMAGE,)),)), "a GoalSequence cannot be among its goals"),
        (lambda: GoalSequence((IMAGE,), patience=0), "patience must be a whole number of at least 1, got 0"),
        (lambda: AnyGoal((IMAGE, RobotStateGoal([0.1]))), "cannot be mixed"),
        (lambda: AnyGoal([picture(1, 1)] * (MAX_GOALS + 1)), "goals must be 1 to 64, got 65"),
    ],
)
def test_what_is_no_goal_is_said_in_one_line(make: Any, said: str) -> None:
    with pytest.raises(ValueError) as told:
        make()
    assert said in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (RobotStateGoal(np.array([0.1, 0.2])), "proprio"),
        (GoalImage(np.zeros((4, 4, 3), np.uint8)), "pixels"),
        (MaskedGoal(np.zeros((4, 4, 3), np.uint8), box=(0, 0, 2, 2)), "pixels"),
        (MaskedGoal({"wrist": picture(1, 1)}, mask={"wrist": TOP}), "no 'pixels'"),
        ([IMAGE, {name: value[None] for name, value in IMAGE.items()}], "one goal a robot"),
    ],
)
def test_what_does_not_fit_the_model_is_said_by_a_controller_and_changes_nothing(goal: Any, said: str) -> None:
    controller = make_controller(Board(), PLANNER)
    controller.reset(IMAGE, 0, at_rest=True)
    with pytest.raises(ValueError, match=said):
        controller.reset(goal)
    assert np.isfinite(controller.act(shown((0.5, 0.5, 0.0)))).all()


def test_a_model_without_proprioception_takes_no_robot_state() -> None:
    with pytest.raises(ValueError, match="the model has no proprioception in its latent: give an image"):
        drive(RobotStateGoal(np.array([0.1])), model=Board(proprio=False))


SHAPES = Shapes(("pixels",), (SIZE, SIZE), 1, 3, 4)
FRAME = picture(1, 1)
DEEP: Any = FRAME
for _ in range(500):
    DEEP = {"kind": "any", "goals": [DEEP]}


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        ({"kind": "heaven"}, "kind must be masked, robot_state, sequence or any"),
        ({"kind": 3}, "kind must be"),
        ({"kind": "masked", "pixels": FRAME}, "mask.pixels is missing"),
        ({"kind": "masked", "mask.pixels": TOP}, "pixels is missing"),
        ({"kind": "masked", "pixels": FRAME, "mask.pixels": TOP[:2]}, "mask.pixels must be"),
        ({"kind": "masked", "pixels": FRAME, "mask.pixels": TOP & False}, "nothing is inside"),
        ({"kind": "masked", "pixels": FRAME, "mask.pixels": TOP, "sky": 1}, "there is no key 'sky'"),
        ({"kind": "robot_state"}, "proprio must be an array of numbers of shape (1,)"),
        ({"kind": "robot_state", "proprio": np.array([np.inf])}, "not finite"),
        ({"proprio": np.zeros(2)}, "proprio must be an array of numbers of shape (1,)"),
        ({"kind": "any", "goals": []}, "goals must be 1 to 64, got 0"),
        ({"kind": "any", "goals": "all"}, "goals must be a list"),
        ({"kind": "any", "goals": [FRAME] * 65}, "goals must be a list of 1 to 64"),
        ({"kind": "any", "goals": [{"kind": "any", "goals": [FRAME]}]}, "cannot be among"),
        ({"kind": "sequence", "goals": [FRAME], "patience": -1}, "patience must be"),
        ({"kind": "sequence", "goals": [FRAME], "patience": 1.5}, "patience must be"),
        ({"kind": "sequence", "goals": [FRAME, {"pixels": FRAME[:2]}]}, "goal: 1: pixels must be a uint8 array"),
        (DEEP, "nested"),
    ],
)
def test_a_hostile_goal_on_the_wire_is_answered_in_one_line(goal: Any, said: str) -> None:
    with pytest.raises(MessageError) as told:
        read_message({"wmplan": "set_goal", "goal": goal}, SHAPES)
    assert said in str(told.value) and "\n" not in str(told.value) and len(str(told.value)) < 400


@pytest.mark.parametrize("name", ALL)
def test_goals_survive_the_wire(name: str) -> None:
    message = {"wmplan": "set_goal", "goal": as_message(ALL[name], "pixels")}
    read = read_message(unpack(pack(message)), SHAPES)
    assert isinstance(read, SetGoal)
    again = {"wmplan": "set_goal", "goal": as_message(read.goal, "pixels")}
    if name not in ("only proprio",):
        assert pack(again) == pack(message)


def test_a_server_of_a_model_without_proprioception_says_so(tmp_path: Path) -> None:
    server = make_server(Board(proprio=False), ServerConfig(port=0), PLANNER)
    told = pytest.raises(PolicyError, match="the model takes none: send an image")
    with running(server), PolicyClient(f"ws://127.0.0.1:{server.port}", timeout=60.0) as client, told:
        client.set_goal(RobotStateGoal(np.array([0.1])))


class Reading(Board):
    """A board with a reader that gives the upper half's brightness as the robot's place, `gain` of it and `offset`."""

    reads_state = True  # type: ignore[assignment]

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.gain, self.offset = gain, offset

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        return super().encode(frames, self.read_state(frames) if proprio is None else proprio)

    def read_state(self, frames: Any) -> Tensor:
        return self.gain * super().encode(frames)[..., :1] + self.offset


@pytest.mark.parametrize(
    ("gain", "offset", "end"),
    [
        (1.0, 0.2, 0.7),  # misread alike where it is and where it should be, which is no error
        (0.9, 0.0, 0.7),
        (0.0, 0.6, 0.6),  # not seen at all: it goes to what is read rather than stay anywhere
    ],
)
@pytest.mark.parametrize("declared", [False, True])
def test_a_state_read_off_a_goal_is_corrected_by_how_the_robot_is_misread_now(
    gain: float, offset: float, end: float, declared: bool
) -> None:
    controller = make_controller(Reading(gain, offset), PLANNER, {"proprio": {"weight": 1.0}})
    goal = picture(0.7, 0.5)
    controller.reset(GoalImage(goal) if declared else {"pixels": goal}, 0, at_rest=True)
    place = 0.2
    for _ in range(60):
        place += float(controller.act({"pixels": picture(place, 0.5), "proprio": np.array([place], np.float32)})[2])
    assert abs(place - end) < 0.05
