"""Scenes of the intuitive-physics exam: what `wmplan physics exam=scenes` takes its clips from.

Importing this loads no simulator: that is loaded when the scenes are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan.registry import register_exam

if TYPE_CHECKING:
    from wmplan.envs.physics_exam.scenes import Scenes


@register_exam("scenes")
def scenes(image_size: tuple[int, int] = (64, 64)) -> Scenes:
    """Objects that slide, fly, bounce and pass behind screens; no robot."""
    from wmplan.envs.physics_exam.scenes import Scenes

    return Scenes(image_size)
