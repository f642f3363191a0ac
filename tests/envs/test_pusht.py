"""Push-T against hand-computed rules, and against what a flat block on a table does in theory."""

import mujoco
import numpy as np
import pytest
import torch

from wmplan.data.symmetry import Symmetry
from wmplan.envs.pusht import PushT
from wmplan.envs.task import wrap_angle
from wmplan.settings.build import build
from wmplan.settings.compose import compose

GRAVITY = 9.81
FRICTION = 0.4  # sliding friction between block and table
TORSION_M = 0.018  # torsional friction: the torque that resists turning, over the weight
MASS = 0.3
INERTIA = 0.0006


def place(env, *, block=(0.0, 0.0), angle=0.0, pusher=(0.2, 0.2), velocity=(0.0, 0.0), spin=0.0):
    """The block and the pusher somewhere, the block moving and turning."""
    physics = env.physics
    physics.reset()
    physics.data.qpos[:] = [*block, 0.0, angle, *pusher]
    physics.data.qvel[:] = [*velocity, 0.0, spin, 0.0, 0.0]
    physics.forward()


def go(env, action, steps):
    for _ in range(steps):
        env.step_physics(np.array(action, np.float32))
    return env.task_state()


# ---------------------------------------------------------------------- rules

MM = 1e-3
DEGREE = np.pi / 180


@pytest.mark.parametrize(
    ("offset", "public", "block"),
    [
        ((0, 0, 0, 0, 0), True, True),
        ((0, 0, 19.9 * MM, 0, 0), True, True),
        ((0, 0, 20.1 * MM, 0, 0), False, False),
        ((0, 0, 14.1 * MM, 14.1 * MM, 0), True, True),  # 19.94 mm
        ((0, 0, 14.2 * MM, 14.2 * MM, 0), False, False),  # 20.08 mm
        ((12 * MM, 0, 0, 15.9 * MM, 0), True, True),  # 19.92 mm together
        ((12 * MM, 0, 0, 16.1 * MM, 0), False, True),  # 20.08 mm together, the block's share 16.1 mm
        ((0, -300 * MM, 0, 0, 0), False, True),
        ((0, 0, 0, 0, 19.9 * DEGREE), True, True),
        ((0, 0, 0, 0, 20.1 * DEGREE), False, False),
        ((0, 0, 0, 0, -19.9 * DEGREE), True, True),
        ((0, 0, 0, 0, 340.1 * DEGREE), True, True),  # 19.9 degrees the other way round
        ((0, 0, 0, 0, 339.9 * DEGREE), False, False),
        ((0, 0, 0, 0, 720 * DEGREE), True, True),
    ],
)
def test_rules_at_their_edges(offset, public, block):
    goal = np.array([0.1, -0.05, 0.02, 0.03, 3.0])
    rules = PushT().rules(goal + offset, goal)
    assert (bool(rules["public"]), bool(rules["block"])) == (public, block)
    assert next(iter(rules)) == "public"


def test_distance_and_progress():
    task, goal = PushT(), np.zeros(5)
    assert task.distance(goal, goal) == 0
    assert task.distance(np.array([0, 0, 0.02, 0, 0]), goal) == pytest.approx(1)
    assert task.distance(np.array([0, 0, 0, 0, -np.pi / 9]), goal) == pytest.approx(1)
    assert task.distance(np.array([0.012, 0, 0, 0.016, 2 * np.pi / 9]), goal) == pytest.approx(np.sqrt(5))
    assert not task.progress(np.array([0.2, 0.2, 0, 0, 0]), goal)  # the pusher alone is no progress
    assert task.progress(np.array([0, 0, 0.03, 0, 0]), goal)


def test_below_distance_one_the_first_rule_holds():
    task, rng = PushT(), np.random.default_rng(0)
    states = rng.normal(0, [0.01, 0.01, 0.01, 0.01, 0.2], (3, 500, 5))
    goal = np.zeros(5)
    near = task.distance(states, goal) < 1
    assert near.shape == (3, 500) and 100 < near.sum() < 1400
    assert task.rules(states, goal)["public"][near].all()


def test_wrapped_angles():
    angles = np.array([0, np.pi, -np.pi, 3.5 * np.pi, -7 * np.pi / 2, 1e-9 - np.pi])
    wrapped = wrap_angle(angles)
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    assert np.allclose(np.exp(1j * wrapped), np.exp(1j * angles))


