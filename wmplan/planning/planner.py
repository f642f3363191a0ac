"""What every planner is: a search over action sequences that sees nothing but a function from candidates to costs."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from wmplan.planning.config import PlannerConfig
from wmplan.planning.constraints import Constraint
from wmplan.planning.memory import require_memory
from wmplan.planning.parameterization import Parameterization
from wmplan.planning.scoring import Judge
from wmplan.planning.warm_start import WarmStart, fit_horizon
from wmplan.settings.numbers import MAX_SEED, whole_number, whole_numbers

Cost = Callable[[Tensor], Tensor]
"""From candidates, float32 of shape (B, S, H, A), to costs of shape (B, S), of any real type; lower is better."""


@dataclass
class Plan:
    """The best action sequences a search has seen.

    Attributes:
        actions: in the units of the bounds, of shape (B, H, A).
        cost: of shape (B,), float64 where the cost function's are wide, else float32; +inf where no candidate had a
            finite cost.
        diagnostics: `cost_by_iteration`, the best new candidate's (iterations, B); `effective_sample_size`
            (iterations, B); `non_finite`, the number of candidates without a finite cost (B,); `all_non_finite`
            (B,), where the nominal plan was kept; `feasible` (B,), whether the hard constraints are kept;
            `iterations`; `plan_ms`, of it `cost_ms` in the cost function; `iteration_ms`, the longest iteration;
            `overrun_ms` past the deadline, where there was one; with record=True, `candidates` and
            `candidate_costs`: lists over iterations of (B, S, H, A) and (B, S).
    """

    actions: Tensor
    cost: Tensor
    diagnostics: dict[str, Any] = field(default_factory=dict)


def environment_generators(seeds: Sequence[int] | int, device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator for each environment, so that no plan depends on the others in its batch.

    Raises:
        ValueError: unless the seeds are whole numbers from 0 to 2**63 - 1.
    """
    return [torch.Generator(device).manual_seed(seed) for seed in whole_numbers(seeds, "seeds", 0, MAX_SEED)]


@dataclass
class Search:
    """What one call of plan() works on. Points are what is searched, D numbers each: see Parameterization."""

    space: Parameterization
    generators: Sequence[torch.Generator]
    low: Tensor  # (D,)
    high: Tensor  # (D,)
    half: Tensor  # (D,), half the range
    mean: Tensor  # (B, D)
    std: Tensor  # (B, D)
    extra: Tensor | None = None  # (B, E, D), points to try first
    points: Tensor = field(init=False)  # (B, S, D), the last ones judged
    gradient: Tensor | None = None  # (B, S, D), of the cost at them
    elites: Tensor | None = None  # (B, E, D), best first
    elite_keys: Tensor | None = None  # (B, E), ascending: costs, but any that breaks a hard constraint comes last
    elite_costs: Tensor | None = None  # (B, E)
    elite_violation: Tensor | None = None  # (B, E)

    @property
    def batch(self) -> int:
        """B, environments planned together."""
        return self.mean.shape[0]


