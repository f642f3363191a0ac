"""Chooses a GL backend that draws without a screen; import it before mujoco, which looks at MUJOCO_GL only once."""

from __future__ import annotations

import ctypes.util
import os
import sys
import warnings
from collections.abc import Callable

INSTALL = "sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri   (or, for OSMesa: sudo apt-get install libosmesa6)"


def choose_backend(find: Callable[[str], str | None] = ctypes.util.find_library) -> str:
    """Name of the backend to use: MUJOCO_GL where it is set, else EGL, else OSMesa, else the system's own.

    Args:
        find: gives the file name of a system library, or None where it is not installed.

    Raises:
        RuntimeError: on Linux without a screen, when neither EGL nor OSMesa is installed.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return chosen
    if not sys.platform.startswith("linux"):
        return "glfw"
    if find("EGL") and (find("OpenGL") or find("GL")):  # libEGL makes the context, PyOpenGL calls the other one
        return "egl"
    if find("OSMesa"):
        return "osmesa"
    if os.environ.get("DISPLAY"):
        return "glfw"
    raise RuntimeError(f"no GL library to draw without a screen; install one: {INSTALL}")


if "mujoco" in sys.modules and not os.environ.get("MUJOCO_GL") and not os.environ.get("DISPLAY"):
    warnings.warn(
        "mujoco was imported before wmplan could choose a GL backend, and may fail to draw without a screen: "
        "import wmplan.headless first, or set MUJOCO_GL=egl",
        stacklevel=2,
    )
os.environ["MUJOCO_GL"] = choose_backend()
# Software rendering on the calling thread: small frames lose more to the hand-over between threads than they gain.
os.environ.setdefault("LP_NUM_THREADS", "0")
