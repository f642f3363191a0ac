"""The goal that a server's clients have until they set one: pictures, and masks where they count, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wmplan.client.goals import MaskedGoal
from wmplan.control.goal_image import read_goal_image, read_goal_mask
from wmplan.errors import UserError
from wmplan.models import ModelSpec


def read_goal(goal: Path | dict[str, Path] | None, mask: Path | dict[str, Path] | None, spec: ModelSpec) -> Any:
    """The goal that pictures show, and masks where they count, None for none.

    Raises:
        UserError: where a picture is missing or does not fit, or there is no such camera.
    """
    if goal is None:
        if mask is not None:
            raise UserError("goal_mask is given without goal, the picture that it is of")
        return None
    pictures, masks = (named("goal", goal, spec.cameras), named("goal_mask", mask or {}, spec.cameras))
    if lost := [camera for camera in spec.cameras if camera not in pictures]:
        wanted = " ".join(f"goal.{camera}=FILE" for camera in spec.cameras)
        raise UserError(f"goal: there is no picture of {lost[0]!r}, the model sees {', '.join(spec.cameras)}: {wanted}")
    images: Any = {camera: read_goal_image(path, spec.image_size) for camera, path in pictures.items()}
    if not masks:
        return images if len(images) > 1 else next(iter(images.values()))
    insides: Any = {camera: read_goal_mask(path, spec.image_size) for camera, path in masks.items()}
    try:
        if len(images) > 1:
            return MaskedGoal(images, insides)
        return MaskedGoal(*(next(iter(one.values())) for one in (images, insides)))
    except ValueError as error:
        raise UserError(f"goal_mask={mask}: {error}") from None


def named(setting: str, given: Path | dict[str, Path], cameras: Sequence[str]) -> dict[str, Path]:
    """Files by camera, from those, or from the one of the only camera."""
    if not isinstance(given, dict):
        if len(cameras) > 1:
            wanted = " ".join(f"{setting}.{camera}=FILE" for camera in cameras)
            raise UserError(f"{setting}: the model sees {', '.join(cameras)}: {wanted}")
        return {cameras[0]: given}
    if unknown := [name for name in given if name not in cameras]:
        raise UserError(f"{setting}.{unknown[0]}: the model has no such camera, it sees {', '.join(cameras)}")
    return given
