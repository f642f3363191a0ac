"""Factors of variation: the same task under other colours, light, camera pose, friction and mass."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

RANGES: dict[str, tuple[float, float]] = {
    "hue": (-0.15, 0.15),  # added to each channel of a material's colour
    "light": (0.6, 1.4),  # times the diffuse light
    "camera_position_m": (-0.02, 0.02),
    "camera_angle_rad": (-0.03, 0.03),
    "friction": (0.6, 1.5),  # times the friction of every contact pair and geom
    "mass": (0.6, 1.5),  # times mass and inertia of every body
}


class Variation:
    """Changes a model in place, and restores it."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.factors: dict[str, Any] = {}
        fields = ("mat_rgba", "light_diffuse", "cam_pos", "cam_quat", "pair_friction", "geom_friction", "body_mass", "body_inertia")
        self._nominal = {name: getattr(model, name).copy() for name in fields}

    def restore(self) -> None:
        """Give the model its own looks and physics back."""
        if self.factors:
            for name, value in self._nominal.items():
                getattr(self.model, name)[:] = value
            self.factors = {}

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw every factor from its range, apply and return them."""
        shapes = {"hue": (self.model.nmat, 3), "camera_position_m": (3,), "camera_angle_rad": (3,)}
        factors = {name: rng.uniform(low, high, shapes.get(name, ())) for name, (low, high) in RANGES.items()}
        self.apply(factors)
        return factors

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and leave the others nominal.

        Raises:
            ValueError: at a name that is no factor.
        """
        unknown = set(factors) - set(RANGES)
        if unknown:
            raise ValueError(f"no factor of variation {sorted(unknown)[0]!r}; there are {', '.join(RANGES)}")
        self.restore()
        model, nominal = self.model, self._nominal
        if "hue" in factors:
            model.mat_rgba[:, :3] = np.clip(nominal["mat_rgba"][:, :3] + factors["hue"], 0, 1)
        if "light" in factors:
            model.light_diffuse[:] = np.clip(nominal["light_diffuse"] * factors["light"], 0, 1)
        if "camera_position_m" in factors:
            model.cam_pos[:] = nominal["cam_pos"] + factors["camera_position_m"]
        if "camera_angle_rad" in factors:
            turn, angle = np.empty(4), np.broadcast_to(np.asarray(factors["camera_angle_rad"], np.float64), (3,))
            mujoco.mju_euler2Quat(turn, angle.copy(), "xyz")
            for camera in range(model.ncam):
                mujoco.mju_mulQuat(model.cam_quat[camera], nominal["cam_quat"][camera], turn)
        if "friction" in factors:
            model.pair_friction[:] = nominal["pair_friction"] * factors["friction"]
            model.geom_friction[:] = nominal["geom_friction"] * factors["friction"]
        if "mass" in factors:
            model.body_mass[:] = nominal["body_mass"] * factors["mass"]
            model.body_inertia[:] = nominal["body_inertia"] * factors["mass"]
        self.factors = dict(factors)