# ---------------------------------------------------------------------- the block's geometry


def test_the_frame_is_at_the_centre_of_mass_and_the_inertia_is_that_of_a_flat_t(push):
    model = push.physics.model
    sizes = {name: model.geom(name).size for name in ("block_bar", "block_stem")}
    centres = {name: model.geom(name).pos for name in sizes}
    volume = {name: np.prod(size) for name, size in sizes.items()}
    total = sum(volume.values())
    centre = sum(volume[name] * centres[name] for name in sizes) / total
    assert np.allclose(centre[:2], 0, atol=1e-4)
    inertia = 0.0
    for name, size in sizes.items():  # a box about its own axis, then Steiner
        mass = MASS * volume[name] / total
        inertia += mass * (((2 * size[:2]) ** 2).sum() / 12 + (centres[name][:2] ** 2).sum())
    body = model.body("block")
    assert body.mass[0] == MASS
    assert body.inertia[2] == pytest.approx(inertia, rel=0.05)


# ---------------------------------------------------------------------- how it moves


def test_the_block_stays_put_when_nothing_touches_it(push):
    place(push, block=(0.03, -0.02), angle=0.7, pusher=(-0.2, -0.2))
    rng = np.random.default_rng(0)
    for _ in range(100):
        push.step_physics([0.0, rng.uniform(-0.2, 0.2)])  # up and down the western rim
    assert np.allclose(push.task_state()[2:], [0.03, -0.02, 0.7], atol=1e-6)


def test_the_pusher_moves_at_the_speed_it_is_told(push):
    place(push, pusher=(-0.2, -0.2))
    before = go(push, (0.15, 0), 2)
    after = go(push, (0.15, 0), 10)
    assert after[:2] - before[:2] == pytest.approx([0.15, 0.0], abs=1e-3)


def test_a_push_through_the_centre_moves_the_block_straight_on(push):
    place(push, pusher=(0.0, 0.07))  # above the bar, on the axis of the T
    state = go(push, (0, -0.1), 10)
    touched_at_s = (0.07 - (0.0407 + 0.015)) / 0.1  # from the pusher's edge to the bar's
    lag = FRICTION * MASS * GRAVITY / 50  # the velocity that the actuator's gain needs to make up for the friction
    assert state[3] == pytest.approx(-(1 - touched_at_s) * (0.1 - lag), abs=0.004)
    assert abs(state[2]) < 1e-3 and abs(state[4]) < 0.01


@pytest.mark.parametrize("side", [1, -1])
def test_a_push_beside_the_centre_turns_the_block_that_way(push, side):
    place(push, pusher=(side * 0.045, 0.07))
    state = go(push, (0, -0.1), 8)
    assert side * state[4] < -0.2  # torque x * F_y: clockwise for a push at positive x
    assert state[3] < -0.005


def test_the_pusher_does_not_sink_into_the_block(push):
    place(push, pusher=(0.0, 0.07))
    for _ in range(12):
        push.step_physics([0.0, -0.2])
        pusher, block = push.task_state()[1], push.task_state()[3]
        assert pusher - block > 0.0407 + 0.015 - 0.002


@pytest.mark.parametrize(("friction", "mass"), [(1.0, 1.0), (1.5, 1.0), (0.6, 1.0), (1.0, 1.5)])
def test_a_sliding_block_stops_where_coulomb_says(push, friction, mass):
    """v^2 / (2 mu g), whatever the mass; turning: w^2 I / (2 m g c) with the torsional coefficient c."""
    push.variation.apply({"friction": friction, "mass": mass})
    speed, spin, half_step_s = 0.4, 6.0, 0.005  # integration in steps of 10 ms loses half a step's way
    place(push, velocity=(speed, 0.0))
    slid = go(push, (0, 0), 8)
    way = speed**2 / (2 * FRICTION * friction * GRAVITY) - speed * half_step_s
    assert slid[2] == pytest.approx(way, rel=0.12)
    assert np.allclose(slid[3:], 0, atol=1e-3)
    place(push, spin=spin)
    turned = go(push, (0, 0), 8)
    turn = spin**2 * INERTIA / (2 * MASS * GRAVITY * TORSION_M * friction) - spin * half_step_s
    assert turned[4] == pytest.approx(turn, rel=0.12)
    push.variation.restore()


