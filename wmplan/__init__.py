"""Plan robot actions in the latent space of a JEPA world model.

The names below are imported when they are first used: `import wmplan` loads no simulator, no torch and no plotting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wmplan import deprecated
from wmplan.lazy import export

if TYPE_CHECKING:
    from wmplan import control as control
    from wmplan import data as data
    from wmplan import evaluation as evaluation
    from wmplan import models as models
    from wmplan import planning as planning
    from wmplan import training as training
    from wmplan.control import Controller as Controller
    from wmplan.control import Limits as Limits
    from wmplan.evaluation.evaluate import evaluate as evaluate
    from wmplan.models import ModelSpec as ModelSpec
    from wmplan.models import WorldModel as WorldModel
    from wmplan.models import load as load
    from wmplan.planning import Plan as Plan
    from wmplan.planning import Planner as Planner
    from wmplan.registry import register_core as register_core
    from wmplan.registry import register_encoder as register_encoder
    from wmplan.registry import register_exam as register_exam
    from wmplan.registry import register_objective as register_objective
    from wmplan.registry import register_planner as register_planner
    from wmplan.registry import register_predictor as register_predictor
    from wmplan.registry import register_reader as register_reader
    from wmplan.registry import register_task as register_task

__version__ = "0.1.0"

deprecated.install()

__all__ = export(
    __name__,
    {
        ".control": "Controller Limits",
        ".evaluation.evaluate": "evaluate",
        ".models": "ModelSpec WorldModel load",
        ".planning": "Plan Planner",
        ".registry": "register_core register_encoder register_exam register_objective register_planner "
        "register_predictor register_reader register_task",
    },
    subpackages=("control", "data", "evaluation", "models", "planning", "training"),
)
__all__ += ["__version__"]
