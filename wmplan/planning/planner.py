"""Planners: searches for the actions of least cost, which see nothing but a function from candidates to costs.

For each of B robots on its own, a planner looks for the actions of the next H model steps,

    minimise over u(0) ... u(H-1)    J( z0, u )

    subject to    low <= u(k) <= high            for every model step k
                  |v(t) - v(t-1)| <= max_change  for every robot step t, v(t) being the robot steps in u   (RateLimit)
                  v(t) = committed(t)            for the first of them                                  (FrozenPrefix)
                  g( z0, u ) <= 0                for every g that must hold                           (HardConstraint)

J is the cost that plan() is given, soft constraints being terms of it. It alone knows z0, where the robots are now.
What is searched are points x of D numbers, u(x) being linear in x (Parameterization). One iteration is

    propose    points x(1) ... x(S), the first being the nominal plan
    score      J( z0, u(x(i)) ) and the constraints of all; the best are the elites
    update     the distribution over points, from the elites

and the plan is the best candidate that any iteration has scored. An algorithm is propose() and update().
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor

from wmplan.device import synchronise
from wmplan.errors import UserError
from wmplan.planning.config import PlannerConfig
from wmplan.planning.constraints import Constraint
from wmplan.planning.cost_function import Cost, CostFunction, as_cost
from wmplan.planning.elites import Best, Elites
from wmplan.planning.memory import require_memory
from wmplan.planning.plan import Plan
from wmplan.planning.plan_arguments import (
    default_generators,
    environment_generators,
    read_bounds,
    read_nominal,
    require_equal_steps,
)
from wmplan.planning.scoring import Scorer
from wmplan.planning.search_clock import SearchClock
from wmplan.planning.search_state import Box, Distribution, SearchSpace, begin_search, stacked_sizes
from wmplan.planning.warm_start import WarmStart, first_nominal
from wmplan.settings.numbers import whole_number

MAX_BOXES = 32
"""Lengths of plans whose points are remembered: a plan's horizon shrinks towards its arrival."""
Seen = TypeVar("Seen", bound=Elites)
"""What update() learns from: Elites, or Slopes where the planner reads gradients."""


