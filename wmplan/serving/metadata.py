"""What a client is told of the model that plans for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wmplan.client.plan_request import PROTOCOL
from wmplan.serving.messages import Shapes

if TYPE_CHECKING:
    from wmplan.models.base import ModelSpec


def read_shapes(spec: ModelSpec, horizon: int) -> Shapes:
    """What a model takes, its plans being `horizon` model steps long."""
    return Shapes(spec.cameras, spec.image_size, spec.proprio_dim, spec.action_dim, horizon * spec.action_block)


def make_metadata(spec: ModelSpec, card: Mapping[str, Any], horizon: int, replan_every: int) -> dict[str, Any]:
    """The first message of a session.

    `action_kinds` says what each number of an action is: a robot that is to stand still is sent its positions,
    rotations and grippers as before, and zero of the rest; `action_measured` which number of proprio measures it.
    `action_horizon` is how many robot steps of each reply are to be executed, `horizon` how many a plan has at most;
    actions and proprio are in the robot's own units, and a robot step lasts 1 / control_rate seconds.
    """
    return {
        "protocol": PROTOCOL,
        "action_horizon": replan_every,
        "action_low": list(map(float, spec.action_low)),
        "action_high": list(map(float, spec.action_high)),
        "action_dim": spec.action_dim,
        "action_kinds": list(spec.action_kinds),
        "action_measured": list(spec.action_measured),
        "control_rate": float(spec.control_rate),
        "horizon": horizon * spec.action_block,
        "image_size": list(spec.image_size),
        "cameras": list(spec.cameras),
        "proprio_dim": spec.proprio_dim,
        "model": card.get("name"),
        "task": card.get("task"),
    }
