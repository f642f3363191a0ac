"""Playing one instance, and what is kept of it: see the package's docstring for the files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.atomic_io import write_durably
from wmplan.environment import PlanningEnvironment, has, require
from wmplan.errors import UserError
from wmplan.evaluation.instances import FACTOR, Instance
from wmplan.evaluation.policies import Row
from wmplan.evaluation.success import judge_states
from wmplan.gym.adapter import resized

Arrays = dict[str, NDArray[Any]]
NAMES = "names"
"""Array of an episode's file that holds the names of the others."""


def play(env: PlanningEnvironment, instance: Instance, row: Row, seed: int, budget: int) -> Arrays:
    """Let `row` play the instance to the end of the budget, past any success, or until the environment ends it."""
    instance.start(env)
    goal = {"goal": np.asarray(env.goal) if has(env, "rules") else np.empty(0), "goal_physics": instance.goal_state}
    redrawn = has(env, "state")  # else what was seen has to be kept
    if instance.reset_seed is not None:
        goal["reset_seed"] = np.array(instance.reset_seed)
    if not redrawn and has(env, "goals"):
        goal["goal_frame"] = env.goal_observation(env.image_size)["pixels"]
    row.begin(env, instance, seed)
    seen: dict[str, list[Any]] = {name: [value] for name, value in moment(env, redrawn).items()}
    actions, plans, plan_step, plan_ms = [], [], [], []
    for step in range(budget):
        action = row.act()
        if row.new_plan is not None:
            plans.append(row.new_plan)
            plan_step.append(step)
            plan_ms.append(row.plan_ms)
        env.step_physics(action)
        actions.append(action)
        for name, value in moment(env, redrawn).items():
            seen[name].append(value)
        if getattr(env, "ended", False):
            break

    columns = {name: np.stack(values) for name, values in seen.items()}
    distance = env.task.distance(columns["states"], goal["goal"]) if has(env, "rules") else ()
    return {
        **columns,
        **goal,
        "actions": np.stack(actions),
        "distance": np.asarray(distance, np.float64),
        "plan_step": np.array(plan_step, np.int64),
        "plan_ms": np.array(plan_ms, np.float64),
        "plan_cost": np.array([float(plan.cost[0]) for plan in plans], np.float64),
        "plan_horizon": np.array([plan.actions.shape[1] for plan in plans], np.int64),
        "plans": pad([plan.actions[0].cpu().numpy() for plan in plans]),
        **{f"{FACTOR}{name}": np.asarray(value) for name, value in instance.variation.items()},
    }


def moment(env: PlanningEnvironment, redrawn: bool) -> Arrays:
    """What is kept of the present: states where there are any, the frame where no state can draw it again."""
    kept: Arrays = {
        "states": env.task_state() if has(env, "task_state") else np.empty(0),
        "physics": env.get_state() if redrawn else np.empty(0),
    }
    if has(env, "success"):
        kept["succeeded"] = np.array(env.succeeded)  # type: ignore[attr-defined]  # asked for
    if not redrawn:
        kept["frames"] = env.render()
    return kept


def pad(plans: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Plans (H, A) of several horizons as one array (P, H, A), NaN beyond each one's horizon."""
    if not plans:
        return np.empty((0, 0, 0), np.float32)
    longest = max(len(plan) for plan in plans)
    padded = np.full((len(plans), longest, plans[0].shape[1]), np.nan, np.float32)
    for index, plan in enumerate(plans):
        padded[index, : len(plan)] = plan
    return padded


def judge(env: PlanningEnvironment, episode: Arrays, decided_by: str, every: int = 1) -> dict[str, Any]:
    """The entry of an episode in per_episode: success by every rule, read `every` so many steps, distances, times."""
    rules = judge_states(env, episode["states"], episode["goal"], episode.get("succeeded"), every)
    return {
        **rules[decided_by],
        "rules": rules,
        **distances(episode["distance"]),
        "plan_ms": [round(float(ms), 3) for ms in episode["plan_ms"]],
        "env_steps": len(episode["actions"]),
    }


def distances(distance: NDArray[np.float64]) -> dict[str, float | None]:
    """Start, least and final distance and the share of the gap that closed, from distances (T + 1,); None of none."""
    if not len(distance):
        return dict.fromkeys(("start_distance", "min_distance", "final_distance", "gap_closed"))
    gap_closed = 1 - distance[-1] / distance[0] if distance[0] > 0 else 0.0
    return {
        "start_distance": float(distance[0]),
        "min_distance": float(distance.min()),
        "final_distance": float(distance[-1]),
        "gap_closed": float(np.clip(gap_closed, -1, 1)),
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
    """Put the environment where the episode was after `step` robot steps, with its goal and its variation.

    Raises:
        UserError: if the environment has no states to restore.
    """
    require(env, "an episode's state", "state")
    factors = {name.removeprefix(FACTOR): value for name, value in episode.items() if name.startswith(FACTOR)}
    if "reset_seed" in episode:
        env.reset(seed=int(episode["reset_seed"]), options={"variation": factors} if factors else None)
        env.set_state(episode["physics"][step])
        return
    options = {"state": episode["physics"][step], "goal_state": episode["goal_physics"], "variation": factors}
    env.reset(seed=0, options=options)


def draw_frames(env: PlanningEnvironment, episode: Arrays, size: tuple[int, int]) -> NDArray[np.uint8]:
    """What the camera saw in the T + 1 states of the episode, uint8 (T + 1, H, W, 3), at any size (H, W)."""
    if "frames" in episode:
        return np.stack([resized(frame, size) for frame in episode["frames"]])
    restore(env, episode)
    frames = []
    for state in episode["physics"]:
        env.set_state(state)
        frames.append(env.render(size))
    return np.stack(frames)


def observations(env: PlanningEnvironment, episode: Arrays) -> Arrays:
    """What camera and robot reported in the T + 1 states of the episode: `pixels` and `proprio`, (T + 1, ...)."""
    restore(env, episode)
    seen = []
    for state in episode["physics"]:
        env.set_state(state)
        seen.append(env.observe())
    return {name: np.stack([one[name] for one in seen]) for name in seen[0]}


def draw_goal(env: PlanningEnvironment, episode: Arrays, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The goal image of the episode, uint8 (H, W, 3), at any size (H, W)."""
    if "goal_frame" in episode:
        return resized(episode["goal_frame"], size)
    restore(env, episode)
    return env.goal_observation(size)["pixels"]
