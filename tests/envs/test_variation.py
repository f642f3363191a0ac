"""Factors of variation change what they name, by the right amount, and go without a trace."""

import numpy as np
import pytest

from wmplan.envs.variation import RANGES, limits

PHYSICS = ("friction", "mass")
LOOKS = tuple(name for name in RANGES if name not in PHYSICS)
ADDED = ("distractors", "occluder", "image_noise", "image_blur")  # to scene and image, the model being as it was


def everything(model):
    arrays = {name: getattr(model, name) for name in dir(model) if isinstance(getattr(model, name), np.ndarray)}
    return {name: array.copy() for name, array in arrays.items()} | {"meaninertia": model.stat.meaninertia}


def outcome(env, state):
    """First picture and final state of a fixed episode, which on Push-T goes through the block."""
    env.set_state(state)
    picture = env.render((64, 64)).copy()
    start = env.task_state()
    action = (start[2:4] - start[:2]) if len(start) == 5 else np.array([0.1, -0.1, 0.05, 0.1, 0.1, -0.1])
    for _ in range(15):
        env.step_physics(0.2 * action / np.linalg.norm(action))
    assert np.abs(env.task_state() - start)[2:].max() > 0.01
    return picture, env.get_state()


def test_every_factor_changes_its_side_alone(env):
    env.reset(seed=3)
    start = env.get_state()
    picture, final = outcome(env, start)
    for name in RANGES:
        if name == "friction" and "Arm" in type(env.task).__name__:
            continue  # the arm's own contacts have none
        env.variation.apply({name: RANGES[name][1]})
        varied_picture, varied_final = outcome(env, start)
        assert np.array_equal(varied_picture, picture) == (name in PHYSICS), name
        assert np.array_equal(varied_final, final) == (name in LOOKS), name


def test_what_was_varied_is_restored_bit_for_bit(env):
    env.reset(seed=3)
    start, nominal = env.get_state(), everything(env.physics.model)
    picture, final = outcome(env, start)
    for seed in range(3):
        env.reset(seed=seed, options={"variation": True})
        assert env.variation.factors
    env.reset(seed=3)
    assert env.variation.factors == {}
    restored = everything(env.physics.model)
    assert [name for name in nominal if not np.array_equal(nominal[name], restored[name])] == []
    again_picture, again_final = outcome(env, start)
    assert np.array_equal(again_picture, picture)
    assert np.array_equal(again_final, final)


def test_a_seed_gives_a_variation_and_the_episode_it_gives_without(env):
    _, info = env.reset(seed=8)
    plain, goal = env.get_state(), env.goal.copy()
    first = env.reset(seed=8, options={"variation": True})[0]["pixels"]
    assert np.array_equal(env.goal, goal)
    assert np.array_equal(env.get_state(), plain)
    factors = env.variation.factors
    assert set(factors) == set(RANGES)
    for name, (low, high) in RANGES.items():
        assert np.all((low <= np.asarray(factors[name])) & (np.asarray(factors[name]) <= high))
    env.reset(seed=9, options={"variation": True})
    assert env.variation.factors["mass"] != factors["mass"]
    again = env.reset(seed=8, options={"variation": True})[0]["pixels"]
    assert np.array_equal(again, first)
    given = env.reset(seed=8, options={"variation": factors})[0]["pixels"]  # as an evaluation hands them on
    assert np.array_equal(given, first)


def test_factors_replace_each_other(env):
    env.variation.apply({"light": 0.5})
    env.variation.apply({"mass": 1.3})
    only_mass = everything(env.physics.model)
    env.variation.restore()
    env.variation.apply({"mass": 1.3})
    assert all(np.array_equal(value, only_mass[name]) for name, value in everything(env.physics.model).items())


def test_mass_reaches_what_follows_from_it(push):
    """All that the solver derives from masses scales with them: inertia at the joints, inverse weights."""
    model = push.physics.model
    before = everything(model)
    push.variation.apply({"mass": 2.0})
    assert np.allclose(model.body_mass, 2 * before["body_mass"])
    assert np.allclose(model.body_subtreemass, 2 * before["body_subtreemass"])
    assert np.allclose(model.dof_M0, 2 * before["dof_M0"])
    assert np.allclose(model.dof_invweight0, before["dof_invweight0"] / 2)


def test_light_darkens_and_hue_adds_to_the_channel(push):
    push.reset(seed=0)
    plain = push.render((64, 64)).astype(float)
    push.variation.apply({"light": 0.5})
    assert push.render((64, 64)).mean() < plain.mean() - 5
    hue = np.zeros((push.physics.model.nmat, 3))
    hue[:, 2] = -0.2
    push.variation.apply({"hue": hue})
    change = (push.render((64, 64)).astype(float) - plain).mean(axis=(0, 1))
    assert change[2] < -10 and np.abs(change[:2]).max() < 1


