"""Which face each pixel sees: fragments of a mesh, by the fastest z-buffer at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.errors import SettingsError, require
from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.shapes import expect
from avatarctl.render import software

BACKENDS = ("auto", "torch", "numba", "pytorch3d")
NEAR = 1e-2
"""Faces with a corner nearer than this are left out, metres."""


@dataclass(frozen=True)
class Fragments:
    """What the pixels see.

    `face` is int64 [..., H, W], -1 where there is nothing; `barycentric` coordinates are perspective-correct
    [..., H, W, 3], zeros where there is nothing; `depth` goes along the viewing axis, metres [..., H, W],
    and is infinite where there is nothing.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor

    def interpolate(self, values: Tensor, faces: Tensor) -> Tensor:
        """Values of the vertices at the covered pixels, in the order of `face[face >= 0]` [P, C].

        Args:
            values: For one mesh [V, C].
            faces: [F, 3].
        """
        expect(self.face, "H W", "face")
        hit = (self.face.view(-1) >= 0).nonzero().squeeze(-1)
        corners = faces.index_select(0, self.face.view(-1).index_select(0, hit))
        weights = self.barycentric.view(-1, 3).index_select(0, hit)
        at = [values.index_select(0, corners[:, corner]) * weights[:, corner, None] for corner in range(3)]
        return at[0] + at[1] + at[2]


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    size: tuple[int, int],
    backend: str = "auto",
    *,
    is_closed: bool = False,
    is_strict: bool = False,
) -> Fragments:
    """The nearest face of every pixel, at the pixel's centre.

    The smaller face index wins where two are equally near. Faces are seen from both sides; one that reaches
    in front of the near plane (1 cm), has no area in the picture or a corner that is not finite is left out.
    Nothing here has a gradient: see `recomputed`.

    Args:
        vertices: World axes, metres [..., V, 3].
        faces: [F, 3].
        camera: One for all, or one for each leading index.
        size: Rows and columns.
        is_closed: Leave out faces seen from behind, for meshes whose insides cannot be seen: faster.
        is_strict: A pixel whose centre lies on an edge of a face does not see that face; so neighbouring
            faces may leave a pixel empty between them. "pytorch3d" is always strict.
        backend: "torch", "numba" (on the CPU), "pytorch3d", or "auto": numba where installed and the
            vertices are on the CPU, else torch.

    Raises:
        SettingsError: There is no such backend.
        DependencyError: The backend is not installed.
    """
    sizes = expect(vertices, "... V 3", "vertices")
    expect(faces, "F 3", "faces")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < sizes["V"]:
        raise ValueError(
            f"faces name vertices {int(faces.min())} to {int(faces.max())}; there are {sizes['V']}"
        )
    zbuffer, faces = backend_of(backend, vertices.device), faces.long()
    with torch.no_grad():
        pixels, depth = camera.project(vertices)
        leading = depth.shape[:-1]
        flat_pixels, flat_depth = (
            pixels.float().reshape(-1, sizes["V"], 2),
            depth.float().reshape(-1, sizes["V"]),
        )
        found = [
            zbuffer(*mesh, faces, size, NEAR, is_closed, is_strict)
            for mesh in zip(flat_pixels, flat_depth, strict=True)
        ]
        if not found:
            shape = (*leading, *size)
            return Fragments(faces.new_zeros(shape), depth.new_zeros((*shape, 3)), depth.new_zeros(shape))
        face, barycentric, far = (
            torch.stack(part).reshape(*leading, *part[0].shape) for part in zip(*found, strict=True)
        )
    return Fragments(face, barycentric.to(vertices.dtype), far.to(vertices.dtype))


def recomputed(fragments: Fragments, vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    """The same fragments of one mesh, with gradients from barycentrics and depth to vertices and camera.

    There is no gradient through what is seen: silhouettes do not move.

    Args:
        fragments: Of one picture [H, W].
        vertices: [V, 3].
        faces: [F, 3].
    """
    expect(fragments.face, "H W", "fragments.face")
    rows, columns = (fragments.face >= 0).nonzero(as_tuple=True)
    corners = faces[fragments.face[rows, columns]]  # [P, 3]
    pixels, depth = camera.project(vertices)
    centres = torch.stack([columns, rows], dim=-1).to(pixels.dtype) + 0.5
    x, y = (pixels[corners] - centres.unsqueeze(1)).unbind(-1)
    edges = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    ratios = edges / depth[corners]
    total = ratios.sum(-1)
    places = (rows, columns)
    barycentric = torch.zeros_like(fragments.barycentric).index_put(places, ratios / total.unsqueeze(-1))
    return Fragments(fragments.face, barycentric, fragments.depth.index_put(places, edges.sum(-1) / total))


def backend_of(name: str, device: torch.device) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The z-buffer of a backend, called like `software.zbuffer`.

    Raises:
        SettingsError: There is no such backend.
        DependencyError: It is not installed.
    """
    if name not in BACKENDS:
        raise SettingsError(f"renderer '{name}'; expected one of {', '.join(BACKENDS)}", hint="use auto")
    if name == "auto":
        name = "numba" if device.type == "cpu" and importlib.util.find_spec("numba") else "torch"
    if name == "torch":
        return software.zbuffer
    if name == "pytorch3d":
        from avatarctl.render import pytorch3d

        pytorch3d.check()
        return pytorch3d.zbuffer
    require("numba", "fast")
    from avatarctl.render import compiled

    return compiled.zbuffer
