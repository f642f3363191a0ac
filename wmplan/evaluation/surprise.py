"""How reliably a model is surprised by what it should be surprised by, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from wmplan.control.controller import Controller
from wmplan.control.surprise import surprise
from wmplan.data.episode import episode_rng
from wmplan.environment import DisturbedEnvironment
from wmplan.errors import UserError
from wmplan.evaluation.disturbances import Disturbance
from wmplan.evaluation.instances import Instance
from wmplan.evaluation.intervals import wilson
from wmplan.models.base import WorldModel
from wmplan.random_streams import Stream

WITHIN = 10
"""Robot steps after a disturbance in which an alarm counts as one about it."""


@dataclass(frozen=True, eq=False)
class Watched:
    """One episode.

    Attributes:
        values: surprise at each robot step, NaN before the first model step has passed, (steps,).
        begin: robot step at which the disturbance happened; its frame is the first that may show it.
    """

    values: NDArray[np.float64]
    begin: int


def watch(
    env: DisturbedEnvironment,
    controller: Controller,
    instance: Instance,
    kind: type[Disturbance],
    seed: int,
    steps: int,
) -> Watched:
    """Let the controller play the instance, disturbed at a random robot step of the middle half of the episode.

    The controller and its model see what the disturbed camera gives, and take as executed what was commanded.
    """
    rng = episode_rng(seed, instance.instance, Stream.DISTURBANCE)
    begin = int(rng.integers(steps // 4, steps - steps // 4))
    instance.start(env)
    controller.reset({"pixels": env.goal_observation()["pixels"]}, seeds=[seed])
    disturbance = kind(env, rng)
    frames, states, actions = [], [], []
    for step in range(steps + 1):
        if step == begin:
            disturbance.begin()
        observation = dict(env.observe())
        if step >= begin:
            observation["pixels"] = disturbance.seen(observation["pixels"])
        frames.append(observation["pixels"])
        states.append(observation["proprio"])
        action = controller.act(observation)
        actions.append(action)
        env.step_physics(disturbance.done(action) if step >= begin else action.astype(np.float64))
    return Watched(surprises(controller.model, np.stack(frames), np.stack(states), np.stack(actions)), begin)


def surprises(
    model: WorldModel, frames: NDArray[np.uint8], proprio: NDArray[np.float32], actions: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Surprise at every frame, (T,), predicted from one model step earlier; NaN where that is before the first.

    Args:
        frames, proprio: one a robot step, (T, H, W, 3) and (T, P).
        actions: executed from each on, (T, a).

    Raises:
        ValueError: if the model does not know its error on held-out data.
    """
    spec, count = model.spec, len(frames)
    block = spec.action_block
    with torch.inference_mode():
        state = torch.from_numpy(proprio)[None].to(model.device) if spec.proprio_dim else None
        latents = model.encode(torch.from_numpy(frames)[None].to(model.device), state)[0]  # (T, *latent)
    blocks = torch.stack([torch.from_numpy(actions[at : at + block]).flatten() for at in range(count - block)]).to(
        model.device
    )  # (T - block, A): executed from each frame on
    values = np.full(count, np.nan)
    for at in range(block, count):
        past = list(range(at - block, -1, -block))[: spec.history][::-1]  # the context's frames, oldest first
        before = blocks[past[:-1]][None] if len(past) > 1 else None
        value = surprise(model, latents[past][None], blocks[past[-1]][None], latents[at][None], before)
        if value is None:
            raise UserError("the model does not know its error on held-out data (error_scale)")
        values[at] = float(value[0])
    return values


def threshold(calm: Sequence[ArrayLike], false_alarms: float) -> float:
    """The surprise that is passed in a part `false_alarms` of undisturbed episodes, whose values `calm` are.

    Raises:
        ValueError: if there are no episodes or the part is not between 0 and 1.
    """
    if not calm or not 0 <= false_alarms < 1:
        raise UserError(f"false_alarms must be from 0 to below 1, got {false_alarms} over {len(calm)} episodes")
    highest = [float(np.nanmax(np.asarray(values, np.float64))) for values in calm]
    return float(np.quantile(np.array(highest), 1 - false_alarms, method="higher"))


@dataclass(frozen=True)
class Alarms:
    """How often there was an alarm, over episodes.

    Attributes:
        rate, ci95: part of the episodes with one, and Wilson's interval.
        delay_steps: robot steps from the disturbance to the alarm, median; None without any.
        before: part of the episodes with an alarm before the disturbance, which is a false one.
    """

    episodes: int
    rate: float
    ci95: tuple[float, float]
    delay_steps: float | None
    before: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def true_alarms(watched: Sequence[Watched], limit: float) -> Alarms:
    """Alarms within WITHIN robot steps of the disturbances."""
    delays, before = [], 0
    for one in watched:
        passed = np.flatnonzero(one.values > limit)
        about_it = passed[(passed >= one.begin) & (passed <= one.begin + WITHIN)]
        before += int((passed < one.begin).any())
        if about_it.size:
            delays.append(int(about_it[0]) - one.begin)
    return _alarms(len(watched), len(delays), float(np.median(delays)) if delays else None, before)


def false_alarms(watched: Sequence[Watched], limit: float) -> Alarms:
    """Alarms at any time of episodes in which nothing happened."""
    return _alarms(len(watched), sum(bool((one.values > limit).any()) for one in watched), None, 0)


def _alarms(episodes: int, alarmed: int, delay: float | None, before: int) -> Alarms:
    return Alarms(episodes, alarmed / episodes, wilson(alarmed, episodes), delay, before / episodes)
