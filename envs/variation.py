"""Factors of variation: the same task with other colours, light, camera, things in view, image, friction and mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from wmplan.envs import image_factors
from wmplan.envs.distractors import DISTRACTORS, Area, Distractors
from wmplan.errors import UserError

RANGES: dict[str, tuple[Any, Any]] = {
    "hue": (-0.15, 0.15),  # added to each channel of a material's colour
    "light": (0.6, 1.4),  # times the lamps' diffuse light
    "camera_position_m": (-0.02, 0.02),
    "camera_angle_rad": (-0.03, 0.03),
    "friction": (0.6, 1.5),  # times the friction of every contact pair and geom
    "mass": (0.6, 1.5),  # times mass and inertia of every body
    # A seed's values depend on the order: a new factor goes to the end.
    "distractors": DISTRACTORS,
    "occluder": image_factors.OCCLUDER,
    "image_noise": (0.0, 20.0),  # standard deviation in grey levels of 255, in each pixel and channel
    "image_blur": (0.0, 1.5),  # standard deviation in pixels of a frame 64 pixels high
}
SCALES = ("light", "friction", "mass")
"""Factors that are 1 where nothing is varied; the others are 0."""
PHYSICS = ("friction", "mass")
"""Factors that change what happens, and no frame of a given state."""
STRENGTHENED = {"distractors": slice(2), "occluder": slice(1)}
"""Entries (last axis) that the strength scales, where it does not scale all: the others are places and colours."""
FIELDS = (
    *("mat_rgba", "light_diffuse", "cam_pos", "cam_quat", "pair_friction", "geom_friction"),
    *("body_mass", "body_inertia"),
    # what mj_setConst derives from them
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "tendon_invweight0", "actuator_acc0"),
    *("cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0"),
)


class Variation:
    """Changes a model in place, and restores it bit for bit; adds to the scene that is drawn, and to its image.

    What is added to scene and image is drawn again alike from the same state at the same size.

    Args:
        model: the task's.
        area: ((x low, x high), (y low, y high)) of the plane z = 0 where distractors lie, in metres.
    """

    def __init__(self, model: mujoco.MjModel, area: Area) -> None:
        self.model = model
        self.names = tuple(RANGES)
        self.looks = tuple(name for name in RANGES if name not in PHYSICS)
        self.factors: dict[str, Any] = {}
        self.distractors: Distractors | None = None
        self._area = area
        self._seen: dict[str, NDArray[np.float64]] = {}
        self._nominal = {name: getattr(model, name).copy() for name in FIELDS}
        self._mean_inertia = model.stat.meaninertia

    def restore(self) -> None:
        """Give the model its own looks and physics back."""
        if self.factors:
            for name, value in self._nominal.items():
                getattr(self.model, name)[:] = value
            self.model.stat.meaninertia = self._mean_inertia
            self.factors, self.distractors, self._seen = {}, None, {}

    def draw(
        self, rng: np.random.Generator, names: Sequence[str] | None = None, strength: float = 1.0
    ) -> dict[str, Any]:
        """Draw factors uniformly from their ranges, without applying them.

        The same generator gives a factor the same value whichever others are drawn, and at half the strength a value
        half as far from nominal: worlds of other factors and strengths can be compared one by one.

        Args:
            names: factors; None for all.
            strength: share of the range on either side of nominal, above 0 and at most 1.

        Raises:
            UserError: at a name that is no factor, or a strength out of its bounds.
        """
        for name in names or ():
            self._check_name(name)
        if not 0 < strength <= 1:
            raise UserError(f"strength must be above 0 and at most 1, got {strength}")
        drawn = {name: rng.uniform(*limits(name, strength), self.shape(name)) for name in RANGES}
        return {name: drawn[name] for name in (RANGES if names is None else names)}

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw every factor from its range, apply and return them."""
        factors = self.draw(rng)
        self.apply(factors)
        return factors

    def shape(self, factor: str) -> tuple[int, ...]:
        """Shape of a factor's value: () for a plain number."""
        if factor == "hue":
            return (self.model.nmat, 3)
        return (3,) if factor.startswith("camera_") else np.shape(RANGES[factor][0])

    def check(self, name: str, value: Any) -> NDArray[np.float64]:
        """The factor as an array of its shape, single numbers spread out.

        Raises:
            ValueError: at a name that is no factor, or a value that is none for it.
        """
        self._check_name(name)
        value = np.asarray(value, dtype=np.float64)
        if value.shape not in ((), self.shape(name)):
            raise UserError(f"factor {name} must have shape {self.shape(name)} or one number, got {value.shape}")
        if not np.isfinite(value).all() or (name in SCALES and not (value > 0).all()):
            kind = "positive and finite" if name in SCALES else "finite"
            raise UserError(f"factor {name} must be {kind}, got {value}")
        if (negative := (value < 0) & (np.asarray(RANGES[name][0]) == 0)).any():
            raise UserError(f"factor {name} must be at least 0, got {value[negative] if value.ndim else value}")
        return np.broadcast_to(value, self.shape(name)).copy()

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and make the others nominal.

        Raises:
            ValueError: as check() does; the model is left as it was.
        """
        checked = {name: self.check(name, value) for name, value in factors.items()}
        self.restore()
        self.factors, self._seen = dict(factors), checked
        model, nominal = self.model, self._nominal
        if "hue" in checked:
            model.mat_rgba[:, :3] = np.clip(nominal["mat_rgba"][:, :3] + checked["hue"], 0, 1)
        if "light" in checked:
            model.light_diffuse[:] = np.clip(nominal["light_diffuse"] * checked["light"], 0, 1)
        if "camera_position_m" in checked:
            model.cam_pos[:] = nominal["cam_pos"] + checked["camera_position_m"]
        if "camera_angle_rad" in checked:
            turn = np.empty(4)
            mujoco.mju_euler2Quat(turn, checked["camera_angle_rad"], "xyz")
            for camera in range(model.ncam):
                mujoco.mju_mulQuat(model.cam_quat[camera], nominal["cam_quat"][camera], turn)
        if "friction" in checked:
            model.pair_friction[:] = nominal["pair_friction"] * checked["friction"]
            model.geom_friction[:] = nominal["geom_friction"] * checked["friction"]
        if "mass" in checked:
            model.body_mass[:] = nominal["body_mass"] * checked["mass"]
            model.body_inertia[:] = nominal["body_inertia"] * checked["mass"]
            mujoco.mj_setConst(model, mujoco.MjData(model))
        if "distractors" in checked:
            self.distractors = Distractors(checked["distractors"], self._area)

    def photograph(self, frame: NDArray[np.uint8], data: mujoco.MjData) -> NDArray[np.uint8]:
        """What the camera gives where `frame` (H, W, 3) is what it looks at, in the state of `data`."""
        seen = self._seen
        if "occluder" in seen:
            frame = image_factors.occluded(frame, *seen["occluder"])
        if "image_blur" in seen:
            frame = image_factors.blurred(frame, float(seen["image_blur"]))
        if "image_noise" in seen:
            moment = np.append(data.qpos, data.time).tobytes()
            frame = image_factors.noisy(frame, float(seen["image_noise"]), moment)
        return frame

    @staticmethod
    def _check_name(name: str) -> None:
        if name not in RANGES:
            raise UserError(f"no factor of variation {name!r}; there are {', '.join(RANGES)}")


def limits(name: str, strength: float) -> tuple[Any, Any]:
    """The factor's range at a strength, low and high; at 1 they are those of RANGES to the bit."""
    nominal = 1.0 if name in SCALES else 0.0
    scaled = []
    for bound in RANGES[name]:
        value = np.array(bound, np.float64)
        part = (..., STRENGTHENED.get(name, slice(None))) if value.ndim else ...
        value[part] = nominal + strength * (value[part] - nominal)
        scaled.append(value)
    return scaled[0], scaled[1]
