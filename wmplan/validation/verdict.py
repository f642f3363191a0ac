"""How far ahead plans can be trusted, and what is not predicted, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from wmplan.validation.action_rank import ActionRank
from wmplan.validation.action_use import EntryUse
from wmplan.validation.open_loop import OpenLoop

MOST_RATIO = 0.5
"""Error over that of copying the last frame: three quarters of the squared change are then predicted."""
LEAST_BEATEN = 0.9
"""Of the other recorded actions that have to cost more than those that led to the goal."""

UNUSED = 0.01
"""Rise of the error with all of an entry shuffled, below which a prediction does not depend on it."""


def trusted_steps(loop: OpenLoop, rank: ActionRank) -> int:
    """Model steps up to which, at each, most of the change is predicted and the actions that led there cost least."""
    steps = 0
    for ratio, error, idle, beats in zip(loop.ratio, loop.error, loop.idle, rank.beats_recorded, strict=True):
        if not (ratio <= MOST_RATIO and error <= idle and beats >= LEAST_BEATEN):
            break
        steps += 1
    return steps


def verdict(
    loop: OpenLoop, rank: ActionRank, use: Sequence[EntryUse], seconds_per_step: float, blind: bool = False
) -> str:
    """The line.

    Args:
        use: of each entry of the action.
        blind: whether all frames have the same latent.
    """
    said = []
    steps = trusted_steps(loop, rank)
    if blind:
        said.append("the encoder sees no difference between frames")
    if steps:
        far = "" if steps < len(loop.error) else ", as far as was looked"
        said.append(f"plans up to {steps * seconds_per_step:g} s ahead ({steps} model steps{far}) are trustworthy")
    else:
        said.append(f"plans are not trustworthy at any horizon: {why(loop, rank)}")
    if all(abs(one.error_rise) < UNUSED for one in use) and any(not one.predicted for one in use):
        said.append("the prediction does not depend on the actions")
    else:
        said += [f"entry {one.entry} of the action, {one.name}, is not predicted" for one in use if not one.predicted]
    if rank.is_flat:
        said.append("the cost tells no candidates apart")
    return "; ".join(said)


def why(loop: OpenLoop, rank: ActionRank) -> str:
    """What is wrong with a plan of one model step."""
    if loop.ratio[0] > 1:
        return "one model step ahead it predicts worse than saying that nothing moves"
    if loop.ratio[0] > MOST_RATIO:
        return f"one model step ahead its error is {loop.ratio[0]:.2f} of that of saying that nothing moves"
    if loop.error[0] > loop.idle[0]:
        return "it predicts better without the recorded actions than with them"
    return f"the actions that led to a frame cost less than {rank.beats_recorded[0]:.0%} of the others, no more"
