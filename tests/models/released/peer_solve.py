"""Run by the python of an environment with stable-worldmodel and wmplan's dependencies: its CEM over a model of ours.

python peer_solve.py RELEASE OUT, RELEASE a folder that wmplan.models.load opens.
"""

import sys
import warnings

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_worldmodel.policy import PlanConfig
from stable_worldmodel.solver import CEMSolver

import wmplan.models as models
from wmplan.models.released.stable_worldmodel import StableWorldModelCost

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cost = StableWorldModelCost(models.load(sys.argv[1]))
    solver = CEMSolver(model=cost, num_samples=16, n_steps=4, topk=4, device="cpu", seed=0)
    block = cost.model.spec.block_dim
    config = PlanConfig(horizon=2, receding_horizon=2, action_block=1)
    solver.configure(action_space=Box(-1, 1, (1, block), np.float32), n_envs=1, config=config)
    frames = torch.randint(0, 256, (2, 1, 1, 56, 56, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    info = {"pixels": frames[0], "goal": frames[1]}
    plan = solver.solve(dict(info))["actions"]
    expanded = {name: value[:, None] for name, value in info.items()}
    still = cost.get_cost(dict(expanded), torch.zeros(1, 1, 2, block))
    torch.save(
        {"plan": plan, "cost": cost.get_cost(dict(expanded), plan[:, None].float()), "still": still}, sys.argv[2]
    )
