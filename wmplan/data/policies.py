"""What chooses the actions of an episode that is collected: the environment's own policy, noise, a user's, or play."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import Array, PlanningEnvironment, Policy, has, require
from wmplan.errors import UserError
from wmplan.gym.options import load_function
from wmplan.settings.build import convert_fields

if TYPE_CHECKING:
    from wmplan.control.controller import Controller
    from wmplan.data.reader import Reader

EXPLORATION, EXPERT, HELD, NOISE = "exploration", "expert", "held", "noise"
LONGEST = 10  # robot steps that a held action lasts


@dataclass(frozen=True)
class Noise:
    """Coloured noise around the middle of the action bounds, as iCEM draws it (Pinneri et al., 2020).

    Attributes:
        beta: its spectrum is 1 / f^beta along the episode: 0 white, 1 pink, 2 red, which moves most slowly.
        scale: its deviation, as a share of the way from the middle to a bound; what is beyond a bound is clipped.
    """

    beta: float = 1.0
    scale: float = 0.5

    def __post_init__(self) -> None:
        convert_fields(self, "noise")
        if self.beta < 0:
            raise UserError(f"noise.beta must be at least 0, got {self.beta:g}")
        if not 0 < self.scale < np.inf:
            raise UserError(f"noise.scale must be above 0, got {self.scale:g}")


@dataclass(frozen=True)
class CollectionPolicy:
    """A policy by its name.

    Attributes:
        name: "exploration", the environment's own, or "held" where it has none; "held", uniform actions, each held for
            1 to 10 robot steps; "expert", the environment's own that solves its task; "noise"; a user's, MODULE:NAME,
            called with the environment and a generator for each episode, and giving a function from task state (D,) to
            action (A,); or a model to play with, which plans to random frames of `goals`.
        noise: of the policy noise.
        goals: recorded data whose frames a model plans to.
        goal_steps: robot steps in which it goes for one of them.
        replan_every: robot steps between its plans; None for what its card says. With as many as `goal_steps` every
            plan is played to its end, which shows most of what the model has wrong.
    """

    name: str = EXPLORATION
    noise: Noise = field(default_factory=Noise)
    goals: str | None = None
    goal_steps: int = 50
    replan_every: int | None = None

    @property
    def is_play(self) -> bool:
        """Whether a model chooses the actions."""
        return self.name not in (EXPLORATION, EXPERT, HELD, NOISE) and (":" not in self.name or "://" in self.name)

    def start(self, env: PlanningEnvironment, rng: np.random.Generator, steps: int) -> Policy:
        """The policy of one episode of so many robot steps, all its random numbers being from `rng`.

        Raises:
            UserError: if it cannot be loaded.
        """
        low, high = np.asarray(env.task.action_low, np.float64), np.asarray(env.task.action_high, np.float64)
        if self.name == EXPLORATION and has(env, "policy"):
            return env.exploration_policy(rng)
        if self.name == EXPERT:
            require(env, "policy=expert", "expert")
            return env.expert_policy(rng)  # type: ignore[attr-defined, no-any-return]  # asked for
        if self.name in (EXPLORATION, HELD):
            return HeldActions(rng, low.astype(np.float32), high.astype(np.float32))
        if self.name == NOISE:
            return _noise(self.noise, low, high, rng, steps)
        if self.is_play:
            return Play(env, rng, self)
        policy = load_function(self.name, "policy")(env, rng)
        if not callable(policy):
            raise UserError(f"policy={self.name} must give a function from task state to action, got {policy!r}")
        return policy  # type: ignore[no-any-return]

    def as_dict(self) -> dict[str, Any]:
        """What of it matters, as plain values; empty for the environment's own."""
        told: dict[str, Any] = {} if self.name == EXPLORATION else {"name": self.name}
        if self.name == NOISE:
            told["noise"] = {"beta": self.noise.beta, "scale": self.noise.scale}
        if not self.is_play:
            return told
        return {**told, "goals": self.goals, "goal_steps": self.goal_steps, "replan_every": self.replan_every}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> CollectionPolicy:
        """What as_dict() gave."""
        return cls(**{**told, "noise": Noise(**told.get("noise", {}))})


class HeldActions:
    """Uniform actions, each held for 1 to LONGEST robot steps."""

    def __init__(self, rng: np.random.Generator, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        self.rng, self.low, self.high = rng, low, high
        self.left = 0

    def __call__(self, state: Array) -> Array:
        """The action (A,) of the next robot step, whatever the state."""
        if not self.left:
            self.left = int(self.rng.integers(1, LONGEST + 1))
            self.action = self.rng.uniform(self.low, self.high)
        self.left -= 1
        return self.action


def _noise(noise: Noise, low: Array, high: Array, rng: np.random.Generator, steps: int) -> Policy:
    """Coloured noise, of the same spectrum however long the episode."""
    import torch

    from wmplan.planning.noise import coloured_noise

    length = max(64, 1 << (max(steps, 1) - 1).bit_length())
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    drawn = coloured_noise([generator], len(low), length, 1, noise.beta, torch.device("cpu"))[0]  # (A, length)
    actions = iter((low + high) / 2 + noise.scale * (high - low) / 2 * drawn.numpy().T.astype(np.float64))
    return lambda state: next(actions)


class Play:
    """Plans with a model to one random frame of recorded data after another."""

    def __init__(self, env: PlanningEnvironment, rng: np.random.Generator, policy: CollectionPolicy) -> None:
        if policy.goals is None:
            raise UserError(f"policy={policy.name} plays towards recorded frames: say goals=DATA")
        self.env, self.rng, self.goal_steps, self.step = env, rng, policy.goal_steps, 0
        self.controller, self.data = _controller(policy.name, policy.replan_every), _frames(policy.goals)
        if (dim := self.controller.model.spec.action_dim) != len(env.task.action_low):
            raise UserError(
                f"policy={policy.name} has actions of {dim} numbers, the task's have {len(env.task.action_low)}"
            )

    def __call__(self, state: Array) -> Array:
        """The action (A,) of the next robot step."""
        return self.act(self.env.observe())

    def act(self, seen: Mapping[str, NDArray[Any]]) -> Array:
        """The same, for who has drawn the present observation already."""
        if self.step % self.goal_steps == 0:
            episode = int(self.rng.integers(len(self.data)))
            row = int(self.rng.integers(int(self.data.lengths[episode])))
            goal = self.data.read(episode, "pixels", row, row + 1)[0]
            self.controller.reset({"pixels": goal}, seeds=[int(self.rng.integers(2**31))], at_rest=not self.step)
        self.step += 1
        return np.asarray(self.controller.act(seen), np.float64)


@functools.lru_cache(maxsize=1)
def _controller(model: str, replan_every: int | None) -> Controller:
    from wmplan.control.make import make_controller
    from wmplan.models.loading import load

    schedule = {} if replan_every is None else {"replan_every": replan_every}
    return make_controller(load(model), schedule=schedule)


@functools.lru_cache(maxsize=1)
def _frames(goals: str) -> Reader:
    from wmplan.data.reader import open_data

    data = open_data(Path(goals) if Path(goals).exists() else goals)
    data.require_column("pixels")
    return data


def policy_of(card: Mapping[str, Any]) -> CollectionPolicy:
    """The policy that a model's data was collected with; of play, what is there without a model."""
    told = (card.get("data") or {}).get("policy_options") or {}
    policy = CollectionPolicy.from_dict(told)
    return CollectionPolicy() if policy.is_play else policy
