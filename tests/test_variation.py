"""Which factors vary, and how far, in collection and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wmplan.data import EpisodeStore
from wmplan.data.collection import CollectConfig, collect
from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, draw_frames, evaluate, load_episode, load_results
from wmplan.evaluation.evaluate import _fingerprint
from wmplan.evaluation.instance_sources import OwnGoals, PolicyEpisodes, varied
from wmplan.evaluation.instances import digest
from wmplan.evaluation.worker import Setup
from wmplan.variation import checked_choice, draw_factors, require_variation

TASK = "wmplan.envs:wmplan/PushT-v0"
SHORT: Any = {"offset": 12, "budget": 3, "episode_steps": 40}


@pytest.fixture(scope="module")
def env() -> Iterator[Any]:
    env = make_environment(TASK, {"image_size": 16})
    yield env
    env.close()


def test_a_choice_has_one_form() -> None:
    assert checked_choice("hue", 1.0) == checked_choice(("hue", "hue"), 1.0) == ("hue",)
    assert checked_choice((), 1.0) is False and checked_choice(True, 0.5) is True
    assert Protocol(variation="hue").variation == Protocol(variation=["hue"]).variation == ("hue",)  # type: ignore[arg-type]
    for strength in (0.0, -1, 1.01):
        with pytest.raises(UserError, match="strength must be above 0 and at most 1"):
            Protocol(variation=True, strength=strength)


def test_an_environment_without_the_choice_says_so() -> None:
    bare: Any = SimpleNamespace(variation=SimpleNamespace(factors={}, apply=None))
    require_variation(bare, True, 1.0)
    with pytest.raises(
        UserError, match=r"a choice of factors or a strength cannot be had: .*\(ability factor choice\)"
    ):
        require_variation(bare, True, 0.5)
    with pytest.raises(UserError, match="a variation of given instances cannot be had"):
        draw_factors(bare, np.random.default_rng(0), True, 1.0)
    with pytest.raises(UserError, match="variation=hue cannot be had"):
        require_variation(SimpleNamespace(), ("hue",), 1.0)  # type: ignore[arg-type]


def test_episodes_of_other_choices_have_the_same_start_and_values(env: Any) -> None:
    def episode(**choice: Any) -> dict[str, Any]:
        return run_episode(env, episode_rng(0, 3), 4, **choice)

    every, plain = episode(variation=True), episode()
    hue, weak = episode(variation="hue"), episode(variation=("hue", "mass"), strength=0.5)
    assert [name for name in hue if name.startswith("variation.")] == ["variation.hue"]
    np.testing.assert_array_equal(hue["variation.hue"], every["variation.hue"])
    np.testing.assert_allclose(weak["variation.hue"], every["variation.hue"] / 2)
    np.testing.assert_allclose(weak["variation.mass"] - 1, (every["variation.mass"] - 1) / 2)
    np.testing.assert_array_equal(hue["physics_state"], plain["physics_state"])  # a look is not physics
    assert (hue["pixels"] != plain["pixels"]).any() and (hue["pixels"] != every["pixels"]).any()
    again = episode(variation=True, strength=1.0)
    assert all(np.array_equal(column, every[name], equal_nan=True) for name, column in again.items())
    nearly = episode(variation=True, strength=1 - 1e-12)  # drawn another way
    np.testing.assert_allclose(nearly["variation.distractors"], every["variation.distractors"], rtol=1e-9, atol=1e-12)


def test_given_instances_keep_start_and_goal_in_every_world(env: Any) -> None:
    nominal = PolicyEpisodes().instances(env, Protocol(**SHORT), 3, 0)
    worlds = {name: varied(env, nominal, Protocol(variation=name, **SHORT), 0) for name in ("mass", "hue")}
    half = varied(env, nominal, Protocol(variation="mass", strength=0.5, **SHORT), 0)
    every = varied(env, nominal, Protocol(variation=True, **SHORT), 0)
    for index, one in enumerate(nominal):
        assert list(worlds["hue"][index].variation) == ["hue"]
        assert worlds["hue"][index].variation["hue"] == every[index].variation["hue"]
        mass = worlds["mass"][index].variation["mass"]
        assert half[index].variation["mass"] - 1 == pytest.approx((mass - 1) / 2)
        for other in (worlds["mass"][index], half[index], every[index]):
            np.testing.assert_array_equal(other.state, one.state)
            np.testing.assert_array_equal(other.goal_state, one.goal_state)
            other.start(env)
            assert env.variation.factors["mass"] == other.variation["mass"]
    assert len({digest(one) for one in (nominal, half, every, *worlds.values())}) == 5
    assert len({one.variation["mass"] for one in every}) == 3
    assert digest(varied(env, nominal, Protocol(variation=True, **SHORT), 1)) != digest(every)
    assert varied(env, nominal, Protocol(**SHORT), 0) is nominal


def test_own_goals_are_varied_too(env: Any) -> None:
    plain, other = (OwnGoals().instances(env, Protocol(variation=choice), 1, 0)[0] for choice in (False, "occluder"))
    plain.start(env)
    state, frame = env.get_state(), env.render()
    other.start(env)
    np.testing.assert_array_equal(env.get_state(), state)
    assert (env.render() != frame).any()


def test_results_tell_the_variation_and_films_show_it(tmp_path: Path) -> None:
    """A run in the nominal instances' other world, its frames drawn again from what is saved."""
    options: Any = {"rows": ["noop"], "episodes": 2, "workers": 1, "environment": {"image_size": [16, 16]}}
    nominal = evaluate(None, TASK, tmp_path / "nominal", protocol=Protocol(**SHORT), **options)
    assert nominal["protocol"]["variation"] is False and "strength" not in nominal["protocol"]
    protocol = Protocol(variation=("image_noise", "occluder"), strength=0.5, **SHORT)  # type: ignore[arg-type]
    options["instances"] = str(tmp_path / "nominal")
    result = evaluate(None, TASK, tmp_path / "varied", protocol=protocol, **options)
    assert load_results(tmp_path / "varied")["protocol"]["variation"] == ["image_noise", "occluder"]
    assert result["protocol"]["strength"] == 0.5 and result["instances_sha256"] != nominal["instances_sha256"]
    env = make_environment(TASK, result["settings"]["environment"])
    played, before = (load_episode(tmp_path / one / "episodes/noop-0-0001.npz") for one in ("varied", "nominal"))
    np.testing.assert_array_equal(played["physics"], before["physics"])
    frames = draw_frames(env, played, (16, 16))
    np.testing.assert_array_equal(frames, draw_frames(env, played, (16, 16)))
    assert (frames != draw_frames(env, before, (16, 16))).any(axis=(1, 2, 3)).all()
    env.close()
    with pytest.raises(UserError, match=r"protocol.strength=0.5, this one has 1"):
        evaluate(None, TASK, tmp_path / "varied", protocol=Protocol(variation=protocol.variation, **SHORT), **options)


def test_journals_and_results_of_before_there_was_a_strength_go_on() -> None:
    old = {"variation": True, "offset": 12, "budget": 3, "episode_steps": 40}  # as results.json held it
    assert Protocol(**old).strength == 1.0 and Protocol(**old).variation is True
    setup = Setup(TASK, {}, None, None, {}, {}, {}, 5, Protocol(**SHORT), 0, Path())
    assert "strength" not in _fingerprint(setup, None, "public", [], "policy")["protocol"]


def test_collected_data_says_what_varied(tmp_path: Path) -> None:
    config = CollectConfig(
        TASK, str(tmp_path), 2, steps=3, image_size=(8, 8), variation="light", strength=0.5, processes=1
    )
    store = collect(config, progress=False)
    meta = EpisodeStore.open(tmp_path).meta
    assert meta.variation == ("light",) and meta.strength == 0.5
    light = np.array([store.episode(index)["variation.light"][0] for index in range(2)])
    assert (np.abs(light - 1) <= 0.2).all() and light[0] != light[1]
    with pytest.raises(UserError, match=r'variation=\["light"\], this one has true'):
        collect(CollectConfig(TASK, str(tmp_path), 2, steps=3, image_size=(8, 8), variation=True, processes=1))
