"""Chooses a GL backend that draws without a screen; import it before mujoco."""

from __future__ import annotations

import ctypes.util
import os
import sys

INSTALL = "sudo apt-get install libegl1 libgl1-mesa-dri   (or, for OSMesa: sudo apt-get install libosmesa6)"


def choose_backend() -> str:
    """Name of the backend to use: MUJOCO_GL where it is set, else EGL, else OSMesa, else the system's own.

    Raises:
        RuntimeError: on Linux without a screen, when neither EGL nor OSMesa is installed.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if chosen:
        return chosen
    if not sys.platform.startswith("linux"):
        return "glfw"
    if ctypes.util.find_library("EGL"):
        return "egl"
    if ctypes.util.find_library("OSMesa"):
        return "osmesa"
    if os.environ.get("DISPLAY"):
        return "glfw"
    raise RuntimeError(f"no GL library to draw without a screen; install one: {INSTALL}")


os.environ["MUJOCO_GL"] = choose_backend()
# Software rendering on the calling thread: small frames lose more to the hand-over between threads than they gain.
os.environ.setdefault("LP_NUM_THREADS", "0")
