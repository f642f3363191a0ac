"""Meshes with fewer faces, for software rendering: vertices that lie in one cell of a grid become one.

What collides stays as it is: MuJoCo collides convex hulls and polygons that it made when it compiled the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def thin_meshes(model: Any, cell: float) -> int:
    """Thin all meshes of an MjModel in place, before its first renderer is made.

    Args:
        cell: side of a cell in metres.

    Returns:
        Faces that are left.
    """
    for mesh in range(model.nmesh):
        first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        vertices = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        cells, owner = np.unique(np.round(vertices / cell).astype(np.int64), axis=0, return_inverse=True)
        owner = owner.ravel()
        sums = np.stack([np.bincount(owner, vertices[:, axis], len(cells)) for axis in range(3)], 1)
        middle = sums / np.bincount(owner)[:, None]
        off = np.linalg.norm(vertices - middle[owner], axis=1)
        order = np.lexsort((off, owner))
        nearest = order[np.searchsorted(owner[order], np.arange(len(cells)))]  # of each cell, the vertex of its middle
        rows = slice(first, first + count)
        faces = nearest[owner[model.mesh_face[rows]]]
        whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
        _, once = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
        kept = np.flatnonzero(whole & np.isin(np.arange(count), once))
        if not len(kept):  # a mesh that fits into a cell
            continue
        for name in ("mesh_face", "mesh_facenormal", "mesh_facetexcoord"):
            array = getattr(model, name)
            array[first : first + len(kept)] = (faces if name == "mesh_face" else array[rows])[kept]
        model.mesh_facenum[mesh] = len(kept)
    return int(model.mesh_facenum.sum())
