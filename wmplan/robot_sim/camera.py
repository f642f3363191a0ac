"""A camera like those on robots: it has a rate of its own, and what it saw arrives late, if it does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import RobotEnvironment, has
from wmplan.errors import UserError
from wmplan.evaluation.disturbances import bumped_camera, covered_frame
from wmplan.robot_sim.faults import FaultSchedule
from wmplan.settings.build import convert_fields

Observation = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class CameraConfig:
    """How the camera is when nothing is wrong.

    Attributes:
        rate: frames a second.
        latency_ms: from what is seen until the controller gets it.
        jitter_ms: what is added to that at most, for each frame by its own chance.
    """

    rate: float = 20.0
    latency_ms: float = 0.0
    jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        convert_fields(self, "camera")
        if not 0 < self.rate < math.inf:
            raise UserError(f"camera.rate must be above 0 frames a second, got {self.rate}")
        for name in ("latency_ms", "jitter_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"camera.{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Frame:
    """What the camera and the joint encoders saw together.

    Attributes:
        captured: when, seconds from the start of the episode; what the camera claims, even when it is frozen.
        arrives: when the controller can have it.
    """

    observation: Observation
    captured: float
    arrives: float


@dataclass
class Camera:
    """Draws the environment at its own rate and hands frames out when they arrive.

    It has to be used on the thread that owns the GL context. Times are seconds from the start of the episode.

    Attributes:
        dropped: frames that never arrived.
    """

    env: RobotEnvironment
    config: CameraConfig
    faults: FaultSchedule
    rng: np.random.Generator
    dropped: int = 0
    _count: int = 0
    _pending: list[Frame] = field(default_factory=list)
    _newest: Frame | None = None
    _frozen: Observation | None = None
    _bump: float | None = None

    def __post_init__(self) -> None:
        # The robot was there before the episode began, with the world at rest: one frame has already arrived.
        self._factors = dict(self.env.variation.factors) if has(self.env, "variation") else {}
        self._newest = Frame(self.env.observe(), -self.config.latency_ms / 1000, 0.0)

    def look(self, moment: float) -> None:
        """Take a frame if one is due at `moment`."""
        if moment + 1e-9 < self._count / self.config.rate:
            return
        while self._count / self.config.rate <= moment + 1e-9:  # a frame that was missed is not made up for
            self._count += 1
        observation = self._see(moment)
        jitter = self.config.jitter_ms / 1000 + (self.faults.size("camera_jitter", moment) or 0.0)
        late = self.config.latency_ms / 1000 + (self.faults.size("camera_delay", moment) or 0.0)
        chance, loss = self.rng.random(2)  # drawn whatever is needed, so that a fault changes nothing after its end
        if loss < (self.faults.size("frames_dropped", moment) or 0.0):
            self.dropped += 1
        else:
            self._pending.append(Frame(observation, moment, moment + late + jitter * chance))

    def newest(self, moment: float) -> Frame:
        """The frame that was captured last, of those that have arrived by `moment`."""
        arrived = [frame for frame in self._pending if frame.arrives <= moment + 1e-9]
        if arrived:
            self._pending = [frame for frame in self._pending if frame.arrives > moment + 1e-9]
            best = max(arrived, key=lambda frame: frame.captured)
            if self._newest is None or best.captured > self._newest.captured:
                self._newest = best
        assert self._newest is not None
        return self._newest

    def _see(self, moment: float) -> Observation:
        frozen = self.faults.size("camera_frozen", moment) is not None
        if frozen and self._frozen is not None:
            return self._frozen  # with a fresh time stamp: this is what makes a frozen camera hard to notice
        self._stand(self.faults.size("camera_bumped", moment))
        observation = dict(self.env.observe())
        if self.faults.size("camera_covered", moment) is not None:
            rng = np.random.default_rng(self._count)
            observation["pixels"] = covered_frame(observation["pixels"].shape, rng)
        self._frozen = observation if frozen else None
        return observation

    def _stand(self, bumped: float | None) -> None:
        """Put the camera where it stands."""
        if bumped == self._bump:
            return
        factors = self._factors
        if bumped is not None:
            factors = bumped_camera(factors, [bumped, -0.5 * bumped, 0.0])
        self.env.variation.apply(factors)
        self._bump = bumped

    def close(self) -> None:
        """Put the camera back where it stood."""
        self._stand(None)
