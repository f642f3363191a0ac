"""From observations to actions: the history is encoded, a plan searched in latent space, its next action sent."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wmplan.control.arrival import Approach, continued
from wmplan.control.history import History, Observation, encode, read_observation
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.control.schedule import RecedingHorizon, Schedule
from wmplan.models.base import WorldModel
from wmplan.planning.constraints import RateLimit
from wmplan.planning.cost import LatentCost, reads_between_model_steps
from wmplan.planning.objectives.registry import LatentDistance, Objective
from wmplan.planning.planner import Plan, Planner
from wmplan.settings.numbers import MAX_SEED, as_int, plain, whole_numbers


class Controller:
    """Drives B robots to goals given as images, one action a robot step.

    Args:
        model: what encodes and predicts.
        planner: what searches; its bounds are those of one model step (model.spec.block_bounds()).
        objective: cost of predicted latents; None for the squared distance to the goal's latent at the last step.
        limits: the last gate; None for the model's action bounds.
        receding_horizon: robot steps between two plans; None for one model step.
        arrive_in: robot steps after which the goal should be reached: the plan's horizon shrinks towards that time,
            which counts anew as wmplan.control.arrival says. None for the planner's own horizon all the time.
        min_horizon: model steps that the plan keeps looking ahead, however near or past the arrival.
        correction: part of the model's newest error that plans take off its predictions; see LatentCost.

    Attributes:
        last_plan, last_cost: of the newest search, for diagnosis.
        planned: whether the newest act() made a plan.
        plan_ms: how long that took, from the frame to the action.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        objective: Objective | None = None,
        limits: Limits | None = None,
        receding_horizon: int | None = None,
        *,
        arrive_in: int | None = None,
        min_horizon: int = 1,
        correction: float = 0.0,
    ) -> None:
        spec = model.spec
        limits = limits or Limits(spec.action_low, spec.action_high)
        if len(limits.low) != spec.action_dim:
            raise ValueError(f"limits are for {len(limits.low)} numbers, the model's actions have {spec.action_dim}")
        self.model = model.eval()
        self.objective = objective or LatentDistance()
        self.gate = LimitsGate(limits)
        self.history = History(model)
        schedule = Schedule(receding_horizon, arrive_in, min_horizon, correction)
        self.receding = RecedingHorizon(planner, spec.action_dim, spec.action_block, schedule)
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.goal: torch.Tensor | None = None
        self.approaches: list[Approach] = []
        self.last_cost: LatentCost | None = None
        self.planned, self.plan_ms = False, 0.0

    @property
    def planner(self) -> Planner:
        """What searches."""
        return self.receding.planner

    @property
    def last_plan(self) -> Plan | None:
        """The newest plan, of shape (B, H, A)."""
        return self.receding.plan

    def reset(self, goal: Observation, seeds: Sequence[int] | int | None = None, *, at_rest: bool = False) -> None:
        """Forget the past and head for `goal`.

        Args:
            goal: what the camera should see: frames (H, W, 3) or (B, H, W, 3), or a dict of them with the robot's
                `proprio` at the goal, which a model fills in itself where it is left out.
            seeds: for the planner's random numbers, one a robot; one number s stands for s, s + 1, ...; None for
                the planner's own seed.
            at_rest: that the robots were brought to rest since the last act() by other means, as by a simulator that
                starts anew. Otherwise the next actions are within the limits of those sent last.

        Raises:
            ValueError: if the goal is not what the model takes, or the number of seeds is not that of goals.
        """
        seen, _ = read_observation(goal, self.model, self.device)
        goal_latent = encode(self.model, seen)
        batch = len(goal_latent)
        given = plain(self.planner.config.seed if seeds is None else seeds)
        numbers = whole_numbers(given, "seeds", 0, MAX_SEED)
        if as_int(given) is not None:
            numbers = [numbers[0] + index for index in range(batch)]
        if len(numbers) != batch:
            raise ValueError(f"there are {len(numbers)} seeds for {batch} goals")
        self.goal, self.last_cost, self.approaches = goal_latent, None, [Approach()] * batch
        self.history.reset()
        self.gate.reset(batch, at_rest=at_rest)
        self.receding.reset(numbers)

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """The action of this robot step, (a,), or (B, a) where the observation has a batch axis.

        Call it once a robot step: it takes the action it returns as executed.

        Raises:
            ValueError: if the observation is not what the model takes, or its batch is not the goal's. Nothing has
                changed then, so that the call can be repeated with a better one.
            RuntimeError: before the first reset().
        """
        if self.goal is None:
            raise RuntimeError("the controller has no goal: call reset(goal) first")
        began = time.perf_counter()
        seen, batched = read_observation(observation, self.model, self.device)
        batch = len(next(iter(seen.frames.values())) if isinstance(seen.frames, dict) else seen.frames)
        if batch != len(self.goal):
            raise ValueError(f"there are {batch} observations for {len(self.goal)} goals")
        self.history.add_frame(seen)

        self.planned = self.receding.due
        if self.planned:
            self._replan()
            self.plan_ms = 1000 * (time.perf_counter() - began)
        proprio = None if seen.proprio is None else seen.proprio[:, 0].cpu().numpy()
        sent = self.gate(self.receding.next_actions().cpu().numpy(), proprio)
        self.history.add_action(torch.from_numpy(sent).to(self.device))
        return sent if batched else sent[0]

    def _replan(self) -> None:
        """Search from here, looking as far ahead as each robot's arrival is."""
        assert self.goal is not None
        context, past = self.history.context()
        receding, schedule = self.receding, self.receding.schedule
        so_far = [one.later(receding.since_plan) for one in self.approaches]
        approaches = continued(self.model, self.objective, schedule, context, past, self.goal, so_far)
        longest, block = self.planner.config.horizon, self.model.spec.action_block
        between = reads_between_model_steps(self.model, self.objective)
        times = [(one.elapsed, block, longest, between) for one in approaches]
        arrivals, horizon = [schedule.arrival(*one) for one in times], max(schedule.horizon(*one) for one in times)
        self.last_cost = LatentCost(
            self.model,
            self.objective,
            context,
            self.goal,
            past_actions=past,
            correction=schedule.correction,
            arrival=torch.tensor(arrivals, device=self.device) if min(arrivals) < horizon else None,
        )
        change = self.gate.limits.max_change
        limits = () if change is None else (RateLimit(change, torch.from_numpy(self.gate.last).to(self.device)),)
        receding.replan(self.last_cost, limits, horizon)
        self.approaches = approaches
