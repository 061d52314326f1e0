"""The surface of an avatar around a posed body (spec 8): published grid and field, refined by an octree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from avatarctl.errors import CheckpointError
from avatarctl.geometry import isosurface
from avatarctl.geometry.isosurface import Field, Grid, NoSurface, Progress, Samples
from avatarctl.geometry.meshes import Mesh

FAR = 0.1
"""Mean distance to the three nearest vertices beyond which the field is `OUTSIDE`, metres."""
OUTSIDE = 1.0
PADDING = 0.1
"""Room around the body in the grid, metres."""
NEIGHBOURS = 3


def grid_around(vertices: np.ndarray, n: int) -> Grid:
    """n samples along each side of the box of a body's vertices [V, 3] with room; its corners are float32."""
    vertices, padding = vertices.astype(np.float32), np.float32(PADDING)
    return Grid(vertices.min(0) - padding, vertices.max(0) + padding, n)


def samples_of(function: Field, body: np.ndarray, n: int) -> Samples:
    """A field on the grid around a body's vertices [V, 3], nothing known of it yet."""
    tree = cKDTree(body.astype(np.float32))
    return Samples(function, grid_around(body, n), tree, far=FAR, neighbours=NEIGHBOURS, outside=OUTSIDE)


def extract(
    function: Field, body: np.ndarray, n: int, *, level: float = 0.0, progress: Progress | None = None
) -> Mesh:
    """The surface of a field around a body, all its parts; faces wound as published (`marching.polygons`).

    Args:
        function: The field.
        body: Vertices of the body [V, 3].
        n: Samples along each side of the grid.
        level: Value at the surface, below `OUTSIDE`.
        progress: Shows how many sizes of blocks are done.

    Raises:
        CheckpointError: The field has no surface there.
    """
    return _found(isosurface.extract, samples_of(function, body, n), level, progress)


def extract_dense(
    function: Field, body: np.ndarray, n: int, *, level: float = 0.0, progress: Progress | None = None
) -> Mesh:
    """The same by evaluating every sample, as published.

    Raises:
        CheckpointError: The field has no surface there.
    """
    return _found(isosurface.extract_dense, samples_of(function, body, n), level, progress)


def _found(search: Callable[..., Mesh], samples: Samples, level: float, progress: Progress | None) -> Mesh:
    try:
        return search(samples, level=level, progress=progress)
    except NoSurface as error:
        raise CheckpointError(
            f"the avatar has {error}",
            hint="check that --weights and --data are of the same person, that the training got beyond its "
            "first hundred steps, and --level",
        ) from error