class Planner(ABC):
    """Proposes candidates, has them judged, learns from the best, and returns the best it has seen.

    Args:
        config: the settings.
        low, high: bounds of one model step's action, of shape (A,), finite; equal ones fix that action.
        action_block: robot steps in one model step; A is a multiple of it.
        device: where candidates are made.

    Raises:
        ValueError: naming the argument that is wrong.
    """

    config_class: ClassVar[type[PlannerConfig]] = PlannerConfig

    def __init__(
        self,
        config: PlannerConfig,
        low: Tensor | Sequence[float],
        high: Tensor | Sequence[float],
        *,
        action_block: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if not isinstance(config, self.config_class):
            raise ValueError(f"config is a {type(config).__name__}, it has to be a {self.config_class.__name__}")
        self.config, self.device = config, torch.device(device)
        self.low, self.high = (  # in memory of their own
            torch.as_tensor(bound, dtype=torch.float32).to(self.device, copy=True) for bound in (low, high)
        )
        if self.low.ndim != 1 or self.low.shape != self.high.shape or not len(self.low):
            raise ValueError(
                f"low and high have shapes {tuple(self.low.shape)} and {tuple(self.high.shape)}, they have to be (A,)"
            )
        if not bool(torch.isfinite(self.low).all() and torch.isfinite(self.high).all()):
            raise ValueError(
                "low and high have to be finite: the deviation of the candidates is a fraction of the range"
            )
        if bool((self.low > self.high).any()):
            raise ValueError("low is above high in some dimension")
        if action_block < 1 or len(self.low) % action_block:
            raise ValueError(f"action_block is {action_block}, it has to divide the {len(self.low)} entries of low")
        self.action_block, self.action_dim = action_block, len(self.low) // action_block
        if config.parameterization != "free":
            for bound in (self.low, self.high):
                if not bool((bound.view(action_block, -1) == bound[: self.action_dim]).all()):
                    raise ValueError(
                        f"low and high differ within a block; {config.parameterization!r} needs them equal"
                    )
        self._require_memory(1, config.horizon)
        self.generators: list[torch.Generator] = []
        self.forget()

    # ------------------------------------------------------------------ what a planner adds

    @property
    def num_iterations(self) -> int:
        """Rounds of proposing and judging."""
        return self.config.num_iterations

    @abstractmethod
    def propose(self, search: Search, iteration: int) -> Tensor:
        """Points to judge next, within bounds, of shape (B, S, D); the first is the nominal plan."""

    @abstractmethod
    def update(self, search: Search, iteration: int) -> Tensor | None:
        """Learn from search.elites, or from search.gradient. Gives the effective sample size, (B,), if it has one."""

    def num_elites(self, samples: int, iteration: int) -> int:
        """How many of the best of `samples` candidates update() reads."""
        return 1

    def num_kept(self) -> int:
        """How many elites stand beside the next iteration's candidates, their costs remembered."""
        return 0

    def differentiates(self, iteration: int) -> bool:
        """Whether update() reads search.gradient."""
        return False

    # ------------------------------------------------------------------ planning

    def reset(self, seeds: Sequence[int] | int) -> None:
        """Begin anew with one environment for each seed (one number is one); its plans depend on its seed alone."""
        self.generators = environment_generators(seeds, self.device)
        self.forget()

    def forget(self) -> None:
        """Drop what the next plan would be warm-started with."""
        self.warm_start = WarmStart()

    @torch.no_grad()
    def plan(
        self,
        cost: Cost,
        *,
        nominal: Tensor | None = None,
        generators: Sequence[torch.Generator] | None = None,
        horizon: int | None = None,
        elapsed: int | None = None,
        deadline_ms: float | None = None,
        constraints: Sequence[Constraint] = (),
        record: bool = False,
    ) -> Plan:
        """Search for the action sequences of lowest cost.

        Args:
            cost: from candidates (B, S, H, A) to costs (B, S), the same for the same candidate within one plan.
            nominal: where to start, (B, H', A), cut or held to the horizon. Left out: the plan before, shifted by
                `elapsed`; without that zeros, clipped into the bounds.
            generators: one for each environment, in place of those of reset().
            horizon: model steps, in place of the setting.
            elapsed: robot steps since the plan before. It shifts what is carried over (plan, elites, spline
                knots); left out, nothing is.
            deadline_ms: stop when another iteration would probably end later than this after the call; at least
                one is run, so the overrun is at most one iteration.
            constraints: rate limits, and soft and hard constraints on actions.
            record: keep all candidates and costs in the diagnostics.

        Raises:
            ValueError: naming what is wrong with an argument or with what the cost returned.
        """
        started = time.perf_counter()
        horizon = whole_number(self.config.horizon if horizon is None else horizon, "horizon", 1)
        if deadline_ms is not None and not deadline_ms >= 0:
            raise ValueError(f"deadline_ms is {deadline_ms}, it has to be at least 0")
        if elapsed is None:
            self.forget()
        else:
            elapsed = whole_number(elapsed, "elapsed", 0)
        warm = self.warm_start.shifted(elapsed or 0, self.action_dim)
        if nominal is not None and (nominal.ndim != 3 or nominal.shape[1] < 1 or nominal.shape[2] != len(self.low)):
            raise ValueError(f"nominal has shape {tuple(nominal.shape)}, it has to be (B, H, {len(self.low)})")
        generators = self._generators(generators, nominal)
        self._require_memory(len(generators), horizon)
        nominal = self._nominal(nominal, len(generators), horizon, warm)
        search = self._search(nominal, generators, horizon, warm)
        judge = Judge(cost, constraints, search.space, self.action_dim, self.low, self.high, record)

        sizes, longest, iteration = [], 0.0, 0
        for iteration in range(self.num_iterations):
            begun = time.perf_counter()
            if iteration and deadline_ms is not None and begun - started + longest > deadline_ms / 1e3:
                break
            points = self.propose(search, iteration)
            judge(
                search,
                points,
                self.num_elites(points.shape[1], iteration),
                self.num_kept(),
                self.differentiates(iteration),
            )
            size = self.update(search, iteration)
            sizes.append(search.mean.new_ones(search.batch) if size is None else size)
            longest = max(longest, time.perf_counter() - begun)
        late = deadline_ms is not None and time.perf_counter() - started > deadline_ms / 1e3
        if self.config.returns == "mean" or (self.config.final_mean and not late):
            judge.final(search, self.config.returns == "mean")

        lost = torch.isinf(judge.best_cost)
        found = search.space.actions(judge.best_points)
        if bool(lost.any()):
            found = torch.where(lost[:, None, None], nominal.clamp(self.low, self.high), found)
        actions = judge.allowed(found[:, None])[:, 0]
        elites = search.space.actions(search.elites) if search.elites is not None and self.num_kept() else None
        self.warm_start = WarmStart(found, elites, warm.clock)
        spent = 1e3 * (time.perf_counter() - started)
        diagnostics = judge.diagnostics | {
            "effective_sample_size": torch.stack(sizes),
            "all_non_finite": lost,
            "iterations": len(sizes),
            "plan_ms": spent,
            "iteration_ms": 1e3 * longest,
        }
        if deadline_ms is not None:
            diagnostics["overrun_ms"] = max(0.0, spent - deadline_ms)
        return Plan(actions.clone(), judge.best_cost, diagnostics)  # the next search starts from the actions

    def _require_memory(self, batch: int, horizon: int) -> None:
        require_memory(self.config, batch, horizon, self.action_block, self.action_dim, self.device)

    def _generators(self, given: Sequence[torch.Generator] | None, nominal: Tensor | None) -> Sequence[torch.Generator]:
        batch = nominal.shape[0] if nominal is not None else 1
        if given is None and not self.generators:
            seeds = [np.random.SeedSequence([self.config.seed, index]) for index in range(batch)]
            self.generators = environment_generators([int(s.generate_state(1)[0]) for s in seeds], self.device)
        generators = self.generators if given is None else given
        if nominal is not None and len(generators) != batch:
            raise ValueError(
                f"nominal is for {batch} environments, there are {len(generators)} generators: reset(seeds) sets them"
            )
        return generators

    def _nominal(self, given: Tensor | None, batch: int, horizon: int, warm: WarmStart) -> Tensor:
        if given is None and warm.actions is not None and len(warm.actions) == batch:
            return fit_horizon(warm.actions, horizon, self.action_dim)  # bounds would bend what splines overshoot them
        if given is None:
            nominal = torch.zeros(batch, horizon, len(self.low), device=self.device)
        else:
            nominal = given.detach().to(self.device, torch.float32)
            if not bool(torch.isfinite(nominal).all()):
                raise ValueError("nominal holds numbers that are not finite")
        return fit_horizon(nominal, horizon, self.action_dim).clamp(self.low, self.high)

    def _search(self, nominal: Tensor, generators: Sequence[torch.Generator], horizon: int, warm: WarmStart) -> Search:
        config = self.config
        space = Parameterization(
            config.parameterization,
            horizon,
            self.action_block,
            self.action_dim,
            config.knot_spacing,
            warm.clock,
            self.device,
        )
        if space.free:
            low, high = self.low.repeat(horizon), self.high.repeat(horizon)
        else:
            low, high = (bound[: self.action_dim].repeat(space.num_knots) for bound in (self.low, self.high))
        half = (high - low) / 2
        mean = space.points(nominal).clamp(low, high)
        extra = None
        if warm.elites is not None and len(warm.elites) == len(nominal):
            extra = space.points(fit_horizon(warm.elites, horizon, self.action_dim)).clamp(low, high)
        return Search(space, generators, low, high, half, mean, (config.init_std * half).expand_as(mean), extra)
