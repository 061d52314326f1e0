"""One training or test item, the draws that change it, rotations and bodies."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.augment import Augmentation
from avatarctl_ego_hmr.bodies import GENDERS, pose
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.views import FOCAL_NORM
from ego_hmr import inputs

from avatarctl.geometry.rotations import (
    axis_angle_from_matrix,
    matrix_from_axis_angle_smpl,
    matrix_from_sixd,
    sixd_from_matrix,
)

Arrays = dict[str, np.ndarray]
SPLIT = "train"


def check_item(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """A person of the miniature EgoBody, with the scene points of a preparation case."""
    index, is_cube = case["index"], case["scene_type"] == "cube"
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for path in inputs.mini(folder).iterdir():
            (root / path.name).symlink_to(path)
        write_points(root, Path(case["path"]).parent, is_cube)
        data = EgoBody(root)
        items = Items(
            data,
            case["split"],
            inputs.people(folder),
            points="cube-gt" if is_cube else "front",
            box_scale=case["add_scale"],
        )
        stated = case["augmentation (scale, degrees, flip, rgb gain, tx, ty)"]
        view, truth = items.item(index, augmentation(stated))
    places, recording = truth.keypoints[0, :, :2] + 0.5, items.people.recording(index)
    image = view.image[0].numpy()
    found = {
        "transf_kinect2holo": data.transforms().holo_from_kinect(recording),
        "transf_holo2pv": data.transforms().pv_from_holo(recording, items.people.timestamp(index)),
        "img_every_8": image[:, ::8, ::8],
        "img_summary": summary(image),
        "keypoints_2d": truth.keypoints[0],
        "orig_keypoints_2d": truth.keypoints_full[0],
        "keypoints_2d_vis_mask": view.detected[0] & ((places >= 0) & (places <= 1)).all(dim=1),
        "keypoints_3d": truth.joints[0],
        "keypoints_3d_full": truth.joints_full[0],
        "smpl.global_orient": truth.poses[0, 0],
        "smpl.body_pose": truth.poses[0, 1:].flatten(),
        "smpl.betas": truth.betas[0],
        "smpl.transl": truth.transl[0],
        "gender": truth.gender[0].int(),
        "fx": view.focal[0] / FOCAL_NORM,
        "fy": torch.tensor(items.people.fy[index] / FOCAL_NORM),
        "cam_cx": view.centre[0, 0],
        "cam_cy": view.centre[0, 1],
        "box_center": view.box_centre[0],
        "box_size": view.box_size[0],
        "scene_pcd_verts_full": view.points[0],
    }
    return {name: np.asarray(value) for name, value in found.items()}


def write_points(root: Path, cases: Path, is_cube: bool) -> None:
    """The scene points of the preparation cases, where the data set has them."""
    names = EgoBody(root).annotations(SPLIT).names
    if is_cube:
        with np.load(cases / "prepare_scene_s2_gt.npz") as file:
            points = file["points"]
        for name, cloud in zip(names, points, strict=True):
            path = root / prepared.FOLDERS["cube-gt"] / prepared.cube_file(SPLIT, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, cloud)
        return
    with np.load(cases / "prepare_scene_s1.npz") as file:
        cloud = file["train.points"]
    mapping, clouds = (root / prepared.FOLDERS["front"] / name for name in prepared.front_files(SPLIT))
    clouds.parent.mkdir()
    prepared.write_clouds(clouds, [(names[0], cloud)])
    write_pickle(mapping, dict.fromkeys(names, names[0]))


def augmentation(stated: list[Any] | None) -> Augmentation | None:
    """The change that a case states."""
    if stated is None:
        return None
    scale, rotation_deg, flip, gains, across, down = stated
    return Augmentation(scale, rotation_deg, flip, tuple(gains), (across, down))


def summary(array: np.ndarray) -> np.ndarray:
    """Mean, deviation, largest magnitude, and a sum that depends on the order."""
    flat = array.astype(np.float64).reshape(-1)
    wave = np.cos(0.37 * np.arange(flat.size))
    return np.array([flat.mean(), flat.std(), np.abs(flat).max(), (flat * wave).sum() / np.sqrt(flat.size)])


def check_draws(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Changes drawn from the published generators."""
    rows = []
    for seed in range(len(arrays["rows"])):
        one = Augmentation.draw(np.random.RandomState(seed).randn, random.Random(seed).random)
        rows.append([one.scale, one.rotation_deg, one.flip, *one.gains, *one.shift])
    return {"rows": np.array(rows, np.float64)}


def check_rotations(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """All conversions of both stages."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    matrices = matrix_from_axis_angle_smpl(given["aa"])
    found = {
        "rotmat": matrices,
        "rotmat_to_6d_rows": sixd_from_matrix(matrices, "interleaved"),
        "rows_to_rotmat": matrix_from_sixd(given["x6"], "interleaved"),
        "cols_to_rotmat": matrix_from_sixd(given["x6"], "columns"),
        "rotmat_to_aa": axis_angle_from_matrix(given["rotmat"]),
    }
    return {name: tensor.numpy() for name, tensor in found.items()}


def check_body(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The three bodies in two poses."""
    given = {name: torch.from_numpy(array) for name, array in arrays.items()}
    poses = torch.cat([given["global_orient"], given["body_pose"]], dim=1).unflatten(1, (24, 3))
    found = {}
    for gender in GENDERS:
        model = getattr(inputs.people(folder), gender)
        body = pose(model, matrix_from_axis_angle_smpl(poses), given["betas"]).moved(given["transl"])
        found[f"{gender}.joints"] = body.joints.numpy()
        found[f"{gender}.vertices_every_100"] = body.vertices[:, ::100].numpy()
    return found


KINDS = {
    "dataset_item": check_item,
    "augmentation_draws": check_draws,
    "rotations": check_rotations,
    "body_forward": check_body,
}
INPUTS = {
    "rotations": ("aa", "x6"),
    "body_forward": ("global_orient", "body_pose", "betas", "transl"),
}
