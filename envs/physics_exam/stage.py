"""The MuJoCo scene: it is dressed for a setting, simulates worlds from any moment on, backwards too, and films them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from wmplan.envs.physics import Physics
from wmplan.envs.physics_exam.world import FRAMES, GRAVITY, SHAPES, SUBSTEPS, Fade, Look, Object, Setting, View

Array = NDArray[np.float64]
BODIES = ("one", "two")
AWAY = (0.0, 60.0, 0.2)
"""Where bodies stand that a world does not have, behind the backdrop."""
SLIDING, ELASTIC = (0.02, 1.0), (-22500.0, 0.0)
"""MuJoCo's solref of the floor: critically damped, and a spring without loss whose contacts last 20 ms."""


@dataclass(frozen=True, eq=False)
class Film:
    """A simulated clip.

    Attributes:
        frames: uint8 (T, H, W, 3).
        states: everything that decides how it goes on, (T, N): the simulator's state, then each body's look.
    """

    frames: NDArray[np.uint8]
    states: Array


class Stage:
    """One model that all clips are made with: renderers are slow to make."""

    def __init__(self, image_size: tuple[int, int] = (64, 64)) -> None:
        self.image_size = image_size
        self.physics = Physics(Path(__file__).with_name("scene.xml"))
        self.model, self.data = self.physics.model, self.physics.data
        self.setting: Setting | None = None

    def film(self, setting: Setting, objects: Sequence[Object], fade: Fade | None = None) -> Film:
        """The clip that begins with these objects."""
        self.dress(setting)
        self.place(objects)
        return self._run(0, FRAMES, fade)

    def film_on(self, setting: Setting, state: Array, begin: int, fade: Fade | None = None) -> Film:
        """The rest of a clip from the frame `begin` on, whose state (N,) is given: frames begin ... FRAMES - 1."""
        self.dress(setting)
        self.restore(state)
        return self._run(begin, FRAMES, fade)

    def predict(self, setting: Setting, state: Array, begin: int) -> Array:
        """States (FRAMES - begin, N) that follow from one at the frame `begin`, simulated without being drawn."""
        self.dress(setting)
        self.restore(state)
        states = []
        for step in range(begin, FRAMES):
            self._show(step)
            states.append(self.state())
            self._step()
        return np.stack(states)

    def rewind(self, setting: Setting, objects: Sequence[Object], frames: int) -> tuple[Object, ...]:
        """The objects `frames` frames earlier: without friction and loss, time backwards is motion with velocities
        turned round.

        MuJoCo changes velocities before positions; going back the order is the other one, which one step's gravity on
        either end makes good: free flight is retraced exactly.
        """
        lift = np.array([0.0, 0.0, GRAVITY * self.model.opt.timestep])
        self.dress(setting)
        self.place([_turned(one, lift) for one in objects])
        self.physics.step(np.empty(0), frames * SUBSTEPS)
        found = []
        for name, one in zip(BODIES, objects, strict=False):
            address = self.model.body(name).dofadr[0]
            position, velocity = self.data.qpos[address : address + 3], self.data.qvel[address : address + 3]
            found.append(_turned(Object(one.look, tuple(position.tolist()), tuple(velocity.tolist())), lift))
        return tuple(found)

    # ------------------------------------------------------------------ states

    def place(self, objects: Sequence[Object]) -> None:
        """Put objects into the scene."""
        mujoco.mj_resetData(self.model, self.data)
        self._furnish()
        for index, name in enumerate(BODIES):
            address = self.model.body(name).dofadr[0]
            one = objects[index] if index < len(objects) else None
            self.data.qpos[address : address + 3] = one.position if one else AWAY
            self.data.qvel[address : address + 3] = one.velocity if one else 0.0
            radius = one.look.radius if one else AWAY[2]
            geom = self.model.geom(name).id
            self.model.geom_size[geom, 0] = self.model.geom_rbound[geom] = radius
            self._wear(name, one.look if one else None)
        self.physics.forward()

    def state(self) -> Array:
        """The simulator's state, then for each body the opacity and colour of each shape and its sizes, (N,)."""
        looks = [self.model.geom_rgba[self._looks(name)].ravel() for name in BODIES]
        sizes = [self.model.geom_size[[self.model.geom(name).id, *self._looks(name)]].ravel() for name in BODIES]
        return np.concatenate([self.physics.get_state(), *looks, *sizes])

    def restore(self, state: Array) -> None:
        """Put the scene into a state (N,), with looks."""
        simulated = self.physics.state_size
        colours, sizes = np.split(state[simulated:], [len(BODIES) * len(SHAPES) * 4])
        for name, own, size in zip(BODIES, np.split(colours, 2), np.split(sizes, 2), strict=True):
            geoms = [self.model.geom(name).id, *self._looks(name)]
            self.model.geom_rgba[self._looks(name)] = own.reshape(-1, 4)
            self.model.geom_size[geoms] = size.reshape(-1, 3)
            self.model.geom_rbound[geoms[0]] = size[0]
        mujoco.mj_resetData(self.model, self.data)
        self.physics.set_state(state[:simulated])

    def motion(self, state: Array) -> tuple[Array, Array]:
        """Positions (m) and velocities (m/s) of both bodies in a state (N,), each (2, 3)."""
        mujoco.mj_setState(self.model, self.data, state[: self.physics.state_size], mujoco.mjtState.mjSTATE_INTEGRATION)
        return self.data.qpos.reshape(2, 3).copy(), self.data.qvel.reshape(2, 3).copy()

    # ------------------------------------------------------------------ looks

    def dress(self, setting: Setting) -> None:
        """Set camera, light, colours, and whether the floor is elastic."""
        self.setting, model = setting, self.model
        for pair in ("one_floor", "two_floor"):
            model.pair_solref[model.pair(pair).id] = ELASTIC if setting.elastic else SLIDING
        camera = model.camera("exam").id
        model.cam_pos[camera] = setting.view.eye
        model.cam_fovy[camera] = setting.view.fovy
        mujoco.mju_mat2Quat(model.cam_quat[camera], _looking(setting.view).ravel())
        model.light_dir[model.light("lamp").id] = np.array(setting.view.light) / np.linalg.norm(setting.view.light)
        self._colour("floor", setting.view.floor)
        self._light(setting.view.brightness, setting.view.backdrop)
        if (barrier := setting.barrier) is not None:
            geom = model.geom("barrier").id
            model.geom_size[geom] = barrier.half_size
            model.geom_rbound[geom] = np.linalg.norm(barrier.half_size)
        if (screen := setting.screen) is not None:
            model.geom_size[model.geom("screen").id] = screen.half_size[0], 0.02, screen.half_size[1]
        self._colour("barrier", barrier and barrier.colour)
        self._colour("screen", screen and screen.colour)
        self._wear("bystander", setting.bystander and setting.bystander.look)
        self._furnish()

    def _furnish(self) -> None:
        """Put barrier and bystander where the setting has them."""
        setting = self.setting
        assert setting is not None
        self._put("barrier", setting.barrier.position if setting.barrier else AWAY[:2] + (-50.0,))
        self._put("bystander", setting.bystander.position if setting.bystander else AWAY)
        self._put("screen", setting.screen.path[0] if setting.screen else AWAY)

    def _put(self, body: str, position: Sequence[float] | Array) -> None:
        self.data.mocap_pos[self.model.body(body).mocapid[0]] = position

    def _wear(self, body: str, look: Look | None) -> None:
        """Show the body's geom of the look's shape alone."""
        for name, geom in zip(SHAPES, self._looks(body), strict=True):
            shown = look is not None and look.visible and look.shape == name
            self.model.geom_rgba[geom] = (*look.colour, 1.0) if look is not None and shown else 0.0
            if look is not None:
                self.model.geom_size[geom] = shape_size(name, look.radius)

    def _looks(self, body: str) -> list[int]:
        return [self.model.geom(f"{body}_{shape}").id for shape in SHAPES]

    def _colour(self, geom: str, colour: Sequence[float] | None) -> None:
        self.model.geom_rgba[self.model.geom(geom).id] = (*colour, 1.0) if colour else 0.0

    def _light(self, brightness: float, backdrop: Sequence[float]) -> None:
        self.model.light_diffuse[self.model.light("lamp").id] = brightness
        self.model.vis.headlight.ambient[:] = 0.25 + 0.3 * brightness
        self._colour("backdrop", backdrop)

    # ------------------------------------------------------------------ time

    def _run(self, begin: int, end: int, fade: Fade | None) -> Film:
        frames, states = [], []
        for step in range(begin, end):
            self._show(step, fade)
            states.append(self.state())
            frames.append(self.physics.render("exam", *self.image_size))
            self._step()
        return Film(np.stack(frames), np.stack(states))

    def _show(self, step: int, fade: Fade | None = None) -> None:
        """Move what is moved by script to where it is at a frame."""
        setting = self.setting
        assert setting is not None
        if setting.screen is not None:
            self._put("screen", setting.screen.path[step])
        if fade is not None:
            share = min(max((step - fade.begin) / fade.frames, 0.0), 1.0)
            view = setting.view
            colour = [(1 - share) * old + share * new for old, new in zip(view.backdrop, fade.backdrop, strict=True)]
            self._light((1 - share) * view.brightness + share * fade.brightness, colour)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _step(self) -> None:
        self.physics.step(np.empty(0), SUBSTEPS)

    def close(self) -> None:
        """Free the renderers."""
        self.physics.close()


def shape_size(shape: str, radius: float) -> Array:
    """MuJoCo's geom size (3,) of a shape that is 2 `radius` tall."""
    return np.array(
        {
            "sphere": (radius, 0.0, 0.0),
            "box": (radius, radius, radius),
            "cylinder": (0.62 * radius, radius, 0.0),
            "capsule": (0.5 * radius, 0.5 * radius, 0.0),
        }[shape]
    )


def _turned(one: Object, lift: Array) -> Object:
    """The object with its velocity turned round."""
    velocity = lift - np.array(one.velocity)
    return Object(one.look, one.position, tuple(velocity.tolist()))


def _looking(view: View) -> Array:
    """Rotation (3, 3) of a camera that looks from eye to target with the z axis up."""
    back = np.subtract(view.eye, view.target)
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)
