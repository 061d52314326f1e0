"""The z-buffer as compiled loops, where numba is installed; the numbers are those of `software`."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from avatarctl.device.loops import compiled


def zbuffer(
    pixels: Tensor,
    depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    near: float,
    is_closed: bool = False,
    is_strict: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest face [H, W], its barycentric coordinates [H, W, 3] and depth [H, W]; see `software.zbuffer`."""
    with np.errstate(divide="ignore"):
        inverse = 1 / depth.cpu().numpy().astype(np.float64)
    found = _zbuffer(
        np.ascontiguousarray(pixels.cpu().numpy()),
        inverse,
        np.ascontiguousarray(faces.cpu().numpy()),
        size[0],
        size[1],
        1 / near,
        np.float32(0 if is_closed else np.inf),
        is_strict,
    )
    face, barycentric, far = (torch.from_numpy(array).to(pixels.device) for array in found)
    return face, barycentric, far


@compiled(numba.njit)
def _zbuffer(pixels, inverse, faces, height, width, most, limit, is_strict):  # type: ignore[no-untyped-def]  # numba infers
    face = np.full((height, width), -1, np.int64)
    barycentric = np.zeros((height, width, 3), np.float32)
    far = np.full((height, width), np.inf, np.float32)
    half, zero = np.float32(0.5), np.float32(0.0)
    for index in range(len(faces)):
        a, b, c = faces[index, 0], faces[index, 1], faces[index, 2]
        ia, ib, ic = inverse[a], inverse[b], inverse[c]
        if not (0 < ia < most and 0 < ib < most and 0 < ic < most):
            continue
        ax, bx, cx = pixels[a, 0], pixels[b, 0], pixels[c, 0]
        ay, by, cy = pixels[a, 1], pixels[b, 1], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if not (-np.inf < area < limit) or area == zero:
            continue
        low_x, high_x = np.ceil(min(ax, bx, cx) - half), np.floor(max(ax, bx, cx) - half)
        low_y, high_y = np.ceil(min(ay, by, cy) - half), np.floor(max(ay, by, cy) - half)
        if high_x < 0 or high_y < 0 or low_x >= width or low_y >= height:
            continue
        left, right = int(max(zero, low_x)), min(width - 1, int(high_x))
        for y in range(int(max(zero, low_y)), min(height - 1, int(high_y)) + 1):
            py = np.float32(y) + half
            y0, y1, y2 = ay - py, by - py, cy - py
            for x in range(left, right + 1):
                px = np.float32(x) + half
                x0, x1, x2 = ax - px, bx - px, cx - px
                e0, e1, e2 = x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0
                is_inside = (e0 >= zero and e1 >= zero and e2 >= zero) or (
                    e0 <= zero and e1 <= zero and e2 <= zero
                )
                if not is_inside or (is_strict and (e0 == zero or e1 == zero or e2 == zero)):
                    continue
                r0, r1, r2 = e0 * ia, e1 * ib, e2 * ic
                total = r0 + r1 + r2
                z = np.float32((np.float64(e0) + e1 + e2) / total)
                if z < far[y, x]:  # faces come in order, so the smaller index keeps a tie
                    far[y, x] = z
                    face[y, x] = index
                    barycentric[y, x, 0] = np.float32(r0 / total)
                    barycentric[y, x, 1] = np.float32(r1 / total)
                    barycentric[y, x, 2] = np.float32(r2 / total)
    return face, barycentric, far
