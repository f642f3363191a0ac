"""Environments keep Gymnasium's contract, and say what is wrong with what they are given."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

ID = "wmplan.envs:wmplan/PushT-v0"


def test_gymnasiums_own_checker_is_content(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized.*")  # actions are in the robot's units
        check_env(env)


@pytest.mark.parametrize(
    ("size", "shape"),
    [(16, (16, 16, 3)), ((48, 80), (48, 80, 3)), ([224, 128], (224, 128, 3)), (1100, (1100, 1100, 3))],
)
def test_frames_have_the_size_that_was_asked_for(size, shape):
    env = gymnasium.make(ID, image_size=size)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"].shape == shape
    assert env.observation_space.contains(observation)
    env.close()


@pytest.mark.parametrize("size", [0, 7, 5000, (64, 64, 3), "64", 64.5, None])
def test_a_size_that_is_none_is_named(size):
    with pytest.raises(ValueError, match="image_size must be "):
        gymnasium.make(ID, image_size=size)


def test_a_render_mode_that_is_none_is_named():
    env = gymnasium.make(ID, disable_env_checker=True).unwrapped
    with pytest.raises(ValueError, match="render_mode must be 'rgb_array' or None, got 'human'"):
        type(env)(env.task, render_mode="human")


def test_big_and_small_pictures_show_the_same(env):
    env.reset(seed=1)
    small, big = env.render((64, 64)).astype(float), env.render((256, 256)).astype(float)
    shrunk = big.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - shrunk).mean() < 2
    assert big.std() > 5  # something is to be seen


def test_the_same_seed_gives_the_same_episode(env):
    other = type(env)(type(env.task)())
    for seed in (3, 4):
        (first, info), (second, _) = env.reset(seed=seed), other.reset(seed=seed)
        assert np.array_equal(first["pixels"], second["pixels"])
        assert np.array_equal(env.get_state(), other.get_state())
        assert np.array_equal(env.goal, other.goal)
        assert not info["success"]
    following = env.get_state()
    env.reset()
    assert not np.array_equal(env.get_state(), following)  # without a seed, the stream goes on
    other.reset()
    assert np.array_equal(env.get_state(), other.get_state())
    other.close()


def test_reset_puts_given_state_and_goal_in_force(env):
    env.reset(seed=0)
    state, goal_state = env.get_state(), env.goal_state.copy()
    goal = env.goal.copy()
    env.reset(seed=9)
    assert not np.array_equal(env.get_state(), state)
    env.reset(options={"state": state, "goal_state": goal_state})
    assert np.array_equal(env.get_state(), state)
    assert np.array_equal(env.goal, goal)


def test_setting_a_goal_moves_nothing(env):
    env.reset(seed=0)
    state, goal_state = env.get_state(), env.goal_state.copy()
    env.reset(seed=1)
    present = env.get_state()
    env.set_goal(state)
    picture = env.goal_observation()["pixels"]
    assert np.array_equal(env.get_state(), present)
    assert not np.array_equal(state, goal_state)
    env.set_state(state)
    assert np.array_equal(env.observe()["pixels"], picture)
    assert env._info()["success"]


def test_the_goal_picture_comes_at_any_size(env):
    env.reset(seed=0)
    goal = env.goal_observation((32, 96))
    assert goal["pixels"].shape == (32, 96, 3)
    assert np.allclose(goal["proprio"], env.task.proprio(env.goal), atol=1e-6)
    assert env.goal_observation()["pixels"].shape == (64, 64, 3)


def test_reward_is_minus_the_distance_and_success_follows_the_first_rule(env):
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(env.action_space.sample() * 0)
    assert reward == -env.task.distance(env.task_state(), env.goal)
    assert not terminated and not truncated
    env.set_goal(env.get_state())
    _, reward, _, _, info = env.step(env.action_space.sample() * 0)
    assert reward > -0.2 and info["success"] and all(info["rules"].values())


def test_an_episode_ends_by_its_time_limit():
    env = gymnasium.make(ID, max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(3)] == [False, False, True]
    env.close()


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((1, 2)), 0.1])
def test_an_action_of_the_wrong_shape_is_refused(push, wrong):
    push.reset(seed=0)
    with pytest.raises(ValueError, match="action has shape"):
        push.step(wrong)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_action_that_is_not_finite_is_refused_and_changes_nothing(env, wrong):
    env.reset(seed=0)
    before = env.get_state()
    action = np.zeros(env.action_space.shape)
    action[-1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        env.step(action)
    with pytest.raises(ValueError, match="not finite"):
        env.simulate(action[None, None])
    assert np.array_equal(env.get_state(), before)


def test_actions_beyond_the_bounds_count_as_the_bounds(env):
    env.reset(seed=0)
    start = env.get_state()
    env.step_physics(env.task.action_high)
    expected = env.get_state()
    env.set_state(start)
    env.step_physics(env.task.action_high * 50)
    assert np.array_equal(env.get_state(), expected)


def test_a_state_that_is_none_is_refused(env):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="state has shape"):
        env.set_state(np.zeros(3))
    state = env.get_state()
    state[1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        env.reset(options={"state": state})


def test_an_unknown_option_is_named(env):
    with pytest.raises(ValueError, match="no option 'goal'; it has state, goal_state, variation"):
        env.reset(options={"goal": np.zeros(3)})


def test_closing_twice_is_fine_and_drawing_goes_on_after_it(env):
    before = env.reset(seed=0)[0]["pixels"]
    env.simulate(np.zeros((2, 1, *env.action_space.shape)))
    env.close()
    env.close()
    assert np.array_equal(env.render((64, 64)), before)


def test_control_rate_is_ten_hertz(env):
    env.reset(seed=0)
    before = env.physics.data.time
    env.step_physics(np.zeros(env.action_space.shape))
    assert env.physics.data.time - before == pytest.approx(0.1)
    assert env.control_rate == pytest.approx(10)


def test_no_torch_is_needed_and_a_forgotten_close_is_silent():
    code = (
        f"import gymnasium, sys; env = gymnasium.make({ID!r}); env.reset(seed=0); "
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
    assert done.stderr == ""


def test_a_robot_step_can_be_taken_in_parts(env):
    """Holding a command in parts is the same as in one; a change of the command is given once, or in shares."""
    env.reset(seed=5)
    action = 0.7 * env.action_space.high.astype(float)
    start, substeps = env.get_state(), env.task.substeps
    env.step_physics(action)
    whole, command = env.get_state(), env.physics.data.ctrl.copy()
    env.set_state(start)
    env.step_substeps(action, 3)
    env.step_substeps(np.zeros_like(action) if env.task.incremental else action, substeps - 3)
    assert np.array_equal(env.get_state(), whole)
    if env.task.incremental:
        env.set_state(start)
        for _ in range(substeps):
            env.step_substeps(action / substeps, 1)
        assert np.allclose(env.physics.data.ctrl, command, atol=1e-12)
        assert not np.array_equal(env.get_state(), whole)


def test_a_knock_moves_the_arm_which_then_returns(reach):
    reach.reset(seed=6)
    start, before, nothing = reach.get_state(), reach.task_state(), np.zeros(6)
    ends = []
    for seed in (0, 1, 0):
        reach.set_state(start)
        reach.perturb(2.0, np.random.default_rng(seed))
        reach.step_substeps(nothing, 3)
        ends.append(reach.task_state()[:6])
    assert np.array_equal(ends[0], ends[2]) and not np.allclose(ends[0], ends[1], atol=1e-3)
    assert np.abs(ends[0] - before[:6]).max() > 0.003
    for _ in range(10):
        reach.step_physics(nothing)
    assert np.allclose(reach.task_state(), before, atol=1e-3)


def test_a_knocked_block_slides_as_coulomb_friction_lets_it_and_the_pusher_stays(push):
    push.reset(seed=6)
    before = push.task_state()
    push.perturb(0.6, np.random.default_rng(0))
    for _ in range(10):
        push.step_physics(np.zeros(2))
    after = push.task_state()
    assert np.allclose(after[:2], before[:2], atol=1e-3)
    slid = np.linalg.norm(after[2:4] - before[2:4])
    assert slid == pytest.approx(0.6**2 / (2 * 0.4 * 9.81), rel=0.2)  # v^2 / (2 mu g)


def test_the_goal_mask_leaves_out_the_pusher_and_nothing_else(push):
    present = push.get_state()
    push.reset(seed=4)
    goal = push.get_state()
    push.set_goal(goal)
    x, y = push.task_state()[:2]
    push.set_state(present)
    before = push.render()
    for size in (None, (128, 128)):
        mask = push.goal_mask(size)
        height = mask.shape[0]
        pixels = height / (2 * (1.6 - 0.02) * np.tan(np.deg2rad(19.2 / 2)))  # a metre at the pusher's height
        rows, columns = np.nonzero(~mask)
        off = np.hypot(columns + 0.5 - height / 2 - x * pixels, rows + 0.5 - height / 2 + y * pixels)
        radius = 0.015 * pixels
        assert off.max() < radius + 2 and len(rows) > 0.7 * np.pi * radius**2
    np.testing.assert_array_equal(push.render(), before)  # nothing moved, and the pusher is drawn again


def test_where_all_is_robot_there_is_no_goal_mask(reach):
    assert not hasattr(reach, "goal_mask")
