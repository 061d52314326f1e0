"""The body model as recordings were fitted with it: posed about the origin, its root unturned (spec 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from avatarctl.assets import asset_folders
from avatarctl.body import Bodies, BodyModel, open_body
from avatarctl.body.files import read_arrays
from avatarctl.errors import AssetError
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl_video_avatar.body_files import body_of_tables, explained, read_tables, tables_in
from avatarctl_video_avatar.prepared import Fit, Kind, Sex

SHAPES = 10
"""Shape coefficients that recordings have; later files hold more."""
LEGS = (((1, 4, 7, 10), 45.0), ((2, 5, 8, 11), -45.0))
"""Joints of each leg, the hip first, and by how much star pose turns them about z, degrees."""


def load_body(bodies: Bodies, kind: Kind, sex: Sex, folder: Path | None) -> BodyModel:
    """The open body in SMPL's layout, or a licensed one.

    Args:
        folder: Of licensed models in any published layout, also {neutral,male,female}/model.pkl and the
            tables in data/body_models/misc; left out: the added assets.

    Raises:
        AssetError: The licensed body was not found; the message says what is there instead.
        DataError: The file is broken.
    """
    if kind == "open":
        return open_body("smpl")
    try:
        return bodies.load("smpl", sex, folder, is_licensed=True)
    except AssetError as error:
        folders = [Path(folder)] if folder else asset_folders()
        if tables := tables_in(folders):
            return body_of_tables(tables, sex)
        raise explained(folders, sex) or error from error


def posed(body: BodyModel, fits: Sequence[Fit]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [F, 6890, 3] and posed joints [F, 24, 3] in the body's frame, metres, float64."""
    found = [_posed(body, fit) for fit in fits]
    return np.stack([vertices for vertices, _ in found]), np.stack([joints for _, joints in found])


@dataclass(frozen=True)
class _Arrays:
    """A body's arrays in float64, as its file has them: a volume's last bits depend on theirs."""

    template: np.ndarray  # [V, 3]
    shapes: np.ndarray  # [V, 3, 10]
    bends: np.ndarray  # [9 (J - 1), 3 V]
    regressor: np.ndarray  # [J, V]
    weights: np.ndarray  # [V, J]


def _arrays(body: BodyModel) -> _Arrays:
    if body.is_open:
        parts = (
            body.template, body.shape_directions, body.pose_directions, body.regressor, body.weights,
        )  # fmt: skip
        template, shapes, bends, regressor, weights = (part.double().numpy() for part in parts)
        return _Arrays(template, shapes[..., :SHAPES], bends, regressor, weights)
    return _of_file(body.source, body.gender)


@lru_cache(maxsize=4)
def _of_file(source: str, sex: str) -> _Arrays:
    path = Path(source)
    held = read_tables(path, sex) if path.is_dir() else read_arrays(path)
    template, shapes, bends, regressor, weights = (
        np.asarray(held[name], np.float64)
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
    )
    return _Arrays(template, shapes[..., :SHAPES], bends.reshape(template.size, -1).T, regressor, weights)


def _posed(body: BodyModel, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    joints, vertices = canonical(body, fit.betas)
    arrays = _arrays(body)
    # parity: rotations are cast to float32 on the way (spec 3.1, step 4)
    poses = torch.from_numpy(np.asarray(fit.poses, np.float64).reshape(-1, 3))
    turns = matrix_from_axis_angle_smpl(poses).float().double().numpy()
    vertices = vertices + ((turns[1:] - np.eye(3)).reshape(-1) @ arrays.bends).reshape(-1, 3)
    chain = np.tile(np.eye(4), (len(joints), 1, 1))
    for joint, parent in enumerate(body.parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if joint else 0)
        chain[joint] = chain[parent] @ local if joint else local
    places = chain[:, :3, 3].copy()
    return blended(arrays.weights, _without_rest(chain, joints), vertices), places


def _without_rest(chain: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Transforms of points at rest from those of joints [J, 4, 4]."""
    moved = chain.copy()
    moved[:, :3, 3] -= np.einsum("jab,jb->ja", chain[:, :3, :3], joints)
    return moved


def blended(weights: np.ndarray, transforms: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [N, 3] moved by their shares [N, J] of transforms [J, 4, 4]."""
    each = np.einsum("nj,jab->nab", weights, transforms[:, :3])
    moved: np.ndarray = np.einsum("nab,nb->na", each[:, :, :3], points) + each[:, :, 3]
    return moved


def canonical(body: BodyModel, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints [24, 3] and vertices [6890, 3] of a shape [10] in T-pose, metres, float64."""
    arrays = _arrays(body)
    vertices = arrays.template + arrays.shapes @ np.asarray(betas, np.float64)[: arrays.shapes.shape[-1]]
    return arrays.regressor @ vertices, vertices


def star_transforms(joints: np.ndarray) -> np.ndarray:
    """From T-pose to star pose, where each leg is spread by 45 degrees about its hip [24, 4, 4] (spec 3.2).

    Args:
        joints: Canonical ones in T-pose, metres [24, 3].
    """
    transforms = np.tile(np.eye(4), (len(joints), 1, 1))
    for leg, degrees in LEGS:
        angle, hip = np.radians(degrees), np.asarray(joints[leg[0]], np.float64)
        turn = np.eye(3)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        for joint in leg:
            transforms[joint, :3, :3], transforms[joint, :3, 3] = turn, hip - turn @ hip
    return transforms


def star_vertices(body: BodyModel, joints: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Vertices in star pose [6890, 3]: the canonical ones, each leg spread."""
    return blended(_arrays(body).weights, star_transforms(joints), vertices)
