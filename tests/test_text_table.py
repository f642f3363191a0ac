"""Columns are aligned."""

from __future__ import annotations

from wmplan.text_table import table

HEAD, ROWS = ["a", "bb"], [["long", "1"], ["b", "23"]]


def test_columns_are_aligned() -> None:
    assert table(HEAD, ROWS) == "a     bb\nlong   1\nb     23"
    assert table(HEAD, ROWS, left=0) == "   a  bb\nlong   1\n   b  23"
    assert table(HEAD, ROWS, left=2) == "a     bb\nlong  1\nb     23"
    assert table(["a", ""], []) == "a"
