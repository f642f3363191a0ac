"""A second photograph of every state, in a world that looks otherwise: what an encoder learns to see through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import PlanningEnvironment, require
from wmplan.errors import UserError
from wmplan.variation import Choice, checked_choice, require_variation

COLUMN = "pixels_varied"
"""The second frames' column; of another camera's, see varied()."""
SHARE = 0.6
"""How likely each factor is to be in an episode's second world: some differ in one thing alone, few in all."""


def varied(camera: str) -> str:
    """The column of a camera's second frames."""
    return f"{camera}_varied"


def chosen_looks(env: PlanningEnvironment, choice: Choice, strength: float) -> tuple[str, ...]:
    """Names of the factors that second frames are drawn in; none where the choice is false.

    Raises:
        UserError: of an environment that cannot draw a state again, or a factor that changes no frame.
    """
    chosen = checked_choice(choice, strength)
    if not chosen:
        return ()
    require(env, "varied_frames", "state", "variation", "factor_choice")
    variation: Any = env.variation  # type: ignore[attr-defined]  # asked for
    looks: tuple[str, ...] = getattr(variation, "looks", variation.names)
    names = chosen if isinstance(chosen, tuple) else looks
    require_variation(env, names, strength)
    for name in names:
        if name not in looks:
            raise UserError(f"varied_frames: {name!r} changes no frame; there are {', '.join(looks)}")
    return names


def varied_frames(
    env: PlanningEnvironment,
    states: Iterable[NDArray[np.float64]],
    rng: np.random.Generator,
    names: tuple[str, ...],
    strength: float,
) -> NDArray[np.uint8]:
    """The frames (T, H, W, 3) of T full states, in one world whose looks are drawn; the environment is left there.

    Args:
        names: the factors to draw, each with probability SHARE; see chosen_looks().
        strength: share of each factor's range, above 0 and at most 1.
    """
    drawn = env.variation.draw(rng, names, strength)  # type: ignore[attr-defined]  # asked for in chosen_looks()
    kept = {name: value for name, value in drawn.items() if rng.random() < SHARE}
    env.reset(seed=0, options={"variation": kept})
    frames = []
    for state in states:
        env.set_state(state)  # type: ignore[attr-defined]
        frames.append(env.render())
    return np.stack(frames)
