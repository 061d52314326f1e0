"""Seams of a texture: texels beside a cut take their values from the other side of it (spec 7.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from avatarctl.errors import DataError
from avatarctl_audio2motion.avatar.fields import HINT, Fields

MANY = 0.4
"""Share of the texels above which resampling all of them is faster than picking."""


class Seams(nn.Module):
    """The seams of textures of one size.

    Args:
        to, source: Row and column of the texels that are written, and of those that are copied there [M, 2].
        uvs: Where in the texture each texel is resampled, 0 to 1 [H, W, 2].
        weights: How much of a texel is resampled, 0 to 1 [H, W].
    """

    to_rows: Tensor
    to_columns: Tensor
    rows: Tensor
    columns: Tensor
    texels: Tensor
    grid: Tensor
    shares: Tensor

    def __init__(self, to: Tensor, source: Tensor, uvs: Tensor, weights: Tensor) -> None:
        super().__init__()
        texels = weights.flatten().nonzero().squeeze(-1)  # all others stay as they are
        self.is_whole = len(texels) > MANY * weights.numel()
        grid = 2 * (uvs - 0.5)
        if self.is_whole:
            texels = texels[:0]
        else:
            grid, weights = grid.flatten(0, 1)[None, texels], weights.flatten()[texels]
        buffers = {
            "to_rows": to[:, 0],
            "to_columns": to[:, 1],
            "rows": source[:, 0],
            "columns": source[:, 1],
            "texels": texels,
            "grid": grid,
            "shares": weights,
        }
        for name, tensor in buffers.items():
            self.register_buffer(name, tensor.contiguous(), persistent=False)

    def impaint(self, texture: Tensor) -> Tensor:
        """The texture [B, C, H, W] itself, its texels beside the cuts overwritten by their sources.

        parity: in place, so the caller's texture changes too (spec 7.4).
        """
        texture[..., self.to_rows, self.to_columns] = texture[..., self.rows, self.columns]
        return texture

    def resample(self, texture: Tensor) -> Tensor:
        """A texture [B, C, H, W] of which some texels are mixed with other places of it."""
        grid = self.grid.expand(len(texture), -1, -1, -1)
        other = grid_sample(texture, grid, padding_mode="border", align_corners=False)
        if self.is_whole:
            return torch.lerp(texture, other, self.shares)
        flat = texture.flatten(2)
        some = flat.index_select(2, self.texels)
        mixed = torch.lerp(some, other.squeeze(2), self.shares)
        return flat.index_copy(2, self.texels, mixed).view_as(texture)


def read_seams(assets: Fields, name: str) -> Seams:
    """Seams of a person's assets, such as "seam_data_1024", or of the checkpoint's buffers.

    Raises:
        DataError: Something is missing, has another shape, or names texels outside the texture.
    """
    weights = assets.array(f"{name}.weights", "H W")
    height, width = weights.shape
    places = [assets.array(f"{name}.{side}", "M 2", torch.int64) for side in ("dst_ij", "src_ij")]
    limit = torch.tensor([height, width])
    if len(places[0]) != len(places[1]) or any(((one < 0) | (one >= limit)).any() for one in places):
        raise DataError(
            f"{assets.source}: '{name}.dst_ij' and '{name}.src_ij' do not pair texels of {height} x {width}",
            hint=HINT,
        )
    return Seams(places[0], places[1], assets.array(f"{name}.uvs", f"{height} {width} 2"), weights)
