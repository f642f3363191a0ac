"""The controller with worlds whose right answers are known: what it shows the model, and where it drives."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wmplan.client.goals import GoalImage
from wmplan.control import Controller, Limits, NonFiniteActionError, make_controller, planning_settings
from wmplan.control.safety.workspace import Workspace
from wmplan.errors import UserError
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.objectives.distances import LatentDistance
from wmplan.planning.objectives.registry import make_objective
from wmplan.planning.planner import Plan
from wmplan.settings.compose import compose

BLOCK, SIZE = 5, 8


def spec(history: int = 1, latent: int = 3) -> ModelSpec:
    return ModelSpec(
        image_size=(SIZE, SIZE),
        history=history,
        action_block=BLOCK,
        action_low=(-0.1, -0.1),
        action_high=(0.1, 0.1),
        action_mean=(0.0, 0.0),
        action_std=(1.0, 1.0),
        latent_shape=(latent,),
        proprio_dim=2,
        proprio_mean=(0.0, 0.0),
        proprio_std=(1.0, 1.0),
    )


class PointWorld(WorldModel):
    """A point that every action moves by itself. Latent: brightness of the frame, then the point (its proprio).

    It writes down the frames it encodes (by brightness) and the contexts it predicts from.
    """

    def __init__(self, history: int = 1) -> None:
        super().__init__()
        self.spec = spec(history)
        self.encoded: list[float] = []
        self.contexts: list[tuple[Tensor, Tensor | None]] = []

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        brightness = frames.float().mean((2, 3, 4))[..., None]  # (B, T, 1)
        self.encoded += brightness.flatten().tolist()
        point = brightness.new_zeros(*brightness.shape[:2], 2) if proprio is None else proprio
        return torch.cat([brightness, point], -1)

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        self.check_rollout(context, actions, past_actions)
        self.contexts.append((context.clone(), None if past_actions is None else past_actions.clone()))
        moves = actions.unflatten(-1, (BLOCK, 2)).sum(-2).cumsum(2)  # (B, S, H, 2)
        start = context[:, -1, None, None, 1:].expand_as(moves)
        return torch.cat([torch.zeros_like(moves[..., :1]), start + moves], -1)


class Point:
    """The true world of PointWorld, B points."""

    def __init__(self, batch: int = 1) -> None:
        self.position, self.step = np.zeros((batch, 2), np.float32), 0

    def observe(self) -> dict[str, Any]:
        """The brightness of the frame tells the step."""
        frames = np.full((len(self.position), SIZE, SIZE, 3), self.step, np.uint8)
        return {"pixels": frames, "proprio": self.position.copy()}

    def move(self, actions: np.ndarray) -> None:
        self.position = self.position + actions
        self.step += 1


def goal(*points: tuple[float, float]) -> dict[str, Any]:
    return {"pixels": np.zeros((len(points), SIZE, SIZE, 3), np.uint8), "proprio": np.float32(points)}


def controller(model: WorldModel, samples: int = 64, iterations: int = 8, **options: Any) -> Controller:
    low, high = model.spec.block_bounds()
    config = CEMConfig(num_samples=samples, num_iterations=iterations, num_elites=8, horizon=3)
    planner = CEM(config, low, high, action_block=BLOCK)
    return Controller(model, planner, LatentDistance(steps="sum"), **options)


def drive(pilot: Controller, world: Point, steps: int) -> np.ndarray:
    """Actions executed, of shape (steps, B, 2)."""
    executed = []
    for _ in range(steps):
        actions = pilot.act(world.observe())
        executed.append(actions)
        world.move(actions)
    return np.stack(executed)


# ------------------------------------------------------------------ where it drives


def test_it_drives_a_point_to_the_goal_and_stays() -> None:
    pilot, world = controller(PointWorld()), Point()
    pilot.reset(goal((0.7, -0.4)), seeds=0)
    drive(pilot, world, 40)
    np.testing.assert_allclose(world.position, [[0.7, -0.4]], atol=0.05)


def test_towards_a_goal_out_of_reach_every_action_is_at_its_bound() -> None:
    pilot, world = controller(PointWorld(), samples=128, iterations=15), Point()
    pilot.reset(goal((9.0, -9.0)), seeds=0)
    executed = drive(pilot, world, 10)
    np.testing.assert_allclose(executed.mean(0), [[0.1, -0.1]], atol=0.005)
    assert np.abs(executed).max() <= np.float32(0.1)


def test_robots_of_a_batch_do_not_influence_each_other() -> None:
    together, world = controller(PointWorld()), Point(2)
    together.reset(goal((0.5, 0.0), (-0.3, 0.6)), seeds=[3, 4])
    both = drive(together, world, 12)
    for robot, (seed, where) in enumerate(((3, (0.5, 0.0)), (4, (-0.3, 0.6)))):
        alone = controller(PointWorld())
        alone.reset(goal(where), seeds=[seed])
        np.testing.assert_allclose(both[:, [robot]], drive(alone, Point(), 12), atol=1e-5)


def test_the_same_seed_repeats_and_another_does_not() -> None:
    runs = []
    for seed in (7, 7, 8):
        pilot = controller(PointWorld())
        pilot.reset(goal((0.5, 0.1)), seeds=seed)
        runs.append(drive(pilot, Point(), 7))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("seeds", [np.int64(7), np.array(7), np.array([7, 8]), torch.tensor([7, 8]), (7.0, 8)])
def test_seeds_are_taken_as_numpy_and_torch_have_them(seeds: Any) -> None:
    runs = []
    for given in (7, seeds):
        pilot = controller(PointWorld())
        pilot.reset(goal((0.5, 0.1), (0.1, 0.5)), seeds=given)
        runs.append(drive(pilot, Point(2), 7))
    np.testing.assert_array_equal(runs[0], runs[1])
    for wrong in ("7", 7.5, True, [None, 1], -1):
        with pytest.raises(ValueError, match="seeds"):
            pilot.reset(goal((0.5, 0.1), (0.1, 0.5)), seeds=wrong)  # type: ignore[arg-type]


def test_reset_forgets_everything() -> None:
    pilot = controller(PointWorld(history=3))
    pilot.reset(goal((0.5, 0.1)), seeds=1)
    first = drive(pilot, Point(), 13)
    pilot.reset(goal((0.5, 0.1)), seeds=1)
    np.testing.assert_array_equal(drive(pilot, Point(), 13), first)


# ------------------------------------------------------------------ what it shows the model


@pytest.mark.parametrize("replan_every", [1, 3, 5, 7])
def test_the_model_plans_from_real_history_at_its_own_stride(replan_every: int) -> None:
    model, world = PointWorld(history=3), Point()
    pilot = controller(model, samples=8, iterations=1, replan_every=replan_every)
    pilot.reset(goal((0.3, 0.3)), seeds=0)
    executed: list[np.ndarray] = []
    for step in range(24):
        model.contexts.clear()
        action = pilot.act(world.observe())
        assert pilot.planned == (step % replan_every == 0) == bool(model.contexts)
        for context, past in model.contexts:
            seen = [s for s in (step - 10, step - 5, step) if s >= 0]
            assert context[0, :, 0].tolist() == seen  # the brightness of a frame is its step
            if len(seen) == 1:
                assert past is None
            else:
                done = [np.concatenate(executed[s : s + BLOCK], axis=1)[0] for s in seen[:-1]]
                np.testing.assert_array_equal(past[0].numpy(), np.stack(done))
        executed.append(action)
        world.move(action)


@pytest.mark.parametrize(("replan_every", "frames"), [(1, 24), (5, 5)])
def test_a_frame_is_encoded_once_and_only_if_it_is_used(replan_every: int, frames: int) -> None:
    model = PointWorld(history=3)
    pilot = controller(model, samples=8, iterations=1, replan_every=replan_every)
    pilot.reset(goal((0.3, 0.3)), seeds=0)
    model.encoded.clear()
    drive(pilot, Point(), 24)
    assert len(model.encoded) == len(set(model.encoded)) == frames


def test_history_holds_what_was_sent_not_what_was_planned() -> None:
    model, world = PointWorld(history=2), Point()
    limits = Limits(low=(-0.02, -0.02), high=(0.02, 0.02))
    pilot = controller(model, limits=limits)
    pilot.reset(goal((5.0, 5.0)), seeds=0)
    executed = drive(pilot, world, 6)
    assert np.abs(executed).max() <= np.float32(0.02) and pilot.gate.violations["bounds"] > 0
    _, past = model.contexts[-1]
    assert past is not None
    np.testing.assert_array_equal(past[0, 0].numpy(), executed[:5].reshape(-1))


def test_plans_keep_to_the_rate_limit_so_that_the_gate_has_nothing_to_do() -> None:
    pilot, world = controller(PointWorld(), limits=Limits((-0.1, -0.1), (0.1, 0.1), max_change=(0.03, 0.03))), Point()
    pilot.reset(goal((0.6, -0.6)), seeds=0)
    executed = drive(pilot, world, 20)
    changes = np.diff(np.concatenate([np.zeros((1, 1, 2)), executed]), axis=0)
    assert np.abs(changes).max() <= 0.03 + 1e-5 and np.abs(executed).max() > 0.05
    assert pilot.gate.violations["rate"] == 0


def test_the_horizon_shrinks_towards_the_arrival() -> None:
    pilot, world = controller(PointWorld(), arrival_step=12, min_horizon=1), Point()
    pilot.reset(goal((0.9, -0.6)), seeds=0)
    horizons, where = [], []
    for _ in range(26):
        action = pilot.act({**world.observe(), "pixels": FRAME})  # a picture that changed would lead away from the goal
        if pilot.planned:
            assert pilot.last_plan is not None
            horizons.append(pilot.last_plan.actions.shape[1])
        world.move(action)
        where.append(world.position[0])
    assert horizons == [2, 1, 1, 1, 1, 1]  # 12, 7, 2 robot steps left, then past: rather early than late
    np.testing.assert_allclose(where[9], [0.9, -0.6], atol=0.06)
    np.testing.assert_allclose(where[14], [0.9, -0.6], atol=0.06)


@pytest.mark.parametrize(("correction", "off"), [(0.0, 0.05), (1.0, 0.0)])
def test_correction_does_away_with_a_lasting_error_of_the_model(correction: float, off: float) -> None:
    """The world drifts by 0.01 a robot step, which the model does not know: a plan of 5 steps lands 0.05 beside."""
    pilot, world = controller(PointWorld(history=2), arrival_step=15, min_horizon=1, correction=correction), Point()
    pilot.reset(goal((0.4, -0.3)), seeds=0)
    for _ in range(45):
        world.move(pilot.act(world.observe()) + np.float32([0.01, 0.0]))
    np.testing.assert_allclose(world.position[0], [0.4 + off, -0.3], atol=0.015)


# ------------------------------------------------------------------ shapes and mistakes


def test_one_robot_needs_no_batch_axis() -> None:
    pilot = controller(PointWorld())
    pilot.reset({"pixels": np.zeros((SIZE, SIZE, 3), np.uint8), "proprio": np.float32([0.3, 0.3])})
    observation = {name: value[0] for name, value in Point().observe().items()}
    assert pilot.act(observation).shape == (2,)


def test_a_goal_may_be_a_bare_image() -> None:
    pilot = controller(PointWorld())
    pilot.reset(np.full((SIZE, SIZE, 3), 9, np.uint8))
    assert pilot.goal is not None and pilot.goal[0].tolist() == [9.0, 0.0, 0.0]


def test_proprioception_that_is_left_out_is_told_once() -> None:
    told_of = lambda told: [one for one in told if "without 'proprio'" in str(one.message)]  # noqa: E731
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        pilot = controller(PointWorld(), samples=16, iterations=1)
        for _ in range(2):  # episodes, of two robots
            pilot.reset(goal((0.1, 0.1), (0.2, 0.2)))
            for _ in range(3):
                pilot.act({"pixels": np.zeros((2, SIZE, SIZE, 3), np.uint8)})
    assert len(told_of(told)) == 1 and told_of(told)[0].category is UserWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pilot.reset(goal((0.1, 0.1)))
        pilot.act(Point().observe())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((9, 9, 3), np.uint8), r"^goal: pixels must be a uint8 array of shape \(8, 8, 3\), got \(9, 9, 3\)$"),
        (np.zeros((2, 9, 9, 3), np.uint8), r"^goal: pixels .* of shape \(B, 8, 8, 3\), got \(2, 9, 9, 3\)$"),
        (np.zeros((8, 8, 3)), "^goal: pixels must be uint8, got float64: RGB from 0 to 255$"),
        (
            {"pixels": np.zeros((8, 8, 3), np.uint8), "proprio": [0.1]},
            r"^goal: proprio must have shape \(2,\), got \(1,\)$",
        ),
        (GoalImage(np.zeros((9, 9, 3), np.uint8)), r"^goal: pixels .* of shape \(8, 8, 3\), got \(9, 9, 3\)$"),
    ],
)
def test_a_wrong_goal_is_named_with_the_shape_that_was_given(wrong: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        controller(PointWorld()).reset(wrong)


FRAME = np.zeros((1, SIZE, SIZE, 3), np.uint8)
HERE = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            {"pixels": np.zeros((1, 9, SIZE, 3), np.uint8), "proprio": HERE},
            r"pixels must be a uint8 array of shape \(B, 8, 8, 3\), got \(1, 9, 8, 3\)",
        ),
        ({"pixels": np.zeros((1, SIZE, SIZE, 4), np.uint8), "proprio": HERE}, r"8, 8, 4"),
        ({"pixels": FRAME.astype(np.float32), "proprio": HERE}, "pixels must be uint8, got float32: RGB from 0 to 255"),
        ({"pixels": FRAME[0, 0], "proprio": HERE}, r"\(H, W, 3\)"),
        ({"pixels": FRAME, "proprio": HERE * np.nan}, "proprio.*not finite"),
        (
            {"pixels": FRAME, "proprio": np.zeros((1, 3), np.float32)},
            r"proprio must have shape \(1, 2\), got \(1, 3\)",
        ),
        ({"pixels": FRAME, "proprio": np.float32(1)}, r"proprio must have shape \(1, 2\), got \(\)"),
        ({"image": FRAME, "proprio": HERE}, "no 'pixels'; it has image, proprio"),
        ({"pixels": np.repeat(FRAME, 2, 0), "proprio": np.repeat(HERE, 2, 0)}, "2 observations for 1 goals"),
        (
            {"pixels": FRAME},
            "proprio is missing here, and was in this episode's first observation: give it always or never",
        ),
    ],
)
def test_a_wrong_observation_is_named_and_changes_nothing(observation: dict[str, Any], message: str) -> None:
    def run(disturbed: bool) -> np.ndarray:
        pilot, world = controller(PointWorld(history=2), samples=16, iterations=2), Point()
        pilot.reset(goal((0.4, 0.2)), seeds=0)
        actions = []
        for step in range(11):
            if disturbed and step in (4, 5, 7):
                with pytest.raises(ValueError, match=message):
                    pilot.act(observation)
            actions.append(pilot.act(world.observe()))
            world.move(actions[-1])
        return np.stack(actions)

    np.testing.assert_array_equal(run(disturbed=True), run(disturbed=False))


class Broken(CEM):
    """Its plans are not finite from their second robot step on."""

    def plan(self, *given: Any, **options: Any) -> Plan:
        plan = super().plan(*given, **options)
        plan.actions[:, 0, 2:] = torch.nan
        return plan


def test_an_action_that_is_not_finite_never_leaves() -> None:
    model = PointWorld()
    pilot = Controller(
        model, Broken(CEMConfig(num_elites=8, horizon=3), *model.spec.block_bounds(), action_block=BLOCK)
    )
    pilot.reset(goal((0.4, 0.2)))
    pilot.act(Point().observe())
    with pytest.raises(NonFiniteActionError):
        pilot.act(Point().observe())


def test_who_scales_the_last_plan_in_place_changes_nothing() -> None:
    runs = []
    for scale in (1.0, 100.0):
        pilot, world = controller(PointWorld(history=2), samples=16, iterations=2), Point()
        pilot.reset(goal((0.5, 0.1)), seeds=0)
        actions = []
        for _ in range(12):
            actions.append(drive(pilot, world, 1))
            assert pilot.last_plan is not None
            pilot.last_plan.actions.mul_(scale)
        runs.append(np.stack(actions))
    np.testing.assert_array_equal(*runs)


class InPlace(PointWorld):
    """The same, written by someone who normalises in place."""

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        latents = super().encode(frames, proprio)
        if proprio is not None:
            proprio.fill_(torch.nan)
        return latents

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        predicted = super().rollout(context, actions, past_actions)
        for given in (context, actions, past_actions):
            if given is not None:
                given.fill_(torch.nan)
        return predicted


@pytest.mark.parametrize("correction", [0.0, 1.0])
def test_a_model_may_write_into_what_it_is_given(correction: float) -> None:
    limits = Limits((-0.1, -0.1), (0.1, 0.1), workspace=Workspace((-0.3, -0.3), (0.3, 0.3), (0, 1), (0, 1), 1.0))
    options = {"limits": limits, "arrival_step": 12, "correction": correction}
    runs = []
    for kind in (PointWorld, InPlace):
        pilot, world = controller(kind(history=3), **options), Point()
        pilot.reset(goal((0.5, 0.1)), seeds=0)
        runs.append(drive(pilot, world, 25))
    np.testing.assert_array_equal(*runs)


def test_act_before_reset_says_so() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        controller(PointWorld()).act(Point().observe())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replan_every": 16}, "replan_every is 16, a plan has 3 x 5"),
        ({"replan_every": 0}, "replan_every"),
        ({"min_horizon": 4}, "min_horizon is 4"),
        ({"arrival_step": -1}, "arrival_step"),
        ({"correction": -0.1}, "correction"),
        ({"limits": Limits((0.0,), (1.0,))}, "limits are for 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        controller(PointWorld(), **options)


def test_seeds_must_be_as_many_as_goals() -> None:
    with pytest.raises(ValueError, match="3 seeds for 2 goals"):
        controller(PointWorld()).reset(goal((0, 0), (1, 1)), seeds=[1, 2, 3])


# ------------------------------------------------------------------ from settings


def test_what_is_left_out_comes_from_the_models_card() -> None:
    model = PointWorld()
    model.card = {
        "planning": {
            "planner": {"name": "icem", "num_samples": 40, "horizon": 4},
            "objective": {"latent": {"kind": "l1"}},
            "schedule": {"arrival_step": 25},
        }
    }
    assert planning_settings(model, {"num_samples": 60})["planner"] == {"name": "icem", "num_samples": 60, "horizon": 4}
    assert planning_settings(model, {"name": "mppi"})["planner"] == {"name": "mppi"}
    assert planning_settings(model, objective={"latent": {}})["objective"] == {"latent": {}}
    pilot = make_controller(model, {"num_samples": 60, "num_iterations": 2}, schedule={"replan_every": 2})
    assert (pilot.planner.config.num_samples, pilot.planner.config.horizon) == (60, 4)
    assert (pilot.schedule.arrival_step, pilot.schedule.replan_every) == (25, 2)
    pilot.reset(goal((0.2, 0.2)))
    pilot.act(Point().observe())


def test_a_name_stands_for_settings_as_on_the_command_line() -> None:
    model = PointWorld()
    model.card = {"planning": {"planner": {"name": "icem", "num_samples": 40}, "objective": {"latent": {"kind": "l1"}}}}
    pilot = make_controller(model, planner="cem", objective="cosine")
    assert type(pilot.planner) is CEM and pilot.planner.config == CEMConfig()
    assert pilot.objective == make_objective({"latent": {"kind": "cosine"}}, model)
    assert planning_settings(model, "icem") == planning_settings(model, {"name": "icem"})
    assert planning_settings(model, "preset", "preset", "preset") == planning_settings(model)
    assert planning_settings(model, "realtime")["planner"]["init_std"] == 0.5


@pytest.mark.parametrize("preset", ["realtime", "research"])
@pytest.mark.parametrize("name", ["icem", "cem"])
def test_a_preset_is_the_same_whatever_the_card_of_the_model_says_of_its_planner(preset: str, name: str) -> None:
    plain, model = PointWorld(), PointWorld()
    card = {"name": name, "num_samples": 300, "num_iterations": 6, "num_elites": 20, "cold_start_samples": 2400}
    model.card = {"planning": {"planner": card}}
    config = make_controller(plain, preset).planner.config
    assert config.num_samples == {"realtime": 100, "research": 300}[preset]
    assert make_controller(model, preset).planner.config == config
    assert make_controller(model, compose("eval", [f"planner={preset}", "out=x"])["planner"]).planner.config == config
    assert make_controller(model, "icem").planner.config.num_iterations == (6 if name == "icem" else 3)  # only named


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"planner": "cemm"}, "there is no planner 'cemm'; did you mean 'cem'?"),
        ({"objective": "latnt"}, "there is no objective 'latnt'; did you mean 'latent'?"),
        ({"schedule": "daily"}, "there is no schedule 'daily'"),
        ({"planner": ["cem"]}, r"planner must be a name or a mapping of settings, got \['cem'\]"),
        ({"objective": 3}, "objective must be a name or a mapping of settings, got 3"),
    ],
)
def test_what_is_no_choice_is_said_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_controller(PointWorld(), **given)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="samples"):
        make_controller(PointWorld(), {"name": "cem", "samples": 3})
    with pytest.raises(ValueError, match="receding"):
        make_controller(PointWorld(), schedule={"receding": 3})


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient", "predictive_sampling"])
def test_a_number_that_never_moves_is_sent_as_it_is_and_the_others_are_planned(name: str) -> None:
    """A gripper that the data never moved: its bounds, the smallest and largest seen, are equal."""
    model = PointWorld()
    model.spec = replace(model.spec, action_low=(-0.1, 0.03), action_high=(0.1, 0.03))
    pilot, world = make_controller(model, {"name": name, "horizon": 2}), Point()
    pilot.reset(goal((0.5, 1.0)), seeds=0)
    executed = drive(pilot, world, 10)
    assert (executed[..., 1] == np.float32(0.03)).all()
    assert world.position[0, 0] > 0.05
