"""What the command line says when something fails: one line for a user's mistake, a traceback for a bug."""

from __future__ import annotations

import os

from wmplan.errors import UserError


def user_message(error: BaseException) -> str | None:
    """The line to print for `error`, or None where it is no mistake of the user's but a bug.

    A message for the user is a UserError, and what the operating system refused.
    """
    if isinstance(error, UserError):
        return _one_line(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fspath(error.filename)!s}: " if isinstance(error.filename, str | os.PathLike) else ""
        return f"{where}{error.strerror}"
    return None


def for_other_process(error: Exception) -> Exception:
    """The error to raise in another process, where its traceback is lost: a UserError for a mistake of the user's."""
    message = user_message(error)
    return error if message is None or isinstance(error, UserError | OSError) else UserError(message)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
