"""Where instances come from: the collection policy, the environment's own goals, recorded episodes, or a file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from typing import Protocol as TypingProtocol

import numpy as np
from tqdm import tqdm

from wmplan.counted import counted
from wmplan.data.episode import run_episode
from wmplan.data.policies import CollectionPolicy
from wmplan.data.reader import Reader, open_data
from wmplan.data.registered import most_steps
from wmplan.environment import PlanningEnvironment, has, require
from wmplan.errors import UserError
from wmplan.evaluation.instances import (
    Instance,
    accepted,
    collect_instances,
    distance_now,
    generate_instances,
    instance_between,
    read_instances,
)
from wmplan.evaluation.protocol import EXPERT, GOALS, POLICY, RANDOM_STATES, Protocol
from wmplan.evaluation.success import ENVIRONMENT, holds_now
from wmplan.random_streams import Stream, stream_rng
from wmplan.registry import TASKS, task_key
from wmplan.variation import draw_factors

MOST_TRIES = 20
"""Times of one recorded episode at which something to do is looked for."""


class InstanceSource(TypingProtocol):
    """Gives instances; the same seed gives the same ones, and a longer list begins with the shorter one."""

    @property
    def held_out(self) -> bool | None:
        """Whether no training can have seen them; None where nobody knows."""

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        """`count` instances.

        Raises:
            UserError: if there are not so many, or the environment lacks an ability that it takes.
        """


@dataclass(frozen=True)
class PolicyEpisodes:
    """A start and a goal on fresh episodes of the collection policy, whose seeds no training uses."""

    policy: CollectionPolicy | None = None
    held_out: bool | None = True

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        return generate_instances(env, protocol, count, seed, self.policy)


class OwnGoals:
    """Starts and goals as the environment sets them, each by a reset with a seed; states are not needed."""

    held_out: bool | None = None

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        if not getattr(env, "sets_goals", True):
            raise UserError(
                "instances=goals: the environment sets no goals of its own; instances=policy takes them from held-out "
                "episodes"
            )
        found = [self._instance(env, number, seed) for number in range(count)]
        if protocol.keep_solved:
            found = [accepted(env, protocol, one) or one for one in found]
        return varied(env, found, protocol, seed)

    def _instance(self, env: PlanningEnvironment, number: int, seed: int) -> Instance:
        reset_seed = int(stream_rng(seed, Stream.EVALUATION, number).integers(2**31))
        env.reset(seed=reset_seed)
        none = np.empty((0, len(env.task.action_low)), np.float32)
        return Instance(number, number, 0, np.empty(0), np.empty(0), none, distance_now(env), {}, reset_seed)


class ExpertEpisodes:
    """From the start of a reset to where the environment's own expert is after the offset, where it succeeds."""

    held_out: bool | None = True

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        require(env, "an instance of an expert (instances=expert)", "expert", "state", "goal_state")
        expert, steps = CollectionPolicy(EXPERT), protocol.ahead

        def candidate(episode: int, number: int) -> Instance | None:
            rng = stream_rng(seed, Stream.EVALUATION, episode)
            columns = run_episode(env, rng, steps, pixels=False, policy=expert)
            if len(columns["action"]) <= steps:
                return None
            instance = instance_between(env, columns, 0, steps, number, episode)
            return instance if self._reaches(env, instance, protocol) else None

        return varied(env, collect_instances(env, protocol, count, candidate), protocol, seed)

    def _reaches(self, env: PlanningEnvironment, instance: Instance, protocol: Protocol) -> bool:
        """Whether the rule that decides holds where the expert ends: an expert that fails asks for nothing."""
        instance.start(env)
        env.set_state(instance.goal_state)
        holds = holds_now(env)
        return holds[protocol.decided_by(list(holds))]


class RandomStates:
    """From the state that one reset gives to the state that another gives."""

    held_out: bool | None = True

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        require(env, "an instance from random states (instances=random_states)", "state", "goal_state")
        none = np.empty((0, len(env.task.action_low)), np.float32)

        def candidate(episode: int, number: int) -> Instance:
            rng, states = stream_rng(seed, Stream.EVALUATION, episode), []
            for _ in range(2):
                env.reset(seed=int(rng.integers(2**31)))
                states.append(env.get_state())
            instance = Instance(number, episode, 0, states[0], states[1], none, None)
            instance.start(env)
            return replace(instance, start_distance=distance_now(env))

        return varied(env, collect_instances(env, protocol, count, candidate), protocol, seed)


@dataclass(frozen=True)
class RecordedEpisodes:
    """A start and a goal on recorded episodes that hold full states, in any format that has a reader.

    Each instance is of an episode of its own, from a random time in it, and is refused where there is nothing to do.
    """

    path: str
    held_out: bool | None = None

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        require(env, f"an instance from recorded states (instances={self.path})", "state", "goal_state")
        with contextlib.closing(open_data(self.path)) as data:
            if "physics_state" not in data.columns:
                raise UserError(
                    f"instances={self.path}: {data.name} has no column 'physics_state': an episode is started from "
                    "full states"
                )
            found: list[Instance] = []
            order = stream_rng(seed, Stream.EVALUATION).permutation(len(data)).tolist()
            with tqdm(total=count, desc="recorded instances", disable=None, leave=False) as bar:
                while order and len(found) < count:
                    for candidate in self._candidates(env, data, protocol, seed, order.pop(0)):
                        instance = accepted(env, protocol, candidate)
                        if instance is not None:
                            found.append(replace(instance, instance=len(found)))
                            bar.update()
                            break
        if len(found) < count:
            raise UserError(
                f"instances={self.path} gives {len(found)} instances, episodes is {count}: each takes an episode of "
                f"at least {protocol.ahead} robot steps (protocol.offset) that is not solved by doing nothing"
            )
        return varied(env, found, protocol, seed)

    def _candidates(
        self, env: PlanningEnvironment, data: Reader, protocol: Protocol, seed: int, episode: int
    ) -> Iterator[Instance]:
        """Instances of one episode, from times in random order."""
        starts = max(0, int(data.lengths[episode]) - protocol.ahead)
        if not starts:
            return
        names = [name for name in data.columns if name in ("physics_state", "action") or "variation." in name]
        columns = data.episode(episode, names)
        for step in stream_rng(seed, Stream.EVALUATION, episode).permutation(starts)[:MOST_TRIES].tolist():
            yield instance_between(env, columns, step, step + protocol.ahead, 0, episode)


