"""The z-buffer of pytorch3d, where that is installed, behind the interface of `software`.

pytorch3d takes vertices in normalised device coordinates: x to the left, y up, 2 units along the shorter
side of the picture around its middle, depths as they are. Its pixels see a face if their centres lie
strictly inside.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatarctl.errors import DependencyError


def check() -> None:
    """See that the package is there.

    Raises:
        DependencyError: It cannot be imported.
    """
    try:
        import pytorch3d.renderer
        import pytorch3d.structures  # noqa: F401  # only whether both are there
    except ImportError as error:
        raise DependencyError(
            f"the package 'pytorch3d' is not installed ({error})",
            hint="use --renderer auto, which needs nothing; or build it from source as its INSTALL.md tells: "
            "github.com/facebookresearch/pytorch3d",
        ) from error


def zbuffer(
    pixels: Tensor,
    depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    near: float,
    is_closed: bool = False,
    is_strict: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest face [H, W], its barycentric coordinates [H, W, 3] and depth [H, W]; see `software.zbuffer`.

    Args:
        is_strict: Of no effect: it always is.
    """
    from pytorch3d.renderer import rasterize_meshes
    from pytorch3d.structures import Meshes

    kept = _visible(pixels, depth, faces, near, is_closed)
    empty = (torch.full(size, -1, device=pixels.device), pixels.new_zeros(*size, 3))
    if not len(kept):
        return *empty, pixels.new_full(size, torch.inf)
    middle = pixels.new_tensor([size[1] / 2, size[0] / 2])
    vertices = torch.cat([(middle - pixels) / (min(size) / 2), depth.unsqueeze(-1)], dim=-1)
    vertices = torch.where(vertices.isfinite(), vertices, 0.0)  # those that no kept face has
    found, far, barycentric, _ = rasterize_meshes(
        Meshes(verts=[vertices], faces=[faces[kept]]),
        image_size=size,
        blur_radius=0.0,
        faces_per_pixel=1,
        bin_size=0,  # the coarse-to-fine way drops faces where many fall together
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=False,
    )
    found, far, barycentric = found[0, ..., 0], far[0, ..., 0], barycentric[0, ..., 0, :]
    is_hit = found >= 0
    return (
        torch.where(is_hit, kept[found.clamp(min=0)], empty[0]),
        torch.where(is_hit.unsqueeze(-1), barycentric, empty[1]),
        torch.where(is_hit, far, torch.inf),
    )


def _visible(pixels: Tensor, depth: Tensor, faces: Tensor, near: float, is_closed: bool) -> Tensor:
    """Which faces may be seen [K]: ahead, finite, of some area, and with `is_closed` from outside only."""
    corners = pixels[faces]
    (x1, y1), (x2, y2) = ((corners[:, corner] - corners[:, 0]).unbind(-1) for corner in (1, 2))
    area = x1 * y2 - x2 * y1
    ahead = depth[faces]
    is_seen = ((ahead > near) & ahead.isfinite()).all(-1) & area.isfinite() & (area != 0)
    if is_closed:
        is_seen &= area < 0  # counter-clockwise from outside turns to clockwise where y points down
    return is_seen.nonzero().squeeze(-1)
