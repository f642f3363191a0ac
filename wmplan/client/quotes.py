"""Text from elsewhere, made fit to be logged, sent and shown: one bounded line without control characters."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 400  # characters of a line


def one_line(text: object, most: int = MOST) -> str:
    """str(text) in one line of at most `most` characters that can all be printed; others are escaped."""
    given = str(text)
    words = " ".join(given[: 2 * most].split())
    line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)
    return line if len(line) <= most and len(given) <= 2 * most else f"{line[: most - 3]}..."


def short(value: Any) -> str:
    """What was given, in few words, whatever it is."""
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    if value is None:
        return "missing"
    if isinstance(value, str | bytes | int | float | np.generic):
        text = repr(value[:40] if isinstance(value, str | bytes) else value)
        return text if len(text) <= 80 else f"{text[:80]}..."
    return f"a {type(value).__name__}"
