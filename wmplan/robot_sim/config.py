"""Settings of a run of the robot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wmplan.control.realtime.config import RealtimeConfig
from wmplan.errors import UserError
from wmplan.evaluation.protocol import Protocol
from wmplan.robot_sim.camera import CameraConfig
from wmplan.robot_sim.faults import KINDS, Fault
from wmplan.settings.build import convert_fields
from wmplan.settings.dtypes import check_dtype
from wmplan.settings.numbers import MAX_SEED, whole_number


@dataclass(frozen=True)
class FaultsConfig:
    """What goes wrong.

    Attributes:
        given: faults of every episode, each {kind: ..., at: seconds, seconds: null, size: null}; kinds are
            camera_delay, camera_jitter, frames_dropped, camera_frozen, camera_covered, camera_bumped, network_lost,
            network_slow, server_killed, planner_slow, action_noise, knock, actuator_failed.
        random: how many more are drawn for each episode.
        kinds: of those that are drawn; None for all.
        seed: what they are drawn from.
    """

    given: tuple[Fault, ...] = ()
    random: int = 0
    kinds: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        convert_fields(self, "faults")
        whole_number(self.random, "faults.random", 0)
        whole_number(self.seed, "faults.seed", 0, MAX_SEED)
        for kind in self.kinds or ():
            if kind not in KINDS:
                raise UserError(f"faults.kinds: there is no fault {kind!r}; there are {', '.join(KINDS)}")

    def may_be(self, kinds: tuple[str, ...]) -> bool:
        """Whether any fault of these kinds can happen."""
        drawn = self.kinds or tuple(KINDS) if self.random else ()
        return bool({*kinds} & {*drawn, *(fault.kind for fault in self.given)})


@dataclass(frozen=True)
class LimitsConfig:
    """What is sent to the robot, beside its own bounds.

    Attributes:
        max_change: largest change of each number of an action from one tick to the next; None for no limit.
        max_acceleration: largest change of that change; None for no limit.
        on_violation: "clip", or "stop" at the first one.
    """

    max_change: tuple[float, ...] | None = None
    max_acceleration: tuple[float, ...] | None = None
    on_violation: Literal["clip", "stop"] = "clip"


@dataclass(frozen=True)
class RobotConfig:
    """A run of the robot.

    Attributes:
        task: Gymnasium id.
        out: folder for results.json and the films.
        url: of a server, ws://HOST:PORT or wss://HOST:PORT; None to plan in this process.
        model: a shipped name, a folder or file, or hf://org/name, where url is None.
        planner, objective, schedule: how to plan, where url is None; left out, what the model's card recommends.
        token_file: file with the token that the server wants; None for the environment variable WMPLAN_TOKEN.
        ca_file: certificates that a wss:// server's is checked against; None for the system's.
        timeout: seconds that the server may take for an answer.
        episodes: how many, each a held-out instance, those of wmplan eval with the same seed and protocol.
        seed: of instances, planner and everything that is random in the robot.
        protocol: how far the goal is and how long there is.
        seconds: length of an episode; None for the protocol's budget.
        rate: control ticks a second; at least the task's robot steps a second.
        ramp_ms: in which the body reaches a new command.
        camera, faults, realtime, limits: see there.
        clock: "wall", or "simulated" for as fast as it goes, always with the same outcome.
        plan_ms: how long a plan takes in simulated time.
        films: episodes that are filmed, from the first on.
        record: folder of a data set that what the robot sees and does is added to; None for none.
        device: for the model: cpu, cuda, cuda:1, mps; auto, or null, for CUDA where there is any.
        dtype: where url is None, what the model's rollouts multiply in: float32, bfloat16, or auto for bfloat16 where
            that is faster here and the model's card says that it plans as well.
    """

    task: str
    out: Path
    url: str | None = "ws://127.0.0.1:8000"
    model: str = "pusht"
    planner: dict[str, Any] = field(default_factory=dict)
    objective: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout: float = 2.0
    episodes: int = 1
    seed: int = 0
    protocol: Protocol = field(default_factory=Protocol)
    seconds: float | None = None
    rate: float = 10.0
    ramp_ms: float = 20.0
    camera: CameraConfig = field(default_factory=CameraConfig)
    faults: FaultsConfig = field(default_factory=FaultsConfig)
    realtime: RealtimeConfig = field(default_factory=lambda: RealtimeConfig(wait_first=True))
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    clock: Literal["wall", "simulated"] = "wall"
    plan_ms: float = 50.0
    films: int = 1
    record: Path | None = None
    device: str | None = None
    dtype: str = "auto"

    def __post_init__(self) -> None:
        convert_fields(self)
        check_dtype(self.dtype)
        for name, least in (("episodes", 1), ("films", 0)):
            whole_number(getattr(self, name), name, least)
        whole_number(self.seed, "seed", 0, MAX_SEED)
        for name in ("rate", "timeout", "seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} must be above 0 and finite, got {value}")
        for name in ("ramp_ms", "plan_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        if not self.protocol.proprio:
            raise UserError("protocol.proprio is false: that is for wmplan eval, a robot always sends its own state")
        if self.clock == "simulated" and self.url is not None:
            raise UserError("clock is simulated, so the planner must be in this process: url=null model=...")
