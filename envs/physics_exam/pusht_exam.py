"""Push-T as an exam: the block jumps, or lets the pusher through."""

from __future__ import annotations

import numpy as np

from wmplan.envs.environment import Environment
from wmplan.envs.physics_exam.robot_exam import EARLIEST, LATEST, LENGTH, Array, Draft, World, states_of

MOVED = 5e-4
"""Metres below which a block counts as at rest."""
STOP = 10
"""Robot steps after the break at which the pusher stops."""


def teleport(env: Environment, rng: np.random.Generator) -> Draft | None:
    """The block lies here or there while the pusher is elsewhere. Severity: the distance in metres."""
    begin, distance = int(rng.integers(EARLIEST, LATEST + 1)), rng.uniform(0.01, 0.12)
    bearing = rng.uniform(-np.pi, np.pi)
    block, angle = rng.uniform(-0.07, 0.07, 2), rng.uniform(-np.pi, np.pi)
    other = block + distance * np.array([np.cos(bearing), np.sin(bearing)])
    pusher, velocity = rng.uniform(-0.22, 0.22, 2), rng.uniform(-0.1, 0.1, 2)
    actions = moving(velocity, begin)
    worlds = [World(placed(env, place, angle, pusher), actions) for place in (block, other)]
    if any(travel(env, states_of(env, world)[: begin + 1]) > MOVED for world in worlds):
        return None
    return worlds[0], worlds[1], begin, float(distance)


def passing(env: Environment, rng: np.random.Generator) -> Draft | None:
    """The pusher meets the block and pushes it; or it turns round before one that lies on the other side.

    The impossible clips: the block is behind the pusher that was about to push it, or before one that had left it
    behind. Severity: how far the block gets across, in metres.
    """
    block, angle = rng.uniform(-0.05, 0.05, 2), rng.uniform(-np.pi, np.pi)
    heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0.06, 0.14)
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    reached = block - velocity / speed * rng.uniform(0.02, 0.09)
    steps = int(rng.integers(EARLIEST, LATEST + 1))
    first = World(placed(env, block, angle, reached - 0.1 * steps * velocity), moving(velocity, LENGTH - STOP))
    states = states_of(env, first)
    begin = next((step for step in range(LENGTH) if travel(env, states[: step + 1]) > MOVED), LENGTH) - 1
    if not EARLIEST <= begin <= LATEST + 2 or travel(env, states) < 0.02:
        return None
    pusher = task_states(env, states[begin : begin + 1])[0, :2]
    across = 2 * pusher - block  # the block turned about the pusher
    coming = np.concatenate([-moving(velocity, begin)[:begin], first.actions[begin:]])
    second = World(placed(env, across, angle + np.pi, pusher + 0.1 * begin * velocity), coming)
    there = states_of(env, second)
    if travel(env, there) > MOVED or np.linalg.norm(task_states(env, there)[begin, :2] - pusher) > 0.02:
        return None
    return first, second, begin, float(np.linalg.norm(across - block))


def moving(velocity: Array, steps: int) -> Array:
    """Actions (LENGTH, 2): this velocity for `steps` robot steps and STOP more, then none."""
    actions = np.zeros((LENGTH, 2))
    actions[: steps + STOP] = velocity
    return actions


def placed(env: Environment, block: Array, angle: float, pusher: Array) -> Array:
    """Full state (N,) with everything at rest."""
    physics = env.physics
    physics.reset()
    physics.data.qpos[:] = [*block, 0.0, angle, *pusher]
    physics.forward()
    return physics.get_state()


def task_states(env: Environment, states: Array) -> Array:
    """Task states (T, 5) of full states (T, N)."""
    found = []
    for state in states:
        env.set_state(state)
        found.append(env.task_state())
    return np.stack(found)


def travel(env: Environment, states: Array) -> float:
    """How far the block gets from where it began, in metres."""
    block = task_states(env, states)[:, 2:4]
    return float(np.linalg.norm(block - block[0], axis=1).max())
