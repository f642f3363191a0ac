"""Which action goes with which frames, estimated from the data: how many rows lie between an action and what it does.

The action of row t should explain the change from frame t to t + 1: a lag of 0. For each lag, the changes of where a
frame's colours are, are predicted linearly from the action that many rows before, the scene and the change before (a
robot with inertia moves fastest after its action), on other parts of the data than those they are judged on. The lag
that predicts best wins; how often it wins when the parts are drawn anew (a bootstrap) says how sure that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 3  # rows either way
LEAST_ROWS = 200
LEAST_SURE = 0.5  # below, no lag is told
PART = 40  # rows that are left out, judged on and drawn together
FOLDS = 5
DRAWS = 500
SCENE = 8  # components of the scene
CHANGES = (8, 16, 32)  # components of the changes: few for little data, many for a small thing in a large frame
RIDGE = 1e-2


@dataclass(frozen=True)
class Alignment:
    """The estimate.

    Attributes:
        lag: rows between an action and the change of frames that it explains best; 0 is right, above 0 late.
        sure: the share of the bootstrap's draws in which this lag wins, and the action helps at all.
        explained: by lag, the share of the frames' change that the action explains beyond scene and change before.
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
    scenes, before, changes, shifted, parts = _samples(usable)
    if changes.var(axis=0).sum() < 1e-12:
        return None
    scenes = _whitened(scenes, SCENE)
    drawn = np.random.default_rng(seed).integers(int(parts.max()) + 1, size=(DRAWS, int(parts.max()) + 1))
    found = []
    for most in CHANGES:
        both = _whitened(np.concatenate([before, changes]), most)
        known = np.concatenate([scenes, both[: len(before)]], axis=1)
        found.append(_estimate(known, both[len(before) :], shifted, parts, drawn))
    best = max(found, key=lambda one: one.sure)
    return best if best.sure >= LEAST_SURE else None


def _estimate(
    scenes: NDArray[np.float64],
    changes: NDArray[np.float64],
    shifted: dict[int, NDArray[np.float64]],
    parts: NDArray[np.int64],
    drawn: NDArray[np.int64],
) -> Alignment:
    """The lag whose actions predict the changes best; a draw in which it does not help at all counts for none."""
    alone = _errors(scenes, changes, parts)
    errors = []
    for action in shifted.values():
        scaled = (action - action.mean(axis=0)) / (action.std(axis=0) + 1e-9)
        errors.append(_errors(np.concatenate([scenes, scaled], axis=1), changes, parts))
    table = np.stack(errors)  # (lags, parts)
    gains = alone.sum() - table.sum(axis=1)
    best = int(gains.argmax())
    sums = table[:, drawn].sum(axis=2)  # (lags, draws)
    wins = (sums.argmin(axis=0) == best) & (sums[best] < alone[drawn].sum(axis=1))
    explained = {lag: float(gain / (changes**2).sum()) for lag, gain in zip(shifted, gains, strict=True)}
    return Alignment(list(shifted)[best], float(wins.mean()), explained)


def _samples(
    episodes: Sequence[tuple[NDArray[np.float32], NDArray[np.float64]]],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    dict[int, NDArray[np.float64]],
    NDArray[np.int64],
]:
    """(scene, change before, change, action by lag, part) of every row that has an action at all lags."""
    scenes, before, changes, parts = [], [], [], []
    shifted: dict[int, list[NDArray[np.float64]]] = {lag: [] for lag in range(-MOST, MOST + 1)}
    count = 0
    for seen, done in episodes:
        rows = np.arange(MOST, len(seen) - 1 - MOST)  # t + MOST is not the last row, which has no action
        scenes.append(seen[rows].astype(np.float64))
        before.append(seen[rows].astype(np.float64) - seen[rows - 1])
        changes.append(seen[rows + 1].astype(np.float64) - seen[rows])
        for lag, values in shifted.items():
            values.append(done[rows - lag])
        parts.append(count + np.arange(len(rows)) // PART)
        count = int(parts[-1][-1]) + 1
    joined = {lag: np.concatenate(values).astype(np.float64) for lag, values in shifted.items()}
    scene, change_before, change = (np.concatenate(one) for one in (scenes, before, changes))
    return scene, change_before, change, joined, np.concatenate(parts)


def _whitened(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """The values' first principal components, each of unit variance; those of hardly any are left out."""
    values = values - values.mean(axis=0)
    _, scales, directions = np.linalg.svd(values.T @ values / len(values), hermitian=True)
    kept = min(most, max(int((scales > 1e-5 * scales[0]).sum()), 1))
    whitened: NDArray[np.float64] = values @ directions[:kept].T / np.sqrt(np.maximum(scales[:kept], 1e-30))
    return whitened


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
