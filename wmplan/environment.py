"""The environment contract: a small required part, and abilities that an environment may have.

Required is a Gymnasium environment whose actions are a box of finite numbers and whose render() gives uint8 RGB frames.
Everything else is an ability, asked for by its name: `has(env, "state")`, or `require(env, "simulator", "the row
oracle")`, which says in one line what cannot be done without it. `wmplan check-env ID` tries all of them.

An environment is used as gymnasium.make(id).unwrapped; what it leaves out of `Environment` below is filled in by
wmplan.gym.adapter. Angles are in radians, lengths in metres, times in seconds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wmplan.errors import UserError

Array = NDArray[np.float64]
Observation = dict[str, NDArray[Any]]
Policy = Callable[[Array], Array]
"""Task state (D,) -> action (A,)."""

# ------------------------------------------------------------------ what every environment has


class ActionNames(Protocol):
    """What is known of the actions, and of what the robot and the task report, both possibly nothing."""

    @property
    def action_names(self) -> tuple[str, ...]: ...
    @property
    def action_low(self) -> Array: ...
    @property
    def action_high(self) -> Array: ...
    @property
    def proprio_names(self) -> tuple[str, ...]: ...
    @property
    def state_names(self) -> tuple[str, ...]: ...


class Environment(Protocol):
    """What can be collected from and planned in. Observation: `pixels` uint8 (H, W, 3) and `proprio` float32 (P,).

    Of a plain Gymnasium environment the adapter makes the rest from reset(), step(), render() and the action space.
    """

    @property
    def task(self) -> Any:
        """At least ActionNames."""

    @property
    def control_rate(self) -> float:
        """Robot steps a second."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of `pixels`."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the same seed gives the same start."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One robot step, with its observation."""

    def step_physics(self, action: Any) -> None:
        """One robot step without a frame."""

    def observe(self) -> Observation:
        """The present observation."""

    def render(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """The camera's frame, uint8 (H, W, 3): Gymnasium's render(), of image_size, and at any other size (H, W)."""

    def close(self) -> None:
        """Free the renderers."""


def packages(env: object) -> tuple[str, ...]:
    """The installed distributions whose versions decide how the environment moves, by its `packages`; MuJoCo aside."""
    return tuple(getattr(env, "packages", ()))


def renders_any_size(env: Any) -> bool:
    """Whether the environment has render(size), and not Gymnasium's render() alone."""
    return "size" in inspect.signature(env.render).parameters


# ------------------------------------------------------------------ abilities


class States(Protocol):
    """Ability `state`: full simulator states that can be read and restored."""

    def get_state(self) -> Array:
        """Full simulator state (N,); replay from it is bit-exact."""

    def set_state(self, state: Array) -> None:
        """Restore a full simulator state (N,)."""


class TaskStates(Protocol):
    """Ability `task_state`: the few true numbers the task is about, named by task.state_names."""

    def task_state(self) -> Array:
        """(D,)."""


class Judgement(Protocol):
    """Ability `rules`: success and distance by the task. States have any leading shape, (..., D) -> (...)."""

    def rules(self, state: Array, goal: Array) -> dict[str, NDArray[np.bool_]]:
        """Success by each rule, the first being the one that counts."""

    def distance(self, state: Array, goal: Array) -> Array:
        """Distance to the goal: about 1 where the first rule begins to hold."""

    def progress(self, start: Array, goal: Array) -> NDArray[np.bool_]:
        """Whether going from start to goal takes what the task is about."""


class GoalJudgement(Protocol):
    """What a task with rules may say beside them: whether a state may be asked for. Where it says nothing, all may."""

    def may_be_goal(self, state: Array) -> NDArray[np.bool_]:
        """(..., D) -> (...); false for what no picture shows, or cannot be undone, as an object that fell."""


class OwnSuccess(Protocol):
    """Ability `success`: the environment itself says whether it counts the present state as success."""

    @property
    def succeeded(self) -> bool: ...


class Goals(Protocol):
    """Ability `goals`: every reset() sets a goal, of which there is an observation."""

    def goal_observation(self, size: tuple[int, int] | None = None) -> Observation:
        """What camera and robot would report at the goal."""


class SettableGoals(Protocol):
    """Ability `goal_state`: any full state can be made the goal; reset() takes the options `state` and `goal_state`."""

    @property
    def goal(self) -> Array:
        """The goal as a task state (D,)."""

    def set_goal(self, state: Array) -> None:
        """Make the full state (N,) the goal; the physics stays where it is."""


class MaskedGoals(Protocol):
    """Ability `goal_mask`: the robot can be told apart in the goal image."""

    def goal_mask(self, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """Where the image of goal_observation(size) does not show the robot, (H, W)."""


class Simulator(Protocol):
    """Ability `simulator`: rollouts of the true dynamics, for planners that may cheat."""

    def simulate(self, actions: Array) -> Array:
        """Task states (S, T, D) that action sequences (S, T, A) lead to from the present state, left as it is."""


class Exploration(Protocol):
    """Ability `policy`: a scripted policy to collect data with."""

    def exploration_policy(self, rng: np.random.Generator) -> Policy:
        """A fresh policy for one episode."""


class Expert(Protocol):
    """Ability `expert`: a scripted policy that solves what the present reset has set."""

    def expert_policy(self, rng: np.random.Generator) -> Policy:
        """A fresh policy for one episode."""


class Factors(Protocol):
    """Factors of variation of looks and physics."""

    @property
    def factors(self) -> dict[str, Any]:
        """Factors now in force, by name; empty where everything is nominal."""

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and make the others nominal."""


class ChoosableFactors(Factors, Protocol):
    """Ability `factor_choice`: some of the factors, and a share of their ranges, can be drawn."""

    @property
    def names(self) -> tuple[str, ...]:
        """All factors there are."""

    def draw(
        self, rng: np.random.Generator, names: Sequence[str] | None = None, strength: float = 1.0
    ) -> dict[str, Any]:
        """Values of the named factors (None: of all) from `strength` times their ranges, not applied.

        With the generator of a reset just done, `names=None` and `strength=1` give what that reset would have drawn.
        """


class Variation(Protocol):
    """Ability `variation`: looks and physics that can be changed, and drawn by reset(options={"variation": True})."""

    @property
    def variation(self) -> Factors: ...


class Perturbation(Protocol):
    """Ability `perturbation`: a hand that pushes what the task moves."""

    def perturb(self, speed: float, rng: np.random.Generator) -> None:
        """Set what the task moves going in a random direction, at `speed` (m/s or rad/s)."""


class PhysicsSteps(Protocol):
    """Ability `physics_steps`: driven in parts of a robot step, task.substeps of which make one."""

    def step_substeps(self, action: Array, substeps: int) -> None:
        """Give the command of `action`, and simulate so many physics steps."""


@dataclass(frozen=True)
class Ability:
    """One ability.

    Attributes:
        members: what an environment that has it offers; a dot leads into `task` or `variation`.
        without: what cannot be done where it is missing, after "without it ".
    """

    members: tuple[str, ...]
    without: str


ABILITIES: dict[str, Ability] = {
    "proprioception": Ability(("task.proprio_names",), "models see frames alone: protocol.proprio=false"),
    "state": Ability(
        ("get_state", "set_state"),
        "no episode can be started from a recorded state (instances=policy and data), redrawn or diagnosed",
    ),
    "task_state": Ability(("task_state",), "data has no column state: no probe tells what a model's latents hold"),
    "rules": Ability(("task.rules", "task.distance", "task_state", "goal"), "no distance to the goal is measured"),
    "success": Ability(("succeeded",), "success is judged by the task's rules alone"),
    "goals": Ability(("goal_observation",), "there is no goal image: neither wmplan eval nor wmplan robot has a goal"),
    "goal_state": Ability(("set_goal", "goal"), "goals are its own (instances=goals), not recorded states"),
    "goal_mask": Ability(("goal_mask",), "goals are whole images: protocol.goal=scene cannot leave the robot out"),
    "simulator": Ability(("simulate",), "there is no row oracle, and wmplan diagnose cannot tell search from model"),
    "policy": Ability(("exploration_policy",), "wmplan collect explores with random actions, each held for a while"),
    "expert": Ability(("expert_policy",), "no episodes of an expert are collected or ask for what it reached"),
    "variation": Ability(
        ("variation.factors", "variation.apply"), "variation=true and bumped cameras are not available"
    ),
    "factor_choice": Ability(
        ("variation.names", "variation.draw"),
        "variation=true draws all factors at full strength, and only for instances=policy",
    ),
    "perturbation": Ability(("perturb",), "wmplan robot cannot knock what the task moves"),
    "physics_steps": Ability(("step_substeps", "task.substeps"), "wmplan robot cannot run it in real time"),
}


def missing(env: object, ability: str) -> list[str]:
    """The members of an ability that the environment lacks; empty where it has the ability."""
    return [member for member in ABILITIES[ability].members if not _offers(env, member)]


def has(env: object, *abilities: str) -> bool:
    """Whether the environment has all these abilities."""
    return not any(missing(env, ability) for ability in abilities)


def why_not(env: object, abilities: tuple[str, ...]) -> str | None:
    """Which abilities the environment lacks, as "has no simulate() (ability simulator)"; None where it has all."""
    lacks = [
        f"no {', '.join(missing(env, one))} (ability {one.replace('_', ' ')}{because(env, one)})"
        for one in abilities
        if missing(env, one)
    ]
    return f"the environment has {' and '.join(lacks)}" if lacks else None


def because(env: object, ability: str) -> str:
    """Why an ability is missing, as ": its frames are observations"; empty where nothing is known of it."""
    reason = getattr(env, "absent", {}).get(ability)
    return f": {reason}" if reason else ""


def require(env: object, what: str, *abilities: str) -> None:
    """Check that the environment has abilities.

    Args:
        what: that cannot be done without them, as "the row oracle".

    Raises:
        UserError: naming what cannot be done, and the members that are missing.
    """
    if (reason := why_not(env, abilities)) is not None:
        raise UserError(f"{what} cannot be had: {reason}; wmplan.environment describes it")


def _offers(env: object, member: str) -> bool:
    try:
        found = attrgetter(member)(env)
    except AttributeError:
        return False
    return not (isinstance(found, tuple) and not found)  # no names: nothing that they would be of


# ------------------------------------------------------------------ environments with many abilities, for type hints


class PlanningTask(ActionNames, Judgement, Protocol):
    """A task with states and rules."""

    def proprio(self, task_state: Array) -> Array:
        """What the robot knows of itself without a camera, (..., P), from task states (..., D)."""


class PlanningEnvironment(
    Environment, States, TaskStates, Goals, SettableGoals, Simulator, Exploration, Variation, Protocol
):
    """An environment with all abilities that evaluation and diagnosis know."""

    @property
    def task(self) -> PlanningTask: ...


class RobotTask(PlanningTask, Protocol):
    """A task that is simulated in physics steps."""

    @property
    def substeps(self) -> int:
        """Physics steps in one robot step."""

    @property
    def incremental(self) -> bool:
        """Whether an action says by how much the command changes, and not what it is."""


class DisturbedEnvironment(PlanningEnvironment, Perturbation, Protocol):
    """An environment to which a hand, a bumped camera or a dead actuator can happen."""


class RobotEnvironment(DisturbedEnvironment, PhysicsSteps, Protocol):
    """An environment that can be driven in physics steps."""

    @property
    def task(self) -> RobotTask: ...
