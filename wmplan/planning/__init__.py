"""Planners: searches over action sequences that see nothing but a function from candidates to costs."""

from wmplan.deprecated import renamed
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.config import PlannerConfig
from wmplan.planning.constraints import FrozenPrefix, HardConstraint, RateLimit, SoftConstraint
from wmplan.planning.cost import LatentCost
from wmplan.planning.cost_function import Cost, CostFunction, Evaluation
from wmplan.planning.elites import Elites, Slopes
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
    WorkspaceLimit,
    make_objective,
)
from wmplan.planning.plan import Plan
from wmplan.planning.plan_arguments import environment_generators
from wmplan.planning.planner import Planner
from wmplan.planning.predictive_sampling import PredictiveSampling, PredictiveSamplingConfig
from wmplan.planning.registry import PLANNERS, make_config, make_planner
from wmplan.planning.search_state import Distribution, SearchSpace
from wmplan.planning.warm_start import WarmStart, shift_plan

__all__ = [
    "ActionPenalty",
    "CEM",
    "CEMConfig",
    "Cost",
    "CostFunction",
    "CriticDistance",
    "Distribution",
    "Elites",
    "Evaluation",
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
    "PlannerConfig",
    "PredictiveSampling",
    "PredictiveSamplingConfig",
    "ProprioDistance",
    "SearchSpace",
    "Slopes",
    "RateLimit",
    "HardConstraint",
    "SwitchByDistance",
    "WarmStart",
    "WeightedSum",
    "WorkspaceLimit",
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
