"""One episode of exploration, and the random numbers it comes from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import PlanningEnvironment, has, require
from wmplan.random_streams import Stream, stream_rng


def episode_rng(seed: int, episode: int, stream: Stream = Stream.COLLECTION) -> np.random.Generator:
    """The generator of one episode, which depends on nothing but the seed, the stream and the episode's number."""
    return stream_rng(seed, stream, episode)


def run_episode(
    env: PlanningEnvironment, rng: np.random.Generator, steps: int, *, variation: bool = False, pixels: bool = True
) -> dict[str, NDArray[Any]]:
    """Run the environment's exploration policy, or random actions where it has none, from a random start.

    Args:
        env: the unwrapped environment.
        rng: the only source of randomness.
        steps: robot steps; fewer where the environment ends the episode.
        variation: give the episode a look and physics of its own.
        pixels: draw the frames.

    Returns:
        Columns of steps + 1 rows, row t being what was seen at step t and what was done then, as the public data
        sets have it: `pixels` uint8 (H, W, 3), `action` float32 (A,) exactly as it was executed and NaN in the last
        row; what the environment is able to tell of `proprio` float32 (P,), `state` float32 (D,) (the task state) and
        `physics_state` float64 (N,) (the full state); and with variation one column `variation.NAME` a factor, the
        same in every row.

    Raises:
        UserError: if a variation is asked for that the environment does not have.
    """
    if variation:
        require(env, "variation=true", "variation")
    env.reset(seed=int(rng.integers(2**31)), options={"variation": True} if variation else None)
    low, high = env.task.action_low.astype(np.float32), env.task.action_high.astype(np.float32)
    policy = env.exploration_policy(rng) if has(env, "policy") else HeldActions(rng, low, high)
    rows: dict[str, list[NDArray[Any]]] = {}

    def note(name: str, value: NDArray[Any]) -> None:
        rows.setdefault(name, []).append(value)

    for step in range(steps + 1):
        state = env.task_state() if has(env, "task_state") else np.empty(0)
        if pixels:
            note("pixels", env.render())
        if has(env, "proprioception"):
            own = env.task.proprio(state) if hasattr(env.task, "proprio") else env.observe()["proprio"]
            note("proprio", own.astype(np.float32))
        if state.size:
            note("state", state.astype(np.float32))
        if has(env, "state"):
            note("physics_state", env.get_state())
        if step == steps or (step and getattr(env, "ended", False)):
            note("action", np.full_like(low, np.nan))
            break
        action = np.clip(policy(state).astype(np.float32), low, high)
        env.step_physics(action)
        note("action", action)
    columns = {name: np.stack(values) for name, values in rows.items()}
    for name, factor in env.variation.factors.items() if variation else ():
        columns[f"variation.{name}"] = np.repeat(np.asarray(factor, np.float64)[None], len(columns["action"]), axis=0)
    return columns


class HeldActions:
    """Explores where there is no scripted policy: uniform actions, each held for 1 to LONGEST robot steps."""

    LONGEST = 10

    def __init__(self, rng: np.random.Generator, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        self.rng, self.low, self.high = rng, low, high
        self.left = 0

    def __call__(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """The action (A,) of the next robot step, whatever the state."""
        if not self.left:
            self.left = int(self.rng.integers(1, self.LONGEST + 1))
            self.action = self.rng.uniform(self.low, self.high)
        self.left -= 1
        return self.action
