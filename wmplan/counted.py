"""A number and its noun, in a sentence."""


def counted(count: int, noun: str) -> str:
    """1 episode, 2 episodes."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
