"""Mazes of square cells: where one can go, a shortest way that is followed, and play in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wmplan.environment import Array, Policy
from wmplan.envs.suites.play import Play

PLACE, VELOCITY = slice(0, 2), slice(2, 4)  # of a task state
GAIN, DAMPING = 10.0, 1.0  # of the way that is followed: force a metre from the waypoint, and a metre a second
NEAR = 0.3  # cells from a waypoint at which the next one is gone for
SWAY = 150  # robot steps that a swaying force lasts at most
Cell = tuple[int, int]


class Maze:
    """Where one can go in a maze.

    Args:
        walls: (rows, columns), 1 where there is a wall.
        corner: x and y of the upper left corner in metres; cells are squares of `side` metres.
    """

    def __init__(self, walls: Sequence[Sequence[Any]], corner: tuple[float, float], side: float = 1.0) -> None:
        self.free = {(i, j) for i, row in enumerate(walls) for j, wall in enumerate(row) if wall != 1}
        self.cells = sorted(self.free)
        self.corner, self.side = corner, side

    def centre(self, cell: Cell) -> Array:
        """x and y of a cell's middle."""
        return np.array([self.corner[0] + (cell[1] + 0.5) * self.side, self.corner[1] - (cell[0] + 0.5) * self.side])

    def cell(self, place: Array) -> Cell:
        """The free cell whose middle is nearest to a place."""
        return min(self.cells, key=lambda cell: float(np.linalg.norm(self.centre(cell) - place)))

    def random_place(self, rng: np.random.Generator, aside: float) -> Array:
        """x and y in a free cell, up to `aside` metres from its middle in each direction."""
        return self.centre(self.cells[int(rng.integers(len(self.cells)))]) + rng.uniform(-aside, aside, 2)

    def way(self, start: Cell, goal: Cell) -> list[Cell]:
        """The cells of a shortest way, without the first; empty where there is none."""
        before: dict[Cell, Cell] = {goal: goal}
        waiting = deque([goal])
        while waiting and start not in before:
            i, j = waiting.popleft()
            for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if cell in self.free and cell not in before:
                    before[cell] = (i, j)
                    waiting.append(cell)
        cells, cell = [], start
        while cell in before and cell != goal:
            cell = before[cell]
            cells.append(cell)
        return cells


def follow(maze: Maze, place: Array, target: Array, gain: float = GAIN, damping: float = DAMPING) -> Policy:
    """Go from a place to another, from the middle of one cell of the way to that of the next.

    Args:
        gain: action a metre from the waypoint.
        damping: action against a metre a second; where a task state holds no velocity, there is none.
    """
    waypoints = [maze.centre(cell) for cell in maze.way(maze.cell(place), maze.cell(target))][:-1] + [target]

    def act(state: Array) -> Array:
        while len(waypoints) > 1 and np.linalg.norm(state[PLACE] - waypoints[0]) < NEAR * maze.side:
            waypoints.pop(0)
        action = gain * (waypoints[0] - state[PLACE])
        if len(state) > VELOCITY.start:
            action = action - damping * state[VELOCITY]
        return np.clip(action, -1, 1)

    return act


def swaying(rng: np.random.Generator) -> Policy:
    """A force that goes from one random value to the next in straight lines, as plans do, whatever is in its way."""
    scale, spacing = rng.choice([0.5, 1.0, 1.5]), int(rng.choice([12, 25, 50]))
    knots: Array = scale * rng.uniform(-1, 1, (SWAY // spacing + 2, 2))
    steps = iter(range(SWAY + 1))

    def act(state: Array) -> Array:
        whole, part = divmod(next(steps) / spacing, 1)
        return np.clip((1 - part) * knots[int(whole)] + part * knots[int(whole) + 1], -1, 1)

    return act


def maze_play(
    rng: np.random.Generator,
    maze: Maze,
    lead: Callable[[Array, Array], Policy],
    paces: Sequence[float] = (0.3, 0.6, 1.0),
    sways: bool = False,
) -> Play:
    """Goes to random places, pushes in a direction wherever that leads, and rests or coasts.

    Args:
        lead: from the place where it is and a target, x and y each, the policy that goes there.
        paces: shares of its actions, one of which is drawn for each way.
        sways: whether half of it pushes with a force that goes from one random value to the next.
    """

    def go(state: Array) -> Policy:
        target = maze.random_place(rng, 0.3 * maze.side)
        way, pace = lead(state[PLACE], target), rng.choice(paces)
        return lambda state: pace * way(state)

    def push(state: Array) -> Policy:
        force = rng.uniform(-1, 1, 2)
        return lambda state: force

    def coast(state: Array) -> Policy:
        return lambda state: np.zeros(2)

    modes = {"go": go, "push": push, "coast": coast}
    following = {
        "": {"go": 0.7, "push": 0.3},
        "go": {"go": 0.5, "push": 0.3, "coast": 0.2},
        "push": {"go": 0.5, "push": 0.4, "coast": 0.1},
        "coast": {"go": 0.6, "push": 0.4},
    }
    longest = {"go": 150, "push": 30, "coast": 20}
    if sways:
        modes["sway"] = lambda state: swaying(rng)
        following = {
            "": {"go": 0.3, "push": 0.2, "sway": 0.5},
            "go": {"go": 0.3, "push": 0.2, "sway": 0.4, "coast": 0.1},
            "push": {"go": 0.2, "push": 0.3, "sway": 0.4, "coast": 0.1},
            "sway": {"go": 0.3, "push": 0.2, "sway": 0.4, "coast": 0.1},
            "coast": {"go": 0.3, "push": 0.2, "sway": 0.5},
        }
        longest = {"go": 120, "push": 40, "sway": SWAY, "coast": 20}
    return Play(rng, modes, following, longest, np.full(2, -1.0), np.full(2, 1.0), steady=("coast", "sway"))
