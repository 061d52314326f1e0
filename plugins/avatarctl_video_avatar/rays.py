"""The rays of a camera in the body's frame, and where they cross the body's box (spec 4.2). All in float64.

Integer coordinates are pixel centres; a ray's depth is the way along its unit direction, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

GROWN = 0.01
"""Room that the intersection adds around a box, metres."""
SMALLEST = 1e-5
"""Smaller components of a direction become this."""
TOLERANCE = 1e-6
"""How far outside the grown box its planes are still met, metres."""
AROUND = 2
"""Pixels added around a box's picture, for rounding and changed components."""
IN_FRONT = 1e-3
"""Depth along the camera's axis from which corners of a box are projected, metres."""


@dataclass(frozen=True)
class Crossings:
    """Where rays enter and leave a box; both are 0 where `meets` is False."""

    near: np.ndarray
    """[...]."""
    far: np.ndarray
    """[...]."""
    meets: np.ndarray
    """bool [...]."""


def rotation_of(axis_angle: np.ndarray) -> np.ndarray:
    """The matrix of an axis-angle vector [3, 3]."""
    matrix: np.ndarray = Rotation.from_rotvec(np.asarray(axis_angle, np.float64)).as_matrix()
    return matrix


def camera_from_body(extrinsics: np.ndarray, turn: np.ndarray, place: np.ndarray) -> np.ndarray:
    """E' [4, 4]: from the body's own frame to the camera.

    Args:
        extrinsics: From the world to the camera [4, 4].
        turn: R(Rh) [3, 3].
        place: Th, metres [3].
    """
    world_from_body = np.eye(4)
    world_from_body[:3, :3], world_from_body[:3, 3] = turn, place
    result: np.ndarray = np.asarray(extrinsics, np.float64) @ world_from_body
    return result


def origin_of(extrinsics: np.ndarray) -> np.ndarray:
    """Where a camera stands [3]."""
    origin: np.ndarray = -extrinsics[:3, :3].T @ extrinsics[:3, 3]
    return origin


def directions_of(
    intrinsics: np.ndarray, extrinsics: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Unit directions of pixels [..., 3].

    Args:
        intrinsics: [3, 3], pixels.
        extrinsics: From the body's frame to the camera [4, 4].
        rows, columns: Of the pixels; two arrays [...] that broadcast.
    """
    turned = extrinsics[:3, :3].T @ np.linalg.inv(np.asarray(intrinsics, np.float64))
    shape = np.broadcast_shapes(np.shape(rows), np.shape(columns))
    directions = np.empty((*shape, 3))
    for axis, (across, down, ahead) in enumerate(turned):
        directions[..., axis] = across * columns + down * rows + ahead
    x, y, z = (directions[..., axis] for axis in range(3))
    directions /= (np.sqrt(x * x + y * y + z * z) + 1e-12)[..., None]
    return directions


def without_zeros(directions: np.ndarray) -> np.ndarray:
    """Directions [..., 3] none of whose components is near zero."""
    # parity: the published intersection changes negative ones too, and the rays keep it (spec 9, Q8).
    return np.where(np.abs(directions) < SMALLEST, SMALLEST, directions)


def box_of(vertices: np.ndarray, margin: float) -> np.ndarray:
    """The corners of the box around a body, with room around it, float32 [2, 3]."""
    points = np.asarray(vertices, np.float32)
    return np.stack([points.min(axis=0) - np.float32(margin), points.max(axis=0) + np.float32(margin)])


def is_inside(origin: np.ndarray, box: np.ndarray) -> bool:
    """Whether a place lies in a box as the intersection grows it."""
    return bool(((origin >= box[0] - GROWN) & (origin <= box[1] + GROWN)).all())


def intersect_box(origin: np.ndarray, directions: np.ndarray, box: np.ndarray) -> Crossings:
    """Where rays cross a box that has grown by another centimetre; what lies behind the origin is not met.

    Args:
        origin: [3].
        directions: As `without_zeros` leaves them [..., 3].
        box: Its two corners [2, 3].
    """
    low, high = (
        np.asarray(corner, np.float64) + sign * GROWN for corner, sign in zip(box, (-1, 1), strict=True)
    )
    parts = [directions[..., axis] for axis in range(3)]
    shape = directions.shape[:-1]
    count, ahead = np.zeros(shape, np.int8), np.ones(shape, bool)
    near, far = np.full(shape, np.inf), np.full(shape, -np.inf)
    for axis in range(3):
        for plane in (low[axis], high[axis]):
            steps = (plane - origin[axis]) / parts[axis]
            on_face = np.ones(shape, bool)
            for other in {0, 1, 2} - {axis}:
                place = origin[other] + steps * parts[other]
                on_face &= (place >= low[other] - TOLERANCE) & (place <= high[other] + TOLERANCE)
            count += on_face
            ahead &= ~on_face | (steps > 0)
            near = np.where(on_face, np.minimum(near, steps), near)
            far = np.where(on_face, np.maximum(far, steps), far)
    # parity: exactly two planes; a ray through an edge counts as a miss (spec 4.2).
    meets = (count == 2) & ahead
    return Crossings(np.where(meets, near, 0.0), np.where(meets, far, 0.0), meets)


def window_of(
    intrinsics: np.ndarray, extrinsics: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns outside of which no ray meets a box; all where it reaches behind the camera.

    Args:
        intrinsics, extrinsics: As `directions_of` has them.
        box: Its two corners [2, 3].
        size: Rows and columns of the picture.
    """
    grown = np.asarray(box, np.float64) + np.array([[-GROWN], [GROWN]])
    corners = np.stack(np.meshgrid(*grown.T, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = (corners @ extrinsics[:3, :3].T + extrinsics[:3, 3]) @ np.asarray(intrinsics, np.float64).T
    if (seen[:, 2] <= 0).all():
        return slice(0, 0), slice(0, 0)
    if (seen[:, 2] < IN_FRONT).any():
        return slice(0, size[0]), slice(0, size[1])
    pixels = seen[:, 1::-1] / seen[:, 2:]  # row, column
    first = np.clip(np.floor(pixels.min(axis=0)) - AROUND, 0, size).astype(int)
    last = np.clip(np.ceil(pixels.max(axis=0)) + AROUND + 1, 0, size).astype(int)
    rows, columns = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return rows, columns


def box_in_picture(
    intrinsics: np.ndarray, extrinsics: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> Crossings:
    """Where the rays of all pixels [H, W] cross a box."""
    rows, columns = window_of(intrinsics, extrinsics, box, size)
    grid = np.arange(size[0])[rows, None], np.arange(size[1])[columns]
    seen = intersect_box(
        origin_of(extrinsics), without_zeros(directions_of(intrinsics, extrinsics, *grid)), box
    )
    whole = Crossings(np.zeros(size), np.zeros(size), np.zeros(size, bool))
    for field in ("near", "far", "meets"):
        getattr(whole, field)[rows, columns] = getattr(seen, field)
    return whole
