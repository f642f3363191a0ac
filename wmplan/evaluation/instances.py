"""Instances: where an episode starts and where it should end; held-out ones come from the collection policy."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from wmplan.atomic_io import write_json
from wmplan.data.episode import episode_rng, run_episode
from wmplan.data.policies import CollectionPolicy
from wmplan.environment import Array, PlanningEnvironment, has, require
from wmplan.errors import UserError
from wmplan.evaluation.protocol import Protocol
from wmplan.evaluation.success import ENVIRONMENT, holds_now
from wmplan.random_streams import Stream

FACTOR = "variation."  # begins the names of columns that hold a factor of variation
REFUSED_IN_A_ROW = 500  # episodes without one good instance before it is said that the protocol gives none


@dataclass(frozen=True, eq=False)
class Instance:
    """Where an episode starts and where it should end.

    Attributes:
        instance: its number.
        episode, step: where on which episode it starts.
        state, goal_state: full simulator states, of shape (N,); empty with a reset_seed.
        actions: what was done between them, float32 of shape (offset, a); empty where nobody knows.
        start_distance: from start to goal, by the task's distance; None where it has none.
        variation: factors of variation in force; empty where all are nominal.
        reset_seed: of the environment's reset, where start and goal are its own.
        solved: whether doing nothing solves it, in protocols that keep such instances.
    """

    instance: int
    episode: int
    step: int
    state: Array
    goal_state: Array
    actions: NDArray[np.float32]
    start_distance: float | None
    variation: dict[str, Any] = field(default_factory=dict)
    reset_seed: int | None = None
    solved: bool = False

    def start(self, env: PlanningEnvironment) -> None:
        """Put the environment at the start, with the goal set."""
        factors = {name: np.asarray(value) for name, value in self.variation.items()}
        if self.reset_seed is not None:
            env.reset(seed=self.reset_seed, options={"variation": factors} if factors else None)
            return
        options = {"state": self.state, "goal_state": self.goal_state, "variation": factors}
        env.reset(seed=0, options=options)

    def as_dict(self) -> dict[str, Any]:
        """As plain numbers; they give the same floats back; what is not finite in states is a word (JSON has none)."""
        plain = {name: getattr(self, name) for name in ("instance", "episode", "step")}
        states = {name: _plain(getattr(self, name)) for name in ("state", "goal_state")}
        arrays = {**states, "actions": self.actions.tolist()}
        rest: dict[str, Any] = {} if self.reset_seed is None else {"reset_seed": self.reset_seed}
        if self.solved:
            rest["solved"] = True
        return {**plain, **arrays, "start_distance": self.start_distance, "variation": self.variation, **rest}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Instance:
        """What as_dict() gave."""
        arrays = {name: np.array(content[name], np.float64) for name in ("state", "goal_state")}
        return cls(**{**content, **arrays, "actions": np.array(content["actions"], np.float32)})


def _plain(state: Array) -> list[float | str]:
    """The numbers of a state (N,), as NumPy reads them again from JSON: "inf", "-inf" and "nan" where not finite."""
    return [number if math.isfinite(number) else str(number) for number in state.tolist()]


def generate_instances(
    env: PlanningEnvironment, protocol: Protocol, count: int, seed: int, policy: CollectionPolicy | None = None
) -> list[Instance]:
    """`count` instances from `seed`; a longer list begins with the shorter one.

    Each comes from an episode of its own, drawn from a stream of seeds that collection cannot reach, and needs the
    planner to do something, unless the protocol keeps those that are solved (see accepted()); it is refused where the
    episode ends before the goal. Nothing is drawn, so that hundreds take seconds.

    Args:
        policy: that the episodes are of; None for the environment's own.

    Raises:
        UserError: if no episode gives an instance, or the environment cannot be put into recorded states.
    """
    require(env, "an instance from recorded states", "state", "goal_state")

    def candidate(episode: int, number: int) -> Instance | None:
        return _candidate(env, protocol, seed, episode, number, policy)

    return collect_instances(env, protocol, count, candidate)


def collect_instances(
    env: PlanningEnvironment,
    protocol: Protocol,
    count: int,
    candidate: Callable[[int, int], Instance | None],
) -> list[Instance]:
    """The first `count` instances that are accepted.

    Args:
        candidate: from the number of a try and the number that the instance will have; None for none.

    Raises:
        UserError: if a long row of tries gives no instance.
    """
    found: list[Instance] = []
    tried = refused = 0
    bar = tqdm(total=count, desc="held-out instances", disable=None, leave=False)
    while len(found) < count:
        one = candidate(tried, len(found))
        instance = None if one is None else accepted(env, protocol, one)
        tried += 1
        if instance is not None:
            found.append(instance)
            bar.update()
            refused = 0
        elif (refused := refused + 1) >= REFUSED_IN_A_ROW:
            raise UserError(
                f"the last {refused} held-out episodes gave no instance: with offset={protocol.ahead} and "
                f"budget={protocol.steps} all are solved at the start or by doing nothing, or end before the goal"
            )
    bar.close()
    return found


def accepted(env: PlanningEnvironment, protocol: Protocol, candidate: Instance) -> Instance | None:
    """The instance as the protocol takes it: None where there is nothing to do and such are refused.

    No protocol takes a goal that the task says is none (may_be_goal), such as one that no picture shows. A protocol
    that keeps all others has those marked in which the rule that decides holds at some time of doing nothing within
    the budget. One that refuses does so by any rule, and where the task sees no progress to make.
    """
    candidate.start(env)
    may_be_goal = getattr(env.task, "may_be_goal", None)
    if may_be_goal is not None and not bool(may_be_goal(env.goal)):
        return None
    if protocol.keep_solved:
        return replace(candidate, solved=is_solved(env, protocol, candidate, decided=True))
    if has(env, "rules") and not bool(env.task.progress(env.task_state(), env.goal)):
        return None
    return None if is_solved(env, protocol, candidate) else candidate


def _candidate(
    env: PlanningEnvironment, protocol: Protocol, seed: int, episode: int, number: int, policy: CollectionPolicy | None
) -> Instance | None:
    """The instance of an episode; None where it ends before the goal."""
    rng = episode_rng(seed, episode, Stream.EVALUATION)
    steps = min(protocol.episode_steps, getattr(env, "most_steps", None) or protocol.episode_steps)
    if steps < protocol.ahead:
        raise UserError(f"protocol.offset must be at most {steps}, the environment's time limit, got {protocol.ahead}")
    step = int(rng.integers(steps - protocol.ahead + 1))
    goal = step + protocol.ahead
    varied: dict[str, Any] = {"variation": protocol.variation, "strength": protocol.strength}
    columns = run_episode(env, rng, goal, pixels=False, policy=policy, **varied)
    if len(columns["action"]) <= goal:
        return None
    return instance_between(env, columns, step, goal, number, episode)


def instance_between(
    env: PlanningEnvironment, columns: Mapping[str, NDArray[Any]], step: int, goal: int, number: int, episode: int
) -> Instance:
    """The instance from row `step` of an episode's columns to row `goal`.

    Raises:
        UserError: if the episode ends before.
    """
    states, actions = columns["physics_state"], columns["action"]
    if goal >= len(states):
        raise UserError(f"episode {episode} ends after {len(states) - 1} robot steps, an instance needs {goal}")
    factors = {
        name.removeprefix(FACTOR): column[0].tolist() for name, column in columns.items() if name.startswith(FACTOR)
    }
    instance = Instance(number, episode, step, states[step], states[goal], actions[step:goal], None, factors)
    instance.start(env)
    return replace(instance, start_distance=distance_now(env))


def distance_now(env: PlanningEnvironment) -> float | None:
    """The task's distance from the present state to the goal; None where it has none."""
    return float(env.task.distance(env.task_state(), env.goal)) if has(env, "rules") else None


