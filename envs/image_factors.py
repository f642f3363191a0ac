"""What happens to a frame between the scene and the planner: a bar before the lens, blur and the sensor's noise."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Frame = NDArray[np.uint8]

OCCLUDER = (np.array([0.0, -0.4, -np.pi / 2, 0.0]), np.array([0.2, 0.4, np.pi / 2, 160.0]))
"""Lowest and highest value of a bar: width, distance from the centre (shares of the height), angle_rad, grey level."""
REFERENCE_HEIGHT = 64  # pixels of a frame in which blur is measured: a frame drawn larger shows the same blur


def occluded(frame: Frame, width: float, offset: float, angle: float, grey: float) -> Frame:
    """The frame (H, W, 3) behind a bar from edge to edge; where it covers a part of a pixel, it counts so much."""
    height, columns = frame.shape[:2]
    y, x = np.mgrid[:height, :columns]
    across = np.cos(angle) * (y - (height - 1) / 2) - np.sin(angle) * (x - (columns - 1) / 2)  # (H, W), pixels
    covered = np.clip(width * height / 2 - np.abs(across - offset * height) + 0.5, 0, min(1.0, width * height))
    return np.rint(frame + covered[..., None] * (grey - frame.astype(np.float64))).clip(0, 255).astype(np.uint8)


def blurred(frame: Frame, deviation: float) -> Frame:
    """The frame (H, W, 3) under a Gaussian of `deviation` pixels of a frame REFERENCE_HEIGHT high."""
    deviation = min(deviation * frame.shape[0] / REFERENCE_HEIGHT, max(frame.shape[:2]))
    image = gaussian_filter(frame.astype(np.float64), (deviation, deviation, 0), mode="nearest", truncate=3)
    return np.rint(image).clip(0, 255).astype(np.uint8)


def noisy(frame: Frame, deviation: float, moment: bytes) -> Frame:
    """The frame (H, W, 3) with noise of `deviation` grey levels; the same `moment` and size give the same noise."""
    rng = np.random.default_rng(zlib.crc32(moment))
    noise = deviation * rng.standard_normal(frame.shape, dtype=np.float32)
    return np.rint(frame + noise).clip(0, 255).astype(np.uint8)
