"""What counts: how far the goal is, how long there is, what is shown of it and which rule decides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from wmplan.errors import UserError
from wmplan.settings.build import convert_fields
from wmplan.variation import checked_choice


@dataclass(frozen=True)
class Protocol:
    """How planners are evaluated.

    Attributes:
        proprio: whether the planner gets the robot's own state beside each frame; without it a model reads it off.
        goal: what the planner gets of the goal: its "image"; "image+proprio", the robot's own state too; or "scene",
            the image with the robot masked out.
        offset: robot steps on a held-out trajectory from start to goal.
        budget: robot steps in which to get there.
        rule: name of the task's rule that decides success; None for its first.
        variation: draw a look and physics of its own for each instance: true for every factor of variation, or names of
            some. The goal image shows the same world.
        strength: share of each factor's range that is drawn from, above 0 and at most 1.
        episode_steps: length of the held-out episodes, each of which gives one instance from a random time in it.
    """

    proprio: bool = True
    goal: Literal["image", "image+proprio", "scene"] = "image"
    offset: int = 25
    budget: int = 50
    rule: str | None = None
    variation: bool | str | tuple[str, ...] = False
    episode_steps: int = 100
    strength: float = 1.0

    def __post_init__(self) -> None:
        convert_fields(self, "protocol")
        object.__setattr__(self, "variation", checked_choice(self.variation, self.strength))
        if self.goal not in ("image", "image+proprio", "scene"):
            raise UserError(f"goal must be 'image', 'image+proprio' or 'scene', got {self.goal!r}")
        for name in ("offset", "budget"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1 robot step, got {getattr(self, name)}")
        if self.episode_steps < self.offset:
            raise UserError(f"episode_steps must be at least the offset, {self.offset}, got {self.episode_steps}")

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

    def settings(self) -> dict[str, Any]:
        """All that counts, as JSON has it: no strength of a variation that there is not."""
        varied = {"variation": list(self.variation)} if isinstance(self.variation, tuple) else {}
        return {name: value for name, value in (asdict(self) | varied).items() if name != "strength" or self.variation}