@dataclass(frozen=True)
class InstanceFile:
    """The first instances of an instances.json."""

    path: Path
    held_out: bool | None = None

    def instances(self, env: PlanningEnvironment, protocol: Protocol, count: int, seed: int) -> list[Instance]:
        task, read = read_instances(self.path)
        require_task(self.path, task, env)
        if len(read) < count:
            raise UserError(f"instances={self.path} holds {len(read)} instances, episodes is {count}")
        return varied(env, read[:count], protocol, seed)


def require_task(path: Path, task: str | None, env: PlanningEnvironment) -> None:
    """Check that instances are of the environment's task, where both are tasks of ours: some have states of one size.

    Raises:
        UserError: if they are of another.
    """
    here, theirs = task_key(getattr(getattr(env, "spec", None), "id", "")), task_key(str(task))
    if here in TASKS and theirs in TASKS and here != theirs:
        raise UserError(f"instances={path} are of {theirs}, this task is {here}: give instances of {here}")


def varied(env: PlanningEnvironment, instances: list[Instance], protocol: Protocol, seed: int) -> list[Instance]:
    """The instances in worlds of the protocol's variation, in place of their own; as they are where it has none.

    Starts and goals stay the same, and so do the numbers that factors are made of: results of several choices and
    strengths can be compared instance by instance.
    """
    if not protocol.variation:
        return instances
    found = []
    for one in instances:
        rng = stream_rng(seed, Stream.VARIATION, one.instance)
        factors = draw_factors(env, rng, protocol.variation, protocol.strength)
        found.append(replace(one, variation={name: np.asarray(value).tolist() for name, value in factors.items()}))
    return found


def instance_source(name: str, policy: CollectionPolicy | None = None) -> InstanceSource:
    """The source of a setting `instances`.

    Args:
        name: as protocol.instances; a path is to an instances.json or the folder of results that holds one, or to a
            data set.
        policy: of "policy"; None for the environment's own.
    """
    if name == POLICY:
        return PolicyEpisodes(policy)
    if name in SOURCES:
        return SOURCES[name]()
    path = Path(name)
    if path.suffix == ".json":
        return InstanceFile(path)
    if (path / "instances.json").is_file():
        return InstanceFile(path / "instances.json")
    if ":" not in name and not path.exists():
        names = ", ".join((POLICY, *SOURCES))
        raise UserError(f"instances must be {names}, an instances.json or a data set, got {name!r}")
    return RecordedEpisodes(name)


SOURCES: dict[str, Callable[[], InstanceSource]] = {
    GOALS: OwnGoals,
    EXPERT: ExpertEpisodes,
    RANDOM_STATES: RandomStates,
}


def why_unserved(env: PlanningEnvironment, protocol: Protocol) -> str | None:
    """Why the environment has no instances of a protocol, in a few words; None where nothing speaks against it."""
    if protocol.instances == GOALS:
        if not getattr(env, "sets_goals", True):
            return "it sets no goals of its own"
        return "no time limit" if protocol.budget is None and most_steps(env) is None else None
    needs = ("state", "goal_state", *(("expert",) if EXPERT in (protocol.instances, protocol.policy) else ()))
    lacks = [one for one in needs if not has(env, one)]
    return f"no {lacks[0].replace('_', ' ')}" if lacks else None


def instances_said(result: Mapping[str, Any]) -> tuple[str, str]:
    """How many instances of which kind an evaluation has, and where their goals are."""
    source, ahead = result.get("settings", {}).get("instances", POLICY), result["protocol"]["offset"]
    held_out, far = counted(result["episodes"], "held-out instance"), f"goal {ahead} robot steps ahead"
    if source == POLICY:
        return held_out, far
    if source == GOALS:
        return counted(result["episodes"], "instance"), "the environment's own goals"
    if source == EXPERT:
        return held_out, f"goal where an expert is after {ahead} robot steps"
    if source == RANDOM_STATES:
        return held_out, "start and goal random states"
    return f"{counted(result['episodes'], 'instance')} of {source}", far


def flag_said(result: Mapping[str, Any]) -> str | None:
    """What the environment's own flag is about where goals are recorded states; None where it is about these goals."""
    source, rules = result.get("settings", {}).get("instances", POLICY), next(iter(result["rows"].values()))["rules"]
    if source in (GOALS, EXPERT) or ENVIRONMENT not in rules or result["protocol"].get("rule") in (None, ENVIRONMENT):
        return None
    return f"{ENVIRONMENT} is the environment's own flag: it may be about the target of its reset, not about this goal"
