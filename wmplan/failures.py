"""What the command line says when something fails: one line for a user's mistake, a traceback for a bug."""

from __future__ import annotations

import dis
import os

from wmplan.errors import UserError

_RAISE = dis.opmap["RAISE_VARARGS"]


def user_message(error: BaseException) -> str | None:
    """The line to print for `error`, or None where it is no mistake of the user's but a bug.

    A message for the user is a UserError; a ValueError, ImportError or RuntimeError that this package raised on
    purpose; and what the operating system refused.
    """
    if isinstance(error, UserError):
        return _one_line(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fspath(error.filename)!s}: " if isinstance(error.filename, str | os.PathLike) else ""
        return f"{where}{error.strerror}"
    if isinstance(error, ValueError | ImportError | RuntimeError) and _raised_here(error):
        return _one_line(error)
    return None


def for_other_process(error: Exception) -> Exception:
    """The error to raise in another process, where its traceback is lost: a UserError for a mistake of the user's."""
    message = user_message(error)
    return error if message is None or isinstance(error, UserError | OSError) else UserError(message)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _raised_here(error: BaseException) -> bool:
    """Whether a `raise` statement of this package made the error, and not a library that it called."""
    traceback = error.__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    ours = str(frame.f_globals.get("__name__", "")).partition(".")[0] == __name__.partition(".")[0]
    return ours and frame.f_code.co_code[traceback.tb_lasti] == _RAISE
