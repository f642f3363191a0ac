"""The type that a model multiplies in while it plans: float32, or bfloat16 where that is faster and plans as well.

Whether bfloat16 is faster is measured on this machine, as the model is loaded. Whether it plans as well is a matter of
the model: `wmplan precision` measures it, and writes it into the model's card.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from wmplan import device
from wmplan.errors import UserError
from wmplan.models.base import WorldModel
from wmplan.models.linear import has_bfloat16
from wmplan.settings.dtypes import check_dtype, dtype_name

log = logging.getLogger(__name__)

CARD = "bfloat16"
"""The section of a card that says how a model plans in bfloat16: what measure_precision() writes."""
GAIN = 1.1
"""How much faster rollouts have to be before bfloat16 is taken."""
MORE_COST, LESS_SUCCESS, INSTANCES = 0.01, 0.02, 200
"""What plans may cost more, what success may be lost where the paired test finds no difference, and the fewest
instances that say so."""
CANDIDATES, HORIZON, ROUNDS, SECONDS = 128, 5, 5, 2.0
"""Of the rollouts that are timed: sizes, pairs at most, and after how long no other pair is begun."""


class Taken(NamedTuple):
    """A type, and why it is the one."""

    dtype: torch.dtype
    why: str

    @property
    def name(self) -> str:
        """As settings have it."""
        return dtype_name(self.dtype)

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def take_dtype(model: WorldModel, name: str = "auto") -> Taken:
    """Have a model that was just loaded plan in the type of that name; gives which it is, and why.

    Raises:
        UserError: if there is no such type, or the model has no products in it.
    """
    chosen = choose_dtype(model, name)
    model.compute_in(chosen.dtype)
    return chosen


def choose_dtype(model: WorldModel, name: str = "auto", gain: Callable[[WorldModel], float] | None = None) -> Taken:
    """The type of that name; of "auto" bfloat16 where it is faster here and the card says that it plans as well.

    Args:
        gain: how many times as fast the model is in bfloat16; measured where left out.
    """
    if check_dtype(name) != "auto":
        return Taken(getattr(torch, name), "as was asked for")
    here = model.device
    if not has_bfloat16(here):
        what = "processor" if here.type == "cpu" else here.type
        return Taken(torch.float32, f"this {what} has no bfloat16 in hardware")
    if (reason := why_worse(model.card.get(CARD))) is not None:
        return Taken(torch.float32, reason)
    try:
        times = (gain or measure_gain)(model)
    except UserError as error:
        return Taken(torch.float32, str(error))
    found = f"measured {times:.2f} times as fast as float32 here"
    if times < GAIN:
        return Taken(torch.float32, f"bfloat16 was {found}, {GAIN} is needed")
    return Taken(torch.bfloat16, f"{found}, and its card says that it plans as well")


def why_worse(told: Any) -> str | None:
    """Why a card does not say that a model plans as well in bfloat16; None where it does.

    Args:
        told: the card's section; whatever is there.
    """
    if told is None:
        return "its card does not say how it plans in bfloat16, which wmplan precision measures"
    try:
        cost, success = float(told["cost_ratio"]) - 1, told["success"]
        lost = float(success["float32"]) - float(success["bfloat16"])
        instances, chance = int(told["instances"]), float(told["p_value"])
        whole = all(map(math.isfinite, (cost, lost, chance)))
    except (TypeError, KeyError, ValueError, OverflowError):
        whole = False
    if not whole:
        return f"the section {CARD!r} of its card lacks figures, which wmplan precision measures"
    if instances < INSTANCES:
        return f"its card compares the two types on {instances} instances, {INSTANCES} are needed"
    if cost > MORE_COST:
        return f"by its card plans in bfloat16 cost {100 * cost:.1f} % more, {100 * MORE_COST:.0f} are allowed"
    if lost > 0 and (chance < 0.05 or lost > LESS_SUCCESS):
        return (
            f"by its card success is {100 * success['bfloat16']:.1f} % in bfloat16 and "
            f"{100 * success['float32']:.1f} in float32"
        )
    return None


def measure_gain(model: WorldModel) -> float:
    """How many times as fast rollouts are in bfloat16 as in float32, the least times of pairs of them.

    Raises:
        UserError: if the model has none in bfloat16.
    """
    exact, narrow = (copy.deepcopy(model) for _ in range(2))
    exact.compute_in(torch.float32)
    narrow.compute_in(torch.bfloat16)
    least: dict[int, float] = {}
    begun = time.perf_counter()
    candidates = CANDIDATES if rollout_seconds(exact, 1) < SECONDS / 100 else 1
    for _ in range(ROUNDS):
        for index, one in enumerate((exact, narrow)):
            spent = rollout_seconds(one, candidates)
            least[index] = min(spent, least.get(index, math.inf))
        if time.perf_counter() - begun > SECONDS:
            break
    return least[0] / least[1]


@torch.inference_mode()
def rollout_seconds(model: WorldModel, candidates: int) -> float:
    """Seconds of a rollout of random candidates for one robot; the first of a shape is slow and not counted."""
    spec, here = model.spec, model.device
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(1, 1, *spec.latent_shape, generator=generator).to(here)
    low, high = spec.block_bounds()
    shares = torch.rand(1, candidates, HORIZON, spec.block_dim, generator=generator)
    actions = (low + (high - low) * shares).to(here)
    model.rollout_last(context, actions)
    device.synchronise(here)
    begun = time.perf_counter()
    model.rollout_last(context, actions)
    device.synchronise(here)
    return time.perf_counter() - begun
