"""What one replan of an episode shows: errors by step, rank correlations, and the chosen plan against a better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmplan.control.controller import Controller
from wmplan.control.planning_core import Search
from wmplan.control.search_core import SearchCore
from wmplan.diagnosis.attribution import PlanPair, rank_correlation
from wmplan.diagnosis.plan_distance import ProbeDistance, TrueDistance, reduced, true_distances
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.models.state_probe import state_errors
from wmplan.planning.cem import CEM, CEMConfig
from wmplan.planning.cost import LatentCost
from wmplan.planning.planner import Plan
from wmplan.settings.build import convert_fields
from wmplan.settings.numbers import whole_number

SHOWN_ITERATIONS = 6
"""Iterations of a search that are looked at: the first, the last, and others spread between."""


class Recorder:
    """Keeps each search of a controller with all its candidates and the cost it saw.

    Attributes:
        searches: since the start or clear(), oldest first.

    Raises:
        UserError: if the controller plans without a search.
    """

    def __init__(self, controller: Controller) -> None:
        if not isinstance(controller.core, SearchCore):
            raise UserError(f"only planning that searches can be looked at, not {type(controller.core).__name__}")
        self.searches: list[Search] = []
        controller.core.listener = self.searches.append

    def clear(self) -> None:
        """Drop what was kept, as of the episode before."""
        self.searches.clear()


@dataclass(frozen=True)
class Effort:
    """How closely a replan is looked at.

    Attributes:
        candidates: of each iteration, drawn at random, whose true outcomes are simulated.
        drawn: of all iterations, whose true outcomes are drawn and encoded too.
        samples, iterations: of the search for a better plan.
    """

    candidates: int = 32
    drawn: int = 12
    samples: int = 64
    iterations: int = 4

    def __post_init__(self) -> None:
        convert_fields(self, "effort")
        for name, least in (("candidates", 2), ("drawn", 2), ("samples", 1), ("iterations", 1)):
            whole_number(getattr(self, name), f"effort.{name}", least)


@dataclass(frozen=True, eq=False)
class Replan:
    """What one replan shows.

    Attributes:
        step: robot steps after the start of the episode.
        iterations: of the search, those that were looked at (I,).
        cost, true, predicted: of the candidates looked at, (I, C) each: cost, true distance, and the distance that the
            probe reads off the predicted latents.
        seen_cost, seen, seen_true: of those drawn, (K,) each: cost of the latents of their true outcomes, distance the
            probe reads off these, true distance.
        pair: the chosen plan against a better one.
        encoder_error, predictor_error: by model step of the chosen plan, (H,): distance between the true state and the
            one read off its own latent, and off the predicted one.
        encoder_parts, predictor_parts: the same by entry of the state, (H, D), in its unit.
    """

    step: int
    iterations: NDArray[np.int64]
    cost: NDArray[np.float64]
    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    seen_cost: NDArray[np.float64]
    seen: NDArray[np.float64]
    seen_true: NDArray[np.float64]
    pair: PlanPair
    encoder_error: NDArray[np.float64]
    predictor_error: NDArray[np.float64]
    encoder_parts: NDArray[np.float64]
    predictor_parts: NDArray[np.float64]

    def correlations(self) -> dict[str, Any]:
        """Rank correlations with the true distance, by iteration where the planner saw them, else one number."""
        rows = range(len(self.iterations))
        return {
            "cost": [rank_correlation(self.cost[i], self.true[i]) for i in rows],
            "probe": [rank_correlation(self.predicted[i], self.true[i]) for i in rows],
            "cost_of_true_latents": rank_correlation(self.seen_cost, self.seen_true),
            "probe_of_true_latents": rank_correlation(self.seen, self.seen_true),
        }


class ReplanExaminer:
    """Examines replans of a model in an environment.

    Args:
        env: the environment the episodes were played in.
        measure: the distance that the probe reads off latents.
        effort: how closely to look.
        proprio: whether the controller saw the robot's state.
        seed: of the choice of candidates and of the search for a better plan.
    """

    def __init__(
        self, env: PlanningEnvironment, measure: ProbeDistance, effort: Effort, proprio: bool = True, seed: int = 0
    ) -> None:
        self.env, self.measure, self.effort, self.proprio, self.seed = env, measure, effort, proprio, seed

    @torch.inference_mode()
    def __call__(self, cost: LatentCost, plan: Plan, step: int) -> Replan:
        """Examine one search; the environment has to stand where it was made, and is left there."""
        rng = np.random.default_rng([self.seed, step])
        recorded, costs = plan.diagnostics["candidates"], plan.diagnostics["candidate_costs"]
        shown = np.unique(np.linspace(0, len(recorded) - 1, SHOWN_ITERATIONS).round().astype(int))
        count = min(self.effort.candidates, *(recorded[i].shape[1] for i in shown))
        picked = [rng.permutation(recorded[i].shape[1])[:count] for i in shown]
        tried = torch.stack([recorded[i][0, p] for i, p in zip(shown, picked, strict=True)])  # (I, C, H, A)
        seen_cost = np.stack([costs[i][0, p].double().cpu().numpy() for i, p in zip(shown, picked, strict=True)])

        flat = tried.flatten(0, 1)  # (I C, H, A)
        true = reduced(true_distances(self.env, flat)[None], self.measure.steps)[0].double().numpy()
        predicted = self.predicted_distance(cost, flat)
        better = self.better(cost, plan, flat[int(true.argmin())])
        drawn = flat[torch.from_numpy(rng.permutation(len(flat))[: self.effort.drawn])]
        looked = torch.cat([plan.actions, better[None], drawn])  # (2 + K, H, A)
        latents, states = self.outcomes(cost, looked)
        wanted = cost.goal[:1]
        looked_cost = cost.objective(latents[None], wanted, looked[None])[0].double().cpu().numpy()
        seen = reduced(self.measure.by_step(latents[None], wanted), self.measure.steps)[0].double().numpy()
        looked_true = reduced(true_distances(self.env, looked)[None], self.measure.steps)[0].double().numpy()
        pair_cost = cost(looked[None, :2])[0].double().cpu().numpy()
        pair_predicted = self.predicted_distance(cost, looked[:2])
        pair = PlanPair(*(_pair(values) for values in (looked_true, pair_cost, pair_predicted, seen)))
        seen_error, predicted_error = (
            self.errors(read, states[0]) for read in (latents[0], self.rollout(cost, looked[:1])[0])
        )
        return Replan(
            step=step,
            iterations=shown,
            cost=seen_cost,
            true=true.reshape(seen_cost.shape),
            predicted=predicted.reshape(seen_cost.shape),
            seen_cost=looked_cost[2:],
            seen=seen[2:],
            seen_true=looked_true[2:],
            pair=pair,
            encoder_error=seen_error[0],
            predictor_error=predicted_error[0],
            encoder_parts=seen_error[1],
            predictor_parts=predicted_error[1],
        )

    def rollout(self, cost: LatentCost, candidates: Tensor) -> Tensor:
        """Predicted latents (S, H, *latent) of candidates (S, H, A)."""
        past = None if cost.past_actions is None else cost.past_actions[:1]
        return cost.model.rollout(cost.context[:1], candidates[None].to(cost.context.device), past)[0]

    def predicted_distance(self, cost: LatentCost, candidates: Tensor) -> NDArray[np.float64]:
        """Distances (S,) that the probe reads off the predicted latents of candidates (S, H, A)."""
        predicted = self.rollout(cost, candidates)[None]
        return self.measure(predicted, cost.goal[:1], candidates[None])[0].double().cpu().numpy()

    def better(self, cost: LatentCost, plan: Plan, candidate: Tensor) -> Tensor:
        """The best plan (H, A) of a search with the true distance that starts from the chosen one, or `candidate`."""
        effort, spec = self.effort, cost.model.spec
        config = CEMConfig(
            num_samples=effort.samples,
            num_iterations=effort.iterations,
            num_elites=max(effort.samples // 8, 1),
            horizon=plan.actions.shape[1],
        )
        search = CEM(config, *spec.block_bounds(), action_block=spec.action_block)
        search.reset([self.seed])
        truth = TrueDistance(self.env, self.measure.steps)
        found = search.plan(truth, nominal=plan.actions.cpu())
        return candidate if float(truth(candidate[None, None])) < float(found.cost) else found.actions[0]

    def outcomes(self, cost: LatentCost, candidates: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """What is really seen after each model step of candidates (S, H, A): latents (S, H, *latent), true states."""
        env, dim = self.env, cost.model.spec.action_dim
        start, (samples, horizon, _) = env.get_state(), candidates.shape
        frames, proprio, states = [], [], []
        for plan in candidates.double().cpu().numpy():
            env.set_state(start)
            for block in plan:
                for action in block.reshape(-1, dim):
                    env.step_physics(action)
                seen = env.observe()
                frames.append(seen["pixels"])
                proprio.append(seen["proprio"])
                states.append(env.task_state())
        env.set_state(start)
        device = cost.context.device
        pictures = torch.from_numpy(np.stack(frames))[None].to(device)  # (1, S H, ...)
        own = None
        if self.proprio and cost.model.spec.proprio_dim:
            own = torch.from_numpy(np.stack(proprio)).float()[None].to(device)  # (1, S H, P)
        latents = cost.model.encode(pictures, own)[0].unflatten(0, (samples, horizon))
        return latents, np.stack(states).reshape(samples, horizon, -1)

    def errors(self, latents: Tensor, states: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """States read off latents (H, *latent) against true ones (H, D): task's distance (H,), and by entry (H, D)."""
        read = self.measure.probe(latents).double().cpu().numpy()
        return np.asarray(self.env.task.distance(read, states)), state_errors(read, states, self.env.task.state_names)


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])
