"""The embedded office: a scan made of one view, the photo and depths of that view, and its camera.

Axes of the scene: y up, floor at y = 0, metres. Origin and terms are in `avatarctl/_data/scene/LICENSE.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarctl_ego_hmr.egobody.meshes import read_mesh

NAME = "office_desk_tum"
SCENES = ("office_scan", "office_with_floor")
"""The scan as it is, and the same with its floor made whole."""
FLOOR = (-2.6, 2.6, -4.0, 0.8)
"""Where the floor is made whole: least and greatest x, then z, metres."""
GRID = 0.06
"""Distance of the points that it is given, metres."""
LOW = 0.03
"""Points of the scan up to this height are floor, metres."""


@dataclass(frozen=True)
class Office:
    """Scene and real view.

    `vertices` [V, 3] metres, `faces` [F, 3], `colours` [V, 3] of 0..1; `photo` uint8 [480, 640, 3] and
    `depth` [480, 640] metres, infinite where it was not measured; `world_from_camera` float64 [4, 4];
    `focal` in pixels, and `centre`, counted like those of `Camera` (pixel centres at .5).
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor
    photo: np.ndarray
    depth: np.ndarray
    world_from_camera: np.ndarray
    focal: float
    centre: tuple[float, float]

    @property
    def floor_colour(self) -> Tensor:
        """Its middle [3]."""
        return self.colours[self.vertices[:, 1] < LOW].median(dim=0).values


@cache
def office(scene: str = SCENES[0]) -> Office:
    """The embedded office as one of `SCENES`."""
    folder = resources.files("avatarctl") / "_data" / "scene"
    with resources.as_file(folder) as path:
        mesh = read_mesh(path / f"{NAME}.ply")
        about = json.loads((path / f"{NAME}.json").read_text(encoding="utf-8"))
        photo = np.asarray(Image.open(path / f"{NAME}_color.jpg").convert("RGB"))
        depth = np.asarray(Image.open(path / f"{NAME}_depth.png")).astype(np.float32) / about["depth_scale"]
    lens = about["intrinsics"]
    assert mesh.colours is not None  # the embedded scan has them
    scan = Office(
        torch.from_numpy(mesh.vertices).float(),
        torch.from_numpy(mesh.faces),
        torch.from_numpy(mesh.colours),
        photo,
        np.where(depth > 0, depth, np.inf).astype(np.float32),
        np.array(about["world_from_camera"], np.float64),
        float(lens["fx"]),
        (lens["cx"] + 0.5, lens["cy"] + 0.5),
    )
    return scan if scene == SCENES[0] else _with_floor(scan)


def _with_floor(scan: Office) -> Office:
    """The scan with a grid of floor where it has none, its faces in an order without any sense.

    Crops keep every k-th vertex and then the first of them, so floor and furniture have to be mixed.
    """
    x, z = (torch.arange(low, high, GRID) for low, high in (FLOOR[:2], FLOOR[2:]))
    rows, columns = len(x), len(z)
    places = torch.cartesian_prod(x, z)
    grid = torch.stack([places[:, 0], torch.zeros(len(places)), places[:, 1]], dim=-1)
    low = scan.vertices[scan.vertices[:, 1] < LOW]
    is_bare = torch.cdist(places, low[:, [0, 2]]).amin(dim=1).reshape(rows, columns) > GRID
    corner = torch.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (
        part[is_bare[:-1, :-1]]
        for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:])
    )
    quads = torch.cat([torch.stack([a, b, c], dim=-1), torch.stack([b, d, c], dim=-1)])
    used, faces = torch.unique(quads, return_inverse=True)
    faces = torch.cat([scan.faces, faces + len(scan.vertices)])
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    return replace(
        scan,
        vertices=torch.cat([scan.vertices, grid[used]]),
        faces=faces[order],
        colours=torch.cat([scan.colours, scan.floor_colour.expand(len(used), 3)]),
    )
