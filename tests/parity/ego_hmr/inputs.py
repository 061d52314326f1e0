"""What the golden cases of ego-hmr are given: inputs, weights, bodies and the miniature data set."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.plugin import avatarctl_weights
from avatarctl_ego_hmr.views import FOCAL_NORM, Truth, View
from golden import FIXTURES, module
from torch import Tensor

from avatarctl.body import Bodies
from avatarctl.checkpoints import Weights, open_weights

Arrays = Mapping[str, np.ndarray]


def recipe(folder: Path, name: str):  # type: ignore[no-untyped-def]
    """A script beside the cases, as a module."""
    for place in (str(folder.parent), str(FIXTURES)):
        if place not in sys.path:
            sys.path.append(place)  # it imports weights.py
    path = folder / name
    return module(path if path.is_file() else FIXTURES / "ego-hmr" / name)


def value(
    name: str, shape: tuple[int, ...], dtype: str = "float32", kind: str = "embedding", seed: int = 0
) -> Tensor:
    """An input that a case names and does not store."""
    recipe(FIXTURES / "ego-hmr", "body_model.py")
    from weights import value as made

    return torch.from_numpy(made(name, shape, dtype, kind, seed))


@cache
def scratch() -> Path:
    """A folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def body_folder(folder: Path) -> Path:
    """SMPL_NEUTRAL.pkl and its kin, made by the recipe of the cases."""
    made, place = recipe(folder, "body_model.py"), scratch() / "bodies"
    run_script(made, place)
    return place


@cache
def people(folder: Path) -> People:
    """The same, read by the product."""
    return People.load(Bodies(), "smpl", body_folder(folder))


@cache
def mini(folder: Path) -> Path:
    """The miniature EgoBody in its raw layout."""
    place = scratch() / "egobody"
    run_script(recipe(folder, "mini_egobody.py"), place)
    return place


def run_script(script, place: Path) -> None:  # type: ignore[no-untyped-def]
    """Run a recipe as a command that is given a folder."""
    before, sys.argv = sys.argv, ["", str(place)]
    try:
        script.main()
    finally:
        sys.argv = before


def state(manifest: str, folder: Path, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of `manifests/MANIFEST.json` under the official names."""
    recipe(folder, "body_model.py")
    from weights import fill

    path = folder / "manifests" / f"{manifest}.json"
    return {name: torch.from_numpy(array) for name, array in fill(path, seed).items()}


def statistics() -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of poses, as the stage-2 cases have them [144] each."""
    mean = (0.3 * value("stats.mean", (144,))).numpy()
    std = np.full(144, 0.25, np.float32)
    std[:6] = 0.4
    return mean, std


def write_official(
    place: Path,
    manifest: str,
    folder: Path,
    seed: int = 0,
    stats: tuple[np.ndarray, np.ndarray] | None = None,
) -> Path:
    """An official checkpoint below a folder, in its published nesting, with what else it holds.

    Args:
        stats: What preprocess_stats.npz beside a stage-2 file says; left out: that of the cases.
    """
    tensors = state(manifest, folder, seed)
    name = {
        "stage1_53618": "checkpoints_egohmr/53618/best_model.pt",
        "stage2_91453": "checkpoints_egohmr/91453/best_model_mpjpe_vis.pt",
    }.get(manifest, f"{manifest}.ckpt")
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if manifest.startswith("stage"):
        tensors["smpl.v_template"] = people(folder).neutral.template
        tensors["smpl_male.parents"] = torch.arange(24)
    else:
        tensors["partitioner.parents"] = torch.arange(24)
        tensors["k_one_hot" if manifest.startswith("coap") else "part_ind"] = torch.eye(16)
    if manifest.startswith("stage2"):
        tensors["embed_timestep.sequence_pos_encoder.pe"] = torch.zeros(5000, 1, 512)
        tensors["sequence_pos_encoder.pe"] = torch.zeros(5000, 1, 512)
        mean, std = stats if stats is not None else statistics()
        beside = path.parent / "preprocess_stats"
        beside.mkdir(exist_ok=True)
        np.savez(beside / "preprocess_stats.npz", Xmean=mean, Xstd=std)
    torch.save({"state_dict": tensors}, path)
    return path


@lru_cache(maxsize=2)  # hundreds of megabytes each
def official(manifest: str, folder: Path, seed: int = 0) -> Weights:
    """Generated weights, written in the official layout and read by the product's reader."""
    path = write_official(scratch() / f"weights-{seed}", manifest, folder, seed)
    return open_weights(path, list(avatarctl_weights()))


def view(arrays: Arrays, image: Tensor, prefix: str = "in.") -> View:
    """What a network is given, from the arrays of a case."""
    found = _tensors(arrays, prefix)
    return View(
        image=image,
        focal=found["fx"] * FOCAL_NORM,
        centre=torch.stack([found["cam_cx"], found["cam_cy"]], dim=-1),
        box_centre=found["box_center"],
        box_size=found["box_size"],
        points=found["scene_pcd_verts_full"],
        detected=found["keypoints_2d"][..., 2] > 0,
    )


def truth(arrays: Arrays, prefix: str = "in.") -> Truth:
    """What training compares with, from the arrays of a case."""
    found = _tensors(arrays, prefix)
    poses = torch.cat([found["smpl.global_orient"], found["smpl.body_pose"]], dim=-1)
    return Truth(
        keypoints=found["keypoints_2d"],
        keypoints_full=found["orig_keypoints_2d"],
        joints=found["keypoints_3d"],
        joints_full=found["keypoints_3d_full"],
        poses=poses.unflatten(-1, (24, 3)),
        betas=found["smpl.betas"],
        transl=found["smpl.transl"],
        gender=found["gender"].long(),
    )


def _tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
