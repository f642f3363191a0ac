"""Settings that planners share, checked where they are made so that a wrong one is named before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import MAX_SEED

PARAMETERIZATIONS = ("free", "held", "spline-zero", "spline-linear", "spline-cubic")
RETURNS = ("best", "mean")
COMPILE = ("no", "default", "graphs")


@dataclass(frozen=True)
class PlannerConfig:
    """What every planner has.

    Attributes:
        num_samples: candidates in one iteration.
        num_iterations: rounds of proposing and judging candidates.
        horizon: model steps a plan looks ahead.
        init_std: deviation of the first candidates as a fraction of half the action range: 1.0 is half the range.
        parameterization: what is searched. "free": every robot step; "held": one action a model step;
            "spline-zero", "spline-linear", "spline-cubic": knots at absolute times with that interpolation.
        knot_spacing: robot steps between two knots of a spline.
        returns: "best" gives the best candidate seen; "mean" the final nominal plan, as most published planners do.
        final_mean: judge the nominal plan of the last iteration as one more candidate.
        seed: for the generators made when the planner is used without reset().
        compile: "default" has torch.compile make the model's rollouts, "graphs" as CUDA graphs too; "no" neither. It
            is done before the first plan, which takes minutes, and needs a C++ compiler or a GPU.
    """

    num_samples: int = 300
    num_iterations: int = 30
    horizon: int = 5
    init_std: float = 1.0
    parameterization: str = "free"
    knot_spacing: int = 5
    returns: str = "best"
    final_mean: bool = True
    seed: int = 0
    compile: str = "no"

    def __post_init__(self) -> None:
        convert_fields(self)
        for name in ("num_samples", "num_iterations", "horizon", "knot_spacing"):
            self.check(name, 1, math.inf)
        self.check("init_std", 0.0, math.inf)
        self.check("seed", 0, MAX_SEED)
        self.check_choice("parameterization", PARAMETERIZATIONS)
        self.check_choice("returns", RETURNS)
        self.check_choice("compile", COMPILE)

    def check(self, name: str, low: float, high: float) -> None:
        """Raise a ValueError unless low <= the setting <= high and it is finite."""
        value = getattr(self, name)
        if not (low <= value <= high and math.isfinite(value)):
            limit = f"at least {low}" if math.isinf(high) else f"from {low} to {high}"
            raise UserError(f"{name} must be {limit}, got {value}")

    def check_share(self, name: str, low: int, whole: str) -> None:
        """Raise a UserError unless low <= the setting <= that of `whole`; either may have been left at its default."""
        value, most = getattr(self, name), getattr(self, whole)
        if not low <= value <= most:
            default = value == getattr(type(self), name)
            hint = f", its default: give {name} too" if default else ""
            raise UserError(f"{name} must be from {low} to {whole}, which is {most}, got {value}{hint}")

    def check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        """Raise a ValueError unless the setting is one of the choices."""
        value = getattr(self, name)
        if value not in choices:
            raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True)
class SamplerConfig(PlannerConfig):
    """What the planners share that sample around a nominal plan.

    Attributes:
        noise_beta: exponent of the noise's spectrum along robot steps, power ~ 1 / f^beta: 0 is white.
        min_std: floor under the deviation, as a fraction of half the action range.
        cold_start_samples: candidates in the first iteration of a search that has no plan before it to start from, and
            half as many in each that follows, as long as that is more than it would be anyway; 1 for no more. The
            first plan decides from which side a thing is pushed; those that follow only improve it.
    """

    noise_beta: float = 0.0
    min_std: float = 0.05
    cold_start_samples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("cold_start_samples", 1, math.inf)
        self.check("noise_beta", 0.0, 10.0)
        self.check("min_std", 0.0, math.inf)
