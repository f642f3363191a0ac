"""What the user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A half sentence that names the closest of `known`, or all of them where none is close."""
    known = sorted(known)
    close = [one for one in known if len(one) > 2 and name.startswith(one) and "." not in name][
        -1:
    ]  # eval, of evaluate
    close = close or difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    if not close:  # planner.num_samples is what `samples` meant
        close = [one for one in known if name in one.split(".")[-1].split("_")][:1]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it is one of {', '.join(known)}" if known else "there is none"
