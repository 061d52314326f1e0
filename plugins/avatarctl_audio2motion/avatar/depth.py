"""What a depth map tells of the surface: its normals, and where it breaks off (spec 7.4).

The published networks were trained with these; an untextured person is shaded with them here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

BREAK = 40.0
"""Least length of the Sobel responses at an edge, in the depth's unit."""
LEAST_LENGTH = 1e-8


def depth_normals(depth: Tensor, focal: float, centre: tuple[float, float]) -> Tensor:
    """Unit normals in camera axes [B, 3, H, W] of depths [B, 1, H, W].

    Args:
        focal: Pixels.
        centre: Column and row of the principal point; pixels stand at whole numbers here.
    """
    rows, columns = (torch.arange(count, device=depth.device).to(depth) for count in depth.shape[2:])
    y, x = torch.meshgrid((rows - centre[1]) / focal, (columns - centre[0]) / focal, indexing="ij")
    places = pad(depth * torch.stack([x, y, torch.ones_like(x)]), (1, 1, 1, 1))
    down = (places[..., 2:, 1:-1] - places[..., :-2, 1:-1]) / -2
    right = (places[..., 1:-1, 2:] - places[..., 1:-1, :-2]) / -2
    normals = torch.linalg.cross(down, right, dim=1)
    return normals / normals.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH)


def depth_edges(depth: Tensor) -> Tensor:
    """Where depths break off, a pixel wider on all sides, bool [B, 1, H, W]."""
    smooth, slope = depth.new_tensor([1.0, 2.0, 1.0]), depth.new_tensor([-1.0, 0.0, 1.0])
    kernels = torch.stack([torch.outer(slope, smooth), torch.outer(smooth, slope)]).unsqueeze(1)
    edges = conv2d(depth, kernels, padding=1).norm(dim=1, keepdim=True) > BREAK
    return max_pool2d(edges.to(depth), 3, 1, 1) > 0
