"""The GL backend is chosen before mujoco is imported, and what is missing is named."""

import os
import subprocess
import sys

import pytest

PRETEND = """
import ctypes.util, sys
installed = {installed!r}
ctypes.util.find_library = lambda name: name if name in installed else None
"""


def run(code, installed=(), **environment):
    variables = {
        k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY", "LP_NUM_THREADS")
    }
    return subprocess.run(
        [sys.executable, "-c", PRETEND.format(installed=tuple(installed)) + code],
        env=variables | environment,
        capture_output=True,
        text=True,
    )


SHOW = "import wmplan.gl_backend, os; print(os.environ['MUJOCO_GL'], 'mujoco' in sys.modules)"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw without help")
@pytest.mark.parametrize(
    ("installed", "environment", "backend"),
    [
        (("EGL", "OpenGL", "OSMesa"), {}, "egl"),
        (("EGL", "GL"), {}, "egl"),
        (("EGL", "OSMesa"), {}, "osmesa"),  # without libOpenGL or libGL, EGL has nothing to draw with
        (("OSMesa",), {}, "osmesa"),
        (("OSMesa",), {"MUJOCO_GL": "glfw", "DISPLAY": ":0"}, "glfw"),  # the user's word counts
        ((), {"MUJOCO_GL": "egl"}, "egl"),
        ((), {"MUJOCO_GL": " EGL "}, "egl"),
        ((), {"DISPLAY": ":0"}, "glfw"),
        ((), {"WAYLAND_DISPLAY": "wayland-0"}, "glfw"),
    ],
)
def test_backend(installed, environment, backend):
    done = run(SHOW, installed, **environment)
    assert (done.stdout.split(), done.stderr) == ([backend, "False"], "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw without help")
@pytest.mark.parametrize("installed", [(), ("EGL",), ("OpenGL", "GL")])
def test_with_nothing_to_draw_with_the_packages_are_named(installed):
    done = run("import wmplan.envs, gymnasium; gymnasium.make('wmplan/PushT-v0')", installed)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "NotPossibleError: no GL library" in last
    assert "apt-get install libegl1 libopengl0 libgl1-mesa-dri" in last and "libosmesa6" in last


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other backends")
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"MUJOCO_GL": "vulkan"}, "MUJOCO_GL must be one of egl, osmesa, glfw, glx, got 'vulkan'; not set"),
        ({"MUJOCO_GL": "off"}, "MUJOCO_GL must be one of egl, osmesa, glfw, glx, got 'off'"),
        ({"MUJOCO_GL": "glfw"}, "needs a screen, and there is none (DISPLAY is not set): take egl"),
        ({"MUJOCO_GL": "GLX"}, "MUJOCO_GL is 'glx', which needs a screen"),
        (
            {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "63"},
            "cannot draw 64 x 64 pixels with MUJOCO_GL=egl MUJ",
        ),
        ({"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "first"}, "MUJOCO_EGL_DEVICE_ID=first (ValueError: invalid lit"),
    ],
)
def test_what_cannot_draw_is_named_with_the_variable_to_change(environment, says):
    code = "import wmplan.envs, gymnasium; gymnasium.make('wmplan/PushT-v0').reset(seed=0)"
    done = run(code, ("EGL", "OpenGL", "OSMesa"), **environment)
    assert done.returncode != 0
    assert (
        done.stderr.strip().splitlines()[-1].startswith("wmplan.errors.NotPossibleError: ")
        and says in done.stderr.splitlines()[-1]
    )


def test_mujoco_imported_first_gets_a_warning_that_says_what_to_do():
    done = run("import mujoco\n" + SHOW, ("EGL", "OpenGL"))
    assert "import wmplan.gl_backend first, or set MUJOCO_GL=egl" in done.stderr
    assert run("import mujoco\n" + SHOW, ("EGL", "OpenGL"), MUJOCO_GL="egl").stderr == ""


def test_the_users_number_of_drawing_threads_counts():
    code = "import wmplan.gl_backend, os; print(os.environ['LP_NUM_THREADS'])"
    assert run(code, ("OSMesa",)).stdout.strip() == "0"
    assert run(code, ("OSMesa",), LP_NUM_THREADS="4").stdout.strip() == "4"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw without help")
def test_egl_and_osmesa_draw_the_same_picture():
    """With what this machine really has: the backends agree up to rounding."""
    code = "import wmplan.envs, gymnasium; env = gymnasium.make('wmplan/PushT-v0'); " + (
        "print(env.reset(seed=0)[0]['pixels'].mean())"
    )
    means = []
    for backend in ("egl", "osmesa"):
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"MUJOCO_GL": backend}, capture_output=True, text=True
        )
        if done.returncode == 0:
            means.append(float(done.stdout))
    assert means, "neither backend draws on this machine"
    assert max(means) - min(means) < 0.5
