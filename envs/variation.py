"""Factors of variation: the same task under other colours, light, camera pose, friction and mass."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from wmplan.errors import UserError

RANGES: dict[str, tuple[float, float]] = {
    "hue": (-0.15, 0.15),  # added to each channel of a material's colour
    "light": (0.6, 1.4),  # times the lamps' diffuse light
    "camera_position_m": (-0.02, 0.02),
    "camera_angle_rad": (-0.03, 0.03),
    "friction": (0.6, 1.5),  # times the friction of every contact pair and geom
    "mass": (0.6, 1.5),  # times mass and inertia of every body
}
SCALES = ("light", "friction", "mass")
FIELDS = (
    *("mat_rgba", "light_diffuse", "cam_pos", "cam_quat", "pair_friction", "geom_friction"),
    *("body_mass", "body_inertia"),
    # what mj_setConst derives from them
    *("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "tendon_invweight0", "actuator_acc0"),
    *("cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0"),
)


class Variation:
    """Changes a model in place, and restores it bit for bit."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.factors: dict[str, Any] = {}
        self._nominal = {name: getattr(model, name).copy() for name in FIELDS}
        self._mean_inertia = model.stat.meaninertia

    def restore(self) -> None:
        """Give the model its own looks and physics back."""
        if self.factors:
            for name, value in self._nominal.items():
                getattr(self.model, name)[:] = value
            self.model.stat.meaninertia = self._mean_inertia
            self.factors = {}

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw every factor from its range, apply and return them."""
        factors = {name: rng.uniform(low, high, self.shape(name)) for name, (low, high) in RANGES.items()}
        self.apply(factors)
        return factors

    def shape(self, factor: str) -> tuple[int, ...]:
        """Shape of a factor's value: () for a plain number."""
        return {"hue": (self.model.nmat, 3), "camera_position_m": (3,), "camera_angle_rad": (3,)}.get(factor, ())

    def check(self, name: str, value: Any) -> np.ndarray:
        """The factor as an array of its shape, single numbers spread out.

        Raises:
            ValueError: at a name that is no factor, or a value that is none for it.
        """
        if name not in RANGES:
            raise UserError(f"no factor of variation {name!r}; there are {', '.join(RANGES)}")
        value = np.asarray(value, dtype=np.float64)
        if value.shape not in ((), self.shape(name)):
            raise UserError(f"factor {name} must have shape {self.shape(name)} or one number, got {value.shape}")
        if not np.isfinite(value).all() or (name in SCALES and not (value > 0).all()):
            kind = "positive and finite" if name in SCALES else "finite"
            raise UserError(f"factor {name} must be {kind}, got {value}")
        return np.broadcast_to(value, self.shape(name)).copy()

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and make the others nominal.

        Raises:
            ValueError: as check() does; the model is left as it was.
        """
        checked = {name: self.check(name, value) for name, value in factors.items()}
        self.restore()
        self.factors = dict(factors)
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
