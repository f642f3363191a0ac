"""Planners: searches over action sequences that see nothing but a function from candidates to costs."""

from wmplan.deprecated import renamed
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.constraints import FrozenPrefix, HardConstraint, RateLimit, SoftConstraint
from wmplan.planning.cost import LatentCost
from wmplan.planning.gradient import Gradient, GradientConfig
from wmplan.planning.hybrid import Hybrid, HybridConfig
from wmplan.planning.icem import ICEM, ICEMConfig
from wmplan.planning.mppi import MPPI, MPPIConfig
from wmplan.planning.objectives.registry import (
    ActionPenalty,
    CriticDistance,
    LatentDistance,
    Objective,
    ProprioDistance,
    SwitchByDistance,
    WeightedSum,
    make_objective,
)
from wmplan.planning.planner import Cost, Plan, Planner, environment_generators
from wmplan.planning.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig
from wmplan.planning.registry import PLANNERS, make_config, make_planner
from wmplan.planning.warm_start import WarmStart, shift_plan

__all__ = [
    "ActionPenalty",
    "CEM",
    "CEMConfig",
    "Cost",
    "CriticDistance",
    "FrozenPrefix",
    "Gradient",
    "GradientConfig",
    "Hybrid",
    "HybridConfig",
    "ICEM",
    "ICEMConfig",
    "LatentCost",
    "LatentDistance",
    "MPPI",
    "MPPIConfig",
    "Objective",
    "PLANNERS",
    "SoftConstraint",
    "Plan",
    "Planner",
    "PredictiveSampling",
    "PredictiveSamplingConfig",
    "ProprioDistance",
    "RateLimit",
    "HardConstraint",
    "SwitchByDistance",
    "WarmStart",
    "WeightedSum",
    "environment_generators",
    "make_config",
    "make_objective",
    "make_planner",
    "shift_plan",
]

__getattr__ = renamed(
    __name__,
    {
        "OracleCost": "wmplan.evaluation.oracle.OracleCost",
        "Penalty": f"{__name__}.SoftConstraint",
        "Rejection": f"{__name__}.HardConstraint",
    },
)
