"""Streams of random numbers are apart, and what a seed means does not change."""

from __future__ import annotations

import numpy as np

from wmplan.random_streams import Stream, stream_rng


def test_every_purpose_has_a_stream_of_its_own() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)  # no two names of one number
    draws = {
        int(stream_rng(seed, stream, key).integers(2**62)) for seed in range(3) for stream in Stream for key in (0, 1)
    }
    assert len(draws) == 3 * len(Stream) * 2


def test_numbers_of_released_data_and_results_stay() -> None:
    known = {"COLLECTION": 0, "EVALUATION": 1, "PLAYING": 2, "PROBE": 3}
    assert {name: int(Stream[name]) for name in known} == known
    expected = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(0, 4))).random()
    assert stream_rng(7, Stream.COLLECTION, 4).random() == expected
