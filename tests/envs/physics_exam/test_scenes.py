"""Worlds that the simulator itself finds legal, exchanged at one moment, and nothing else that tells clips apart."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np
import pytest

from wmplan.envs.physics_exam.scenes import DRAFTS, LEVELS, Scenes
from wmplan.envs.physics_exam.stage import ELASTIC
from wmplan.envs.physics_exam.world import FPS, FRAMES, GRAVITY, SUBSTEPS
from wmplan.errors import UserError
from wmplan.exam.quadruplet import IMPOSSIBLE, POSSIBLE, Quadruplet
from wmplan.registry import EXAMS

NAMES = tuple(DRAFTS)
SIZE = (32, 32)


def draw(scenes: Scenes, name: str, index: int, seed: int = 3) -> Quadruplet:
    return scenes.quadruplet(name, index, np.random.default_rng([seed, NAMES.index(name), index]))


@pytest.fixture(scope="module")
def scenes() -> Iterator[Scenes]:
    found: Scenes = EXAMS["scenes"](SIZE)
    yield found
    found.close()


@pytest.fixture(scope="module")
def drawn(scenes: Scenes) -> list[Quadruplet]:
    """One of each property, occluded or open, and of every third both."""
    chosen = [(name, (0, 1) if number % 3 == 0 else (number % 2,)) for number, name in enumerate(NAMES)]
    return [draw(scenes, name, index) for name, indices in chosen for index in indices]


def test_both_worlds_are_what_the_simulator_goes_on_to(scenes: Scenes, drawn: list[Quadruplet]) -> None:
    """From every moment, to the bit; the impossible clips break that once, at the break."""
    for one in drawn:
        for world in range(2):
            for frame in (0, 7, one.break_at, FRAMES - 2):
                assert np.array_equal(scenes.predict(one, world, frame), one.states[world, frame:])
        before = one.break_at - 1
        for begin, clip in enumerate(IMPOSSIBLE):
            expected = scenes.predict(one, begin, before)[1]
            assert np.array_equal(one.clip_states[clip, before], one.states[begin, before])
            assert not np.array_equal(one.clip_states[clip, before + 1], expected)


def test_one_edit_of_a_running_simulation_gives_the_impossible_clip(scenes: Scenes, drawn: list[Quadruplet]) -> None:
    for one in drawn[::3]:
        scenes.stage.film_on(one.origin.setting, one.states[0, 0], 0)  # A, run to its end
        forked = scenes.stage.film_on(one.origin.setting, one.states[1, one.break_at], one.break_at)
        assert np.array_equal(forked.frames, one.clips[2][one.break_at :])


def test_every_frame_of_an_impossible_clip_occurs_in_a_possible_one(drawn: list[Quadruplet]) -> None:
    for one in drawn:
        clips, begin = one.clips, one.break_at
        for possible, impossible in zip(POSSIBLE, IMPOSSIBLE, strict=True):
            assert np.array_equal(clips[possible, :begin], clips[impossible, :begin])
        assert np.array_equal(clips[2, begin:], clips[1, begin:]) and np.array_equal(clips[3, begin:], clips[0, begin:])


def test_an_occluder_hides_the_break_and_what_it_hides_is_seen_before_and_after(drawn: list[Quadruplet]) -> None:
    for one in drawn:
        apart = np.abs(one.frames[0].astype(int) - one.frames[1]).max(-1)
        pixels = (apart > LEVELS).sum((1, 2))
        assert one.occluded == (one.index % 2 == 0) == (one.origin.setting.screen is not None)
        if one.occluded:
            assert not apart[one.break_at].any()
        assert pixels[: one.break_at].max() > 0 and pixels[one.break_at :].max() > 0


def test_nothing_sinks_into_anything_and_no_energy_comes_or_goes(scenes: Scenes, drawn: list[Quadruplet]) -> None:
    """At every physics step: contacts within the softness of a bounce, kinetic and potential energy kept to 3 %."""
    model, data = scenes.stage.model, scenes.stage.data
    radius = 1 / np.sqrt(-ELASTIC[0])  # of a contact per m/s of the impact
    for one in drawn:
        for world in range(2):
            scenes.stage.dress(one.origin.setting)
            scenes.stage.restore(one.states[world, 0])
            energies, fastest = [], 0.0
            for _ in range((FRAMES - 1) * SUBSTEPS):
                mujoco.mj_step(model, data)
                fastest = max(fastest, float(np.abs(data.qvel).max()))
                deepest = min((float(contact.dist) for contact in data.contact), default=0.0)
                assert deepest > -1.2 * radius * fastest - 1e-3
                heights = data.qpos.reshape(2, 3)[:, 2]
                if not data.ncon or not one.origin.setting.elastic:
                    energies.append(0.5 * np.square(data.qvel).sum() + GRAVITY * heights.sum())
            spread = np.ptp(energies) if one.origin.setting.elastic else abs(energies[-1] - energies[0])
            assert spread < 0.03 * np.max(energies), (one.violates, one.index, world)


def test_worlds_are_at_the_break_what_was_drawn(scenes: Scenes) -> None:
    """Found by running time backwards, and met again by running it forwards; severities are what they say."""
    for name in NAMES:
        one = draw(scenes, name, 1, seed=5)
        (here, going), (there, going_there) = (
            scenes.stage.motion(one.states[world, one.break_at]) for world in range(2)
        )
        draft = one.origin
        for found, wanted in ((here, draft.first), (there, draft.second)):
            for position, thing in zip(found, wanted, strict=False):
                assert np.abs(position - thing.position).max() < 0.06
        if name == "continuity":
            assert np.linalg.norm(here - there, axis=1)[0] == pytest.approx(one.severity, abs=1e-3)
        if name == "inertia":
            cosine = going[0] @ going_there[0] / np.linalg.norm(going[0]) / np.linalg.norm(going_there[0])
            assert np.degrees(np.arccos(cosine)) == pytest.approx(one.severity, abs=0.5)
        if name == "gravity":
            assert going_there[0, 2] - going[0, 2] == pytest.approx(one.severity, rel=0.05)
        if name == "collision":
            before, after = (scenes.stage.motion(one.states[0, one.break_at + step])[1] for step in (-3, 3))
            assert np.allclose(before.sum(0), after.sum(0), atol=0.02)  # momentum
            assert abs(before[0, 0]) == pytest.approx(one.severity, rel=0.02)
            assert abs(after[1, 0]) == pytest.approx(one.severity, rel=0.02)


def test_free_flight_is_a_parabola(scenes: Scenes) -> None:
    """Gravity as the formula has it, over the frames in which nothing is touched."""
    one = draw(scenes, "gravity", 1, seed=5)
    heights = np.array(
        [scenes.stage.motion(state)[0][0, 2] for state in one.states[0, one.break_at : one.break_at + 8]]
    )
    assert np.allclose(np.diff(heights, 2), -GRAVITY / FPS**2, atol=1e-4)


def test_the_legal_change_of_appearance_changes_looks_alone(scenes: Scenes, drawn: list[Quadruplet]) -> None:
    for one in drawn:
        changed = np.abs(one.recoloured.astype(int) - one.frames[0]).max((1, 2, 3))
        assert not changed[: one.break_at].any() and changed[-1] > LEVELS
        steps = np.abs(np.diff(one.recoloured.astype(int), axis=0)).mean((1, 2, 3))
        assert steps[one.break_at :].max() < 0.5 * changed[-1]  # it fades, it does not jump


def test_the_same_numbers_give_the_same_clips(scenes: Scenes, drawn: list[Quadruplet]) -> None:
    for one in drawn[::7]:
        assert draw(scenes, one.violates, one.index).sha256 == one.sha256
        assert draw(scenes, one.violates, one.index, seed=4).sha256 != one.sha256
    assert len({one.sha256 for one in drawn}) == len(drawn)


def test_identical_twins_are_one_clip_four_times(drawn: list[Quadruplet]) -> None:
    twins = drawn[0].twins
    assert all(np.array_equal(clip, drawn[0].frames[0]) for clip in twins.clips) and twins.severity == 0


def test_an_unknown_property_is_named(scenes: Scenes) -> None:
    with pytest.raises(UserError, match="there is no property 'permanense'; did you mean 'permanence'"):
        scenes.quadruplet("permanense", 0, np.random.default_rng(0))
