"""What is quoted of strangers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wmplan.serving.quotes import close_reason, one_line, short, whole_traceback

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


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_a_reason_fits_a_close_frame_and_ends_with_a_whole_character(text: str) -> None:
    reason = close_reason(text)
    assert text.startswith(reason)
    size = len(reason.encode())
    assert size <= 123
    assert reason == text or size + len(text[len(reason)].encode()) > 123


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


def test_a_traceback_tells_where_and_why_with_each_error_in_one_line() -> None:
    def inner() -> None:
        raise KeyError("first\nline" + "x" * 10**6)

    try:
        try:
            inner()
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        told = whole_traceback(error)
    assert "in inner" in told and told.endswith("ValueError: second")
    assert told.index("KeyError: ") < told.index("ValueError: ")
    assert len(told) < 3000 and "first\nline" not in told