def test_the_camera_moves_the_way_it_says(push):
    """Seen from above by a camera 2 cm farther east, everything stands 2 cm farther west."""
    push.reset(seed=0)

    def east_of_centre():
        picture = push.render((256, 256)).astype(float)
        red = (picture[..., 0] - picture[..., 1]) > 60  # the pusher
        return np.nonzero(red)[1].mean()

    plain = east_of_centre()
    push.variation.apply({"camera_position_m": [0.02, 0, 0]})
    push.physics.forward()
    pusher_height, camera_height, view = 0.037, 1.6, np.radians(19.2)
    metres_per_pixel = 2 * (camera_height - pusher_height) * np.tan(view / 2) / 256
    assert east_of_centre() - plain == pytest.approx(-0.02 / metres_per_pixel, abs=0.5)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"colour": 1.0}, "no factor of variation 'colour'; there are hue, light"),
        ({"mass": 0.0}, "factor mass must be positive and finite, got 0.0"),
        ({"friction": -1}, "factor friction"),
        ({"light": np.nan}, "factor light"),
        ({"image_blur": -0.1}, "factor image_blur must be at least 0, got -0.1"),
        ({"occluder": [-0.1, 0, 0, 0]}, r"factor occluder must be at least 0, got \[-0.1\]"),
        ({"camera_position_m": [1, 2]}, r"factor camera_position_m must have shape \(3,\) or one number, got \(2,\)"),
    ],
)
def test_a_factor_that_is_none_is_refused_and_nothing_changes(push, factors, message):
    push.variation.apply({"mass": 1.2})
    before = everything(push.physics.model)
    with pytest.raises(ValueError, match=message):
        push.variation.apply(factors)
    assert all(np.array_equal(value, before[name]) for name, value in everything(push.physics.model).items())
    assert push.variation.factors == {"mass": 1.2}
    with pytest.raises(ValueError, match=message):
        push.reset(options={"variation": factors})


def test_a_value_is_the_same_alone_and_with_others_and_half_as_far_at_half_the_strength(env):
    def drawn(*given):
        return env.variation.draw(np.random.default_rng(5), *given)

    every, half = drawn(), drawn(None, 0.5)
    env.variation.sample(np.random.default_rng(5))
    for name, value in every.items():
        np.testing.assert_array_equal(env.variation.factors[name], value)
        np.testing.assert_array_equal(drawn([name])[name], value)
        nominal = float(name in ("light", "friction", "mass"))
        wanted = nominal + 0.5 * (value - nominal)
        if name in ("distractors", "occluder"):  # places and colours stay
            scaled = 2 if name == "distractors" else 1
            np.testing.assert_array_equal(half[name][..., scaled:], value[..., scaled:])
            wanted = np.concatenate([0.5 * value[..., :scaled], value[..., scaled:]], axis=-1)
        np.testing.assert_allclose(half[name], wanted, atol=1e-12)
        assert all(np.array_equal(*pair) for pair in zip(limits(name, 1.0), RANGES[name], strict=True))
    assert list(drawn(["mass", "hue"])) == ["mass", "hue"]


def test_a_choice_that_is_none_is_refused(push):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no factor of variation 'colour'"):
        push.variation.draw(rng, ["colour"])
    for strength in (0.0, 1.5, -1, np.nan):
        with pytest.raises(ValueError, match="strength must be above 0 and at most 1"):
            push.variation.draw(rng, None, strength)


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_to_the_picture_is_drawn_again_alike_and_leaves_the_model(env, name):
    env.reset(seed=3)
    nominal, start = everything(env.physics.model), env.get_state()
    drawn = env.variation.draw(np.random.default_rng(1), [name])
    env.reset(seed=3, options={"variation": drawn})
    frames, states = [], []
    for _ in range(4):
        states.append(env.get_state())
        frames.append(env.render())
        env.step_physics(np.zeros(env.action_space.shape))
    env.variation.restore()
    env.set_state(start)
    plain = env.render()
    assert not np.array_equal(plain, frames[0])
    env.reset(seed=8, options={"variation": {key: value.tolist() for key, value in drawn.items()}})
    for state, frame in zip(states[::-1], frames[::-1], strict=True):
        env.set_state(state)
        np.testing.assert_array_equal(env.render(), frame)
    assert all(np.array_equal(value, nominal[key]) for key, value in everything(env.physics.model).items())
    if name in ("distractors", "image_noise"):  # which move or are fresh where nothing else does
        assert not np.array_equal(frames[2], frames[3])


def test_the_goal_image_shows_the_same_world(push):
    goal = push.reset(seed=3) and push.goal_observation()["pixels"]
    push.reset(seed=3, options={"variation": {"occluder": [0.2, 0.0, 0.0, 0.0]}})
    changed = (push.goal_observation()["pixels"] != goal).any(axis=(1, 2))
    assert changed[26:38].all() and not changed[:25].any() and not changed[39:].any()


def test_distractors_lie_on_the_table_and_hide_neither_block_nor_pusher(push):
    """The block's and the pusher's colours are found where they were found without."""
    push.reset(seed=3)
    plain = push.render((128, 128)).astype(int)
    things = np.tile([0.025, 0.0, 0.0, 0.0, 0.0, 0.33], (6, 1))  # green
    block = push.task_state()[2:4] / 0.5 + 0.5
    things[:3, 2:4], things[3:, 2:4] = block, push.task_state()[:2] / 0.5 + 0.5
    push.variation.apply({"distractors": things})
    varied = push.render((128, 128)).astype(int)
    green = varied[..., 1] - varied[..., [0, 2]].max(axis=-1) > 40
    assert green.sum() > 50
    for channel, other in ((2, 0), (0, 1)):  # bluish block, red pusher
        found = plain[..., channel] - plain[..., other] > 40
        assert found.sum() > 20 and (green & found).sum() == 0
