"""How near a mesh is to pseudo ground truth: ARAH's protocol, and surface samples (spec 7.3)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.meshes import Mesh, largest
from avatarctl_video_avatar.meshes import SUFFIXES, cut, outward

UPRIGHT = ("313", "315")
"""Subjects whose z axis points up from the ground; that of the others points into it."""
SAMPLES = 10_000
CM = 100.0


@dataclass(frozen=True)
class Ground:
    """The plane a x + b y + z = d that a subject stands on, world, metres; `is_upright`: z points up."""

    a: float
    b: float
    d: float
    is_upright: bool = False

    def above(self, mesh: Mesh) -> Mesh:
        """The part of a mesh that is not below the ground."""
        sign = 1.0 if self.is_upright else -1.0
        return cut(mesh, np.array([0.0, 0.0, self.d]), sign * np.array([self.a, self.b, 1.0]))


def subject_number(name: str) -> str:
    """The number at the end of a ZJU-MoCap subject's name, 377 of CoreView_377; other names as they are."""
    found = re.search(r"(\d{3})$", name)
    return found[1] if found else name


def read_ground(path: Path, subject: str) -> Ground:
    """The ground of a subject in a .json of [a, b, d], or of such lists by subject.

    Raises:
        DataError: The file has nothing for the subject.
    """
    try:
        content = json.loads(check_input_file(path, "ground planes (.json)").read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable .json ({error})") from error
    number = subject_number(subject)
    if isinstance(content, dict):
        known = {subject_number(str(name)): values for name, values in content.items()}
        if number not in known:
            there = ", ".join(known) or "none"
            raise DataError(f"{path}: no plane for subject '{subject}'; there are {there}")
        content = known[number]
    try:
        a, b, d = (float(value) for value in content)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the plane of '{subject}' is {content!r}, expected three numbers a, b, d"
        ) from error
    return Ground(a, b, d, number in UPRIGHT)


def truth_of(folder: Path, frame: int) -> Path:
    """The pseudo ground truth of a frame: the mesh whose name ends with the frame's number plus one.

    Raises:
        DataError: There is none.
    """
    numbers = {
        int(found[-1]): path
        for path in sorted(folder.iterdir() if folder.is_dir() else ())
        if path.suffix.lower() in SUFFIXES and (found := re.findall(r"\d+", path.stem))
    }
    if frame + 1 not in numbers:
        shown = ", ".join(map(str, sorted(numbers)[:8])) or "none"
        raise DataError(
            f"{folder}: no mesh number {frame + 1}, which frame {frame} is stored under; there are {shown}",
            hint="frames that ARAH scores have one; name others with --geometry-frames",
        )
    return numbers[frame + 1]


def in_world(mesh: Mesh, turn: np.ndarray, place: np.ndarray) -> Mesh:
    """A mesh of the body's frame in the world: `turn` [3, 3] = R(Rh)^T and `place` [3] = Th (rh, th)."""
    return mesh._replace(vertices=mesh.vertices @ turn.astype(np.float64) + place.astype(np.float64))


def arah(predicted: Mesh, truth: Mesh, ground: Ground | None = None) -> dict[str, float]:
    """Chamfer distance between vertices, cm², and normal consistency, of the parts above the ground."""
    ours, theirs = (prepared(mesh, ground) for mesh in (predicted, truth))
    return {
        "chamfer_cm2": chamfer(ours.vertices * CM, theirs.vertices * CM) / 2,
        "normal_consistency": normal_consistency(ours, theirs),
    }


def sampled(predicted: Mesh, truth: Mesh, noise: Noise, samples: int = SAMPLES) -> dict[str, float]:
    """Chamfer distance between places drawn from the surfaces, m²: the sum of both directions."""
    return {"chamfer_m2": chamfer(on_surface(predicted, samples, noise), on_surface(truth, samples, noise))}


def prepared(mesh: Mesh, ground: Ground | None) -> Mesh:
    """Its largest part, wound outwards, without what is below the ground.

    Raises:
        DataError: Nothing is left.
    """
    mesh = outward(largest(mesh))
    whole = mesh if ground is None else ground.above(mesh)
    if not len(whole.faces):
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        raise DataError(
            f"nothing of a mesh from {np.round(low, 2).tolist()} to {np.round(high, 2).tolist()} "
            f"is above the ground {ground}",
            hint="check that the mesh is in the world's axes, metres, and the plane is this subject's",
        )
    return whole


def chamfer(first: np.ndarray, second: np.ndarray) -> float:
    """Mean squared distance to the nearest of the others, both directions added, in the points' unit squared.

    Args:
        first, second: [N, 3] and [M, 3].
    """
    ways = ((first, second), (second, first))
    return float(sum(np.square(cKDTree(there).query(here)[0]).mean() for here, there in ways))


def normal_consistency(predicted: Mesh, truth: Mesh) -> float:
    """1 minus the mean length by which unit normals differ at the nearest predicted vertices, 1 to -1."""
    _, nearest = cKDTree(predicted.vertices).query(truth.vertices)
    apart = truth.normals() - predicted.normals()[nearest]
    return float(1 - np.linalg.norm(apart, axis=1).mean())


def on_surface(mesh: Mesh, count: int, noise: Noise) -> np.ndarray:
    """Places drawn evenly from a surface [count, 3]."""
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1).cumsum()
    place, s, t = noise.uniform((count, 3)).double().numpy().T
    face = np.searchsorted(areas, place * areas[-1], side="right").clip(max=len(areas) - 1)
    beyond = s + t > 1
    s, t = np.where(beyond, 1 - s, s)[:, None], np.where(beyond, 1 - t, t)[:, None]
    return np.asarray(a[face] + s * (b - a)[face] + t * (c - a)[face])
