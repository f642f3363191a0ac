"""Chooses a GL backend that draws without a screen; import it before mujoco, which looks at MUJOCO_GL only once."""

from __future__ import annotations

import ctypes.util
import os
import sys
import warnings
from collections.abc import Callable

from wmplan.errors import NotPossibleError

INSTALL = "sudo apt-get install libegl1 libopengl0 libgl1-mesa-dri   (or, for OSMesa: sudo apt-get install libosmesa6)"


BACKENDS = {"linux": ("egl", "osmesa", "glfw", "glx"), "darwin": ("cgl", "glfw"), "win32": ("wgl", "glfw")}


def cannot_draw(error: Exception, size: tuple[int, int] | None = None) -> NotPossibleError:
    """The error to raise where MuJoCo has no way to draw, or not a picture of this size (H, W), with what to do."""
    variables = ("MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID")
    chosen = " ".join(f"{name}={os.environ[name]}" for name in variables if os.environ.get(name))
    picture = "" if size is None else f" {size[0]} x {size[1]} pixels"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return NotPossibleError(
        f"MuJoCo cannot draw{picture} with {chosen} ({reason}); unset what you have set of these, or install what is "
        f"missing: {INSTALL}"
    )


def choose_backend(find: Callable[[str], str | None] = ctypes.util.find_library) -> str:
    """Name of the backend to use: MUJOCO_GL where it is set, else EGL, else OSMesa, else the system's own.

    Args:
        find: gives the file name of a system library, or None where it is not installed.

    Raises:
        RuntimeError: at a name that MuJoCo does not know or that draws nothing; on Linux without a screen, at one that
            needs it, and when neither EGL nor OSMesa is installed.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen and chosen not in BACKENDS.get(sys.platform, (chosen,)):
        raise NotPossibleError(
            f"MUJOCO_GL must be one of {', '.join(BACKENDS[sys.platform])}, got {chosen!r}; not set, wmplan chooses"
        )
    if chosen in ("glfw", "glx") and sys.platform == "linux" and not _has_screen():
        raise NotPossibleError(
            f"MUJOCO_GL is {chosen!r}, which needs a screen, and there is none (DISPLAY is not set): take egl"
        )
    if chosen:
        return chosen
    if not sys.platform.startswith("linux"):
        return "glfw"
    if find("EGL") and (find("OpenGL") or find("GL")):  # libEGL makes the context, PyOpenGL calls the other one
        return "egl"
    if find("OSMesa"):
        return "osmesa"
    if _has_screen():
        return "glfw"
    raise NotPossibleError(f"no GL library to draw without a screen; install one: {INSTALL}")


def _has_screen() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if "mujoco" in sys.modules and not os.environ.get("MUJOCO_GL") and not _has_screen():
    warnings.warn(
        "mujoco was imported before wmplan could choose a GL backend, and may fail to draw without a screen: "
        "import wmplan.gl_backend first, or set MUJOCO_GL=egl",
        stacklevel=2,
    )
os.environ["MUJOCO_GL"] = choose_backend()
# Software rendering on the calling thread: small frames lose more to the hand-over between threads than they gain.
os.environ.setdefault("LP_NUM_THREADS", "0")
