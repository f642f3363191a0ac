"""What goals come to at each plan: a latent to reach, made from what the robot sees now where the goal says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wmplan.client.goals import (
    DECLARED,
    AnyGoal,
    GoalImage,
    GoalSequence,
    MaskedGoal,
    RobotStateGoal,
    declared,
    goal_frames,
)
from wmplan.control.arrival import BESIDE, distances, errors_away
from wmplan.control.histories import Moment, Observation, StepObservation, encode, encode_together, read_observation
from wmplan.control.masked_goal import put_together, without_robot
from wmplan.errors import UserError
from wmplan.models.base import WorldModel
from wmplan.planning.cost import copies
from wmplan.planning.objectives.combinations import start
from wmplan.planning.objectives.objective import Objective
from wmplan.planning.objectives.parts import RobotAnywhere, on_robot_state, on_scene

__all__ = ["AnyGoal", "GoalImage", "GoalSequence", "MaskedGoal", "RobotStateGoal", "goal_frames"]

SWITCH = 0.5
"""Part of the chosen goal's cost that another of several has to be below to be chosen in its place."""

LOOKS = 9
"""Plans whose composites of a masked goal are compared: where the robot hid a part of it in some, not in most."""

MISREAD = 0.85
"""Share of what the robot's state is misread by now that is taken off a state read off a goal: as the robot comes to
look as in the goal, it is misread alike. With all of it, a robot would stop anywhere in a direction that a picture
does not show."""


@dataclass(frozen=True, eq=False)
class Target:
    """One goal.

    Attributes:
        latent: of a goal that does not depend on what is seen, (1, *latent).
        is_read: whether its robot state was read off its frames by a reader, whose errors of now are taken off.
        shown: frames and robot state of one that does: each part that is None is taken from what is seen.
        masks: where its frames count, by camera, (1, 1, H, W, 1); a camera without one counts whole.
        objective: in place of the planning core's own, where the goal is about a part of what that asks.
    """

    latent: Tensor | None = None
    is_read: bool = False
    shown: StepObservation | None = None
    masks: Mapping[str, Tensor] | None = None
    objective: Objective | None = None

    def seen_from(self, present: StepObservation, model: WorldModel) -> StepObservation:
        """What the robot would see at the goal, all being as it is now but for what the goal is about."""
        assert self.shown is not None
        goal, masks = self.shown.cameras, self.masks or {}
        if masks and self.shown.proprio is None and model.reads_proprio:
            masks = without_robot(model, present, goal, masks)
        proprio = present.proprio if self.shown.proprio is None else self.shown.proprio
        return put_together(present, goal, masks, proprio)


