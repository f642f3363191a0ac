"""Streams of random numbers: what is drawn for one purpose is never drawn for another, whatever the seeds."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are for. A number here is part of what a seed means: none may change."""

    COLLECTION = 0  # episodes that are collected
    EVALUATION = 1  # held-out episodes that instances come from
    PLAYING = 2  # planners and random policies
    PROBE = 3  # fresh episodes that a probe is fitted on
    ROBOT_CAMERA = 4  # noise and delays of a simulated robot's camera
    ROBOT_FAULTS = 5  # what fails on a simulated robot
    ROBOT_BODY = 6  # actuators of a simulated robot
    DISTURBANCE = 7  # what happens to an episode in which surprise is measured
    VARIATION = 8  # factors of variation of given instances
    VALIDATION = 9  # recorded episodes that a model is judged on
    EXAM = 10  # clips that a model is examined on
    EXAM_CHOICE = 11  # clips on which the window of an exam is chosen
    EXAM_TRAINING = 12  # possible clips that a model may be trained on
    STRIP = 13  # what hides a part of recorded frames, for a memory to learn by


def stream_rng(seed: int, stream: Stream, *keys: int) -> np.random.Generator:
    """A generator that depends on nothing but the seed, the stream and further keys, such as an episode's number."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *keys)))
