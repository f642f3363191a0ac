"""A run that is there is told from the one asked for by one key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmplan.errors import UserError
from wmplan.settings.difference import differences, require_same

SETTINGS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)
RUN = {"seed": 0, "stage": {"steps": 10, "rates": [1, 2]}, "fast": True, "options": {}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "x holds a run with seed=0, this one has 1: give another out=DIR, or delete x to begin anew"),
        ({"stage": {"steps": 9, "rates": [1, 2]}}, "a run with stage.steps=10, this one has 9:"),
        ({"stage": {"steps": 10, "rates": (1, 3)}}, "a run with stage.rates=[1, 2], this one has [1, 3]:"),
        ({"stage": {"rates": [1, 2]}}, "a run with stage.steps=10, this one has not set:"),
        ({"options": {"depth": 3}}, "a run without options.depth, this one has 3:"),
        ({"fast": 1}, "a run with fast=true, this one has 1:"),
        ({"stage": None}, 'a run with stage={"steps": 10, "rates": [1, 2]}, this one has null:'),
        ({"options": {"text": "x" * 500}}, 'a run without options.text, this one has "xxx'),
    ],
)
def test_one_key_is_named_with_both_values_and_what_to_do(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        require_same("x", RUN, RUN | change)
    assert says in str(caught.value) and len(str(caught.value)) < 250


def test_ignored_keys_and_tuples_do_not_count() -> None:
    require_same("x", RUN, RUN | {"seed": 1, "stage": {"steps": 10, "rates": (1, 2)}}, ignore=["seed"])


@given(SETTINGS)
def test_nothing_differs_from_itself(settings: Any) -> None:
    assert list(differences(settings, settings)) == []


@given(st.dictionaries(st.text("abc", min_size=1), SETTINGS), st.text("abc", min_size=1), SETTINGS)
def test_a_changed_key_is_the_one_that_is_named(settings: dict[str, Any], name: str, value: Any) -> None:
    changed = {**settings, name: value}
    for path, _, _ in differences(settings, changed):
        assert path == name or path.startswith(f"{name}.")
