"""Distances to triangles on a cube as compiled loops, where numba is installed; the numbers of `sweeps`."""

from __future__ import annotations

import numba
import numpy as np

from avatarctl.device.loops import compiled
from avatarctl_video_avatar.sweeps import NEVER, ROUNDS, SWEEPS, TINY

F4, F8 = np.float32, np.float64
TRIED = 4
"""Triangles that a sample remembers as too far: distances only fall, so they are not tried again."""


def distances(triangles: np.ndarray, n: int) -> np.ndarray:
    """As `sweeps.distances`."""
    step = F4(2 / n)
    found, nearest = np.full((n, n, n), F4(3 * n) * step, F4), np.full((n, n, n), -1, np.int32)
    triangles = np.ascontiguousarray(triangles)
    tried = np.full((n, n, n, TRIED), -1, np.int32)
    _band(triangles, found, nearest, step)
    changed = np.where(nearest < 0, np.int8(NEVER), np.int8(0))
    for number, direction in enumerate(SWEEPS * ROUNDS):
        _sweep(triangles, found, nearest, tried, changed, number, step, *direction)
    return found


@compiled(numba.njit)
def _band(triangles, found, nearest, step):  # type: ignore[no-untyped-def]  # numba infers
    n = len(found)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for face in range(len(triangles)):
        for axis in range(3):
            a = (F8(triangles[face, 0, axis]) + 1) / F8(step)
            b = (F8(triangles[face, 1, axis]) + 1) / F8(step)
            c = (F8(triangles[face, 2, axis]) + 1) / F8(step)
            low[axis] = min(max(int(min(a, b, c)) - 1, 0), n - 1)
            high[axis] = min(max(int(max(a, b, c)) + 2, 0), n - 1)
        for i in range(low[0], high[0] + 1):
            for j in range(low[1], high[1] + 1):
                for k in range(low[2], high[2] + 1):
                    away = _distance(_place(i, step), _place(j, step), _place(k, step), triangles[face])
                    if away < found[i, j, k]:
                        found[i, j, k] = away
                        nearest[i, j, k] = face


@compiled(numba.njit)
def _sweep(triangles, found, nearest, tried, changed, number, step, di, dj, dk):  # type: ignore[no-untyped-def]  # numba infers
    n = len(found)
    for place_i in range(1, n):
        i = place_i if di > 0 else n - 1 - place_i
        for place_j in range(1, n):
            j = place_j if dj > 0 else n - 1 - place_j
            for place_k in range(1, n):
                k = place_k if dk > 0 else n - 1 - place_k
                if _latest(changed, i, j, k, i - di, j - dj, k - dk) <= number - len(SWEEPS):
                    continue
                best, own, late = found[i, j, k], nearest[i, j, k], tried[i, j, k]
                for bits in range(1, 8):
                    theirs = nearest[i - di * (bits & 1), j - dj * (bits >> 1 & 1), k - dk * (bits >> 2)]
                    if theirs < 0 or theirs == own or _has(late, theirs):
                        continue
                    away = _distance(_place(i, step), _place(j, step), _place(k, step), triangles[theirs])
                    for slot in range(TRIED - 1, 0, -1):
                        late[slot] = late[slot - 1]
                    late[0] = theirs
                    if away < best:
                        best, own, late[0] = away, theirs, own
                if own != nearest[i, j, k]:
                    found[i, j, k], nearest[i, j, k], changed[i, j, k] = best, own, number


@compiled(numba.njit)
def _latest(changed, i, j, k, bi, bj, bk):  # type: ignore[no-untyped-def]  # numba infers
    level = max(changed[bi, j, k], changed[i, bj, k], changed[bi, bj, k])
    return max(level, changed[i, j, bk], changed[bi, j, bk], changed[i, bj, bk], changed[bi, bj, bk])


@compiled(numba.njit)
def _has(some, one):  # type: ignore[no-untyped-def]  # numba infers
    found = False
    for other in some:
        found |= other == one
    return found


@compiled(numba.njit)
def _place(index, step):  # type: ignore[no-untyped-def]  # numba infers
    return F4(index) * step + F4(-1)


@compiled(numba.njit)
def _distance(px, py, pz, triangle):  # type: ignore[no-untyped-def]  # numba infers
    x1, y1, z1 = triangle[0, 0], triangle[0, 1], triangle[0, 2]
    x2, y2, z2 = triangle[1, 0], triangle[1, 1], triangle[1, 2]
    x3, y3, z3 = triangle[2, 0], triangle[2, 1], triangle[2, 2]
    ax, ay, az = x1 - x3, y1 - y3, z1 - z3
    bx, by, bz = x2 - x3, y2 - y3, z2 - z3
    cx, cy, cz = px - x3, py - y3, pz - z3
    square1, square2 = ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz
    both = ax * bx + ay * by + az * bz
    inverse = F4(1) / max(square1 * square2 - both * both, TINY)
    a, b = ax * cx + ay * cy + az * cz, bx * cx + by * cy + bz * cz
    share1, share2 = inverse * (square2 * a - both * b), inverse * (square1 * b - both * a)
    share3 = F4(1) - share1 - share2
    if share1 >= 0 and share2 >= 0 and share3 >= 0:
        x = px - (share1 * x1 + share2 * x2 + share3 * x3)
        y = py - (share1 * y1 + share2 * y2 + share3 * y3)
        z = pz - (share1 * z1 + share2 * z2 + share3 * z3)
        return np.sqrt(x * x + y * y + z * z)
    if share1 > 0:
        return min(_segment(px, py, pz, x1, y1, z1, x2, y2, z2), _segment(px, py, pz, x1, y1, z1, x3, y3, z3))
    if share2 > 0:
        return min(_segment(px, py, pz, x1, y1, z1, x2, y2, z2), _segment(px, py, pz, x2, y2, z2, x3, y3, z3))
    return min(_segment(px, py, pz, x1, y1, z1, x3, y3, z3), _segment(px, py, pz, x2, y2, z2, x3, y3, z3))


@compiled(numba.njit)
def _segment(px, py, pz, ax, ay, az, bx, by, bz):  # type: ignore[no-untyped-def]  # numba infers
    dx, dy, dz = bx - ax, by - ay, bz - az
    dot = (bx - px) * dx + (by - py) * dy + (bz - pz) * dz
    share = F4(F8(dot) / F8(dx * dx + dy * dy + dz * dz))
    share = min(max(share, F4(0)), F4(1))
    rest = F4(1) - share
    x, y, z = px - (share * ax + rest * bx), py - (share * ay + rest * by), pz - (share * az + rest * bz)
    return np.sqrt(x * x + y * y + z * z)
