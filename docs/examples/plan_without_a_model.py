"""A planner needs a function from candidates to costs, and nothing else: no model, no images."""

# %% A point that is pushed about: the cost is how far from the goal it ends, and how much was pushed
import torch

from wmplan.planning import make_planner

goal = torch.tensor([[0.4, -0.2]])  # (B, 2)


def cost(candidates: torch.Tensor) -> torch.Tensor:  # (B, S, H, 2) -> (B, S)
    end = candidates.sum(dim=2)
    return (end - goal[:, None]).square().sum(-1) + 1e-3 * candidates.square().sum((2, 3))


# %% Every planner, with the same budget
for name in ("cem", "icem", "mppi", "predictive_sampling", "gradient"):
    planner = make_planner(name, [-0.1, -0.1], [0.1, 0.1], action_block=1, horizon=10, num_samples=64, num_iterations=8)
    planner.reset(seeds=[0])
    plan = planner.plan(cost)
    print(f"{name:20} cost {float(plan.cost):.5f} in {plan.diagnostics['plan_ms']:.1f} ms")

# %% Two steps later: what is left of the plan starts the next search
plan = planner.plan(cost, elapsed=2)
print(plan.actions.shape)  # (B, H, A)
