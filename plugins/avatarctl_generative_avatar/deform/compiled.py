"""Nearness and roots as compiled loops, where numba is installed; the numbers of `nearness` and `broyden`.

A search ends as soon as its root is found, and its numbers stay in registers meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from torch import Tensor

from avatarctl.device.loops import compiled
from avatarctl_generative_avatar.deform import nearness
from avatarctl_generative_avatar.deform.broyden import CLOSE, LOST, SAME, STEPS, Motion
from avatarctl_generative_avatar.deform.nearness import Nearness
from avatarctl_generative_avatar.deform.volumes import SKINNING

F4 = np.float32
ZERO, ONE, HALF = F4(0), F4(1), F4(0.5)
NUMBERS = 12
"""Of a motion."""
SMALL, PARTS = 1 << 12, 4
"""Rows not worth sharing out; parts that a thread takes, as some are harder than others."""


def near(known: Nearness, points: Tensor) -> Tensor:
    """As `Nearness.__call__`."""
    cells, vertices = known.cells.view(known.size).numpy(), np.ascontiguousarray(known.vertices.numpy())

    def work(rows: slice) -> tuple[np.ndarray, ...]:
        return (_near(places[rows], known.low.numpy(), F4(1 / known.cell), cells, vertices),)

    places = np.ascontiguousarray(points.numpy())
    return _shared(work, len(places))[0]


def solve(motion: Motion, points: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `broyden.solve`."""
    given = (
        motion.table.numpy(),
        np.ascontiguousarray(motion.starts.numpy()),
        (-motion.box.offset).numpy(),
        motion.box.kernel.numpy(),
    )
    places, samples = np.ascontiguousarray(points.numpy()), sample.numpy()

    def work(rows: slice) -> tuple[np.ndarray, ...]:
        return _solve(*given, places[rows], samples[rows])

    roots, is_valid, is_kept = _shared(work, len(places))
    return roots, is_valid, is_kept


def _shared(work: Callable[[slice], tuple[np.ndarray, ...]], count: int) -> tuple[Tensor, ...]:
    """What `work` gives for rows 0 to `count`, shared out among as many threads as torch has."""
    threads = torch.get_num_threads()
    if threads == 1 or count < SMALL:
        return tuple(map(torch.from_numpy, work(slice(0, count))))
    cuts = [count * number // (PARTS * threads) for number in range(PARTS * threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(work, map(slice, cuts, cuts[1:])))
    return tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))


@compiled(numba.njit)
def _near(points, low, scale, cells, vertices):  # type: ignore[no-untyped-def]  # numba infers
    made = np.zeros(len(points), np.bool_)
    limit = F4(nearness.RADIUS**2)
    width, height, depth = cells.shape
    for index in range(len(points)):
        px, py, pz = points[index, 0], points[index, 1], points[index, 2]
        x, y, z = (px - low[0]) * scale, (py - low[1]) * scale, (pz - low[2]) * scale
        if not (ZERO <= x < width and ZERO <= y < height and ZERO <= z < depth):
            continue
        known = cells[int(x), int(y), int(z)]
        if known == nearness.NEAR:
            made[index] = True
        elif known == nearness.OPEN:
            for vertex in range(len(vertices)):
                dx, dy, dz = px - vertices[vertex, 0], py - vertices[vertex, 1], pz - vertices[vertex, 2]
                if dx * dx + dy * dy + dz * dz < limit:
                    made[index] = True
                    break
    return made


@compiled(numba.njit)
def _solve(table, bones, shift, kernel, points, sample):  # type: ignore[no-untyped-def]  # numba infers
    count, starts = len(points), bones.shape[1]
    nodes = len(table) // len(bones)
    roots = np.zeros((count, starts, 3), np.float32)
    is_valid, is_kept = np.zeros((count, starts), np.bool_), np.zeros((count, starts), np.bool_)
    motion = np.empty(NUMBERS, np.float32)
    for index in range(count):
        base, point = sample[index] * nodes, points[index]
        for start in range(starts):
            is_valid[index, start] = _search(
                table, base, bones[sample[index], start], shift, kernel, point, motion, roots[index, start]
            )
        for start in range(starts):
            is_kept[index, start] = is_valid[index, start] and not _is_repeated(
                roots[index], is_valid[index], start
            )
    return roots, is_valid, is_kept


