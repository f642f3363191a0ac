"""One episode of exploration, and the random numbers it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.data.policies import CollectionPolicy, Play
from wmplan.data.varied_frames import COLUMN, chosen_looks, varied_frames
from wmplan.environment import PlanningEnvironment, has
from wmplan.random_streams import Stream, stream_rng
from wmplan.variation import Choice, reset_varied


def episode_rng(seed: int, episode: int, stream: Stream = Stream.COLLECTION) -> np.random.Generator:
    """The generator of one episode, which depends on nothing but the seed, the stream and the episode's number."""
    return stream_rng(seed, stream, episode)


def run_episode(
    env: PlanningEnvironment,
    rng: np.random.Generator,
    steps: int,
    *,
    variation: Choice = False,
    strength: float = 1.0,
    pixels: bool = True,
    policy: CollectionPolicy | None = None,
    second_look: Choice = False,
) -> dict[str, NDArray[Any]]:
    """Run a policy from a random start.

    Args:
        env: the unwrapped environment.
        rng: the only source of randomness.
        steps: robot steps; fewer where the environment ends the episode.
        variation: give the episode a look and physics of its own: true for every factor, or names of some.
        strength: share of each factor's range that is drawn from, above 0 and at most 1.
        pixels: draw the frames.
        policy: what chooses the actions; None for the environment's own, or held random ones where it has none.
        second_look: factors of looks, true for all: draw each state once more, in a world that looks otherwise.

    Returns:
        Columns of steps + 1 rows, row t being what was seen at step t and what was done then, as the public data
        sets have it: `pixels` uint8 (H, W, 3), `action` float32 (A,) exactly as it was executed and NaN in the last
        row; what the environment is able to tell of `proprio` float32 (P,), `state` float32 (D,) (the task state) and
        `physics_state` float64 (N,) (the full state); and with variation one column `variation.NAME` a factor, the
        same in every row. With a second look `pixels_varied` (H, W, 3); the rest is what it is without.

    Raises:
        UserError: if a variation is asked for that the environment does not have.
    """
    reset_varied(env, int(rng.integers(2**31)), variation, strength)
    low, high = env.task.action_low.astype(np.float32), env.task.action_high.astype(np.float32)
    choose = (policy or CollectionPolicy()).start(env, rng, steps)
    rows: dict[str, list[NDArray[Any]]] = {}

    def note(name: str, value: NDArray[Any]) -> None:
        rows.setdefault(name, []).append(value)

    for step in range(steps + 1):
        state = env.task_state() if has(env, "task_state") else np.empty(0)
        seen = env.observe() if pixels else {}
        if pixels:
            note("pixels", seen["pixels"])
        if has(env, "proprioception"):
            note("proprio", _proprio(env, state, seen).astype(np.float32))
        if state.size:
            note("state", state.astype(np.float32))
        if has(env, "state"):
            note("physics_state", env.get_state())
        if step == steps or (step and getattr(env, "ended", False)):
            note("action", np.full_like(low, np.nan))
            break
        chosen = choose.act(seen) if isinstance(choose, Play) and seen else choose(state)
        action = np.clip(np.asarray(chosen, np.float32), low, high)
        env.step_physics(action)
        note("action", action)
    columns = {name: np.stack(values) for name, values in rows.items()}
    for name, factor in env.variation.factors.items() if variation else ():
        columns[f"variation.{name}"] = np.repeat(np.asarray(factor, np.float64)[None], len(columns["action"]), axis=0)
    if looks := chosen_looks(env, second_look, strength):
        columns[COLUMN] = varied_frames(env, columns["physics_state"], rng, looks, strength)
    return columns


def _proprio(env: PlanningEnvironment, state: NDArray[Any], seen: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """What the robot knows of itself, (P,); no frame is drawn for it where that can be."""
    if hasattr(env.task, "proprio"):
        own: NDArray[Any] = env.task.proprio(state)
        return own
    if not seen:
        seen = {"proprio": env.observe_proprio()} if hasattr(env, "observe_proprio") else env.observe()
    return seen["proprio"]
