"""All places where rays from one origin go through a mesh, in float64, edges without gaps.

A ray o + t d goes through the triangle a, b, c (seen from o) where d . (b x c), d . (c x a) and d . (a x b)
have one sign: the Moeller-Trumbore test, written so that two triangles find the same number at the edge they
share. As all rays have one origin these normals belong to the triangle. At a corner rounding decides on
signs, so triangles are wider by that: a ray may hit two of them at one place, but none goes between.

Which pairs to test is looked up on a plane before the origin: rays in thin rows, in order along each, and of
each triangle the rows it covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PAIRS = 1 << 18
"""Pairs of a ray and a triangle that are tested at once."""
ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Of three products and sums."""
MARGIN = 1e-9
"""Widens triangles on the plane, which lies at distance 1."""
IN_FRONT = 1e-6
"""Triangles are cut off nearer than this before they are projected, metres."""


@dataclass(frozen=True)
class Hits:
    """Places on rays, by ray and then by distance: number of the ray, way along it, and the triangle [K]."""

    rays: np.ndarray
    distances: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Triangles as rays from one origin see them."""

    corners: np.ndarray
    """From the origin [F, 3, 3]."""
    sides: np.ndarray
    """b x c, c x a, a x b of corners a, b, c [F, 3, 3]."""
    normals: np.ndarray
    """[F, 3]."""
    offsets: np.ndarray
    """a . normal [F]; 0 for a triangle seen edge-on, which no ray meets."""
    rounding: np.ndarray
    """What products with `sides` may be wrong by [F]."""

    @classmethod
    def seen(cls, origin: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
        """A mesh of vertices [V, 3] and triangles [F, 3] as seen from a place [3]."""
        corners = (np.asarray(vertices, np.float64) - origin)[np.asarray(triangles)]
        first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
        sides = np.stack([np.cross(second, third), np.cross(third, first), np.cross(first, second)], axis=1)
        normals = np.cross(second - first, third - first)
        lengths = np.sqrt((corners**2).sum(axis=2).max(axis=1))
        rounding, offsets = ROUNDING * lengths**2, (first * normals).sum(axis=1)
        is_flat = np.abs(offsets) <= rounding * lengths
        return cls(corners, sides, normals, np.where(is_flat, 0.0, offsets), rounding)


def all_hits(origin: np.ndarray, directions: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> Hits:
    """Every place before the origin where rays meet a mesh, from either side.

    Args:
        origin: Of all rays [3].
        directions: Of length 1 [R, 3].
        vertices: [V, 3].
        triangles: [F, 3].
    """
    mesh = Mesh.seen(origin, vertices, triangles)
    found = [
        _tested(mesh, directions, rays, faces)
        for members, frame in _groups(directions)
        for rays, faces in _pairs(mesh, directions, members, frame)
    ]
    rays, distances, faces = (
        np.concatenate([part[which] for part in found]) if found else np.empty(0, kind)
        for which, kind in enumerate((np.int64, np.float64, np.int64))
    )
    order = np.lexsort((distances, rays))
    return Hits(rays[order], distances[order], faces[order])


def _groups(directions: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rays that one plane serves, and axes whose last points to it: faces of a cube turned to all rays."""
    if not len(directions):
        return
    cube = _frame(directions.mean(axis=0))
    turned = directions @ cube.T
    side = np.abs(turned).argmax(axis=1)
    side = np.where(np.take_along_axis(turned, side[:, None], axis=1)[:, 0] < 0, side + 3, side)
    for number in np.unique(side):
        axis = number % 3
        frame = cube[[(axis + 1) % 3, (axis + 2) % 3, axis]]
        frame[2] *= -1 if number > 2 else 1
        yield np.flatnonzero(side == number), frame


def _frame(ahead: np.ndarray) -> np.ndarray:
    """Three axes, the last of them `ahead` [3, 3]."""
    length = np.linalg.norm(ahead)
    ahead = ahead / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    beside = np.cross(np.eye(3)[np.abs(ahead).argmin()], ahead)
    beside /= np.linalg.norm(beside)
    return np.stack([beside, np.cross(ahead, beside), ahead])


