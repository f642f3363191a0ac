"""Worlds with a robot that is told what to do: its command has no effect, what it pushes jumps or lets it through.

A clip goes with the actions of the world that it begins in, from its beginning to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmplan.envs.environment import Environment
from wmplan.errors import UserError
from wmplan.exam.quadruplet import Quadruplet
from wmplan.settings.suggest import did_you_mean

Array = NDArray[np.float64]
LENGTH = 36
EARLIEST, LATEST = 12, 16
"""Robot step of the break."""
FADE = 6
"""Frames that a legal change of light takes."""
ATTEMPTS = 200


@dataclass(frozen=True, eq=False)
class World:
    """Where a world begins, and what is done in it.

    Attributes:
        start: full simulator state (N,).
        actions: (LENGTH, a).
    """

    start: Array
    actions: Array


Draft = tuple[World, World, int, float]
"""Two worlds, the step of the break and the severity."""


class RobotExam:
    """Quadruplets of a task; nothing is occluded.

    Args:
        env: the task's environment.
        drafts: for each property what draws two worlds from a generator, or None where these are not legal, and what
            its severity is measured in.
    """

    length = LENGTH

    def __init__(
        self, env: Environment, drafts: Mapping[str, tuple[Callable[[np.random.Generator], Draft | None], str]]
    ) -> None:
        self.env, self.drafts = env, drafts
        self.rate = float(env.control_rate)
        self.action_dim = len(env.task.action_names)

    @property
    def properties(self) -> Mapping[str, str]:
        return {name: unit for name, (_, unit) in self.drafts.items()}

    def quadruplet(self, name: str, index: int, rng: np.random.Generator) -> Quadruplet:
        """The quadruplet that the generator draws.

        Raises:
            UserError: if there is no such property.
        """
        if name not in self.drafts:
            raise UserError(f"there is no property {name!r}; {did_you_mean(name, self.drafts)}")
        for _ in range(ATTEMPTS):
            if (draft := self.drafts[name][0](rng)) is not None:
                break
        else:
            raise RuntimeError(f"{name} {index}: none of {ATTEMPTS} drafts is legal")
        first, second, begin, severity = draft
        states = np.stack([states_of(self.env, world) for world in (first, second)])
        frames = np.stack([[self._draw(state) for state in world] for world in states])
        return Quadruplet(
            violates=name,
            index=index,
            occluded=False,
            break_at=begin,
            severity=severity,
            frames=frames,
            recoloured=np.concatenate([frames[0, :begin], self._faded(states[0, begin:], rng)]),
            states=states,
            actions=np.stack([first.actions, second.actions]).astype(np.float32),
            origin=(first, second),
        )

    def predict(self, quadruplet: Quadruplet, world: int, frame: int) -> Array:
        """States (T - frame, N) that the simulator goes on to from a world's state at `frame`, under its actions."""
        actions = quadruplet.origin[world].actions[frame:]
        return states_of(self.env, World(quadruplet.states[world, frame], actions))

    def close(self) -> None:
        self.env.close()

    def _draw(self, state: Array) -> NDArray[np.uint8]:
        self.env.set_state(state)
        return self.env.render()

    def _faded(self, states: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The states under a light that becomes another."""
        light = float(rng.choice([0.5, 1.6]))
        frames = []
        for step, state in enumerate(states):
            self.env.variation.apply({"light": 1 + (light - 1) * min(step / FADE, 1.0)})
            frames.append(self._draw(state))
        self.env.variation.restore()
        return np.stack(frames)


def states_of(env: Environment, world: World) -> Array:
    """Full states (T, N), the first of them the start, under the actions (T, a)."""
    env.set_state(world.start)
    states = []
    for action in world.actions:
        states.append(env.get_state())
        env.step_physics(action)
    return np.stack(states)


def command(env: Environment, rng: np.random.Generator) -> Draft | None:
    """Up to the break both do the same; then one goes on and the other stops: its command has no effect.

    Severity: the mean speed that is commanded, as a share of the greatest.
    """
    env.reset(seed=int(rng.integers(2**31)))
    start, begin = env.get_state(), int(rng.integers(EARLIEST, LATEST + 1))
    policy = env.exploration_policy(rng)
    actions = []
    for _ in range(LENGTH):
        actions.append(np.clip(policy(env.task_state()), env.task.action_low, env.task.action_high))
        env.step_physics(actions[-1])
    going = np.stack(actions)
    stopping = np.concatenate([going[:begin], np.zeros_like(going[begin:])])
    share = np.abs(going[begin:]) / env.task.action_high
    severity = float(share.max(1).mean())
    return (World(start, going), World(start, stopping), begin, severity) if severity > 0.2 else None
