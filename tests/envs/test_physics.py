"""A saved state replays bit for bit, and pictures show where things are now."""

import mujoco
import numpy as np


def play(env, rng, steps):
    policy = env.exploration_policy(rng)
    actions, states = [], []
    for _ in range(steps):
        actions.append(policy(env.task_state()))
        env.step_physics(actions[-1])
        states.append(env.get_state())
    return actions, np.array(states)


def test_replay_is_bit_exact(env):
    """From many moments of an episode with contacts, in the same object and in another one."""
    env.reset(seed=0)
    starts = [env.get_state()]
    actions, states = play(env, np.random.default_rng(0), 120)
    starts += list(states)
    other = type(env)(type(env.task)())
    other.reset(seed=77)
    for player in (env, other):
        for moment in (0, 20, 45, 90):
            player.set_state(starts[moment])
            assert np.array_equal(player.get_state(), starts[moment])
            for action, expected in zip(actions[moment:], states[moment:], strict=True):
                player.step_physics(action)
                assert np.array_equal(player.get_state(), expected)
    other.close()


def test_looking_does_not_disturb(env):
    """Drawing, the goal picture and a simulation between two steps leave the trajectory as it is."""
    env.reset(seed=2)
    start = env.get_state()
    actions, states = play(env, np.random.default_rng(1), 40)
    env.set_state(start)
    for action, expected in zip(actions, states, strict=True):
        env.observe()
        env.goal_observation((16, 16))
        env.simulate(np.array(actions)[None, :3])
        env.step_physics(action)
        assert np.array_equal(env.get_state(), expected)


def test_a_picture_after_a_step_is_the_picture_of_that_state(env):
    env.reset(seed=0)
    for _ in range(5):
        env.step_physics(env.task.action_high)  # in full motion
    moving = env.render((128, 128)).copy()
    env.set_state(env.get_state())
    assert np.array_equal(env.render((128, 128)), moving)


def test_pictures_are_arrays_of_their_own(env):
    env.reset(seed=0)
    first = env.render((64, 64))
    kept = first.copy()
    env.reset(seed=1)
    env.render((64, 64))
    assert np.array_equal(first, kept)


def test_the_nominal_task_is_mujoco_alone_to_the_bit(env):
    """Frames and states are those of the XML in a bare simulator and renderer: shipped models depend on every pixel."""
    env.reset(seed=4)
    model = mujoco.MjModel.from_xml_path(str(env.task.xml))
    data, kind = mujoco.MjData(model), mujoco.mjtState.mjSTATE_INTEGRATION
    mujoco.mj_setState(model, data, env.get_state(), kind)
    warm = data.qacc_warmstart.copy()
    mujoco.mj_forward(model, data)
    data.qacc_warmstart[:] = warm
    model.vis.global_.offheight, model.vis.global_.offwidth = env.image_size
    with mujoco.Renderer(model, *env.image_size) as renderer:
        for action in np.random.default_rng(0).uniform(
            env.task.action_low, env.task.action_high, (15, len(env.task.action_low))
        ):
            env.step_physics(action)
            data.ctrl[:] = env.task.controls(data.ctrl.copy(), action[None])[0]
            mujoco.mj_step(model, data, env.task.substeps)
            mujoco.mj_kinematics(model, data)
            mujoco.mj_camlight(model, data)
            state = np.empty(env.get_state().shape)
            mujoco.mj_getState(model, data, state, kind)
            assert np.array_equal(env.get_state(), state)
            renderer.update_scene(data, env.task.camera)
            assert np.array_equal(env.render(), renderer.render())
