"""Arm reach against hand-computed rules and forward kinematics written out with rotation matrices."""

import numpy as np
import pytest

from wmplan.envs.arm_reach import ArmReach

POSE = np.array([0.3, 0.2, 1.1, -0.6, 0.5, 0.9])
DEGREE = np.pi / 180


def about_z(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def about_y(angle):
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def hand(joints):
    """Where the hand is: the shoulder 0.2 m up, links of 0.18, 0.1, 0.07, 0.06 and 0.07 m along their own z."""
    up = np.array([0, 0, 1])
    upper = about_z(joints[0]) @ about_y(joints[1])
    fore = upper @ about_y(joints[2])
    rolled = fore @ about_z(joints[3])
    wrist = rolled @ about_y(joints[4])
    turned = wrist @ about_z(joints[5])
    return (0.2 * np.eye(3) + 0.18 * upper + 0.1 * fore + 0.07 * rolled + 0.06 * wrist + 0.07 * turned) @ up


def place(env, joints):
    env.physics.reset()
    env.physics.data.qpos[:] = env.physics.data.ctrl[:] = joints
    env.physics.forward()


@pytest.mark.parametrize(
    ("joints", "expected"),
    [
        ((0, 0, 0, 0, 0, 0), (0, 0, 0.68)),
        ((0, 90, 0, 0, 0, 0), (0.48, 0, 0.2)),
        ((90, 90, 0, 0, 0, 0), (0, 0.48, 0.2)),
        ((0, 0, 90, 0, 0, 0), (0.3, 0, 0.38)),
        ((0, 0, 90, 90, 90, 0), (0.17, 0.13, 0.38)),  # the forearm's roll turns the bent wrist to the side
        ((0, 0, 0, 0, 90, 45), (0.13, 0, 0.55)),  # the hand's own roll moves nothing
    ],
)
def test_forward_kinematics_by_hand(joints, expected):
    joints = np.array(joints) * DEGREE
    assert hand(joints) == pytest.approx(np.array(expected), abs=1e-9)
    assert ArmReach().end_effector(joints) == pytest.approx(np.array(expected), abs=1e-9)


def test_forward_kinematics_is_mujocos_and_that_of_rotation_matrices(reach):
    rng = np.random.default_rng(0)
    poses = rng.uniform(reach.task.joint_low, reach.task.joint_high, (4, 25, 6))
    states = reach.task.task_state(poses)
    assert states.shape == (4, 25, 9)
    for pose, state in zip(poses.reshape(-1, 6), states.reshape(-1, 9), strict=True):
        place(reach, pose)
        assert np.allclose(state[:6], pose)
        assert np.allclose(state[6:], hand(pose), atol=1e-9)
        assert np.allclose(state[6:], reach.physics.data.site("end_effector").xpos, atol=1e-9)


# ---------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("offset", "holds"),
    [
        ({}, True),
        ({0: 9.9 * DEGREE}, True),
        ({0: 10.1 * DEGREE}, False),
        ({5: -9.9 * DEGREE}, True),
        ({5: -10.1 * DEGREE}, False),
        ({joint: 9.9 * DEGREE for joint in range(6)}, True),
        ({6: 0.0299}, True),
        ({6: 0.0301}, False),
        ({6: 0.021, 7: -0.0212}, True),  # 29.8 mm
        ({6: 0.0213, 8: -0.0213}, False),  # 30.1 mm
        ({2: 9.9 * DEGREE, 8: 0.0301}, False),
    ],
)
def test_the_rule_at_its_edges(offset, holds):
    goal = np.concatenate([POSE, hand(POSE)])
    state = goal.copy()
    for index, change in offset.items():
        state[index] += change
    task = ArmReach()
    assert {name: bool(value) for name, value in task.rules(state, goal).items()} == {"pose": holds}
    assert bool(task.progress(state, goal)) != holds


def test_distance():
    task, goal = ArmReach(), np.zeros(9)
    assert task.distance(goal, goal) == 0
    assert task.distance(np.array([0, 0, 0, 0, 0, np.pi / 18, 0, 0, 0]), goal) == pytest.approx(1)
    assert task.distance(np.array([0, 0, 0, 0, 0, 0, 0, 0.06, 0]), goal) == pytest.approx(2)
    states = np.random.default_rng(0).normal(0, [0.08] * 6 + [0.012] * 3, (20, 100, 9))
    near = task.distance(states, goal) < 1
    assert 100 < near.sum() < 1900
    assert task.rules(states, goal)["pose"][near].all()


# ---------------------------------------------------------------------- how it moves


def test_the_arm_holds_its_pose_at_rest(reach):
    for pose in (POSE, [1.4, 1.0, 0.4, 0, 0, 0], [-1.4, -0.8, 0.4, 1.6, -1.6, 1.6]):
        place(reach, pose)
        for _ in range(30):
            reach.step_physics(np.zeros(6))
        assert np.allclose(reach.task_state()[:6], pose, atol=1e-3)


