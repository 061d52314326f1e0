"""From vertices and their texture to what a screen shows (spec 7.6 step 9, 7.7)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from avatarctl.geometry.cameras import Camera
from avatarctl.render import rasterize
from avatarctl_audio2motion.avatar.uv import UvMaps

GAINS = (1.05, 0.95, 1.45)
"""Of the cameras' linear red, green and blue."""
BLACK = 5 / 255
"""What the cameras see in the dark, 0 to 1."""
LINEAR = 0.0031308
"""Below this the sRGB curve is a line."""


def drawn(
    vertices: Tensor,
    texture: Tensor,
    maps: UvMaps,
    camera: Camera,
    size: tuple[int, int],
    backend: str = "auto",
) -> Tensor:
    """Pictures in the texture's linear colours, black where nothing is seen [V, 3, H, W].

    Args:
        vertices: In the cameras' unit [V, N, 3].
        texture: One for each picture [V, 3, S, S].
        camera: One for each picture [V].
        size: Rows and columns.
        backend: The rasteriser; see `rasterize`.
    """
    seen = rasterize(vertices, maps.faces, camera, size, backend, is_strict=True)
    pictures = texture.new_zeros(len(vertices), 3, size[0] * size[1])
    for view, picture in enumerate(pictures):
        fragments = type(seen)(seen.face[view], seen.barycentric[view], seen.depth[view])
        uvs = fragments.interpolate(maps.uvs, maps.uv_faces)
        # parity: the texture's corners are centres of texels here, outer corners in `to_uv` (spec 9, 30).
        grid = (2 * uvs - 1)[None, None]
        colours = grid_sample(texture[view, None], grid, padding_mode="border", align_corners=True)
        picture.index_copy_(1, (fragments.face.view(-1) >= 0).nonzero().squeeze(-1), colours[0, :, 0])
    return pictures.unflatten(2, size)


def displayed(pictures: Tensor) -> Tensor:
    """Values of a screen, 0 to 255, for pictures in linear colours of about 0 to 255 [..., 3, H, W]."""
    gains = pictures.new_tensor(GAINS)[:, None, None]
    linear = (pictures * (gains / 255)).sub_(BLACK)
    is_dark = linear <= LINEAR
    curved = linear.clamp(min=LINEAR).pow_(1 / 1.5).mul_(1.055).sub_(0.055)
    return torch.where(is_dark, linear.mul_(12.92), curved).clamp_(0, 1).mul_(255)


def side_by_side(pictures: Tensor) -> np.ndarray:
    """One frame of a film, uint8 [H, V * W, 3], of pictures for the screen, 0 to 255 [V, 3, H, W].

    parity: values are cut off, not rounded (spec 7.6, step 9).
    """
    return pictures.to(torch.uint8).permute(2, 0, 3, 1).flatten(1, 2).contiguous().cpu().numpy()
