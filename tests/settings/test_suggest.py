"""The closest name is offered, or all there are."""

from __future__ import annotations

import pytest

from wmplan.settings.suggest import did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("episode", ["episodes", "seed"], "did you mean 'episodes'?"),
        ("samples", ["planner.num_samples", "seed"], "did you mean 'planner.num_samples'?"),
        ("evaluate", ["eval", "validate"], "did you mean 'eval'?"),
        ("planner.samplez", ["planner", "planner.samples"], "did you mean 'planner.samples'?"),
        ("zzz", ["b", "a"], "it is one of a, b"),
        ("zzz", [], "there is none"),
    ],
)
def test_suggestion(name: str, known: list[str], says: str) -> None:
    assert did_you_mean(name, known) == says
