"""Several processes for one training run: begun here or by torchrun, joined by Lightning Fabric, ended together."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import IO

import torch

from wmplan.device import find_device
from wmplan.errors import UserError
from wmplan.interruption import Interruption
from wmplan.machine import cores
from wmplan.training.ranks import ManyRanks, Ranks

PARENT = "WMPLAN_PARENT"
"""Environment variable: the process that began this one, which ends when that one does."""
GRACE_SECONDS = 10.0
"""That processes have to end by themselves when one of them has."""
PIP_LINE = "pip install 'wmplan[scale]'"


def launched() -> bool:
    """Whether this process was begun as one of several, by torchrun or by supervise()."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ


def require_devices(device: str | None, count: int) -> str:
    """The kind of device that `count` processes of this machine train on, cpu or cuda.

    Raises:
        UserError: where there are fewer such devices, or Lightning Fabric is not installed.
    """
    kind = find_device(device).type if device in (None, "auto") else str(device)
    if kind not in ("cpu", "cuda"):
        raise UserError(f"device must be auto, cpu or cuda with several processes, each has its own, got {device!r}")
    if kind == "cuda" and torch.cuda.device_count() < count:
        raise UserError(
            f"devices must be at most the number of GPUs, {torch.cuda.device_count()}, got {count}; device=cpu trains "
            "on the processor"
        )
    if kind == "cpu" and count > cores():
        raise UserError(f"devices must be at most the number of cores, {cores()}, with device=cpu, got {count}")
    try:
        import lightning_fabric  # noqa: F401
    except ImportError:
        raise UserError(f"training in several processes needs Lightning Fabric, install it with: {PIP_LINE}") from None
    return kind


@contextmanager
def joined(device: str | None, devices: int, threads: int) -> Iterator[Ranks]:
    """This process with the others of its run, if there are any; only the first one speaks.

    Args:
        devices: how many there should be; those that torchrun began count in any case.
        threads: of torch; 0 for as many as there are, divided among the processes of this machine.

    Raises:
        UserError: at no such device, or several processes that nobody began.
    """
    if not launched():
        if devices > 1:
            raise UserError(f"devices={devices} is for the command line; in Python begin the processes with torchrun")
        torch.set_num_threads(threads or torch.get_num_threads())
        yield Ranks(find_device(device))
        return
    watch_parent()
    rank, world, here = (int(os.environ.get(name, "1")) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    torch.set_num_threads(threads or max(1, cores() // here))
    kind = require_devices(device, here)
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # it announces every process
    backend = "nccl" if kind == "cuda" else "gloo"
    patient = timedelta(days=7)  # the first process may encode a data set while the others wait
    strategy = DDPStrategy(process_group_backend=backend, timeout=patient)
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=max(1, world // here), strategy=strategy)
    fabric.launch()
    try:
        with open(os.devnull, "w") as nowhere:
            if rank == 0:
                yield ManyRanks(fabric.device, rank, world)
            else:
                with redirect_stdout(nowhere), redirect_stderr(nowhere):
                    yield ManyRanks(fabric.device, rank, world)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def watch_parent() -> None:
    """End this process when the one that began it has ended, even by kill -9; nothing where torchrun did."""
    parent = int(os.environ.get(PARENT, "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()


def supervise(arguments: Sequence[str], device: str | None, count: int) -> int:
    """Run `wmplan ARGUMENTS` in `count` processes of this machine that train together, and give the exit status.

    Ctrl-C and SIGTERM go to all of them. Where one ends, the others have GRACE_SECONDS to do so.

    Raises:
        UserError: where one was killed, or the devices are not there.
    """
    require_devices(device, count)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "wmplan",  # by which libraries know that the variables above are there
        PARENT: str(os.getpid()),
    }
    command = [sys.executable, "-m", "wmplan", *arguments]
    children: list[subprocess.Popen[bytes]] = []
    errors: list[IO[bytes] | None] = []
    with Interruption() as interruption:
        try:
            for rank in range(count):
                own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                errors.append(None if rank == 0 else tempfile.TemporaryFile())  # noqa: SIM115
                # A session of its own: Ctrl-C comes from here, and once.
                child = subprocess.Popen(command, env=own, stderr=errors[-1], start_new_session=True)
                children.append(child)
            return _wait(children, errors, interruption)
        finally:
            for child in children:
                child.kill()
                child.wait()
            for file in errors:
                if file is not None:
                    file.close()


def _wait(
    children: Sequence[subprocess.Popen[bytes]], errors: Sequence[IO[bytes] | None], interruption: Interruption
) -> int:
    """Wait for all, or for the first that fails."""
    told, until, failed = False, float("inf"), -1
    while any(child.poll() is None for child in children) and time.monotonic() < until:
        if interruption.signal is not None and not told:
            told = True
            for child in children:
                child.send_signal(interruption.signal)
        if failed < 0:
            bad = [rank for rank, child in enumerate(children) if child.poll() not in (None, 0)]
            if bad:
                failed, until = bad[0], time.monotonic() + GRACE_SECONDS
        time.sleep(0.1)
    codes = [child.poll() for child in children]
    killed = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
    if killed and not told:
        raise UserError(
            f"process {killed[0] + 1} of {len(children)} was ended by signal {-(codes[killed[0]] or 0)}, so all have "
            "ended; the same command goes on from the last save"
        )
    file = errors[failed] if failed > 0 else None  # what the first one has to say was seen
    if file is not None and not told:
        file.seek(0)
        sys.stderr.write(file.read().decode(errors="replace"))
    return abs(next((code for code in codes if code), 0) or 0)
