"""Planners by name, for configuration files and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from wmplan.errors import UserError
from wmplan.planning.config import PlannerConfig
from wmplan.planning.planner import Planner
from wmplan.registry import PLANNERS

__all__ = ["PLANNERS", "make_config", "make_planner"]


def make_config(name: str, **settings: Any) -> PlannerConfig:
    """The settings of a planner; those left out have its defaults.

    Raises:
        ValueError: if there is no such planner or setting, or the value is wrong; it says which there are.
    """
    config_class = PLANNERS[name].config
    known = [field.name for field in fields(config_class)]
    for key in settings:
        if key not in known:
            raise UserError(f"planner {name} has no setting {key!r}; it has {', '.join(known)}")
    return config_class(**settings)


def make_planner(
    name: str,
    low: Tensor | Sequence[float],
    high: Tensor | Sequence[float],
    *,
    action_block: int,
    device: torch.device | str = "cpu",
    **settings: Any,
) -> Planner:
    """A planner by its name, see Planner and make_config()."""
    config = make_config(name, **settings)
    return PLANNERS[name].planner(config, low, high, action_block=action_block, device=device)
