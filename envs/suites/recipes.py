"""Recipes of the public suites' tasks: how `wmplan train` trains for them, and how their models' cards plan.

Where a task is about the robot itself, its proprioception says all of it, and the picture has to tell that of the goal
alone: a small encoder that is asked for it (`loss.proprio`) and a small predictor learn this in minutes. Where it is
about an object, the whole scene counts.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]


def small_training(**settings: Any) -> Settings:
    """Settings of `wmplan train` for a small model that reads the robot's state off its latents.

    Args:
        settings: in place of these, or beside them.
    """
    return {
        "robot_dim": 0,
        "loss": {"proprio": 10.0},
        "joint_predictor_options": {"width": 256},
        "rollout": 1,
        "joint": {"steps": 400, "batch_size": 40},
        "predictor": "mlp",
        "predictor_options": {"width": 128, "depth": 2},
        "dynamics": {"steps": 1000, "batch_size": 128},
        "critic": {"steps": 0},
        "decoder": {"steps": 0},
        **settings,
    }


def scene_training(joint_steps: int, dynamics_steps: int) -> Settings:
    """Push-T's settings in fewer steps: an encoder of the scene beside one of the robot, and a hidden state.

    Args:
        joint_steps: of the encoder.
        dynamics_steps: of the predictor.
    """
    return {
        "rollout": 1,
        "joint_predictor_options": {"width": 256},
        "joint": {"steps": joint_steps, "batch_size": 64},
        "dynamics": {"steps": dynamics_steps, "batch_size": 128},
        "critic": {"steps": 0},
        "decoder": {"steps": 0},
    }


def planning(objective: Settings, schedule: Settings, **planner: Any) -> Settings:
    """What a card recommends: iCEM with 128 candidates and 4 iterations, enough where the robot itself is the task.

    Args:
        objective: its terms.
        schedule: when it plans.
        planner: settings in place of these, or beside them.
    """
    search = {"name": "icem", "num_samples": 128, "num_iterations": 4, "num_elites": 12, "horizon": 5, **planner}
    return {"planner": search, "objective": objective, "schedule": schedule}


def scene_planning(steps: str, proprio: float, min_horizon: int, **planner: Any) -> Settings:
    """What a card recommends where an object is to be moved to where it is some 25 robot steps later.

    Whitened, the latent has an object count as much as the robot, though where it stands changes seldom.

    Args:
        steps: of a plan whose latents count, "last" or "sum".
        proprio: weight of the robot's own state after the last step.
        min_horizon: model steps of the shortest plan.
        planner: settings in place of a wide search's, or beside them.
    """
    return planning(
        {
            "latent": {"weight": 1.0, "kind": "l2", "steps": steps, "whitened": True},
            "proprio": {"weight": proprio, "steps": "last"},
        },
        {"replan_every": 5, "arrival_step": 25, "min_horizon": min_horizon},
        **{"num_samples": 300, "num_iterations": 6, **planner},
    )