@dataclass(frozen=True, eq=False)
class Pursuit:
    """A robot's goals and how far it is with them; it never changes.

    Attributes:
        stages: to be reached in turn, each by reaching any of its targets.
        patience: robot steps for a stage; None for as many as it takes.
        stage: the present one.
        choice: which of its targets was chosen; None before the first plan.
        waited: robot steps in this stage.
        looks: latents (n, *latent) that goals which depend on what is seen came to at the last plans of this stage, by
            the target's id(); kept where the model can compare them.
    """

    stages: tuple[tuple[Target, ...], ...]
    patience: int | None = None
    stage: int = 0
    choice: int | None = None
    waited: int = 0
    looks: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Of the present stage."""
        return self.stages[self.stage]

    @property
    def latent(self) -> Tensor | None:
        """Of the present target, (1, *latent), where it is known without a frame."""
        return self.targets[self.choice or 0].latent if len(self.targets) == 1 or self.choice is not None else None

    def later(self, steps: int) -> Pursuit:
        """The same so many robot steps later."""
        return replace(self, waited=self.waited + steps)

    def anew(self) -> Pursuit:
        """From the first stage on."""
        return replace(self, stage=0, choice=None, waited=0, looks={})


@dataclass(frozen=True, eq=False)
class Aim:
    """What a robot heads for now.

    Attributes:
        pursuit: with the stage and the choice of now.
        latent: to reach, (1, *latent).
        target: that it is of.
        is_new: whether it was another stage or choice before.
    """

    pursuit: Pursuit
    latent: Tensor
    target: Target
    is_new: bool


def towards(latent: Tensor, is_read: bool = False) -> Pursuit:
    """The pursuit of one latent (1, *latent); see Target."""
    return Pursuit(((Target(latent, is_read),),))


def read_goals(goal: Any, model: WorldModel, objective: Objective) -> tuple[list[Pursuit], bool]:
    """The pursuits of B robots, and whether the goal came with a batch axis.

    Args:
        goal: an observation, of one robot or of B; a declared goal; or a list of these, one a robot.
        objective: the planning core's own.

    Raises:
        UserError: if it is not what the model takes.
    """
    return _read_goals(goal, model, _Parts(model, objective))


def _read_goals(goal: Any, model: WorldModel, parts: _Parts) -> tuple[list[Pursuit], bool]:
    if isinstance(goal, list | tuple) and any(isinstance(one, (*DECLARED, Mapping)) for one in goal):
        each = [_read_goals(one, model, parts) for one in goal]
        if any(batched for _, batched in each):
            raise UserError("goal: a list holds one goal a robot, without a batch axis")
        return [pursuits[0] for pursuits, _ in each], True
    if isinstance(goal, Mapping) and set(goal) == {"proprio"}:
        rows = torch.as_tensor(goal["proprio"])
        if rows.ndim == 2:
            return _read_goals([RobotStateGoal(row) for row in rows.numpy()], model, parts)
        goal = declared(goal)
    if isinstance(goal, GoalSequence):
        stages = tuple(_targets(one, model, parts) for one in goal.goals)
        if len(stages) > 1 and goal.patience is None and model.error_scale is None:
            raise UserError(
                "GoalSequence: the model does not know its usual error, by which a goal counts as reached: give "
                "patience, the robot steps for each"
            )
        return [Pursuit(stages, goal.patience)], False
    if isinstance(goal, DECLARED):
        return [Pursuit((_targets(goal, model, parts),))], False
    seen, batched = _read(goal, model)
    is_read = model.reads_state and seen.proprio is None
    return [towards(row[None], is_read) for row in encode(model, seen)], batched


def _read(goal: Observation, model: WorldModel) -> tuple[StepObservation, bool]:
    """read_observation() of a goal, which is what errors speak of."""
    try:
        return read_observation(goal, model, model.device)
    except UserError as error:
        raise UserError(f"goal: {error}") from None


def aims(
    model: WorldModel, objective: Objective, pursuits: Sequence[Pursuit], context: Sequence[StepObservation]
) -> list[Aim]:
    """What robots head for, who see these encoded frames now. Those of one model are encoded together."""
    made = {
        (id(target), id(seen)): target.seen_from(seen, model)
        for pursuit, seen in zip(pursuits, context, strict=True)
        for target in pursuit.targets
        if target.latent is None
    }
    encode_together(model, [Moment(one, one) for one in made.values()])
    ready = {key: one.latent for key, one in made.items()}
    return [_aim(model, objective, *one, ready) for one in zip(pursuits, context, strict=True)]


def _aim(
    model: WorldModel,
    objective: Objective,
    before: Pursuit,
    seen: StepObservation,
    ready: Mapping[tuple[int, int], Tensor],
) -> Aim:
    now = before
    while True:
        found = [_latent(model, target, seen, ready) for target in now.targets]
        now, latents = _compared(now, seen, found)
        now = replace(now, choice=_nearest(model, objective, now, seen.latent, latents))
        target, latent = now.targets[now.choice or 0], latents[now.choice or 0]
        if now.stage + 1 == len(now.stages) or not _is_over(model, objective, now, target, seen.latent, latent):
            is_new = now.stage != before.stage or before.choice not in (None, now.choice)
            return Aim(now, latent, target, is_new)
        now = replace(now, stage=now.stage + 1, choice=None, waited=0, looks={})


def _latent(
    model: WorldModel, target: Target, seen: StepObservation, ready: Mapping[tuple[int, int], Tensor]
) -> Tensor:
    if target.latent is not None:
        return _as_read_here(model, target.latent, seen) if target.is_read else target.latent
    made = ready.get((id(target), id(seen)))
    return encode(model, target.seen_from(seen, model)) if made is None else made


@torch.inference_mode()
def _compared(pursuit: Pursuit, seen: StepObservation, latents: Sequence[Tensor]) -> tuple[Pursuit, list[Tensor]]:
    """Of targets that ask nothing of the robot, the median of what they came to at the last plans.

    Each is given the robot where it is now. A composite shows what the robot hides no better than the robot's camera
    does, and goals that jump while a block is pushed would be chased.

    Returns:
        The pursuit with these looks, and the latents (1, *latent) of its targets.
    """
    looks, compared = {}, list(latents)
    for index, target in enumerate(pursuit.targets):
        if not isinstance(target.objective, RobotAnywhere):
            continue
        before = pursuit.looks.get(id(target), latents[index][:0])
        looks[id(target)] = kept = torch.cat([before, latents[index]])[-LOOKS:]  # (n, L)
        compared[index] = target.objective.placed(kept[None], seen.latent)[0].median(0, keepdim=True).values
    return replace(pursuit, looks=looks), compared


@torch.inference_mode()
def _as_read_here(model: WorldModel, goal: Tensor, seen: StepObservation) -> Tensor:
    """A goal (1, *latent) whose robot state is corrected by what the robot's own is misread by now; see MISREAD."""
    state = slice(-model.spec.proprio_dim, None)
    misread = model.read_state(seen.frames)[:, 0] - seen.latent[..., state]  # (1, P); 0 where the latter was read
    corrected = goal.clone()
    corrected[..., state] -= MISREAD * misread
    return corrected


