"""The errors that stand for what a user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave is wrong: the message is one line that names it and says what would be right.

    The command line prints the message and leaves with status 2; everything else shows a traceback.
    """


class NotPossibleError(UserError, RuntimeError):
    """What was asked for cannot be done as things stand: a call came too early, or the machine lacks something."""
