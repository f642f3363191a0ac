"""When plans are to arrive, and how far they look."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from wmplan.control import make_controller
from wmplan.control.schedule import Schedule
from wmplan.models.base import ModelSpec, WorldModel


@pytest.mark.parametrize(
    ("elapsed", "whole", "between", "horizon", "finer"),  # arrivals in model steps, and model steps of the plans
    [
        (0, 3, 3, 3, 3),  # farther than the planner looks
        (10, 3, 3, 3, 3),
        (15, 2, 2, 2, 2),
        (16, 1, 9 / 5, 1, 2),  # between model steps rather early than late, unless the model can be read there
        (18, 1, 7 / 5, 1, 2),
        (20, 1, 1, 1, 1),
        (22, 1, 3 / 5, 1, 1),
        (24, 1, 2 / 5, 1, 1),  # a robot that is late arrives by its next plan, not ever a model step ahead
        (40, 1, 2 / 5, 1, 1),
    ],
)
def test_arrivals_on_and_between_model_steps(
    elapsed: int, whole: float, between: float, horizon: int, finer: int
) -> None:
    schedule = Schedule(replan_every=2, arrival_step=25)
    assert schedule.arrival(elapsed, 5, 3) == whole and schedule.horizon(elapsed, 5, 3) == horizon
    assert schedule.arrival(elapsed, 5, 3, True) == pytest.approx(between)
    assert schedule.horizon(elapsed, 5, 3, True) == finer


def test_planned_at_every_model_step_both_are_the_same() -> None:
    for settings in ({}, {"replan_every": 5}, {"replan_every": 10}, {"min_horizon": 1}):
        schedule = Schedule(arrival_step=25, **settings)
        for elapsed in range(0, 60, 5):
            times = elapsed, 5, 3
            assert schedule.arrival(*times) == schedule.arrival(*times, True)
            assert schedule.horizon(*times) == schedule.horizon(*times, True)


def test_the_plan_goes_on_beyond_an_arrival_that_is_nearer_than_it_has_to_look() -> None:
    schedule = Schedule(replan_every=1, arrival_step=25, min_horizon=2)
    assert schedule.arrival(23, 5, 3, True) == pytest.approx(2 / 5) and schedule.horizon(23, 5, 3, True) == 2
    assert schedule.arrival(23, 5, 3) == schedule.horizon(23, 5, 3) == 2
    assert Schedule(replan_every=1).arrival(23, 5, 3, True) == Schedule().horizon(99, 5, 3, True) == 3


class Point(WorldModel):
    """A point that every action moves by itself, of five robot steps a model step; its latent is its place."""

    reads_robot_steps = False

    def __init__(self) -> None:
        super().__init__()
        plane = (0.0, 0.0), (1.0, 1.0)
        self.spec = ModelSpec((8, 8), 1, 5, (-0.1,) * 2, (0.1,) * 2, *plane, (2,), 2, *plane)

    def encode(self, frames: Any, proprio: Tensor | None = None) -> Tensor:
        assert proprio is not None
        return proprio

    def rollout(self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None) -> Tensor:
        return self.rollout_at(context, actions, past_actions, range(5, 5 * actions.shape[2] + 1, 5))

    def rollout_at(self, context: Tensor, actions: Tensor, past_actions: Tensor | None, steps: Sequence[int]) -> Tensor:
        moved = context[:, -1, None, None] + actions.unflatten(-1, (5, 2)).flatten(2, 3).cumsum(2)
        return moved[:, :, [step - 1 for step in steps]]


class FinePoint(Point):
    reads_robot_steps = True


@pytest.mark.parametrize("every", [1, 2, 3])
def test_planned_between_model_steps_a_robot_is_there_in_time(every: int) -> None:
    """Eight points with one planner: read at model steps alone, plans put the arrival off each time they are made."""

    def left(model: WorldModel) -> float:
        planner = {"name": "cem", "num_samples": 128, "num_iterations": 8, "num_elites": 16, "horizon": 3}
        schedule = {"replan_every": every, "arrival_step": 18}
        controller = make_controller(model, planner, {"latent": {}}, schedule)
        angles = np.arange(8) * np.pi / 4
        goals = 0.8 * np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
        picture = np.zeros((8, 8, 8, 3), np.uint8)
        controller.reset({"pixels": picture, "proprio": goals}, seeds=0)
        places = np.zeros((8, 2), np.float32)
        for _ in range(18):
            places = places + controller.act({"pixels": picture, "proprio": places})
        return float(np.linalg.norm(places - goals, axis=1).max())

    in_time, late = left(FinePoint()), left(Point())
    assert in_time < 0.05 and in_time < 0.5 * late
