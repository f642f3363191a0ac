"""What is quoted of strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wmplan_client.quotes import one_line, short

anything = st.text(st.characters(), max_size=1000)


@given(anything)
@example("a\r\n2026-01-01 00:00:00,000 session of 10.0.0.1:1 ended: all is well")
@example("\x1b[2J\u202egnp.exe \x00 \ud800")
def test_a_line_can_be_printed_and_is_bounded(text: str) -> None:
    line = one_line(text)
    assert len(line) <= 400
    assert line.isprintable()
    line.encode()  # no lone surrogate


@given(st.text(st.characters(categories=("L", "N", "P")), max_size=400))
def test_what_is_fit_already_is_left_alone(text: str) -> None:
    assert one_line(text) == text


def test_a_line_is_cut_with_a_sign_of_it() -> None:
    assert one_line("x" * 401) == "x" * 397 + "..."
    assert one_line("a" + " " * 10**6 + "b") == "a..."
    assert one_line("  two\n lines ") == "two lines"
    assert one_line(ValueError("wrong")) == "wrong"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 10**6, "'" + "x" * 40 + "'"),
        (b"\0" * 10**6, "b'" + "\\x00" * 15),
        (np.zeros((2, 3)), "a float64 array of shape (2, 3)"),
        (None, "missing"),
        ([["x"] * 1000] * 1000, "a list"),
        ({"x": 1}, "a dict"),
        (1.5, "1.5"),
    ],
)
def test_a_value_is_told_in_few_words(value: object, said: str) -> None:
    assert short(value)[: len(said)] == said and len(short(value)) <= 83