def _pairs(
    mesh: Mesh, directions: np.ndarray, members: np.ndarray, frame: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rays and triangles that may meet, in portions of about `PAIRS`."""
    low, high, faces = _extents(mesh.corners @ frame.T)
    if not len(faces):
        return
    turned = directions[members] @ frame.T
    across, down = turned[:, 0] / turned[:, 2], turned[:, 1] / turned[:, 2]
    (left, top), (right, bottom) = low.min(axis=0), high.max(axis=0)
    near = np.flatnonzero((across >= left) & (across <= right) & (down >= top) & (down <= bottom))
    if not len(near):
        return
    members, across, down = members[near], across[near], down[near]
    rows = _Rows(across, down)
    members = members[rows.order]
    yield from _portions(*rows.spans(low, high), members, faces)


def _extents(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds on the plane [K, 2] each, and the numbers [K], of the triangles [F, 3, 3] before the origin."""
    depth = corners[..., 2]
    ahead = depth >= IN_FRONT
    faces = np.flatnonzero(ahead.any(axis=1))
    corners, depth, ahead = corners[faces], depth[faces], ahead[faces]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = corners[..., :2] / depth[..., None]
    low = np.where(ahead[..., None], places, np.inf).min(axis=1)
    high = np.where(ahead[..., None], places, -np.inf).max(axis=1)
    cut = np.flatnonzero(~ahead.all(axis=1))
    for start, end in ((0, 1), (1, 2), (2, 0)):
        crossing = cut[ahead[cut, start] != ahead[cut, end]]
        share = (IN_FRONT - depth[crossing, start]) / (depth[crossing, end] - depth[crossing, start])
        edge = corners[crossing, end] - corners[crossing, start]
        place = (corners[crossing, start] + share[:, None] * edge)[:, :2] / IN_FRONT
        low[crossing] = np.minimum(low[crossing], place)
        high[crossing] = np.maximum(high[crossing], place)
    widened = MARGIN * (1 + np.maximum(np.abs(low), np.abs(high)))
    return low - widened, high + widened, faces


class _Rows:
    """Rays in rows of the plane, in `order` along each."""

    def __init__(self, across: np.ndarray, down: np.ndarray) -> None:
        self.count = max(1, int(np.sqrt(len(down))))
        self.top, self.height = down.min(), (down.max() - down.min()) / self.count or 1.0
        self.left, self.width = across.min(), (across.max() - across.min()) or 1.0
        # A row's rays take the half from its number on; the other half keeps rows apart.
        keys = self._row(down) + (across - self.left) / self.width / 2
        self.order = np.argsort(keys)
        self.keys = keys[self.order]

    def _row(self, down: np.ndarray) -> np.ndarray:
        return np.clip(np.floor((down - self.top) / self.height), 0, self.count - 1)

    def spans(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First ray, number of rays, and number of the triangle, for each row a triangle [K, 2] covers."""
        first, last = (self._row(side[:, 1]).astype(np.int64) for side in (low, high))
        triangle, step = _expanded(last - first + 1)
        row = first[triangle] + step
        bounds = [
            row + np.clip((side[:, 0] - self.left) / self.width / 2, -0.2, 0.7)[triangle]
            for side in (low, high)
        ]
        begin, end = (np.searchsorted(self.keys, bound) for bound in bounds)
        filled = np.flatnonzero(end > begin)
        return begin[filled], (end - begin)[filled], triangle[filled]


def _expanded(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of sum(counts) members: to which group it belongs, and its number in it."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)


def _portions(
    begin: np.ndarray, counts: np.ndarray, triangle: np.ndarray, members: np.ndarray, faces: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    ends = np.searchsorted(np.cumsum(counts), np.arange(PAIRS, counts.sum() + PAIRS, PAIRS), side="right")
    start = 0
    for end in [*np.maximum(ends, 1), len(counts)]:
        if end > start:
            span, step = _expanded(counts[start:end])
            yield members[begin[start:end][span] + step], faces[triangle[start:end][span]]
            start = end


def _tested(
    mesh: Mesh, directions: np.ndarray, rays: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those pairs that do meet before the origin, with their distances."""
    sides = np.einsum("pij,pj->ip", mesh.sides[faces], directions[rays])
    rounding = mesh.rounding[faces]
    inside = (sides >= -rounding).all(axis=0) | (sides <= rounding).all(axis=0)
    rays, faces = rays[inside], faces[inside]
    slope = (mesh.normals[faces] * directions[rays]).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = mesh.offsets[faces] / slope
    ahead = (distances > 0) & np.isfinite(distances)
    return rays[ahead], distances[ahead], faces[ahead]
