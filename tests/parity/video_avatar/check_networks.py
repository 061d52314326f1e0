"""Checks of the networks and of the bones' transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar.body_fit import star_transforms
from avatarctl_video_avatar.items import pose_of
from avatarctl_video_avatar.model.avatar import Avatar, load
from avatarctl_video_avatar.model.delta import DeltaSdf
from avatarctl_video_avatar.model.planes import corners
from avatarctl_video_avatar.model.skeleton import bone_transforms, chain
from avatarctl_video_avatar.model.windows import COPIES, FOUR, WINDOWS
from avatarctl_video_avatar.prepared import FrameBody
from torch import Tensor
from video_avatar import inputs as given

from avatarctl.radiance.texels import mixed

Arrays = dict[str, np.ndarray]
Words = dict[str, Any]


def avatar(case: Words, folder: Path) -> Avatar:
    """The avatar of an official file."""
    return load(given.official(given.manifest_of(case["weights"]), folder), torch.device("cpu"))


def of_surface(made: Avatar, points: Tensor) -> dict[str, Tensor]:
    """What the cases store of the surface's network."""
    network = made.sdf_network
    assert isinstance(network, DeltaSdf)
    surface = made.surface()
    probe = surface.probe(points)
    out = surface(points)
    for twice in (surface.distance(points), probe.distance):
        torch.testing.assert_close(twice, out[:, 0], rtol=0, atol=1e-7)
    torch.testing.assert_close(surface.features(probe.hidden), out[:, 1:], rtol=0, atol=1e-7)
    found = {
        "sdf_out": out,
        "sdf_gradient": probe.gradient,
        "decoder_out_before_squash": torch.logit((out.double() / 0.1 + 1) / 2),
    }
    texels = network.filtered()
    size = texels.resolution
    copies = texels.table.view(3, size, size, -1, COPIES, FOUR).unbind(-2)
    names = [("planes_corner", "plain_features_first4")]
    names = [
        (f"attended_plane_window{window}_corner", f"attended_features_window{window}_first4")
        for window in WINDOWS.values()
    ] + names
    for (corner, features), copy in zip(names, copies, strict=True):
        images = copy.flatten(-2)
        index, weights = corners(points[:4] * texels.scale, size)
        read = mixed(images.flatten(0, 2), index.view(-1, 4), weights.view(-1, 4))
        found |= {
            corner: images[:, :4, :4, :3].permute(0, 3, 1, 2),
            features: read.view(4, 3, -1).mT.permute(2, 0, 1),
        }
    return found


def numpy(found: dict[str, Tensor]) -> Arrays:
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


@torch.no_grad()
def check_planes(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """The surface's network at its published size."""
    return numpy(of_surface(avatar(case, folder), torch.from_numpy(arrays["points"])))


@torch.no_grad()
def check_networks(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """All networks."""
    made = avatar(case, folder)
    points, views, normals, posevec = (
        torch.from_numpy(arrays[name]) for name in ("points", "view_dirs", "normals", "posevec")
    )
    found = of_surface(made, points)
    skinning = made.skinning()
    found |= {
        "color": made.colour()(points, views, normals, found["sdf_out"][:, 1:]),
        "skinning_logits": skinning.logits(points)[None],
        "skinning_weights": skinning(points)[None],
        "refined_Rs": made.pose_decoder(posevec),
        "inv_s": made.sharpness().view(1, 1),
    }
    return numpy(found)


@torch.no_grad()
def check_skeleton(case: Words, arrays: Arrays, folder: Path) -> Arrays:
    """A pose and its bones, before and after poses are refined."""
    made, joints = avatar(case, folder), arrays["canonical_joints"]
    nothing = np.zeros((0, 3))
    body = FrameBody(
        arrays["poses"], np.zeros(3), np.zeros(3), np.zeros(10), nothing, nothing, nothing, nothing
    )
    pose = pose_of(body, joints)
    refined = made.pose_decoder(pose.numbers)
    found = {
        "dst_Rs": pose.rotations,
        "dst_Ts": pose.offsets,
        "cnl_gtfms": chain(torch.eye(3).expand(24, 3, 3), pose.offsets),
        "dst_posevec": pose.numbers[None],
        "refined_Rs": refined[None],
        "dst_gtfms_step0": bone_transforms(pose)[None],
        "dst_gtfms_step60000": bone_transforms(pose, refined)[None],
    }
    return numpy(found) | {"gtfs_02v": star_transforms(joints)}


KINDS = {
    "networks_res128": check_networks,
    "tri_plane_res512": check_planes,
    "skeleton": check_skeleton,
}
INPUTS = {
    "networks_res128": ("points", "view_dirs", "normals", "posevec"),
    "tri_plane_res512": ("points",),
    "skeleton": ("canonical_joints", "poses"),
}
