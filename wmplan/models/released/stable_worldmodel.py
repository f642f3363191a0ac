"""A model of ours inside stable-worldmodel: its solvers plan with it, and its World runs and scores the plans.

    cost = StableWorldModelCost(wmplan.load("pusht"), objective)
    policy = WorldModelPolicy(CEMSolver(cost, ...), PlanConfig(...), process={"action": cost.scaler})

Its solvers search around 0 with deviation 1, in normalised actions; `scaler` turns what they choose into the robot's
units. Pixels and goal need no transform: the model takes them as the environment draws them. Nothing of stable-
worldmodel is imported here. The other way round, its checkpoints of LeWM, PLDM and DINO-WM (PreJEPA) open with
wmplan.load.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wmplan.errors import UserError
from wmplan.models.base import ModelSpec, WorldModel
from wmplan.models.released.objectives import Objective

CONTEXT, GOAL = "wmplan_context", "wmplan_goal"


class ActionScaler:
    """Robot steps' actions from the robot's units to normalised ones and back: stable-worldmodel's Transformable."""

    def __init__(self, spec: ModelSpec) -> None:
        self.mean, self.std = (np.asarray(x, dtype=np.float32) for x in (spec.action_mean, spec.action_std))

    def transform(self, x: np.ndarray) -> np.ndarray:
        """(..., action_dim) in the robot's units, normalised."""
        return (x - self.mean) / self.std

    def inverse_transform(self, x: np.ndarray) -> np.ndarray:
        """Normalised (..., action_dim), in the robot's units."""
        return x * self.std + self.mean


class StableWorldModelCost(nn.Module):
    """The cost that stable-worldmodel's solvers ask a world model for.

    Args:
        model: a world model of ours.
        objective: of predicted latents and goal; what the model's family plans with when left out.

    Attributes:
        scaler: give it to the policy as process={"action": scaler}.

    Raises:
        ValueError: when the objective is left out and the model has none of its own.
    """

    def __init__(self, model: WorldModel, objective: Objective | None = None) -> None:
        super().__init__()
        chosen = objective or model.native_objective()
        if chosen is None:
            raise UserError("this model has no objective of its own: give one, such as LatentDistance()")
        self.model, self.objective = model, chosen
        self.scaler = ActionScaler(model.spec)

    def get_cost(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs (B, S) of normalised candidates (B, S, H, A).

        Args:
            info_dict: pixels and goal, uint8 (B, S, T, H, W, 3) and the same for all S; where the model takes robot
                state also proprio (B, S, T, P), and goal_proprio where it is known. The newest frame is the context,
                because stable-worldmodel keeps no executed actions. What is encoded is kept in it for later calls.
        """
        if CONTEXT not in info_dict:
            info_dict[CONTEXT] = self._encode(info_dict, "pixels", "proprio")
            info_dict[GOAL] = self._encode(info_dict, "goal", "goal_proprio")
        mean, std = (
            action_candidates.new_tensor(x).repeat(self.model.spec.action_block)
            for x in (self.model.spec.action_mean, self.model.spec.action_std)
        )
        actions = action_candidates * std + mean
        predicted = self.model.rollout(info_dict[CONTEXT], actions)
        return self.criterion({"predicted": predicted, GOAL: info_dict[GOAL]}, actions)

    def criterion(self, info_dict: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Costs (B, S) of what get_cost() predicted."""
        return self.objective(info_dict["predicted"], info_dict[GOAL][:, -1], action_candidates)

    def _encode(self, info: dict[str, Any], frames: str, proprio: str) -> Tensor:
        """Latents (B, 1, *latent) of the newest frame."""
        pixels = info[frames][:, 0, -1:]  # (B, S, T, H, W, 3) -> (B, 1, H, W, 3)
        if pixels.dtype != torch.uint8 or pixels.shape[-1] != 3:
            raise UserError(f"{frames} must be uint8 (B, S, T, H, W, 3): give the policy no transform for them")
        state = info.get(proprio) if self.model.spec.proprio_dim else None
        return self.model.encode(pixels, None if state is None else state[:, 0, -1:].float())
