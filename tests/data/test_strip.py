"""A strip hides a part of a frame from side to side, and is another one for each episode."""

from __future__ import annotations

import torch

from wmplan.data.strip import LEAST, MOST, Strip

FRAMES = {"front": torch.randint(256, (3, 40, 60, 3), dtype=torch.uint8), "hand": torch.zeros(2, 20, 20, 3).byte()}


def test_it_covers_whole_columns_or_rows_in_one_colour_and_leaves_the_rest() -> None:
    ways = set()
    for episode in range(50):
        strip = Strip.draw(7, episode)
        ways.add(strip.upright)
        hidden = strip.before(FRAMES)
        assert list(hidden) == list(FRAMES)
        frames, before = hidden["front"], FRAMES["front"]
        covered = (frames == torch.tensor(strip.colour, dtype=torch.uint8)).all(-1)  # (T, H, W)
        lines = covered.all(1 if strip.upright else 2)  # (T, W) or (T, H)
        assert LEAST <= lines[0].float().mean() <= MOST + 2 / 40
        assert (lines == lines[0]).all()
        inside = lines[0][None, None, :] if strip.upright else lines[0][None, :, None]
        same = (frames == before).all(-1)
        assert same[~inside.expand_as(same)].all()
    assert ways == {True, False}


def test_an_episode_has_the_same_strip_each_time_and_others_have_others() -> None:
    drawn = [Strip.draw(7, episode) for episode in range(20)]
    assert drawn == [Strip.draw(7, episode) for episode in range(20)]
    assert len(set(drawn)) == 20 and Strip.draw(8, 0) != drawn[0]


def test_the_frames_that_were_given_stay_as_they_are() -> None:
    before = {camera: seen.clone() for camera, seen in FRAMES.items()}
    Strip.draw(0, 0).before(FRAMES)
    assert all(torch.equal(FRAMES[camera], before[camera]) for camera in FRAMES)
