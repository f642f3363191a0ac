"""What the numbers of an action may be, by name. What plans of each kind keep to is in wmplan.planning.action_kinds."""

from __future__ import annotations

from typing import Literal, get_args

ActionKind = Literal["velocity", "delta", "absolute", "rotation_6d", "gripper"]
"""A velocity; a displacement in one robot step; a position; a number of a rotation, the first two columns of its matrix
(Zhou et al. 2019, On the Continuity of Rotation Representations); a gripper that is open or closed."""
KINDS: tuple[str, ...] = get_args(ActionKind)
HELD = ("absolute", "rotation_6d", "gripper")
"""Of these a robot that is to stand still is sent what it was sent last; of the others zero."""
