"""Which factors of variation are drawn for an episode, and how far from nominal."""

from __future__ import annotations

from typing import Any

import numpy as np

from wmplan.environment import Environment, require
from wmplan.errors import UserError

Choice = bool | str | tuple[str, ...]
"""False: nominal. True: every factor the environment has. A name or names: these."""


def checked_choice(variation: Choice, strength: float) -> bool | tuple[str, ...]:
    """The choice as true, false or names.

    Args:
        variation: what varies.
        strength: share of each factor's range that is drawn from.

    Raises:
        UserError: if the strength is out of its bounds.
    """
    if not 0 < strength <= 1:
        raise UserError(f"strength must be above 0 and at most 1, got {strength}; variation=false leaves all nominal")
    if isinstance(variation, bool):
        return variation
    return tuple(dict.fromkeys((variation,) if isinstance(variation, str) else variation)) or False


def require_variation(env: Environment, variation: Choice, strength: float) -> None:
    """Check that the environment can be varied so.

    Raises:
        UserError: if it cannot, or has no factor of a name.
    """
    choice = checked_choice(variation, strength)
    if not choice:
        return
    names = choice if isinstance(choice, tuple) else ()
    require(env, f"variation={','.join(names) or 'true'}", "variation")
    if not names and strength == 1:
        return
    require(env, "a choice of factors or a strength", "factor_choice")
    there = env.variation.names  # type: ignore[attr-defined]  # asked for
    for name in names:
        if name not in there:
            raise UserError(f"there is no factor of variation {name!r}; there are {', '.join(there)}")


def draw_factors(env: Environment, rng: np.random.Generator, variation: Choice, strength: float) -> dict[str, Any]:
    """Factors for one episode, drawn and not applied; none where all is nominal.

    Raises:
        UserError: as require_variation() does, and of an environment that only draws at a reset.
    """
    names = checked_choice(variation, strength)
    if not names:
        return {}
    require_variation(env, names, strength)
    require(env, "a variation of given instances", "factor_choice")
    drawn: dict[str, Any] = env.variation.draw(rng, None if names is True else names, strength)  # type: ignore[attr-defined]
    return drawn


def reset_varied(env: Environment, seed: int, variation: Choice, strength: float) -> None:
    """Reset the environment to the start of a seed, with the seed's factors.

    A factor has the same value alone and with others, and half the distance from nominal at half the strength.

    Raises:
        UserError: as require_variation() does.
    """
    require_variation(env, variation, strength)
    if not variation:
        env.reset(seed=seed, options=None)
    elif variation is True and strength == 1:
        env.reset(seed=seed, options={"variation": True})
    else:
        env.reset(seed=seed)
        factors = draw_factors(env, env.np_random, variation, strength)  # type: ignore[attr-defined]  # Gymnasium's
        env.reset(seed=seed, options={"variation": factors})
