"""The z-buffer in plain torch: always there, on any device, the reference of the compiled one.

Faces become rows of pixels, rows become pixels: all rows of all faces at once, then all pixels of their
spans, in blocks that bound the memory. Each pixel is tested exactly and keeps the smallest number of (depth
bits, face index): positive floats order like their bits, so one integer scatter finds the nearest face, and
the smaller index where depths are equal, whatever the order of the threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1 << 18
"""Rows, and pixels, looked at together; about 150 bytes each."""
EMPTY = torch.iinfo(torch.int64).max
MARGIN = 0.02
"""Pixels that a span is widened by on both sides; the exact test follows."""
FLAT = 2e-5
"""An edge lower than this times its face's extent squared bounds no span: rounding would exceed `MARGIN`."""


def zbuffer(
    pixels: Tensor,
    depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    near: float,
    is_closed: bool = False,
    is_strict: bool = False,
    block: int = BLOCK,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest face [H, W] (-1 where none), its barycentric coordinates [H, W, 3] and depth [H, W].

    Args:
        pixels: Projected vertices, float32 [V, 2].
        depth: Their depths, float32 [V].
        faces: int64 [F, 3].
        near: Faces with a corner at or before this depth are left out, metres.
        is_closed: Leave out faces seen from behind.
        is_strict: A pixel whose centre lies on an edge of a face does not see that face.
        block: Rows, and pixels, looked at together.
    """
    height, width = size
    mesh = _Corners.of(pixels, depth, faces)
    boxes = _boxes(mesh, size, near, is_closed)
    best = torch.full((height * width,), EMPTY, dtype=torch.int64, device=pixels.device)
    for face, place in _spread(boxes.rows, block):
        y = boxes.top.index_select(0, face) + place
        index = boxes.face.index_select(0, face)
        x, y_corner, inverse = mesh.at(index)
        y_corner = y_corner - (y.to(pixels.dtype) + 0.5)
        first, counts = _spans(x, y_corner, boxes, face)
        edge_table = torch.cat([x, y_corner])
        start = y * width + first
        for row, step in _spread(counts, block):
            corners = edge_table.index_select(1, row)
            column = first.index_select(0, row) + step
            edges = _edges(corners[:3] - (column.to(pixels.dtype) + 0.5), corners[3:])
            nearest = _depth(edges, inverse.index_select(1, row))
            key = (nearest.view(torch.int32).long() << 32) | index.index_select(0, row)
            key = torch.where(_is_inside(*edges, is_strict), key, EMPTY)
            best.scatter_reduce_(0, start.index_select(0, row) + step, key, "amin")
    return _resolve(best, mesh, size)


@dataclass(frozen=True)
class _Corners:
    """Columns x, y in pixels and inverse depth in float64 of every face's corners, each [3, F]."""

    x: Tensor
    y: Tensor
    inverse: Tensor

    @staticmethod
    def of(pixels: Tensor, depth: Tensor, faces: Tensor) -> _Corners:
        flat = faces.T.reshape(-1)
        columns = (pixels[:, 0].contiguous(), pixels[:, 1].contiguous(), 1 / depth.double())
        return _Corners(*(column.index_select(0, flat).view(3, -1) for column in columns))

    def at(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.x.index_select(1, index),
            self.y.index_select(1, index),
            self.inverse.index_select(1, index),
        )


@dataclass(frozen=True)
class _Boxes:
    """Of faces that may be seen: index, first row, rows, first and last column, sign, least slope [K]."""

    face: Tensor
    top: Tensor
    rows: Tensor
    left: Tensor
    right: Tensor
    sign: Tensor
    flat: Tensor


def _boxes(mesh: _Corners, size: tuple[int, int], near: float, is_closed: bool) -> _Boxes:
    x, y = mesh.x, mesh.y
    low_x, high_x, low_y, high_y = x.amin(0), x.amax(0), y.amin(0), y.amax(0)
    left, right = (low_x - 0.5).ceil().clamp(min=0), (high_x - 0.5).floor().clamp(max=size[1] - 1)
    top, bottom = (low_y - 0.5).ceil().clamp(min=0), (high_y - 0.5).floor().clamp(max=size[0] - 1)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    is_ahead = ((mesh.inverse > 0) & (mesh.inverse < 1 / near)).all(0)
    is_seen = is_ahead & area.isfinite() & (area != 0) & (right >= left) & (bottom >= top)
    if is_closed:
        is_seen &= area < 0  # counter-clockwise from outside turns to clockwise where y points down
    face = is_seen.nonzero().squeeze(-1)
    extent = torch.maximum(high_x - low_x, high_y - low_y)[face].double()
    whole = [values[face].long() for values in (top, bottom - top + 1, left, right)]
    sign, flat = area[face].sign().double(), FLAT * extent * extent
    return _Boxes(face, whole[0], whole[1], whole[2], whole[3], sign, flat)


def _spread(counts: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Which item each of `counts` [K] repetitions belongs to, and its place among them, a block at a time."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, block):
        stop = min(start + block, total)
        low, high = int(torch.searchsorted(ends, start, right=True)), int(torch.searchsorted(ends, stop)) + 1
        begins = ends[low:high] - counts[low:high]
        parts = ends[low:high].clamp(max=stop) - begins.clamp(min=start)
        items = torch.arange(low, high, device=counts.device)
        item = torch.repeat_interleave(items, parts, output_size=stop - start)
        yield item, torch.arange(start, stop, device=counts.device) - begins.index_select(0, item - low)


def _spans(x: Tensor, y: Tensor, boxes: _Boxes, face: Tensor) -> tuple[Tensor, Tensor]:
    """First column and number of pixels that a face may cover in a row [N]; never too few.

    Args:
        x, y: Corners, rows counted from the row's centre [3, N].
        face: Which of the boxes [N].
    """
    left, right = boxes.left.index_select(0, face), boxes.right.index_select(0, face)
    x, y = x.double() - left, y.double()
    slope = y.roll(-2, 0) - y.roll(-1, 0)
    crossing = torch.stack(_edges(x, y)) / slope  # where the edges meet the row
    is_steep = slope.abs() > boxes.flat.index_select(0, face)
    is_right = slope * boxes.sign.index_select(0, face) > 0
    high = torch.where(is_steep & is_right, crossing, torch.inf).amin(0)
    low = torch.where(is_steep & ~is_right, crossing, -torch.inf).amax(0)
    first = (low - (0.5 + MARGIN)).ceil().clamp(min=0)
    last = torch.minimum((high - (0.5 - MARGIN)).floor(), right - left)
    return left + first.long(), (last - first + 1).clamp(min=0).long()


def _edges(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Twice the signed areas that pixel centres span with the edges opposite the corners, each [N].

    The two faces at an edge get the same number with opposite signs, so no pixel falls between them.

    Args:
        x, y: Corners as seen from the pixel's centre [3, N].
    """
    (x0, x1, x2), (y0, y1, y2) = x.unbind(0), y.unbind(0)
    return x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0


def _is_inside(e0: Tensor, e1: Tensor, e2: Tensor, is_strict: bool) -> Tensor:
    low, high = torch.minimum(torch.minimum(e0, e1), e2), torch.maximum(torch.maximum(e0, e1), e2)
    return (low > 0) | (high < 0) if is_strict else (low >= 0) | (high <= 0)


def _ratios(edges: tuple[Tensor, Tensor, Tensor], inverse: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Areas over depths of the three corners and their sum, float64, each [N]."""
    r0, r1, r2 = edges[0] * inverse[0], edges[1] * inverse[1], edges[2] * inverse[2]
    return r0, r1, r2, r0 + r1 + r2


def _depth(edges: tuple[Tensor, Tensor, Tensor], inverse: Tensor) -> Tensor:
    """Perspective-correct depth, float32 [N].

    By way of float64, so that the order of a face's corners does not show in the rounded number.
    """
    return ((edges[0].double() + edges[1] + edges[2]) / _ratios(edges, inverse)[3]).float()


def _resolve(best: Tensor, mesh: _Corners, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Face, barycentric coordinates and depth of every pixel from the winning numbers [H * W]."""
    hit = (best != EMPTY).nonzero().squeeze(-1)
    winner = best.index_select(0, hit) & 0xFFFFFFFF
    x, y, inverse = mesh.at(winner)
    row = hit.div(size[1], rounding_mode="floor")
    edges = _edges(x - ((hit - row * size[1]).to(x.dtype) + 0.5), y - (row.to(y.dtype) + 0.5))
    *ratios, total = _ratios(edges, inverse)
    weights = torch.stack([ratio / total for ratio in ratios], dim=-1).float()
    face = torch.full_like(best, -1).index_copy_(0, hit, winner)
    barycentric = torch.zeros(len(best), 3, device=best.device).index_copy_(0, hit, weights)
    depth = torch.full((len(best),), torch.inf, device=best.device)
    depth.index_copy_(0, hit, _depth(edges, inverse))
    return face.view(size), barycentric.view(*size, 3), depth.view(size)
