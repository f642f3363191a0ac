"""What counts: how far the goal is, how long there is, what is shown of it and which rule decides, when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from wmplan.data.registered import most_steps
from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.settings.build import build, convert_fields
from wmplan.settings.protocols import DEFAULT, named_protocol
from wmplan.variation import checked_choice

POLICY, GOALS, EXPERT, RANDOM_STATES = "policy", "goals", "expert", "random_states"
LATER = ("name", "policy", "success", "read_every", "keep_solved", "open_loop")
"""Fields that results of older versions do not have: told where they are not the defaults."""


@dataclass(frozen=True)
class Protocol:
    """How planners are evaluated.

    Attributes:
        proprio: whether the planner gets the robot's own state beside each frame; without it a model reads it off.
        goal: what the planner gets of the goal: its "image"; "image+proprio", the robot's own state too; or "scene",
            the image with the robot masked out.
        offset: robot steps on a held-out trajectory from start to goal; several, each of which is evaluated.
        budget: robot steps in which to get there; None for twice the offset, and for the environment's time limit where
            the goals are its own.
        rule: name of the task's rule that decides success; None for its first.
        variation: draw a look and physics of its own for each instance: true for every factor of variation, or names of
            some. The goal image shows the same world.
        strength: share of each factor's range that is drawn from, above 0 and at most 1.
        episode_steps: length of the held-out episodes, each of which gives one instance from a random time in it.
        name: of a published protocol, or "default".
        instances: where they come from: "policy", fresh episodes of the collection policy; "expert", from a reset to
            where the environment's expert is after `offset` steps; "random_states", from one reset's state to
            another's; "goals", the environment's own; or a path to an instances.json or a data set.
        policy: whose episodes instances=policy takes, as in wmplan collect; None for the policy that the model's data
            was collected with. Named, the instances are the same for every model.
        success: when it is read: at "any_time" within the budget, or at the "end" of it. Both are always told.
        read_every: robot steps between two times at which it is read.
        keep_solved: keep instances that are solved at the start or by doing nothing, and tell the figures with and
            without them; else they are refused.
        open_loop: plan once, for the whole budget.
    """

    proprio: bool = True
    goal: Literal["image", "image+proprio", "scene"] = "image"
    offset: int | tuple[int, ...] = 25
    budget: int | None = 50
    rule: str | None = None
    variation: bool | str | tuple[str, ...] = False
    episode_steps: int = 100
    strength: float = 1.0
    name: str = DEFAULT
    instances: str = POLICY
    policy: str | None = None
    success: Literal["any_time", "end"] = "any_time"
    read_every: int = 1
    keep_solved: bool = False
    open_loop: bool = False

    def __post_init__(self) -> None:
        convert_fields(self, "protocol")
        object.__setattr__(self, "variation", checked_choice(self.variation, self.strength))
        if not self.offsets:
            raise UserError("offset must be a number of robot steps, or several, got none")
        for offset in self.offsets:
            if offset < 1:
                raise UserError(f"offset must be at least 1 robot step, got {offset}")
        for name in ("budget", "read_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1 robot step, got {value}")
        if self.instances == POLICY and self.episode_steps < max(self.offsets):
            raise UserError(f"episode_steps must be at least the offset, {max(self.offsets)}, got {self.episode_steps}")

    @classmethod
    def named(cls, name: str, task: str | None = None) -> Protocol:
        """A published protocol on a task, by the task's name: protocol=NAME of `wmplan eval`.

        Raises:
            UserError: if there is no such protocol.
        """
        return build(cls, named_protocol(name).on(task), "protocol")

    @property
    def offsets(self) -> tuple[int, ...]:
        """How far ahead goals are, one or several numbers."""
        return self.offset if isinstance(self.offset, tuple) else (self.offset,)

    def each(self) -> Iterator[tuple[str, Protocol]]:
        """The protocol for each offset, with a name for the folder of its results, empty where there is one."""
        for offset in self.offsets:
            yield (f"offset_{offset}" if isinstance(self.offset, tuple) else ""), replace(self, offset=offset)

    @property
    def ahead(self) -> int:
        """How far ahead the goal is, in robot steps, where it is one number.

        Raises:
            UserError: if it is several.
        """
        if isinstance(self.offset, tuple):
            raise UserError(
                f"offset must be one number here, got {list(self.offset)}: Protocol.each() gives one by one"
            )
        return self.offset

    @property
    def steps(self) -> int:
        """The budget, where it is known without an environment."""
        if self.budget is not None:
            return self.budget
        return 2 * self.ahead

    def on(self, env: PlanningEnvironment) -> Protocol:
        """With the budget that it has in an environment.

        Raises:
            UserError: if the goals are the environment's own and it has no time limit.
        """
        if self.budget is not None or self.instances != GOALS:
            return replace(self, budget=self.steps)
        limit = most_steps(env)
        if limit is None:
            raise UserError("protocol.budget is null, and the environment has no time limit: say protocol.budget=STEPS")
        return replace(self, budget=limit)

    def decided_by(self, rules: list[str]) -> str:
        """The rule that decides, of those the task has.

        Raises:
            UserError: if the task has no such rule.
        """
        if self.rule is not None and self.rule not in rules:
            raise UserError(f"the task has no rule {self.rule!r}; it has {', '.join(rules)}")
        return self.rule or rules[0]

    def as_dict(self, rules: list[str], held_out: bool | None = True) -> dict[str, Any]:
        """For results.json, with the rule that decides, and whether no training saw the instances (None: unknown)."""
        return {**self.settings(), "rule": self.decided_by(rules), "held_out": held_out}

    @classmethod
    def of_results(cls, results: Mapping[str, Any]) -> Protocol:
        """The protocol that a results.json was played by."""
        return cls(**{name: value for name, value in results["protocol"].items() if name != "held_out"})

    def settings(self) -> dict[str, Any]:
        """All that counts, as JSON has it, but for where instances are from; no strength without a variation."""
        varied = {"variation": list(self.variation)} if isinstance(self.variation, tuple) else {}
        unsaid = {one.name for one in fields(self) if one.name in LATER and getattr(self, one.name) == one.default}
        unsaid |= {"instances"} | (set() if self.variation else {"strength"})
        return {name: value for name, value in (asdict(self) | varied).items() if name not in unsaid}
