"""Ways through mazes are shortest and free of walls."""

from __future__ import annotations

import numpy as np
from scipy.sparse import lil_matrix
from scipy.sparse.csgraph import shortest_path

from wmplan.envs.suites.mazes import Maze, follow

WALLS = [
    [1, 1, 1, 1, 1, 1],
    [1, 0, 0, 0, 1, 1],
    [1, 0, 1, 0, 0, 1],
    [1, 1, 1, 0, 1, 1],
    [1, 0, 0, 0, 0, 1],
    [1, 1, 1, 1, 1, 1],
]


def test_ways_are_shortest() -> None:
    maze = Maze(WALLS, (-3, 3))
    steps = lil_matrix((len(maze.cells), len(maze.cells)))
    for one, (i, j) in enumerate(maze.cells):
        for other, (k, m) in enumerate(maze.cells):
            steps[one, other] = abs(i - k) + abs(j - m) == 1
    lengths = shortest_path(steps.tocsr(), unweighted=True)
    for one, start in enumerate(maze.cells):
        for other, goal in enumerate(maze.cells):
            way = maze.way(start, goal)
            assert len(way) == lengths[one, other] and set(way) <= maze.free
            assert (way[-1] if way else start) == goal


def test_cells_and_places_belong_together() -> None:
    maze = Maze(WALLS, (-3, 3))
    np.testing.assert_allclose(maze.centre((1, 1)), [-1.5, 1.5])
    for cell in maze.cells:
        assert maze.cell(maze.centre(cell) + [0.3, -0.4]) == cell


def test_a_way_is_followed_around_a_corner() -> None:
    """A point that the action moves at will goes from one end to the other, through no wall."""
    maze = Maze(WALLS, (-3, 3))
    place, goal = maze.centre((2, 1)), maze.centre((4, 1)) + [0.2, 0.1]
    policy = follow(maze, place, goal)
    for _ in range(400):
        action = policy(np.concatenate([place, np.zeros(2)]))
        place = place + 0.05 * action
        assert np.linalg.norm(maze.centre(maze.cell(place)) - place) < 0.72
    np.testing.assert_allclose(place, goal, atol=0.01)
