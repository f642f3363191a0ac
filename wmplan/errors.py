"""The error that stands for a user's mistake."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave is wrong: the message is one line that names it and says what would be right.

    The command line prints the message and leaves with status 2; everything else shows a traceback.
    """
