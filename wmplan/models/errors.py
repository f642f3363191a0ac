"""The error of checkpoints, and how it names tensors."""

from __future__ import annotations

from wmplan.errors import UserError

MOST_SHOWN = 1000
"""Characters of a message: what a file says of itself, such as its tensors' names, may have any length."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, is not one of ours, or does not fit its configuration. Its message is one line."""

    def __init__(self, message: str) -> None:
        if len(message) > MOST_SHOWN:  # what is wrong stands at the end
            message = f"{message[: MOST_SHOWN // 2]}...{message[-MOST_SHOWN // 2 :]}"
        super().__init__("".join(letter if letter.isprintable() else " " for letter in message))


def shorten(names: list[str], shown: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(name if len(name) <= 200 else f"{name[:200]}..." for name in names[:shown]) + more
