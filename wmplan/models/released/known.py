"""What is known of the releases beside their weights: licence, statistics of actions and state, planner settings.

Figures are those that the reference projects publish with their code and configurations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of one robot step's action, and of the robot's state; action_block is 5 in all."""

    action_mean: tuple[float, ...]
    action_std: tuple[float, ...]
    proprio_mean: tuple[float, ...]
    proprio_std: tuple[float, ...]


STATISTICS = {
    "pusht": Statistics(
        (-0.0087, 0.0068),
        (0.2019, 0.2002),
        (236.6155, 264.5674, -2.93032027, 2.54307914),
        (101.1202, 87.0112, 74.84556075, 74.14009094),
    ),
    "metaworld": Statistics(
        (0.005723577458411455, 0.15735651552677155, -0.1396457850933075, 0.1998193860054016),
        (0.7359239459037781, 0.73408043384552, 0.7182977199554443, 0.743205726146698),
        (-0.0029392109718173742, 0.6544238924980164, 0.15410053730010986, 0.6402314901351929),
        (0.10431358963251114, 0.11230525374412537, 0.07981759309768677, 0.26138949394226074),
    ),
    "pointmaze": Statistics(
        (7.821338658686727e-05, 0.0006003659800626338),
        (0.5769129991531372, 0.577587902545929),
        (1.8130563497543335, 1.9377127885818481, -0.0039275349117815495, -0.019777977839112282),
        (1.0055010318756104, 0.9630089402198792, 1.6802769899368286, 1.9319307804107666),
    ),
    "wall": Statistics(
        (-0.005564616061747074, 0.013197818771004677),
        (0.752332866191864, 0.7466897964477539),
        (31.89451026916504, 31.81402015686035),
        (17.663522720336914, 17.27516746520996),
    ),
}


@dataclass(frozen=True)
class Preset:
    """How a family was planned with in its paper.

    Attributes:
        planner: name and settings, as make_planner takes them. init_std is a fraction of half the action range there;
            the references sample with std 1 in normalised units.
        objective: options of the model's native_objective().
        action_low, action_high: bounds of a robot step, where the reference sets them.
    """

    licence: str
    planner: dict[str, Any]
    objective: dict[str, Any] = field(default_factory=dict)
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()

    def planning(self) -> dict[str, Any]:
        """As a model's card holds it."""
        return {"planner": self.planner, "objective": {"native": self.objective}}


def cem(samples: int, iterations: int, elites: int, horizon: int) -> dict[str, Any]:
    sizes = {"num_samples": samples, "num_iterations": iterations, "num_elites": elites, "horizon": horizon}
    return {"name": "cem", **sizes}


PRESETS = {
    "lewm": Preset("MIT", cem(300, 30, 30, 5)),
    "dino_wm": Preset("MIT", cem(300, 30, 30, 5), {"alpha": 1.0}),
    "jepa_wm": Preset("CC-BY-NC-4.0 (non-commercial)", cem(300, 30, 10, 6), {"alpha": 0.1}),
    # The hand does not turn; the gripper moves by at most 0.75.
    "vjepa2_ac": Preset(
        "MIT",
        cem(800, 10, 10, 1),
        action_low=(-0.075, -0.075, -0.075, 0.0, 0.0, 0.0, -0.75),
        action_high=(0.075, 0.075, 0.075, 0.0, 0.0, 0.0, 0.75),
    ),
}
# The frozen encoders that the patch models were trained on.
ENCODERS = {384: "facebook/dinov2-small", 1024: "facebook/dinov3-vitl16-pretrain-lvd1689m"}


def known_statistics(path: Path) -> tuple[str, Statistics] | None:
    """Task and statistics of a release whose file or folder is called after a task, such as jepa_wm_pusht.pth.tar.

    LeWM's releases do not state theirs, so that none are taken for granted there.
    """
    for part in (path.name, path.parent.name):
        for task, statistics in STATISTICS.items():
            if re.search(rf"(^|[_-]){task}([_.-]|$)", part) and "lewm" not in part:
                return task, statistics
    return None
