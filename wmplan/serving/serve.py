"""What `wmplan serve` runs: a model is loaded, tried once, and served until the process is told to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmplan.control.backend import PlanRequest
from wmplan.control.recording import Recorder, open_recorder
from wmplan.control.session import PlanningSession, plan_batch
from wmplan.models import WorldModel, load
from wmplan.models.precision import take_dtype
from wmplan.serving.config import Bounds, ServerConfig, is_loopback
from wmplan.serving.goal_files import read_goal
from wmplan.serving.metadata import make_metadata, read_shapes
from wmplan.serving.server import PolicyServer
from wmplan.serving.token import read_token
from wmplan.settings.dtypes import check_dtype

log = logging.getLogger(__name__)


def serve(
    *,
    model: str,
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    goal: Path | dict[str, Path] | None = None,
    goal_mask: Path | dict[str, Path] | None = None,
    record: Path | None = None,
    record_gb: float = 20.0,
    seed: int = 0,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    bounds: Bounds | None = None,
    device: str | None = None,
    dtype: str = "auto",
) -> None:
    """Serve a model until SIGTERM or Ctrl-C.

    Args:
        model: a shipped model, a folder or file, or hf://org/name.
        planner: how to search.
        objective: what a plan costs.
        schedule: when to plan and how far to look.
        goal: a picture of what the camera should see, for clients that set no goal of their own, or one by camera,
            goal.front=FILE goal.wrist=FILE; None for no goal.
        goal_mask: a picture that is bright where the goal counts, as wmplan goal writes it, or one by camera, of which
            those without one count whole; None for everywhere.
        record: folder of a data set that what robots see and do is added to, which wmplan train takes; None for none.
            An episode needs a frame every robot step: clients that send fewer record on the robot instead.
        record_gb: size of that folder, in 10^9 bytes, at which the recording stops; nothing is deleted.
        seed: of every session's random numbers, until its client sets another.
        host: address to listen at; any but this machine's own (127.0.0.1, ::1, localhost) needs a token.
        port: TCP port; 0 lets the system choose a free one.
        token_file: a file, readable for you alone, with the token that clients have to show; None for the one in the
            environment variable WMPLAN_TOKEN, if it is set.
        certificate: for wss://, the certificate chain in PEM form.
        key: its key in PEM form, None if it is in the certificate's file.
        bounds: how much clients may take.
        device: for the model: cpu, cuda, cuda:1, mps; auto, or null, for CUDA where there is any.
        dtype: what the model's rollouts multiply in: float32, bfloat16, or auto for bfloat16 where that is faster here
            and the model's card says that it plans as well.

    Raises:
        UserError: naming the setting that is wrong.
        OSError: if the address cannot be listened at.
    """
    check_dtype(dtype)
    config = ServerConfig(host, port, read_token(token_file), certificate, key, bounds or Bounds())
    config.tls()  # before the model is loaded
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    world = load(model, device)
    computes = take_dtype(world, dtype)
    recorder = None
    if record is not None:
        spec, task = world.spec, world.card.get("task")
        low, high = spec.action_low, spec.action_high
        recorder = open_recorder(record, low, high, spec.control_rate, task, record_gb)
    server = make_server(world, config, planner, objective, schedule, goal, seed, recorder, goal_mask)
    log.info("planning in %s", computes)
    if config.token and not config.certificate and not is_loopback(host):
        log.warning("without a certificate, the token and the frames cross the network in the clear")
    try:
        asyncio.run(server.run(lambda one: print(_banner(one, world), flush=True)))
    finally:
        if recorder is not None:
            recorder.close()


def make_server(
    model: WorldModel,
    config: ServerConfig,
    planner: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    schedule: Mapping[str, Any] | None = None,
    goal: Path | dict[str, Path] | None = None,
    seed: int = 0,
    recorder: Recorder | None = None,
    goal_mask: Path | dict[str, Path] | None = None,
) -> PolicyServer:
    """A server of `model`, with the settings of make_controller(). The model has been tried once when it returns.

    Args:
        recorder: that every session is recorded with.
        goal_mask: where the goal counts.

    Raises:
        ValueError: naming the setting that is wrong.
    """
    spec, card = model.spec, model.card

    def make_session() -> PlanningSession:
        stream = None if recorder is None else recorder.stream(spec.cameras)
        return PlanningSession(model, planner, objective, schedule, seed=seed, recording=stream)

    frame = read_goal(goal, goal_mask, spec)
    session = PlanningSession(model, planner, objective, schedule, seed=seed)  # what is tried is not recorded
    try_out(session)
    horizon = session.core.horizon
    metadata = make_metadata(spec, card, horizon, session.replan_every)
    return PolicyServer(
        metadata, read_shapes(spec, horizon), make_session, plan_batch, config, frame, PlanningSession.end_recording
    )


def try_out(session: PlanningSession) -> None:
    """Plan once, so that no robot has to wait for what is slow at first, and a wrong setting is said at once."""
    spec = session.model.spec
    frames = {name: np.zeros((*spec.image_size, 3), np.uint8) for name in spec.cameras}
    session.set_goal(frames)
    session.plan(PlanRequest({**frames, "proprio": np.zeros(spec.proprio_dim, np.float32)}))


def _banner(server: PolicyServer, model: WorldModel) -> str:
    config = server.config
    host = f"[{config.host}]" if ":" in config.host else config.host
    name = model.card.get("name") or type(model).__name__
    secured = "a token is needed" if config.token else "no token"
    device = model.device.type
    return (
        f"serving {name} at {config.scheme}://{host}:{server.port} ({secured}), "
        f"planning on {device} with {torch.get_num_threads()} threads; Ctrl-C ends it"
    )
