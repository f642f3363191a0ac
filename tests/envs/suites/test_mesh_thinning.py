"""Thinned meshes look much the same, and collide as before."""

from __future__ import annotations

import mujoco
import numpy as np

from wmplan.envs.suites.mesh_thinning import thin_meshes


def model() -> mujoco.MjModel:
    """A ball of many faces that falls on a plane beside a speck, which is smaller than a cell."""
    spec = mujoco.MjSpec()
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(2000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    spec.add_mesh(name="ball", uservert=(0.1 * directions).ravel())
    spec.add_mesh(name="speck", uservert=(0.002 * directions[:50]).ravel())
    spec.worldbody.add_light(pos=[0, 0, 2])
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 1])
    for number, name in enumerate(("ball", "speck")):
        body = spec.worldbody.add_body(name=name, pos=[0.4 * number, 0, 0.3])
        body.add_freejoint()
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name)
    return spec.compile()


def fall(one: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Where the things lie after a second, and a picture of it."""
    data = mujoco.MjData(one)
    mujoco.mj_step(one, data, 500)
    renderer = mujoco.Renderer(one, 64, 64)
    renderer.update_scene(data)
    picture = renderer.render().astype(float)
    renderer.close()
    return data.qpos.copy(), picture


def test_thinning_leaves_the_physics_and_nearly_the_picture() -> None:
    whole, thinned = model(), model()
    faces = int(whole.mesh_facenum.sum())
    left = thin_meshes(thinned, 0.02)
    assert 50 < left < faces / 2 and left == thinned.mesh_facenum.sum()
    assert thinned.mesh_facenum[1] == whole.mesh_facenum[1]  # the speck would be gone
    (rest, picture), (rest_thinned, picture_thinned) = fall(whole), fall(thinned)
    np.testing.assert_array_equal(rest, rest_thinned)
    assert 0 < np.abs(picture - picture_thinned).mean() < 2
