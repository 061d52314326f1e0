"""The user's room: any mesh or cloud of points, brought to y up and metres, and what networks see of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avatarctl.errors import DataError, SettingsError
from avatarctl_ego_hmr.crops import Cube, Room
from avatarctl_ego_hmr.egobody.meshes import SceneMesh, read_mesh
from avatarctl_ego_hmr.lens import TURNED, Lens

Up = Literal["auto", "y", "z"]
Unit = Literal["auto", "m", "cm", "mm"]
Tell = Callable[[str], None]
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
POINTS = 20_000
"""Points that networks are given (spec 3)."""
SIZES = {"m": 50.0, "cm": 2000.0}
"""Diagonals up to which a room is in metres, and in centimetres."""
HEIGHTS = (0.5, 2.6)
"""How high over the floor a camera on a head is, metres."""
LEAST = 0.5
"""Diagonal from which on something is a room, metres."""
ROOMY = (1.0, 25.0)
"""Diagonals that are believed where the camera's height says another unit than the size does, metres."""
AXES = ("x", "y", "z")
STANDING = 0.2
"""Least cosine between the way up and the camera's."""
SURE = 0.15
"""By how much the way up has to be likelier than another one."""
FLOOR = 0.015
"""Thickness of a floor over the diagonal of its room."""
COARSE, COARSE_SHARE = 0.25, 0.3
"""Triangles with longer edges, metres, that cover such a share of a room are not scanned but drawn."""
SPACING, MOST = 0.02, 400_000
"""Distance of points that are put on such triangles, metres, and how many at most."""
FACING = 0.3
"""Share of the triangles before the camera that look at it, below which a room may be mirrored."""


@dataclass(frozen=True)
class Scan:
    """A room with y up, metres."""

    path: Path
    mesh: SceneMesh
    points: np.ndarray
    """What networks see: the vertices, or points on the triangles [N, 3]."""
    new_from_old: np.ndarray
    """From the file's axes, once scaled, to these [4, 4]."""
    scale: float

    @property
    def is_changed(self) -> bool:
        """Whether the room's own file has other axes or another unit."""
        return self.scale != 1 or not np.array_equal(self.new_from_old, np.eye(4))

    @property
    def floor(self) -> float:
        """Height of the floor, metres."""
        return float(np.percentile(self.points[:, 1], 1))

    def as_mesh(self) -> Any:
        """The same for writing, as trimesh has it."""
        import trimesh

        colours = None if self.mesh.colours is None else np.uint8(255 * self.mesh.colours + 0.5)
        if not len(self.mesh.faces):
            return trimesh.PointCloud(self.mesh.vertices, colours)  # type: ignore[no-untyped-call]
        return trimesh.Trimesh(self.mesh.vertices, self.mesh.faces, vertex_colors=colours, process=False)

    def lens(self, lens: Lens) -> Lens:
        """A camera of the room's file, in these axes."""
        return lens.moved(self.new_from_old, self.scale)

    @cached_property
    def grid(self) -> Room:
        """The points by their places."""
        return Room(self.points)

    def in_front(self, camera_from_scene: np.ndarray) -> np.ndarray:
        """So many points before a camera, in scene axes, metres [N, 3]; all where there are fewer."""
        return self.points[evenly(self.grid.in_front(camera_from_scene))]

    def around(self, place: np.ndarray) -> np.ndarray:
        """So many points of the cube around a place [3], metres [N, 3]; all where there are fewer."""
        return self.points[evenly(self.grid.inside(Cube(place, angle=0.0)))]


def evenly(found: np.ndarray, count: int = POINTS) -> np.ndarray:
    """So many of them, evenly spread over their order; all where there are fewer [N]."""
    if len(found) <= count:
        return found
    return found[np.linspace(0, len(found) - 1, count).round().astype(np.int64)]


