"""What a robot is sent that is to stand still, by what its actions are: for loops of one's own around a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

HELD = ("absolute", "rotation_6d", "gripper")
"""Kinds of numbers that stay what they are; velocities and displacements are zero."""


def resting_action(
    metadata: Mapping[str, Any], last: ArrayLike | None = None, proprio: ArrayLike | None = None
) -> NDArray[np.float32]:
    """The action (a,) that keeps a robot where it is, within the bounds.

    Args:
        metadata: what the server says, PolicyClient.metadata.
        last: what the robot was sent last, (a,); None where nothing was sent.
        proprio: the robot's own state (P,), which may measure where its positions are.

    Raises:
        ValueError: naming the numbers of the action of which nothing tells where they are.
    """
    low, high = (np.asarray(metadata[name], np.float32) for name in ("action_low", "action_high"))
    kinds, measured = (list(metadata.get(name) or ()) for name in ("action_kinds", "action_measured"))
    kinds, measured = kinds or [""] * len(low), measured or [None] * len(low)
    sent = None if last is None else np.asarray(last, np.float32).reshape(len(low))
    state = np.empty(0, np.float32) if proprio is None else np.asarray(proprio, np.float32).reshape(-1)
    rest, unknown = np.zeros(len(low), np.float32), []
    for number, (kind, index) in enumerate(zip(kinds, measured, strict=True)):
        if kind not in HELD:
            continue
        if sent is not None:
            rest[number] = sent[number]
        elif index is not None and index < len(state):
            rest[number] = state[index]
        else:
            unknown.append(f"{number} ({kind})")
    if unknown:
        raise ValueError(
            f"numbers {', '.join(unknown)} of the action stay where they are at rest, and nothing tells where that is: "
            "give last, what the robot was sent last"
        )
    return np.asarray(np.clip(rest, low, high), np.float32)
