"""Which points are inside of closed meshes, by the generalised winding number (Jacobson et al. 2013)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

HALF = 0.5
"""Winding number at the surface."""


def inside(vertices: Tensor, faces: Tensor, points: Tensor) -> Tensor:
    """Which points each mesh encloses, bool [B, N]; parts that go through each other count as one.

    The winding number is exact near the surface; far from it, where it is close to 0 or 1, faces are taken
    together (Barill et al. 2018).

    Args:
        vertices: Metres [B, V, 3].
        faces: Counter-clockwise seen from outside [F, 3].
        points: Metres [B, N, 3].
    """
    import igl

    triangles = np.ascontiguousarray(faces.cpu().numpy(), dtype=np.int64)
    pairs = zip(_doubles(vertices), _doubles(points), strict=True)
    numbers = [igl.fast_winding_number(mesh, triangles, cloud) for mesh, cloud in pairs]
    return torch.from_numpy(np.stack(numbers) > HALF).to(points.device)


def _doubles(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float64)