@compiled(numba.njit)
def _search(table, base, bone, shift, kernel, point, motion, root):  # type: ignore[no-untyped-def]  # numba infers
    px, py, pz = point[0], point[1], point[2]
    x, y, z = px - bone[0, 3], py - bone[1, 3], pz - bone[2, 3]
    x, y, z = (
        bone[0, 0] * x + bone[1, 0] * y + bone[2, 0] * z,
        bone[0, 1] * x + bone[1, 1] * y + bone[2, 1] * z,
        bone[0, 2] * x + bone[1, 2] * y + bone[2, 2] * z,
    )
    _mix(
        table,
        base,
        (x + shift[0]) * kernel[0],
        (y + shift[1]) * kernel[1],
        (z + shift[2]) * kernel[2],
        motion,
    )
    a, b, c = motion[0], motion[4], motion[8]  # rows of the inverse
    d, e, f = motion[1], motion[5], motion[9]
    g, h, i = motion[2], motion[6], motion[10]
    gx = motion[0] * x + motion[1] * y + motion[2] * z + motion[3] - px
    gy = motion[4] * x + motion[5] * y + motion[6] * z + motion[7] - py
    gz = motion[8] * x + motion[9] * y + motion[10] * z + motion[11] - pz
    for _ in range(STEPS):
        ux, uy, uz = -(a * gx + b * gy + c * gz), -(d * gx + e * gy + f * gz), -(g * gx + h * gy + i * gz)
        x, y, z = x + ux, y + uy, z + uz
        nx, ny, nz = (x + shift[0]) * kernel[0], (y + shift[1]) * kernel[1], (z + shift[2]) * kernel[2]
        _mix(table, base, nx, ny, nz, motion)
        qx = motion[0] * x + motion[1] * y + motion[2] * z + motion[3] - px
        qy = motion[4] * x + motion[5] * y + motion[6] * z + motion[7] - py
        qz = motion[8] * x + motion[9] * y + motion[10] * z + motion[11] - pz
        error = qx * qx + qy * qy + qz * qz
        if error < F4(CLOSE**2):
            if abs(nx) <= ONE and abs(ny) <= ONE and abs(nz) <= ONE:
                root[0], root[1], root[2] = x, y, z
                return True
            return False
        if not error <= F4(LOST):
            return False
        cx, cy, cz = qx - gx, qy - gy, qz - gz
        rx, ry, rz = a * ux + d * uy + g * uz, b * ux + e * uy + h * uz, c * ux + f * uy + i * uz
        by = rx * cx + ry * cy + rz * cz
        if by == ZERO:
            return False  # the next place is not a number
        rx, ry, rz = rx / by, ry / by, rz / by
        sx = ux - (a * cx + b * cy + c * cz)
        sy = uy - (d * cx + e * cy + f * cz)
        sz = uz - (g * cx + h * cy + i * cz)
        a, b, c = a + sx * rx, b + sx * ry, c + sx * rz
        d, e, f = d + sy * rx, e + sy * ry, f + sy * rz
        g, h, i = g + sz * rx, h + sz * ry, i + sz * rz
        gx, gy, gz = qx, qy, qz
    return False


@compiled(numba.njit)
def _is_repeated(roots, is_valid, start):  # type: ignore[no-untyped-def]  # numba infers
    for later in range(start + 1, len(roots)):
        if is_valid[later]:
            x = roots[later, 0] - roots[start, 0]
            y = roots[later, 1] - roots[start, 1]
            z = roots[later, 2] - roots[start, 2]
            if x * x + y * y + z * z < F4(SAME**2):
                return True
    return False


@compiled(numba.njit)
def _mix(table, base, x, y, z, made):  # type: ignore[no-untyped-def]  # numba infers
    depth, height, width = SKINNING
    x = (x + ONE) * F4(HALF * (width - 1))
    y = (y + ONE) * F4(HALF * (height - 1))
    z = (z + ONE) * F4(HALF * (depth - 1))
    if not (-ONE < x < F4(width) and -ONE < y < F4(height) and -ONE < z < F4(depth)):
        made[:] = ZERO
        return
    low_x, low_y, low_z = np.floor(x), np.floor(y), np.floor(z)
    x, y, z = x - low_x, y - low_y, z - low_z
    row = base + ((int(low_z) + 1) * (height + 2) + int(low_y) + 1) * (width + 2) + int(low_x) + 1
    up, over = width + 2, (width + 2) * (height + 2)
    w0, w1 = (ONE - x) * (ONE - y), x * (ONE - y)
    w2, w3 = (ONE - x) * y, x * y
    v0, v1, v2, v3 = w0 * (ONE - z), w1 * (ONE - z), w2 * (ONE - z), w3 * (ONE - z)
    w0, w1, w2, w3 = w0 * z, w1 * z, w2 * z, w3 * z
    for k in range(NUMBERS):
        low = (
            v0 * table[row, k]
            + v1 * table[row + 1, k]
            + v2 * table[row + up, k]
            + v3 * table[row + up + 1, k]
        )
        row_over = row + over
        high = w0 * table[row_over, k] + w1 * table[row_over + 1, k]
        high += w2 * table[row_over + up, k] + w3 * table[row_over + up + 1, k]
        made[k] = low + high
