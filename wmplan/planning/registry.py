"""Planners by name, for configuration files and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.config import PlannerConfig
from wmplan.planning.gradient import Gradient, GradientConfig
from wmplan.planning.hybrid import Hybrid, HybridConfig
from wmplan.planning.icem import ICEM, ICEMConfig
from wmplan.planning.mppi import MPPI, MPPIConfig
from wmplan.planning.planner import Planner
from wmplan.planning.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig

PLANNERS: dict[str, tuple[type[Planner], type[PlannerConfig]]] = {
    "cem": (CEM, CEMConfig),
    "icem": (ICEM, ICEMConfig),
    "mppi": (MPPI, MPPIConfig),
    "predictive_sampling": (PredictiveSampling, PredictiveSamplingConfig),
    "gradient": (Gradient, GradientConfig),
    "hybrid": (Hybrid, HybridConfig),
}


def make_config(name: str, **settings: Any) -> PlannerConfig:
    """The settings of a planner; those left out have its defaults.

    Raises:
        ValueError: if there is no such planner or setting, or the value is wrong; it says which there are.
    """
    if name not in PLANNERS:
        raise ValueError(f"there is no planner {name!r}; there are {', '.join(PLANNERS)}")
    config_class = PLANNERS[name][1]
    known = [field.name for field in fields(config_class)]
    for key in settings:
        if key not in known:
            raise ValueError(f"planner {name} has no setting {key!r}; it has {', '.join(known)}")
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
    return PLANNERS[name][0](config, low, high, action_block=action_block, device=device)
