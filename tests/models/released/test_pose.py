"""Poses against scipy's rotations."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from wmplan.models.released.pose import euler_angles, integrate, rotation_matrix

angles = st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3)


@settings(max_examples=50, deadline=None)
@given(angles)
def test_matrices_and_angles_are_scipys(euler):
    expected = Rotation.from_euler("xyz", euler).as_matrix()
    matrix = rotation_matrix(torch.tensor(euler, dtype=torch.float64))
    assert np.allclose(matrix.numpy(), expected, atol=1e-12)
    again = rotation_matrix(euler_angles(matrix))
    assert np.allclose(again.numpy(), expected, atol=1e-6)


def test_a_locked_gimbal_still_names_the_same_rotation():
    for middle in (math.pi / 2, -math.pi / 2):
        matrix = rotation_matrix(torch.tensor([0.4, middle, -0.9], dtype=torch.float64))
        assert torch.allclose(rotation_matrix(euler_angles(matrix)), matrix, atol=1e-6)


def test_integration_turns_the_pose_by_the_action_on_the_left():
    pose = torch.tensor([0.1, 0.2, 0.3, 0.5, -0.4, 1.2, 0.8], dtype=torch.float64)
    action = torch.tensor([0.01, -0.02, 0.03, 0.2, 0.1, -0.3, 0.5], dtype=torch.float64)
    after = integrate(pose, action).numpy()
    turned = Rotation.from_euler("xyz", action[3:6]) * Rotation.from_euler("xyz", pose[3:6])
    assert np.allclose(after[:3], [0.11, 0.18, 0.33])
    assert np.allclose(after[3:6], turned.as_euler("xyz"))
    assert after[6] == 1.0
