"""Plan robot actions in the latent space of a JEPA world model.

The names below are imported when they are first used: `import wmplan` loads no simulator, no torch and no plotting.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wmplan import deprecated

if TYPE_CHECKING:
    from wmplan import control, data, evaluation, models, planning, training
    from wmplan.control import Controller, Limits
    from wmplan.evaluation.evaluate import evaluate
    from wmplan.models import ModelSpec, WorldModel, load
    from wmplan.planning import Plan, Planner
    from wmplan.registry import (
        register_core,
        register_encoder,
        register_objective,
        register_planner,
        register_predictor,
        register_reader,
        register_task,
    )

__version__ = "0.1.0"

deprecated.install()

__all__ = [
    "Controller",
    "Limits",
    "ModelSpec",
    "Plan",
    "Planner",
    "WorldModel",
    "__version__",
    "control",
    "data",
    "evaluate",
    "evaluation",
    "load",
    "models",
    "planning",
    "register_core",
    "register_encoder",
    "register_objective",
    "register_planner",
    "register_predictor",
    "register_reader",
    "register_task",
    "training",
]

_HOME = {
    "Controller": "wmplan.control",
    "Limits": "wmplan.control",
    "ModelSpec": "wmplan.models",
    "Plan": "wmplan.planning",
    "Planner": "wmplan.planning",
    "WorldModel": "wmplan.models",
    "evaluate": "wmplan.evaluation.evaluate",
    "load": "wmplan.models",
    "register_core": "wmplan.registry",
    "register_encoder": "wmplan.registry",
    "register_objective": "wmplan.registry",
    "register_planner": "wmplan.registry",
    "register_predictor": "wmplan.registry",
    "register_reader": "wmplan.registry",
    "register_task": "wmplan.registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"wmplan.{name}")
    else:
        raise AttributeError(f"module 'wmplan' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