def test_the_rim_keeps_the_block_on_the_table(push):
    place(push, block=(0.18, 0.0), angle=np.pi / 2, pusher=(0.08, 0.0))
    state = go(push, (0.2, 0), 30)
    corners = [(0.06, 0.0407), (-0.06, 0.0407), (0.06, 0.0107), (0.015, -0.0793), (-0.015, -0.0793)]
    turn = np.exp(1j * state[4])
    assert max((complex(*corner) * turn).real + state[2] for corner in corners) < 0.256 + 0.003


# ---------------------------------------------------------------------- starts and pictures


def test_random_starts_touch_nothing_and_are_at_rest(push):
    seen = []
    for seed in range(60):
        push.task.place_random(push.physics, np.random.default_rng(seed))
        data = push.physics.data
        names = {
            mujoco.mj_id2name(push.physics.model, mujoco.mjtObj.mjOBJ_GEOM, g) for c in data.contact for g in c.geom
        }
        assert names <= {"block_foot", "table"}
        assert not data.qvel.any()
        seen.append(push.task_state())
    spread = np.ptp(seen, axis=0)
    assert (spread[:4] > 0.2).all() and spread[4] > 5


def test_east_is_right_and_north_is_up(push):
    place(push, pusher=(0.15, 0.1), block=(-0.1, -0.1))
    picture = push.render((128, 128)).astype(int)
    rows, columns = np.nonzero(picture[..., 0] - picture[..., 1] > 60)  # red: the pusher
    pixels_per_metre = 128 / (2 * 1.563 * np.tan(np.radians(9.6)))
    assert columns.mean() == pytest.approx(63.5 + 0.15 * pixels_per_metre, abs=1)
    assert rows.mean() == pytest.approx(63.5 - 0.1 * pixels_per_metre, abs=1)


def test_state_and_proprio(push):
    place(push, block=(0.01, 0.02), angle=4.0, pusher=(0.1, -0.1))
    assert np.allclose(push.task_state(), [0.1, -0.1, 0.01, 0.02, 4.0 - 2 * np.pi])
    assert np.allclose(push.observe()["proprio"], [0.1, -0.1])
    assert len(push.task.state_names) == 5 and len(push.task.proprio_names) == 2


# ---------------------------------------------------------------------- symmetries


@pytest.mark.parametrize("name", ["flip_columns", "flip_rows", "half_turn"])
def test_declared_symmetries_hold_in_physics_and_nearly_in_the_picture(push, name):
    """The mirrored state under mirrored actions ends in the mirrored state; the lamp alone stands to one side."""
    declared = compose("train", ["data=none", "out=none", "task=pusht"])["symmetries"][name]
    symmetry = build(Symmetry, declared, name)
    matrix = np.array(symmetry.action)
    flip = np.linalg.det(matrix)  # -1 for a mirror image, which turns the other way round

    def mirrored(state):
        angle = flip * state[4] + (np.pi if matrix[1, 1] < 0 else 0.0)  # the T is its own mirror image, left to right
        return np.array([*matrix @ state[:2], *matrix @ state[2:4], angle])

    rng = np.random.default_rng(3)
    actions = rng.uniform(-0.2, 0.2, size=(12, 2)) + [0.08, 0.02]
    starts = np.array([-0.1, 0.01, 0.0, 0.02, 0.7]), np.array([-0.05, -0.02, 0.05, -0.02, -2.0])
    for start in starts:
        frames, ends = [], []
        for state, moves in ((start, actions), (mirrored(start), symmetry.map_actions(torch.tensor(actions)).numpy())):
            place(push, pusher=state[:2], block=state[2:4], angle=state[4])
            for move in moves:
                push.step_physics(move.astype(np.float32))
            ends.append(push.task_state())
            frames.append(torch.from_numpy(push.observe()["pixels"].copy()))
        wanted = mirrored(ends[0])
        np.testing.assert_allclose(ends[1][:4], wanted[:4], atol=1e-4)
        assert abs(wrap_angle(ends[1][4] - wanted[4])) < 1e-3
        assert np.linalg.norm(ends[0][2:4] - start[2:4]) > 0.005  # the block was pushed
        difference = (symmetry.map_frames(frames[0]).float() - frames[1].float()).abs()
        assert difference.mean() < 4.0 and difference.median() < 4.0  # of 255
        proprio = symmetry.map_proprio(torch.tensor(push.task.proprio(ends[0])))
        np.testing.assert_allclose(proprio, push.task.proprio(ends[1]), atol=1e-4)
