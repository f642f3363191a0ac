"""Which action goes with which frames, estimated from the data: how many rows lie between an action and what it does.

The action of row t should explain the change from frame t to t + 1: a lag of 0. For each lag, the changes of where a
frame's colours are, are predicted linearly from the action that many rows before and from the scene, on other parts of
the data than those they are judged on. The lag that predicts best wins; how often it wins when the parts are drawn anew
(a bootstrap) says how sure that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 3  # rows either way
LEAST_ROWS, LEAST_EXPLAINED = 200, 0.02
PART = 40  # rows that are left out, judged on and drawn together
FOLDS = 5
DRAWS = 500
COMPONENTS = 8  # of the changes of frames, and of the scene
RIDGE = 1e-2


@dataclass(frozen=True)
class Alignment:
    """The estimate.

    Attributes:
        lag: rows between an action and the change of frames that it explains best; 0 is right, above 0 late.
        sure: the share of the bootstrap's draws in which this lag wins.
        explained: by lag, the share of the frames' change that is explained beyond what the scene alone explains.
    """

    lag: int
    sure: float
    explained: dict[int, float]


def estimate_alignment(
    frames: Sequence[NDArray[np.float32]], actions: Sequence[NDArray[np.float64]], seed: int = 0
) -> Alignment | None:
    """The lag, or None where the data is too little, or no action explains what frames show.

    Args:
        frames: of each episode, what describes its frames, of shape (rows, F): see locate_colours().
        actions: of each episode, of shape (rows, A); the last row is not looked at.
    """
    usable = [
        (seen, done) for seen, done in zip(frames, actions, strict=True) if len(seen) > 2 * MOST + 2 and len(done[0])
    ]
    usable = [(seen, done) for seen, done in usable if np.isfinite(done[:-1]).all()]
    if sum(len(seen) - 2 * MOST - 1 for seen, _ in usable) < LEAST_ROWS:
        return None
    scenes, changes, shifted, parts = _samples(usable)
    scenes, changes = _principal(scenes, COMPONENTS), _principal(changes, COMPONENTS)
    total = (changes - changes.mean(axis=0)) ** 2
    if total.sum() < 1e-9:
        return None
    alone = _errors(scenes, changes, parts)
    errors = {}
    for lag, action in shifted.items():
        action = (action - action.mean(axis=0)) / (action.std(axis=0) + 1e-9)
        errors[lag] = _errors(np.concatenate([scenes, action], axis=1), changes, parts)
    explained = {lag: float((alone.sum() - error.sum()) / total.sum()) for lag, error in errors.items()}
    best = max(explained, key=lambda lag: explained[lag])
    if explained[best] < LEAST_EXPLAINED:
        return None
    table = np.stack(list(errors.values()), axis=1)  # (parts, lags)
    drawn = np.random.default_rng(seed).integers(len(table), size=(DRAWS, len(table)))
    winners = np.array(list(errors))[table[drawn].sum(axis=1).argmin(axis=1)]
    return Alignment(best, float((winners == best).mean()), explained)


def _samples(
    episodes: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, NDArray[np.float64]], NDArray[np.int64]]:
    """(scene, change, action by lag, part) of every row that has an action at all lags."""
    scenes, changes, parts = [], [], []
    shifted: dict[int, list[NDArray[np.float64]]] = {lag: [] for lag in range(-MOST, MOST + 1)}
    count = 0
    for seen, done in episodes:
        rows = np.arange(MOST, len(seen) - 1 - MOST)  # t + MOST is not the last row, which has no action
        scenes.append(seen[rows].astype(np.float64))
        changes.append(seen[rows + 1].astype(np.float64) - seen[rows])
        for lag, values in shifted.items():
            values.append(done[rows - lag])
        parts.append(count + np.arange(len(rows)) // PART)
        count = int(parts[-1][-1]) + 1
    joined = {lag: np.concatenate(values).astype(np.float64) for lag, values in shifted.items()}
    return np.concatenate(scenes), np.concatenate(changes), joined, np.concatenate(parts)


def _principal(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The values' first principal components, together of unit variance."""
    values = values - values.mean(axis=0)
    _, scales, directions = np.linalg.svd(values.T @ values / len(values), hermitian=True)
    kept = values @ directions[: min(most, len(directions))].T
    return kept / max(float(np.sqrt(scales[0])), 1e-12)


def _errors(inputs: NDArray[np.float64], wanted: NDArray[np.float64], parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The squared errors of a ridge regression by part, of shape (parts,), each part left out of its own fit."""
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    errors = np.zeros(int(parts.max()) + 1)
    for fold in range(FOLDS):
        held = parts % FOLDS == fold
        known = inputs[~held]
        gram = known.T @ known + RIDGE * len(known) * np.eye(inputs.shape[1])
        weights = np.linalg.solve(gram, known.T @ wanted[~held])
        apart = ((inputs[held] @ weights - wanted[held]) ** 2).sum(axis=1)
        np.add.at(errors, parts[held], apart)
    return errors
