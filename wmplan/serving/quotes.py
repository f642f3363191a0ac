"""What the server quotes of others: in a close frame, and of errors in its log."""

from __future__ import annotations

import traceback

from wmplan.client.quotes import MOST, one_line, short

__all__ = ["CLOSE_REASON", "MOST", "close_reason", "one_line", "short", "whole_traceback"]

CLOSE_REASON = 123  # bytes of UTF-8 that a close frame has room for (RFC 6455, section 5.5)


def close_reason(text: str) -> str:
    """As much of a text as a close frame has room for, cut between two characters."""
    return text.encode()[:CLOSE_REASON].decode(errors="ignore")


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