def test_every_joint_follows_its_own_change(reach):
    for joint in range(6):
        for change in (0.1, -0.05):
            place(reach, POSE)
            action = np.zeros(6)
            action[joint] = change
            reach.step_physics(action)
            assert reach.task_state()[joint] - POSE[joint] == pytest.approx(change, rel=0.25)  # most of it in one step
            for _ in range(4):
                reach.step_physics(np.zeros(6))
            assert np.allclose(reach.task_state()[:6] - POSE, action, atol=2e-3)


def test_targets_accumulate_and_stop_at_the_joint_limits(reach):
    task = reach.task
    changes = np.random.default_rng(0).uniform(-0.2, 0.2, (5, 40, 6))
    targets = task.controls(POSE, changes)
    for sequence, given in zip(targets, changes, strict=True):
        expected = POSE.copy()
        for step in range(40):
            expected = np.minimum(
                np.maximum(expected + np.clip(given[step], -0.1, 0.1), task.joint_low), task.joint_high
            )
            assert np.allclose(sequence[step], expected)
    outwards = task.controls(POSE, np.full((100, 6), 0.1))
    assert np.array_equal(outwards[-1], task.joint_high)
    back = task.controls(outwards[-1], np.full((1, 6), -0.1))
    assert np.allclose(back[0], task.joint_high - 0.1)  # no wind-up beyond the limit


def test_floor_and_pedestal_stop_the_arm(reach):
    """Told to bend down into the floor, the hand stays above it and the arm at peace."""
    place(reach, [0.0, 0.9, 0.6, 0.0, 0.0, 0.0])
    for _ in range(40):
        reach.step_physics([0, 0.1, 0.1, 0, 0.1, 0])
    physics = reach.physics
    assert physics.data.ncon > 0
    names = ("palm", "finger_left", "finger_right", "wrist", "roll", "forearm")
    lowest = min(physics.data.geom(name).xpos[2] - physics.model.geom(name).size[0] for name in names)
    assert lowest > -0.01
    assert np.abs(physics.data.qvel).max() < 0.05


def test_random_starts_are_free_of_contact_and_at_rest_there(reach):
    poses = []
    for seed in range(150):
        reach.task.place_random(reach.physics, np.random.default_rng(seed))
        data = reach.physics.data
        assert data.ncon == 0 and not data.qvel.any()
        assert np.array_equal(data.ctrl, data.qpos)
        poses.append(data.qpos.copy())
    covered = np.ptp(poses, axis=0) / (reach.task.joint_high - reach.task.joint_low)
    assert (covered > 0.9).all()


# ---------------------------------------------------------------------- pictures


def test_every_joint_shows_in_a_small_picture(reach):
    """Turning any one joint by the rule's ten degrees changes the 64 x 64 picture, in every pose tried."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        reach.task.place_random(reach.physics, rng)
        pose = np.clip(reach.physics.data.qpos, reach.task.joint_low, reach.task.joint_high - 10 * DEGREE)
        place(reach, pose)
        before = reach.render((64, 64)).astype(int)
        for joint in range(6):
            place(reach, pose + 10 * DEGREE * np.eye(6)[joint])
            assert (np.abs(reach.render((64, 64)).astype(int) - before).max(axis=-1) > 25).sum() >= 5, (pose, joint)


def test_the_forearms_roll_shows_even_where_the_hand_rolls_back(reach):
    """With a straight wrist both turn about the same axis: only the fin tells them apart."""
    straight = np.array([0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
    place(reach, straight)
    before = reach.render((64, 64)).astype(int)
    place(reach, straight + 20 * DEGREE * np.array([0, 0, 0, 1, 0, -1]))
    assert (np.abs(reach.render((64, 64)).astype(int) - before).max(axis=-1) > 25).sum() >= 5


def test_the_hand_is_in_the_frame(reach):
    """The whole hand, projected through a pinhole camera, is inside the picture at nearly every pose."""
    model, data, rng = reach.physics.model, reach.physics.data, np.random.default_rng(1)
    camera = model.camera("front").id
    edge = np.tan(np.radians(model.cam_fovy[camera] / 2))
    inside = []
    for _ in range(300):
        reach.task.place_random(reach.physics, rng)
        ends = []
        for name in ("finger_left", "finger_right", "palm"):
            radius, half_length, _ = model.geom(name).size
            along = data.geom(name).xmat.reshape(3, 3)[:, 2] * (half_length + radius)
            ends += [data.geom(name).xpos + along, data.geom(name).xpos - along]
        seen = (np.array(ends) - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
        inside.append((np.abs(seen[:, :2]) < -seen[:, 2:] * edge).all())
    assert np.mean(inside) > 0.97
