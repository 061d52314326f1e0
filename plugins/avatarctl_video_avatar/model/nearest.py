"""The posed vertices nearest to points, and the skinning weights that they suggest (spec 4.7)."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

NEIGHBOURS = 10
TABLE = 1 << 25
"""Most distances that are held at once where there is no tree."""


class Nearest:
    """Finds the nearest of some vertices [V, 3], by a tree on the CPU, else by comparing with all of them."""

    def __init__(self, vertices: Tensor) -> None:
        self.vertices = vertices.detach()
        self.tree = cKDTree(self.vertices.numpy()) if vertices.device.type == "cpu" else None

    def __call__(self, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The nearest to points [N, 3], nearest first: distances in metres and indices, int64 [N, k]."""
        points = points.detach()
        if self.tree is not None:
            distances, which = self.tree.query(
                points.numpy(), k=range(1, k + 1), workers=torch.get_num_threads()
            )
            return torch.from_numpy(distances).to(points.dtype), torch.from_numpy(which)
        found = [self._compared(part, k) for part in points.split(max(1, TABLE // len(self.vertices)))]
        return torch.cat([distances for distances, _ in found]), torch.cat([which for _, which in found])

    def _compared(self, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
        # products of matrices would lose the last digits of small distances
        table = torch.cdist(points, self.vertices, compute_mode="donot_use_mm_for_euclid_dist")
        return table.topk(k, largest=False)


def skinning_of(distances: Tensor, which: Tensor, skinning: Tensor) -> Tensor:
    """Mean of the vertices' skinning weights [V, J], nearer ones count more [N, J].

    Args:
        distances: To the nearest vertices, metres [N, k].
        which: Their indices [N, k].
    """
    share = distances.sum(-1, keepdim=True) / (distances + 1e-8)
    share = share / (share.sum(-1, keepdim=True) + 1e-8)
    return torch.nn.functional.embedding_bag(which, skinning, per_sample_weights=share, mode="sum")
