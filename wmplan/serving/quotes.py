"""Text from elsewhere, made fit to be logged, sent and shown: one bounded line without control characters."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

MOST = 400  # characters of a line
CLOSE_REASON = 123  # bytes of UTF-8 that a close frame has room for (RFC 6455, section 5.5)


def one_line(text: object, most: int = MOST) -> str:
    """str(text) in one line of at most `most` characters that can all be printed; others are escaped."""
    given = str(text)
    words = " ".join(given[: 2 * most].split())
    line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)
    return line if len(line) <= most and len(given) <= 2 * most else f"{line[: most - 3]}..."


def close_reason(text: str) -> str:
    """As much of a text as a close frame has room for, cut between two characters."""
    return text.encode()[:CLOSE_REASON].decode(errors="ignore")


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


def whole_traceback(error: BaseException) -> str:
    """Where an error came from and what caused it, over several lines; what the errors say is kept to one line each."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 20:
        lines[:0] = [
            *traceback.format_tb(cause.__traceback__, limit=-20),
            f"{type(cause).__name__}: {one_line(cause)}\n",
        ]
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "".join(lines).rstrip()
