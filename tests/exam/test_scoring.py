"""Figures against a count by hand, a trapezoid under the ROC, and cases whose answer is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.exam.scoring import auroc, by_severity, over_time, over_windows, pairs_won, rate
from wmplan.exam.subject import Window


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=8))
def test_pairs_are_won_where_the_impossible_clip_surprises_more(surprises: list[list[int]]) -> None:
    found = pairs_won(np.array(surprises, float))
    for row, (first, second) in zip(surprises, found, strict=True):
        for (possible, impossible), outcome in zip(((0, 2), (1, 3)), (first, second), strict=True):
            assert outcome == (np.sign(row[impossible] - row[possible]) + 1) / 2


def test_the_largest_window_shows_an_exchange_that_the_mean_hides() -> None:
    """The world that AB ends in is easier to predict than the one that AA does: its mean is lower, its peak is not."""
    surprise = np.array([[[2.0, 2, 2, 2], [1, 1, 1, 1], [2, 3, 1, 1], [1, 3, 2, 2]]])
    assert pairs_won(over_windows(surprise, "mean")).tolist() == [[0, 1]]
    assert pairs_won(over_windows(surprise, "largest")).tolist() == [[1, 1]]


def test_two_windows_count_where_one_is_matched_by_what_is_usual() -> None:
    surprise = np.array([[[3.0, 0, 0], [3, 0, 0], [3, 2, 0], [3, 0, 2]]])
    assert pairs_won(over_windows(surprise, "largest")).tolist() == [[0.5, 0.5]]
    assert pairs_won(over_windows(surprise, "mean of the two largest")).tolist() == [[1, 1]]
    assert over_windows(np.array([3.0]), "mean of the two largest") == 3


def test_rounding_decides_no_pair() -> None:
    assert pairs_won(np.array([[1.0, 1.0, 1.0 + 1e-9, 1.0 - 1e-9]])).tolist() == [[0.5, 0.5]]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
)
def test_auroc_is_the_share_of_all_pairs(possible: list[int], impossible: list[int]) -> None:
    won = [(b > a) + 0.5 * (b == a) for a, b in itertools.product(possible, impossible)]
    assert auroc(np.array(possible, float), np.array(impossible, float)) == pytest.approx(np.mean(won))


def test_two_pairs_of_one_quadruplet_that_always_agree_are_worth_one() -> None:
    outcomes = np.array([[1.0, 1.0]] * 30 + [[0.0, 0.0]] * 10)
    assert rate(outcomes)["trials"] == 40 and rate(outcomes)["rate"] == 0.75
    low, high = rate(outcomes)["ci95"]
    assert low == pytest.approx(0.598, abs=2e-3) and high == pytest.approx(0.858, abs=2e-3)  # Wilson, 30 of 40


def test_thirds_by_severity_begin_with_the_mildest() -> None:
    severity = np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    outcomes = np.where(severity > 2, 1.0, 0.0)[:, None].repeat(2, 1)
    found = by_severity(outcomes, severity)
    assert [(one["from"], one["to"], one["rate"]) for one in found] == [(1, 2, 0), (3, 4, 1), (5, 6, 1)]


def test_surprise_over_time_is_lined_up_by_the_break() -> None:
    """A window of 3 frames ends 2 frames after it begins; what happens at the break comes first at offset 0."""
    length, window = 10, Window(2, 1)
    values = np.zeros((2, 5, len(window.starts(length))))
    breaks = [4, 6]
    for number, begin in enumerate(breaks):
        values[number, 2:4, begin - 2] = 1  # the window that ends at the break
    offsets, curves = over_time(values, breaks, window, length)
    assert curves[0].max() == 0 and offsets[curves[1] == 1].tolist() == [0]
    assert offsets[0] == 2 - 6 and offsets[-1] == 9 - 4
