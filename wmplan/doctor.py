"""`wmplan doctor`: what this machine has, and the command that mends what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

from wmplan.machine import CoreWait, cores

TASK = "wmplan.envs:wmplan/PushT-v0"
SPARSE_BUG = "4.0.0"
"""A MuJoCo whose Newton solver is wrong with sparse constraint Jacobians (mujoco#3767), mended in 4.0.1."""
FREE_BYTES = 2e9  # a data set and a training run of the shipped sizes


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: what was looked at.
        value: what was found.
        fine: whether it is as it should be.
        mend: the command that mends it.
        needed: whether `wmplan demo` needs it.
    """

    what: str
    value: str
    fine: bool = True
    mend: str = ""
    needed: bool = False

    def __str__(self) -> str:
        mark = "ok" if self.fine else ("MISSING" if self.needed else "-")
        mend = f"\n{'':22}fix: {self.mend}" if self.mend and not self.fine else ""
        return f"{mark:8}{self.what:14}{self.value}{mend}"


def examine() -> int:
    """Print the report line by line; returns 1 if something is missing that the demo needs, else 0."""
    failed = 0
    for look in LOOKS:
        for finding in look():
            print(finding, flush=True)
            failed += finding.needed and not finding.fine
    verdict = f"missing of what wmplan demo needs: {failed}" if failed else "all that wmplan demo needs is there"
    print(f"\n{verdict}")
    return int(failed > 0)


def look_at_python() -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.platform()}"
    yield Finding("python", text, sys.version_info >= (3, 11), "install Python 3.11 or newer", True)


def look_at_packages() -> Iterator[Finding]:
    """Every dependency of the package itself, against the versions it asks for."""
    for requirement in _requirements():
        yield _installed(requirement, needed=True)


def look_at_solver() -> Iterator[Finding]:
    """Whether this MuJoCo is the one that solves larger scenes wrongly; says nothing otherwise."""
    try:
        version = importlib.metadata.version("mujoco")
    except importlib.metadata.PackageNotFoundError:  # said by look_at_packages()
        return
    if version == SPARSE_BUG:
        text = f"MuJoCo {version} is wrong in scenes of 60 degrees of freedom and more; wmplan's own are smaller"
        yield Finding("solver", text, False, f'pip install "mujoco>=3.3,!={SPARSE_BUG}"')


def look_at_drawing() -> Iterator[Finding]:
    """A frame drawn in a process of its own, so that a driver that crashes is a line of the report too."""
    try:
        from wmplan.gl_backend import INSTALL
    except RuntimeError as error:  # it names the packages to install
        yield Finding("drawing", str(error), False, needed=True)
        return
    done = subprocess.run([sys.executable, "-c", "import wmplan.doctor as d; d.draw()"], capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode == 0 and last:
        frame = json.loads(last[0])
        busy = f"; {frame['busy']}" if frame.get("busy") else ""
        text = f"a 64 x 64 frame in {frame['ms']:.2f} ms with {frame['backend']}, {frame['renderer']}{busy}"
        yield Finding("drawing", text, frame["varied"], "unset MUJOCO_GL, or try MUJOCO_GL=osmesa", True)
        return
    reason = (done.stderr.strip().splitlines() or [f"the process ended with status {done.returncode}"])[-1]
    yield Finding("drawing", f"no frame could be drawn: {reason}", False, INSTALL, True)


def draw() -> None:
    """Draw frames of Push-T and print backend, renderer and time as JSON; run by look_at_drawing()."""
    import gymnasium

    env = gymnasium.make(TASK, disable_env_checker=True).unwrapped
    pixels = env.reset(seed=0)[0]["pixels"]
    from OpenGL import GL  # its platform is settled once mujoco has drawn

    renderer = GL.glGetString(GL.GL_RENDERER) or b"unknown renderer"
    wait = CoreWait()
    count, start = 50, time.perf_counter()
    for _ in range(count):
        env.observe()  # type: ignore[attr-defined]
    ms = 1000 * (time.perf_counter() - start) / count
    varied = bool(pixels.std() > 1)  # a driver that draws nothing gives one colour
    found = {"backend": os.environ["MUJOCO_GL"], "renderer": renderer.decode(), "ms": ms, "varied": varied}
    print(json.dumps({**found, "busy": wait.warning()}))


def look_at_video() -> Iterator[Finding]:
    import imageio_ffmpeg

    try:
        yield Finding("video", f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}", needed=True)
    except RuntimeError as error:
        yield Finding("video", str(error).splitlines()[0], False, 'pip install "imageio[ffmpeg]"', True)


def look_at_compute() -> Iterator[Finding]:
    import torch

    here, threads = cores(), torch.get_num_threads()
    quota = _quota()
    usable = min(here, quota) if quota else here
    limited = f", of which {quota:g} may be used" if quota and quota < here else ""
    text = f"{threads} of torch on {here} cores{limited}"
    yield Finding("threads", text, threads <= usable + 0.5, f"export OMP_NUM_THREADS={max(1, round(usable))}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            yield Finding("GPU", f"{torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    elif shutil.which("nvidia-smi") and torch.version.cuda is None:
        text = "there is an NVIDIA driver, but this torch was built without CUDA"
        yield Finding("GPU", text, False, "pip install --force-reinstall torch")
    else:
        yield Finding("GPU", "none, which is fine: everything runs on the CPU")
    yield look_at_arithmetic()


def look_at_arithmetic() -> Finding:
    """Speed of matrix products by number format, with no conclusion where other programs take the cores meanwhile."""
    import torch

    wait = CoreWait()
    # In turns, and the best of each: a moment that another program takes is not one format's alone.
    rounds = [(_gflops(torch.float32), _gflops(torch.bfloat16)) for _ in range(3)]
    single, half = (max(one) for one in zip(*rounds, strict=True))
    text = f"{single:.0f} GFLOP/s in fp32, {half:.0f} in bf16"
    if (busy := wait.warning()) is not None:
        return Finding(
            "arithmetic", f"{text}, but {busy}", False, "stop the other programs, then run wmplan doctor again"
        )
    return Finding("arithmetic", f"{text}, which {'gains' if half > 1.1 * single else 'does not gain'} here")


def look_at_room() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    text = f"{free / 1e9:.0f} GB free in this folder"
    yield Finding("disk", text, free > FREE_BYTES, "work in a folder on a larger disk")
    yield Finding("memory", f"{memory:.0f} GiB")


def look_at_models() -> Iterator[Finding]:
    from wmplan.models import shipped_models

    names = list(shipped_models())
    text = ", ".join(names) or "none in this installation"
    yield Finding("models", text, bool(names), "install wmplan again: its package data is not complete", True)


def look_at_extras() -> Iterator[Finding]:
    """The optional extras, each with what is missing of it; dev is for those who change the package."""
    extras = importlib.metadata.metadata("wmplan").get_all("Provides-Extra") or []
    for extra in extras:
        missing = [one for one in _requirements(extra) if one.name != "wmplan" and not _installed(one).fine]
        text = f"[{extra}] {'lacks ' + ', '.join(one.name for one in missing) if missing else 'installed'}"
        yield Finding("extra", text, not missing, "pip install " + " ".join(map(_quoted, missing)))


def _requirements(extra: str | None = None) -> list[Requirement]:
    """The package's requirements: its own, or those of one extra."""
    found = [Requirement(line) for line in importlib.metadata.requires("wmplan") or []]
    if extra is None:
        return [one for one in found if not one.marker]
    return [one for one in found if one.marker and one.marker.evaluate({"extra": extra})]


def _installed(requirement: Requirement, needed: bool = False) -> Finding:
    mend = f"pip install {_quoted(requirement)}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(requirement.name, "not installed", False, mend, needed)
    fine = requirement.specifier.contains(version, prereleases=True)
    text = version if fine else f"{version}, which is not {requirement.specifier}"
    return Finding(requirement.name, text, fine, mend, needed)


def _quoted(requirement: Requirement) -> str:
    return '"' + str(requirement).partition(";")[0].strip() + '"'


def _quota() -> float | None:
    """Cores' worth of time that a container may use, None where it is not limited."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            limit, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def _gflops(dtype: object, size: int = 384) -> float:
    """Measured speed of a matrix product of that type, in about a twentieth of a second."""
    import torch

    assert isinstance(dtype, torch.dtype)
    left = torch.ones(size, size, dtype=dtype)
    left @ left
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < 0.05:
        left @ left
        count += 1
    return 2e-9 * size**3 * count / spent


LOOKS = (
    look_at_python,
    look_at_packages,
    look_at_solver,
    look_at_drawing,
    look_at_video,
    look_at_compute,
    look_at_room,
    look_at_models,
    look_at_extras,
)