def is_solved(env: PlanningEnvironment, protocol: Protocol, instance: Instance, decided: bool = False) -> bool:
    """Whether any rule, or that which decides, holds at the start or at some time of doing nothing in the budget."""
    instance.start(env)
    nothing = idle_action(env)
    reported = _reported(env, protocol)
    for step in range(protocol.steps + 1):
        if step:
            env.step_physics(nothing)
        holds = holds_now(env)
        judged = [protocol.decided_by(list(holds))] if decided else [rule for rule in holds if rule not in reported]
        if any(holds[rule] for rule in judged):
            return True
        if getattr(env, "ended", False):
            return False
    return False


def _reported(env: PlanningEnvironment, protocol: Protocol) -> set[str]:
    """Rules that refuse no instance: what a task only reports, and its environment's own beside the task's.

    The latter may be about a goal of the environment's own; where it decides, it does refuse.
    """
    own = {ENVIRONMENT} if has(env, "rules") else set()
    return {*own, *getattr(env.task, "reported", ())} - {protocol.rule}


def idle_action(env: PlanningEnvironment) -> Array:
    """The action (a,) nearest to zero."""
    return np.clip(np.zeros(len(env.task.action_low)), env.task.action_low, env.task.action_high)


def digest(instances: Sequence[Instance]) -> str:
    """SHA-256 over all that is in the instances."""
    text = json.dumps([one.as_dict() for one in instances], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def save_instances(path: Path, instances: Sequence[Instance], task: str, seed: int, protocol: Protocol) -> None:
    """Write instances.json."""
    head = {"schema": 1, "task": task, "seed": seed, "offset": protocol.ahead, "budget": protocol.steps}
    write_json(path, {**head, "sha256": digest(instances), "instances": [one.as_dict() for one in instances]})


def load_instances(path: Path) -> list[Instance]:
    """The instances of an instances.json.

    Raises:
        UserError: if the file is missing, damaged, or its instances are not those its digest was made of.
    """
    return read_instances(path)[1]


def read_instances(path: Path) -> tuple[str | None, list[Instance]]:
    """The Gymnasium id of the task that an instances.json is of, None where it does not say it, and the instances.

    Raises:
        UserError: as load_instances() does.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        instances = [Instance.from_dict(one) for one in content["instances"]]
        expected, task = content["sha256"], content.get("task")
    except FileNotFoundError:
        raise UserError(f"there is no {path}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold instances of an evaluation: {error}") from error
    if digest(instances) != expected:
        raise UserError(f"{path} was changed: its instances are not those of its sha256")
    return task, instances