class Planner(ABC, Generic[Seen]):
    """Minimises a cost over action sequences; a subclass says how, in propose() and update().

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
            raise UserError(f"config must be a {self.config_class.__name__}, got a {type(config).__name__}")
        self.config, self.device = config, torch.device(device)
        self.low, self.high = read_bounds(low, high, action_block, self.device)
        require_equal_steps(self.low, self.high, action_block, config.parameterization)
        self.action_block, self.action_dim = action_block, len(self.low) // action_block
        self._require_memory(1, config.horizon)
        self.generators: list[torch.Generator] = []
        self._boxes: dict[tuple[int, int], Box] = {}
        self.forget()

    # ------------------------------------------------------------------ the algorithm

    @abstractmethod
    def propose(self, state: Distribution, space: SearchSpace, iteration: int) -> Tensor:
        """Points to score next, within the space's bounds, (B, S, D); the first is the nominal plan, state.mean."""

    @abstractmethod
    def update(self, state: Distribution, elites: Seen, space: SearchSpace, iteration: int) -> Distribution:
        """What to search with next, learned from the best of the points that were proposed, elites.points (B, E, D)."""

    @property
    def num_iterations(self) -> int:
        """Iterations of one search."""
        return self.config.num_iterations

    def num_candidates(self, iteration: int, space: SearchSpace) -> int:
        """How many points propose() gives; a deadline is kept by it."""
        return self.config.num_samples

    def num_elites(self, samples: int) -> int:
        """How many of the best of `samples` candidates update() reads."""
        return 1

    def num_kept(self) -> int:
        """How many elites stand beside the next iteration's candidates, their costs remembered."""
        return 0

    def differentiates(self, iteration: int) -> bool:
        """Whether update() reads gradients: elites are then Slopes."""
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
        cost: Cost | CostFunction,
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
            cost: from candidates (B, S, H, A) to costs (B, S), the same for the same candidate within one plan; a
                Cost where it knows of constraints.
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
        clock = SearchClock(deadline_ms)
        horizon = whole_number(self.config.horizon if horizon is None else horizon, "horizon", 1)
        warm = self._warm_start(elapsed)
        start, generators = self._start(nominal, generators, horizon, warm)  # (B, H, A)
        space, state = begin_search(self._box(horizon, warm.clock), start, self.config.init_std, warm, generators)
        score = Scorer(as_cost(cost), constraints, space, self.low, self.high, record)

        seen, sizes = [], []  # of each iteration
        for iteration in clock.iterations(
            self.num_iterations, lambda number: self.num_candidates(number, space), lambda: synchronise(self.device)
        ):
            points = self.propose(state, space, iteration)  # (B, S, D)
            kept, slopes = self.num_kept(), self.differentiates(iteration)
            elites = score(points, self.num_elites(points.shape[1]), kept, slopes)
            state = self.update(state, cast(Seen, elites), space, iteration)
            seen.append(elites.best)
            sizes.append(state.sample_size)
        best = reduce(Best.or_better, seen)
        if self.config.returns == "mean":
            best = best.or_finite(score.nominal(state.mean))
        elif self.config.final_mean and not clock.is_late:
            best = best.or_better(score.nominal(state.mean))

        lost = torch.isinf(best.costs)  # (B,), no candidate counted: the nominal plan is kept
        found = space.parameterization.actions(best.points)  # (B, H, A)
        if bool(lost.any()):
            found = torch.where(lost[:, None, None], start.clamp(self.low, self.high), found)
        kept_elites = space.parameterization.actions(elites.points) if self.num_kept() else None
        self.warm_start = WarmStart(found, kept_elites, warm.clock)
        diagnostics = score.diagnostics() | {
            "effective_sample_size": stacked_sizes(sizes, state.mean),
            "all_non_finite": lost,
            "feasible": torch.ones_like(lost) if best.violation is None else best.violation <= 0,
        }
        actions = score.allowed(found[:, None])[:, 0].clone()  # the next search starts from its own
        return Plan(actions, best.costs, diagnostics | clock.diagnostics())

    def _require_memory(self, batch: int, horizon: int) -> None:
        require_memory(self.config, batch, horizon, self.action_block, self.action_dim, self.device)

    def _box(self, horizon: int, clock: int) -> Box:
        """That of plans of `horizon` model steps from robot step `clock` on; the newest ones are remembered."""
        key = horizon, clock % self.config.knot_spacing
        if key not in self._boxes:
            if len(self._boxes) >= MAX_BOXES:
                self._boxes.clear()
            self._boxes[key] = Box.of_plans(self.config, self.low, self.high, self.action_dim, *key)
        return self._boxes[key]

    def _warm_start(self, elapsed: int | None) -> WarmStart:
        """What the plan before left, as it stands `elapsed` robot steps later."""
        if elapsed is None:
            self.forget()
        return self.warm_start.shifted(0 if elapsed is None else whole_number(elapsed, "elapsed", 0), self.action_dim)

    def _start(
        self,
        nominal: Tensor | None,
        generators: Sequence[torch.Generator] | None,
        horizon: int,
        warm: WarmStart,
    ) -> tuple[Tensor, Sequence[torch.Generator]]:
        """The nominal plan (B, H, A) that the search starts from, and B generators."""
        given = None if nominal is None else read_nominal(nominal, self.low)
        if generators is None and not self.generators:
            self.generators = default_generators(self.config.seed, 1 if given is None else len(given), self.device)
        generators = self.generators if generators is None else generators
        batch = len(generators)
        if given is not None and len(given) != batch:
            raise UserError(
                f"nominal is for {len(given)} environments, there are {batch} generators: reset(seeds) sets them"
            )
        self._require_memory(batch, horizon)
        return first_nominal(given, warm, batch, horizon, self.low, self.high, self.action_dim), generators