def _nearest(model: WorldModel, objective: Objective, pursuit: Pursuit, here: Tensor, latents: Sequence[Tensor]) -> int:
    """Which of the present targets to head for."""
    if len(latents) == 1:
        return 0
    costs = [
        _cost(model, target.objective or objective, here, latent)
        for target, latent in zip(pursuit.targets, latents, strict=True)
    ]
    best = min(range(len(costs)), key=costs.__getitem__)
    kept = pursuit.choice
    return best if kept is None or costs[best] < SWITCH * costs[kept] else kept


@torch.no_grad()
def _cost(model: WorldModel, objective: Objective, here: Tensor, goal: Tensor) -> float:
    """How much more a latent (1, *latent) costs than the goal's own."""
    return float(distances(model, start(objective, *copies(here, goal)), here[:, None], goal)[0, 0])


def _is_over(
    model: WorldModel, objective: Objective, pursuit: Pursuit, target: Target, here: Tensor, goal: Tensor
) -> bool:
    """Whether the next stage's turn has come."""
    if pursuit.patience is not None and pursuit.waited >= pursuit.patience:
        return True
    if model.error_scale is None:
        return False
    measure = start(target.objective or objective, *copies(here, goal))
    return float(errors_away(model.error_scale, measure, model, here, goal)[0]) <= BESIDE


# ------------------------------------------------------------------ declared goals as targets


@dataclass(frozen=True, eq=False)
class _Parts:
    """The parts of the core's objective that goals may be about; robots with goals of a kind share one, and a search.

    Attributes:
        objective: the whole.
    """

    model: WorldModel
    objective: Objective

    @cached_property
    def robot(self) -> Objective:
        return on_robot_state(self.objective, self.model.spec.proprio_dim)

    @cached_property
    def scene(self) -> Objective | None:
        """None where the latent does not tell robot and scene apart: then the whole."""
        if self.model.places_robot:
            return RobotAnywhere(self.objective, self.model.with_robot_at, self.model.spec.proprio_dim)
        robot = self.model.robot_entries
        if len(self.model.spec.latent_shape) > 1 or not robot.any() or robot.all():
            return None
        return on_scene(self.objective, robot)


def _targets(goal: Any, model: WorldModel, parts: _Parts) -> tuple[Target, ...]:
    if isinstance(goal, AnyGoal):
        return tuple(target for one in goal.goals for target in _targets(one, model, parts))
    if isinstance(goal, RobotStateGoal):
        return (_of_state(goal, model, parts),)
    named = goal.image if isinstance(goal.image, Mapping) else {model.spec.cameras[0]: goal.image}
    if not isinstance(goal.image, Mapping) and len(model.spec.cameras) > 1:
        raise UserError(f"goal: the model sees {', '.join(model.spec.cameras)}: give the image as a dict of frames")
    seen, _ = _read({**named, "proprio": goal.proprio}, model)
    if isinstance(goal, GoalImage):
        return (Target(encode(model, seen), model.reads_state and seen.proprio is None),)
    masks = goal.mask if isinstance(goal.mask, Mapping) else {model.spec.cameras[0]: goal.mask}
    unknown = [str(name) for name in masks if name not in model.spec.cameras]
    if unknown:
        raise UserError(f"goal: mask {unknown[0]} is of no camera; the model sees {', '.join(model.spec.cameras)}")
    tensors = {name: torch.from_numpy(mask)[None, None, ..., None].to(model.device) for name, mask in masks.items()}
    return (Target(shown=seen, masks=tensors, objective=parts.scene if goal.proprio is None else None),)


def _of_state(goal: RobotStateGoal, model: WorldModel, parts: _Parts) -> Target:
    spec = model.spec
    if not spec.proprio_dim or len(spec.latent_shape) != 1:
        raise UserError("goal: it is a robot state, and the model has no proprioception in its latent: give an image")
    proprio = torch.from_numpy(goal.proprio)[None, None].to(model.device)
    model.check_proprio(proprio, 1, 1)
    return Target(shown=StepObservation({}, proprio), objective=parts.robot)
