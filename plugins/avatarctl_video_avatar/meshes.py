"""What scores need of triangle meshes: winding, cuts, and the files that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.meshes import Mesh, kept

SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")


def outward(mesh: Mesh) -> Mesh:
    """One part with all faces wound alike, counter-clockwise seen from outside."""
    import igl

    faces, _ = igl.bfs_orient(np.ascontiguousarray(mesh.faces, np.int64))
    alike = Mesh(mesh.vertices, faces)
    return alike.turned() if alike.volume() < 0 else alike


def cut(mesh: Mesh, origin: np.ndarray, normal: np.ndarray) -> Mesh:
    """What lies on the side of a plane that its normal shows to; the cut stays open."""
    height = (mesh.vertices - origin) @ np.asarray(normal, np.float64)
    corner_heights = height[mesh.faces]
    above = corner_heights >= 0
    count = above.sum(axis=1)
    faces = [mesh.faces[count == 3]]
    low, high, pieces = [], [], 0
    for number in (1, 2):
        # Roll the lone corner, above or below, to the front; two edges lead away from it.
        rows = np.nonzero(count == number)[0]
        lone = np.argmax(above[rows] if number == 1 else ~above[rows], axis=1)
        first, second, third = (mesh.faces[rows, (lone + step) % 3] for step in range(3))
        new = len(mesh.vertices) + pieces + np.arange(2 * len(rows)).reshape(2, -1)
        low += [first, first]
        high += [second, third]
        pieces += 2 * len(rows)
        if number == 1:
            faces.append(np.stack([first, new[0], new[1]], axis=1))
        else:
            faces += [np.stack([new[0], second, third], 1), np.stack([new[0], third, new[1]], 1)]
    ends = np.stack([np.concatenate(low), np.concatenate(high)], axis=1)
    pairs, which = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    share = height[pairs[:, 0]] / (height[pairs[:, 0]] - height[pairs[:, 1]])
    places = mesh.vertices[pairs[:, 0]] * (1 - share[:, None]) + mesh.vertices[pairs[:, 1]] * share[:, None]
    number_of = np.concatenate([np.arange(len(mesh.vertices)), len(mesh.vertices) + which.reshape(-1)])
    joined = Mesh(np.concatenate([mesh.vertices, places]), number_of[np.concatenate(faces)])
    return kept(joined, np.ones(len(joined.faces), bool))


def read_mesh(path: str | Path) -> Mesh:
    """The triangles in a file, in its units and axes.

    Raises:
        DataError: It is no mesh, has no triangles, or numbers that are not finite.
    """
    import trimesh

    path = check_input_file(path, f"a mesh ({', '.join(SUFFIXES)})")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: '{path.suffix}' is no mesh; expected {', '.join(SUFFIXES)}")
    try:
        loaded: Any = trimesh.load(path, force="mesh", process=False, skip_materials=True)
    except Exception as error:  # a reader for each format, and each fails in its own way
        raise DataError(
            f"{path}: not a readable mesh ({type(error).__name__}: {str(error)[:120]})",
            hint="export it again from the program that it comes from",
        ) from error
    vertices = np.asarray(loaded.vertices, np.float64)
    faces = np.asarray(getattr(loaded, "faces", ()), np.int64)
    if not len(faces) or not np.isfinite(vertices).all():
        what = "no triangles in it" if not len(faces) else "vertices that are not finite"
        raise DataError(f"{path}: {what}; expected a surface", hint="check the file in a mesh viewer")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise DataError(
            f"{path}: faces name vertices {faces.min()} to {faces.max()}; there are {len(vertices)}",
            hint="export it again from the program that it comes from",
        )
    return Mesh(vertices, faces)
