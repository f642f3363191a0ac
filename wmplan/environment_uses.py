"""Which commands can use an environment, by the abilities that it has."""

from __future__ import annotations

from collections.abc import Collection

from wmplan.environment import missing

USES: dict[str, tuple[str, ...]] = {
    "collect": (),
    "train": (),
    "eval instances=policy": ("state", "goals", "goal_state"),
    "eval instances=goals": ("goals",),
    "diagnose": ("state", "task_state", "rules", "goals", "goal_state", "simulator"),
    "robot": ("state", "task_state", "rules", "goals", "goal_state", "physics_steps"),
}
"""The abilities that each command cannot do without; eval also needs one of JUDGES."""
JUDGES = ("rules", "success")


def usable(env: object, faulty: Collection[str] = ()) -> tuple[list[str], dict[str, str]]:
    """The commands that can use an environment, and why the others cannot.

    Args:
        faulty: abilities that it has and that do not work.

    Returns:
        the commands that can; command -> what it lacks.
    """

    def lacks(ability: str) -> str:
        if ability in faulty:
            return f"faulty {ability.replace('_', ' ')}"
        return f"no {ability.replace('_', ' ')}" if missing(env, ability) else ""

    can, cannot = [], {}
    for use, abilities in USES.items():
        reasons = [reason for ability in abilities if (reason := lacks(ability))]
        if use.startswith("eval") and all(map(lacks, JUDGES)):
            reasons.append("nothing that judges success: say env.success=MODULE:NAME")
        if use == "eval instances=goals" and not getattr(env, "sets_goals", True):
            reasons.append("its resets set no goals")
        if reasons:
            cannot[use] = ", ".join(reasons)
        else:
            can.append("train proprio=false" if use == "train" and lacks("proprioception") else use)
    return can, cannot


def conclusion(env: object, faulty: Collection[str] = ()) -> str:
    """What usable() finds, in a line or two."""
    can, cannot = usable(env, faulty)
    lines = [f"you can:    wmplan {', '.join(can)}"]
    if cannot:
        lines.append("you cannot: " + "; ".join(f"{use} ({reason})" for use, reason in cannot.items()))
    return "\n".join(lines)