def filled(points: np.ndarray, count: int = POINTS) -> np.ndarray:
    """The points, repeated to so many, which changes nothing of what a PointNet finds [count, 3]."""
    return points[np.arange(count) * len(points) // count] if len(points) < count else points


def read_scan(path: Path, lenses: Sequence[Lens], up: Up, unit: Unit, tell: Tell, warn: Tell) -> Scan:
    """A room with y up, metres.

    Args:
        lenses: The cameras of all pictures, in the room's own axes and unit.
        tell: Told what was found out.
        warn: Told what is doubtful.

    Raises:
        DataError: The file is no mesh and no points, it is empty, or its unit or axes cannot be.
        SettingsError: The way up of a room in the camera's axes is given.
    """
    mesh = read_mesh(path)
    places = [lens.world_from_camera for lens in lenses]
    known = [place for place in places if place is not None]
    if len(known) not in (0, len(places)):
        raise DataError(
            f"{path}: only {len(known)} of {len(places)} cameras say world_from_camera",
            hint="give it for each picture, or for none where the room is in the camera's axes",
        )
    if known:
        cameras = np.stack(known)
        way = _way_up(mesh.vertices, cameras, up, path, tell, warn)
        turn = np.eye(4)
        turn[:3, :3] = _turned_to_y(way)
    else:
        if up != "auto":
            raise SettingsError(
                "scene_up: the camera file has no world_from_camera, so the room is in the camera's axes",
                hint="leave out --scene-up, or add world_from_camera to the camera file",
            )
        warn("no world_from_camera in the camera file: the room is taken to be in the axes of a level camera")
        cameras, turn = np.eye(4)[None], TURNED
    vertices = mesh.vertices @ turn[:3, :3].T
    centres = cameras[:, :3, 3] @ turn[:3, :3].T
    found = _unit(vertices, centres if known else None, path, tell) if unit == "auto" else unit
    scale = UNITS[found]
    height = scale * float(np.median(centres[:, 1]) - np.percentile(vertices[:, 1], 1))
    if known and not HEIGHTS[0] <= height <= HEIGHTS[1]:
        warn(
            f"{path}: the camera stands {height:.2f} m over the floor; see scene_check.png. Has its place "
            "in world_from_camera the room's unit?"
        )
    vertices = vertices * scale
    faces = mesh.faces if np.linalg.det(turn[:3, :3]) > 0 else mesh.faces[:, ::-1]
    mesh = SceneMesh(vertices, faces, mesh.colours)
    _check_facing(mesh, centres[0] * scale, path, warn)
    return Scan(path, mesh, dense(mesh, tell), turn, scale)


def _way_up(
    points: np.ndarray, cameras: np.ndarray, up: Up, path: Path, tell: Tell, warn: Tell
) -> np.ndarray:
    """The axis that points up, with its sign, as a direction [3]: the camera's, and that of the floor."""
    upright = -cameras[:, :3, 1].mean(axis=0)  # the camera's y points down
    ways = [sign * np.eye(3)[axis] for axis in range(3) for sign in (1, -1)]
    names = [f"{'-' if sign < 0 else ''}{AXES[axis]}" for axis in range(3) for sign in (1, -1)]
    if up != "auto":
        way = ways[names.index(up)]
        if float(way @ upright) < STANDING:
            warn(f"{path}: with {up} up, the camera's own way up is {_words(upright)}; see scene_check.png")
        return way
    scores = [
        float(way @ upright) + _floor_share(points @ way) if way @ upright > STANDING else -1.0
        for way in ways
    ]
    order = np.argsort(scores)[::-1]
    best, second = int(order[0]), int(order[1])
    if scores[best] < 0:
        raise DataError(
            f"{path}: which way is up? The camera's is {_words(upright)}",
            hint="check world_from_camera, or say it: --scene-up y or z",
        )
    tell(f"{path}: {names[best]} points up (the camera's way up is {_words(upright)})")
    if scores[best] - scores[second] < SURE:
        warn(
            f"{path}: {names[second]} is as likely to point up as {names[best]}; see scene_check.png, "
            "and say it with --scene-up"
        )
    return ways[best]


def _floor_share(heights: np.ndarray) -> float:
    """The share of points that lie in the lowest layer."""
    low, high = np.percentile(heights, [1, 99])
    return float((heights <= low + FLOOR * max(high - low, 1e-12)).mean())


def _turned_to_y(way: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] by a quarter or half turn that makes an axis y."""
    axis, sign = int(np.abs(way).argmax()), float(way.sum())
    if axis == 1:
        return np.eye(3) if sign > 0 else np.diag([1.0, -1.0, -1.0])
    if axis == 2:
        return np.array([[1.0, 0, 0], [0, 0, sign], [0, -sign, 0]])
    return np.array([[0, -sign, 0], [sign, 0, 0], [0, 0, 1.0]])


def _unit(vertices: np.ndarray, cameras: np.ndarray | None, path: Path, tell: Tell) -> str:
    """The unit of a room: by the height of the cameras over its floor, else by its size.

    Args:
        vertices: With y up [V, 3].
        cameras: Their places [n, 3].
    """
    low, high = np.percentile(vertices, [1, 99], axis=0)
    across = float(np.linalg.norm(high - low))
    if across <= 0:
        raise DataError(f"{path}: all its points are one", hint="export the scan again")
    found = next((unit for unit, most in SIZES.items() if across <= most), "mm")
    if cameras is not None:
        height = float(np.median(cameras[:, 1])) - float(low[1])
        other = next((unit for unit, one in UNITS.items() if HEIGHTS[0] <= height * one <= HEIGHTS[1]), found)
        if other != found and not ROOMY[0] <= across * UNITS[other] <= ROOMY[1]:
            raise DataError(
                f"{path}: the room is {across:.4g} across, but the camera stands {height:.3g} over its "
                "floor; they are not in one unit",
                hint="write the place in world_from_camera in the room's unit, or say it: --scene-unit m",
            )
        found = other
    if not LEAST <= across * UNITS[found] <= SIZES["m"]:
        raise DataError(
            f"{path}: the room is {across:.4g} across; that is no room in m, cm or mm",
            hint="say the unit: --scene-unit m",
        )
    if found != "m":
        tell(f"{path}: is in {found} (it is {across:.0f} across); it was turned into metres")
    return found


def _check_facing(mesh: SceneMesh, camera: np.ndarray, path: Path, warn: Tell) -> None:
    """Warn where most triangles turn their back on the camera."""
    if len(mesh.faces) < 100:
        return
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)
    area = np.linalg.norm(normals, axis=1)
    looks = (normals * (camera - a)).sum(axis=1) > 0
    if area.sum() > 0 and float(area[looks].sum() / area.sum()) < FACING:
        warn(
            f"{path}: most of its triangles turn their back on the camera; is the room mirrored? "
            "See scene_check.png"
        )


def dense(mesh: SceneMesh, tell: Tell) -> np.ndarray:
    """Points as a scan has them [N, 3]: the vertices, or many on the triangles where these are large."""
    if not len(mesh.faces):
        return mesh.vertices
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    longest = np.max([np.linalg.norm(edge, axis=1) for edge in (b - a, c - b, a - c)], axis=0)
    total = float(area.sum())
    if total <= 0 or float(area[longest > COARSE].sum()) < COARSE_SHARE * total:
        return mesh.vertices
    count = int(np.clip(total / SPACING**2, POINTS, MOST))
    generator = np.random.default_rng(0)
    face = generator.choice(len(area), count, p=area / total)
    u, v = np.sqrt(generator.random((count, 1))), generator.random((count, 1))
    tell(f"the room has large triangles: {count} points were put on them")
    return (1 - u) * a[face] + u * (1 - v) * b[face] + u * v * c[face]


def _words(direction: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in direction) + ")"
