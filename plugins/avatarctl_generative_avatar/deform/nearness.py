"""Which points lie near a posed body: cells decide most of them, the others are measured (spec 4.8, 11.1)."""

from __future__ import annotations

import torch
from torch import Tensor

RADIUS = 0.12
"""Points this far from all of the vertices, metres, are left alone."""
CELL, CELLS = 0.03, 200
"""Side of a cell, metres; it grows for bodies that span more cells."""
SLACK = 1e-4
"""More than rounding amounts to, metres."""
FAR, OPEN, NEAR = 0, 1, 2
"""What is known of all points of a cell."""
CHUNK, ROWS = 1 << 16, 1 << 8
"""Points decided, and points measured at a time: about what a processor's cache holds."""


class Nearness:
    """The neighbourhood of some vertices [M, 3], metres."""

    def __init__(self, vertices: Tensor) -> None:
        self.vertices = vertices
        low, high = vertices.amin(dim=0), vertices.amax(dim=0)
        self.cell = max(CELL, float((high - low).amax()) / CELLS)
        # Cells between a vertex and the last one that it can be near to.
        self.reach = int((RADIUS + SLACK) / self.cell) + 1
        self.low = low - (self.reach + 2) * self.cell
        reached = ((high - self.low) / self.cell).long() + self.reach + 2
        self.size: tuple[int, int, int] = tuple(reached.tolist())
        self.cells = self._cells()

    def _cells(self) -> Tensor:
        """FAR, OPEN or NEAR, uint8 [X Y Z]; the outermost cells are FAR."""
        base = ((self.vertices - self.low) / self.cell).long()
        steps = torch.arange(-self.reach, self.reach + 1, device=base.device)
        inside = self.vertices - self.low - base * self.cell
        first = steps[:, None] * self.cell - inside[:, None]  # [M, steps, 3]
        last = first + self.cell
        nearest = _sums(torch.maximum(first, -last).clamp_min(0).square())
        farthest = _sums(torch.maximum(-first, last).square())
        index = self._index(base)[:, None] + self._index(torch.cartesian_prod(steps, steps, steps))
        cells = torch.zeros(self.size[0] * self.size[1] * self.size[2], dtype=torch.uint8, device=base.device)
        cells[index[nearest < (RADIUS + SLACK) ** 2]] = OPEN
        cells[index[farthest < (RADIUS - SLACK) ** 2]] = NEAR
        return cells

    def _index(self, cells: Tensor) -> Tensor:
        x, y, z = cells.unbind(-1)
        return (x * self.size[1] + y) * self.size[2] + z

    def __call__(self, points: Tensor) -> Tensor:
        """Whether the nearest vertex is less than `RADIUS` away, bool [P] of points [P, 3], metres."""
        made = [self._near(part) for part in points.split(CHUNK)]
        return torch.cat(made) if made else points.new_zeros(0, dtype=torch.bool)

    def _near(self, points: Tensor) -> Tensor:
        cells = ((points - self.low) * (1 / self.cell)).nan_to_num_(-1.0)
        last = cells.new_tensor(self.size) - 1
        known = self.cells[self._index(torch.minimum(cells.clamp_min_(0), last).long())]
        is_near = known == NEAR
        asked = (known == OPEN).nonzero().squeeze(1)
        is_near[asked] = self.measured(points[asked])
        return is_near

    def measured(self, points: Tensor) -> Tensor:
        """The same without the cells' help."""
        x, y, z = self.vertices.T[:, None]
        made = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for part, one in zip(made.split(ROWS), points.split(ROWS), strict=True):
            square = (one[:, :1] - x).square_()
            square += (one[:, 1:2] - y).square_()
            square += (one[:, 2:] - z).square_()
            torch.lt(square.amin(dim=1), RADIUS**2, out=part)
        return made


def _sums(squares: Tensor) -> Tensor:
    """All sums of one number of each axis [M, steps^3] of squares [M, steps, 3]."""
    x, y, z = squares.unbind(-1)
    return (x[:, :, None, None] + y[:, None, :, None] + z[:, None, None]).flatten(1)
