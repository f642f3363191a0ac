"""The end effector's pose as V-JEPA 2-AC keeps it: position, extrinsic xyz Euler angles in radians, gripper (7)."""

from __future__ import annotations

import torch
from torch import Tensor

POSE_DIM = 7


def rotation_matrix(euler: Tensor) -> Tensor:
    """Extrinsic xyz Euler angles (..., 3) in radians as rotation matrices (..., 3, 3): Rz @ Ry @ Rx."""
    (cx, cy, cz), (sx, sy, sz) = euler.cos().unbind(-1), euler.sin().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_angles(rotation: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) as extrinsic xyz Euler angles (..., 3), the middle one from -pi/2 to pi/2.

    Where it is +-pi/2 only the sum of the other two is determined: the last is then 0.
    """
    sine = -rotation[..., 2, 0]
    cosine = torch.hypot(rotation[..., 2, 1], rotation[..., 2, 2])
    locked = cosine < 1e-6
    x = torch.atan2(rotation[..., 2, 1], rotation[..., 2, 2])
    z = torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
    x = torch.where(locked, torch.atan2(-rotation[..., 1, 2], rotation[..., 1, 1]), x)
    return torch.stack([x, torch.atan2(sine, cosine), torch.where(locked, torch.zeros_like(z), z)], dim=-1)


def integrate(pose: Tensor, action: Tensor) -> Tensor:
    """The pose (..., 7) after an action of differences (..., 7).

    The position adds, the rotation is turned by the action's, the gripper is clipped to [0, 1].
    """
    turned = euler_angles(rotation_matrix(action[..., 3:6]) @ rotation_matrix(pose[..., 3:6]))
    gripper = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    return torch.cat([pose[..., :3] + action[..., :3], turned, gripper], dim=-1)
