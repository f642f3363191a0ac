"""What drives the robot in a run: a controller over a served planner, one of this process, or one in simulated time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from wmplan.control.backend import Backend
from wmplan.control.safety.limits import Limits
from wmplan.data.recorder import Recorder
from wmplan.environment import RobotEnvironment
from wmplan.errors import UserError
from wmplan.robot_sim.clock import Clock, WallClock
from wmplan.robot_sim.config import RobotConfig
from wmplan.robot_sim.faults import FaultSchedule
from wmplan.robot_sim.local_faults import FaultyBackend, TimedBackend
from wmplan.robot_sim.simulated_clock import SimulatedClock
from wmplan.robot_sim.simulated_controller import CallTime, SimulatedController
from wmplan.robot_sim.wire_faults import NETWORK_KINDS, FaultyWire

Moment = Callable[[], float]


@dataclass
class PlannerLink:
    """The controller and what goes with it.

    Attributes:
        controller: RealtimeController or SimulatedController.
        clock: the one that it goes by.
        name: of what plans.
        begin: lets faults happen, and time count, from an origin on.
        rest: lets nothing go wrong until begin() again.
        close: ends it.
    """

    controller: Any
    clock: Clock
    name: str
    begin: Callable[[FaultSchedule, float], None]
    rest: Callable[[], None]
    close: Callable[[], None]


def served(config: RobotConfig, client: Any, wire: FaultyWire | None, limits: Limits, step_rate: float) -> PlannerLink:
    """Planning behind a connection."""
    from wmplan.control.realtime.controller import RealtimeController

    clock, recorder = WallClock(), recorder_of(config, limits, step_rate)
    controller = RealtimeController(
        client, limits, config.rate, config.realtime, step_rate=step_rate, clock=clock, record=recorder
    )

    def begin(faults: FaultSchedule, origin: float) -> None:
        if wire is not None:
            wire.begin(faults, lambda: clock() - origin)

    def rest() -> None:
        if wire is not None:
            wire.rest()

    def close() -> None:
        stop(controller, recorder)
        client.close()
        if wire is not None:
            wire.close()

    name = f"{client.metadata.get('model')} at {config.url}"
    return PlannerLink(controller, clock, name, begin, rest, close)


def local(config: RobotConfig, backend: Backend, name: str, limits: Limits, step_rate: float) -> PlannerLink:
    """Planning in this process, on a thread of its own."""
    from wmplan.control.realtime.controller import RealtimeController

    clock, faulty = WallClock(), FaultyBackend(backend, time.sleep)
    recorder = recorder_of(config, limits, step_rate)
    controller = RealtimeController(
        faulty, limits, config.rate, config.realtime, step_rate=step_rate, clock=clock, record=recorder
    )

    def begin(faults: FaultSchedule, origin: float) -> None:
        faulty.begin(faults, lambda: clock() - origin)

    return PlannerLink(controller, clock, name, begin, faulty.rest, partial(stop, controller, recorder))


def simulated(config: RobotConfig, backend: Backend, name: str, limits: Limits, step_rate: float) -> PlannerLink:
    """Planning in simulated time."""
    clock, made = SimulatedClock(), []

    def make_backend(call: CallTime) -> Backend:
        made.append(FaultyBackend(TimedBackend(backend, call.wait, config.plan_ms / 1000), call.wait))
        return made[0]

    controller = SimulatedController(make_backend, limits, config.rate, config.realtime, clock, step_rate)
    recorder = recorder_of(config, limits, step_rate)
    controller.loop.recording = None if recorder is None else recorder.stream()

    def begin(faults: FaultSchedule, origin: float) -> None:
        made[0].begin(faults, lambda: controller.call() - origin)
        controller.start()

    return PlannerLink(controller, clock, name, begin, made[0].rest, partial(stop, controller, recorder))


def recorder_of(config: RobotConfig, limits: Limits, step_rate: float) -> Recorder | None:
    """What records the run, None for nothing."""
    if config.record is None:
        return None
    low, high = limits.low, limits.high
    return Recorder(config.record, action_low=low, action_high=high, control_rate=step_rate, task=config.task)


def stop(controller: Any, recorder: Recorder | None) -> None:
    """End a controller and its recording."""
    controller.stop()
    if recorder is not None:
        recorder.close()
        print(recorder.line(), file=sys.stderr)


def connect(config: RobotConfig) -> tuple[Any, FaultyWire | None]:
    """A client of the server, over a network that fails where faults ask for it.

    Raises:
        UserError: if there is no server, or it does not let this client in.
    """
    from wmplan.serving.client import PolicyClient, PolicyError
    from wmplan.serving.token import read_token

    assert config.url is not None
    wire = FaultyWire(config.url) if config.faults.may_be(NETWORK_KINDS) else None
    url = config.url if wire is None else wire.url
    try:
        token = read_token(config.token_file)
        return PolicyClient(url, token, timeout=config.timeout, ca_file=config.ca_file), wire
    except (PolicyError, ValueError) as error:  # the client is a distribution of its own, with errors of its own
        if wire is not None:
            wire.close()
        hint = "; start a server with: wmplan serve" if isinstance(error, PolicyError) else ""
        raise UserError(f"{error}{hint}") from error


def check_served(metadata: dict[str, Any], env: RobotEnvironment) -> None:
    """See to it that what is served is a planner for this robot.

    Raises:
        UserError: if it is not.
    """
    action_dim = len(env.task.action_low)
    if metadata["action_dim"] != action_dim:
        raise UserError(
            f"the served model has actions of {metadata['action_dim']} numbers, the task's have {action_dim}"
        )
    rate = metadata["control_rate"]
    if abs(rate - env.control_rate) > 1e-6 * env.control_rate:
        raise UserError(f"the model has {rate:g} robot steps a second, the task {env.control_rate:g}")
