"""What is quoted of strangers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wmplan.serving.quotes import close_reason, whole_traceback


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=300))
def test_a_reason_fits_a_close_frame_and_ends_with_a_whole_character(text: str) -> None:
    reason = close_reason(text)
    assert text.startswith(reason)
    size = len(reason.encode())
    assert size <= 123
    assert reason == text or size + len(text[len(reason)].encode()) > 123


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
