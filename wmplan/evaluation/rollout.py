"""Playing one instance, and what is kept of it: see the package's docstring for the files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.evaluation.instances import FACTOR, Instance
from wmplan.evaluation.policies import Row

Arrays = dict[str, NDArray[Any]]
NAMES = "names"
"""Array of an episode's file that holds the names of the others."""


def play(env: PlanningEnvironment, instance: Instance, row: Row, seed: int, budget: int) -> Arrays:
    """Let `row` play the instance to the end of the budget, past any success."""
    instance.start(env)
    row.begin(env, instance, seed)
    states, physics = [env.task_state()], [env.get_state()]
    actions, plans, plan_step, plan_ms = [], [], [], []
    for step in range(budget):
        action = row.act()
        if row.new_plan is not None:
            plans.append(row.new_plan)
            plan_step.append(step)
            plan_ms.append(row.plan_ms)
        env.advance(action)  # type: ignore[arg-type]
        actions.append(action)
        states.append(env.task_state())
        physics.append(env.get_state())

    goal = env.goal
    return {
        "states": np.stack(states),
        "goal": np.asarray(goal),
        "physics": np.stack(physics),
        "goal_physics": instance.goal_state,
        "actions": np.stack(actions),
        "distance": np.asarray(env.task.distance(np.stack(states), goal)),
        "plan_step": np.array(plan_step, np.int64),
        "plan_ms": np.array(plan_ms, np.float64),
        "plan_cost": np.array([float(plan.cost[0]) for plan in plans], np.float64),
        "plan_horizon": np.array([plan.actions.shape[1] for plan in plans], np.int64),
        "plans": pad([plan.actions[0].cpu().numpy() for plan in plans]),
        **{f"{FACTOR}{name}": np.asarray(value) for name, value in instance.variation.items()},
    }


def pad(plans: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Plans (H, A) of several horizons as one array (P, H, A), NaN beyond each one's horizon."""
    if not plans:
        return np.empty((0, 0, 0), np.float32)
    longest = max(len(plan) for plan in plans)
    padded = np.full((len(plans), longest, plans[0].shape[1]), np.nan, np.float32)
    for index, plan in enumerate(plans):
        padded[index, : len(plan)] = plan
    return padded


def judge(env: PlanningEnvironment, episode: Arrays, decided_by: str) -> dict[str, Any]:
    """The entry of an episode in per_episode: success by every rule, distances, times."""
    rules = {}
    for name, holds in env.task.rules(episode["states"], episode["goal"]).items():
        held = np.flatnonzero(np.asarray(holds)[1:]) + 1  # robot steps after which the rule held
        first = int(held[0]) if held.size else None
        rules[name] = {"success": first is not None, "success_step": first, "success_at_end": bool(holds[-1])}
    distance = episode["distance"]
    gap_closed = 1 - distance[-1] / distance[0] if distance[0] > 0 else 0.0
    return {
        **rules[decided_by],
        "rules": rules,
        "start_distance": float(distance[0]),
        "min_distance": float(distance.min()),
        "final_distance": float(distance[-1]),
        "gap_closed": float(np.clip(gap_closed, -1, 1)),
        "plan_ms": [round(float(ms), 3) for ms in episode["plan_ms"]],
        "env_steps": len(episode["actions"]),
    }


def save_episode(path: Path, episode: Arrays) -> None:
    """Write the npz durably, with the names of its arrays in it: an archive that lost one would pass its own checks."""
    held = {NAMES: np.array(sorted(episode)), **episode}  # first, so that it is not what is lost
    write_durably(path, lambda file: np.savez_compressed(file, **held))  # type: ignore[arg-type]


def load_episode(path: Path) -> Arrays:
    """The arrays of one played episode, checked against the archive's own checksums.

    Raises:
        UserError: if the file is damaged.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:  # np.load does not read as far as the checksum
            whole = {name: io.BytesIO(archive.read(name)) for name in archive.namelist()}
        episode = {name.removesuffix(".npy"): np.load(file, allow_pickle=False) for name, file in whole.items()}
        names = episode.pop(NAMES, None)  # older files have none
        if not episode or (names is not None and names.tolist() != sorted(episode)):
            raise UserError("it does not hold the arrays that were written")
        return episode
    except Exception as error:  # damaged archives raise any of a dozen kinds
        raise UserError(
            f"{path} is damaged ({error}): delete it and its line in per_episode.jsonl, and evaluate again"
        ) from error


def restore(env: PlanningEnvironment, episode: Arrays, step: int = 0) -> None:
    """Put the environment where the episode was after `step` robot steps, with its goal and its variation."""
    factors = {name.removeprefix(FACTOR): value for name, value in episode.items() if name.startswith(FACTOR)}
    options = {"state": episode["physics"][step], "goal_state": episode["goal_physics"], "variation": factors}
    env.reset(seed=0, options=options)


def draw_frames(env: PlanningEnvironment, episode: Arrays, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What the camera saw in the T + 1 states of the episode, uint8 (T + 1, H, W, 3), at any size (H, W)."""
    restore(env, episode)
    frames = []
    for state in episode["physics"]:
        env.set_state(state)
        frames.append(env.draw(size))
    return np.stack(frames)


def draw_goal(env: PlanningEnvironment, episode: Arrays, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The goal image of the episode, uint8 (H, W, 3), at any size (H, W)."""
    restore(env, episode)
    return env.goal_observation(size)["pixels"]
