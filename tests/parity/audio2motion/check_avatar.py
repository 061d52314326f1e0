"""The whole Codec Avatar Body, read from a person's folder in the published layout (spec 7.6)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch
from avatarctl_audio2motion.avatar import assets
from avatarctl_audio2motion.avatar.avatar import FINE, Avatar
from avatarctl_audio2motion.avatar.drawing import displayed, drawn, side_by_side
from avatarctl_audio2motion.avatar.layers import resized
from torch import Tensor, nn

avatar_files = golden.module(Path(__file__).with_name("avatar_files.py"))
inputs = golden.module(Path(__file__).with_name("inputs.py"))
STRIDES = {"face_tex": 64, "tex_mean_rec": 32, "tex_view_rec": 64, "view_cos": 32, "shadow_map": 64,
           "tex_rec": 64, "rgb": 2}  # fmt: skip
"""Of the arrays that the case keeps in part, in both image directions."""
EDGES = 0.002
"""Share of the pixels that may differ (case `raster`): on edges, and where neighbouring texels differ so much
that the last bit of a pixel's place in the texture shows."""


def check_avatar(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Frames with their intermediates; equal frames are computed once for all their views."""
    with tempfile.TemporaryDirectory() as place:
        person = avatar_files.write_person(Path(place), case, arrays, folder)
        files = assets.read_files(Path(place))
        avatar = Avatar(files)
        views = assets.read_views(assets.find_views(person), files.picture_size())
    pose, codes = (
        torch.from_numpy(inputs.value_of(case["inputs"][key])) for key in ("lbs_motion", "face_embs")
    )
    is_one = bool((pose == pose[:1]).all() and (codes == codes[:1]).all())
    frames = [pose[:1], codes[:1]] if is_one else [pose, codes]
    if avatar.needs_occlusion:
        frames.append(torch.from_numpy(inputs.value_of(case["inputs"]["ao"]))[: len(frames[0])])
    found = forward(avatar, frames, views)
    computed = kept(found, arrays, len(pose))
    computed["rgb"] = but_edges(computed["rgb"], arrays["rgb"], case["tolerance"])
    return computed | {"display_uint8": shown(found["rgb"], arrays["display_uint8"], case["tolerance"])}


def forward(avatar: Avatar, frames: list[Tensor], views: assets.Views) -> dict[str, Tensor]:
    """Frames and what the networks gave on the way."""
    taken: dict[str, list[Any]] = {}
    given: dict[str, list[Any]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, what_came: Any, what_left: Any) -> None:
            taken.setdefault(name, []).append(what_came)
            given.setdefault(name, []).append(what_left)

        module.register_forward_hook(hook)

    for name in ("face_decoder", "face_encoder", "decoder", "view", "shadow"):
        watch(name, getattr(avatar, name))
    body, pose = avatar.body(*frames), frames[0]
    texture = avatar.texture(body, views.places)
    vertices = body.vertices.expand(len(texture), -1, -1)
    template = avatar.skeleton.posed(pose)
    offsets, plain = given["decoder"][0]
    pose_image, embedding_image = taken["decoder"][0]
    face, face_texture = given["face_decoder"][0]
    light = avatar.fine_seams.impaint(resized(given["shadow"][0], FINE * avatar.maps.size))
    return {
        "geom_in": template,
        "embs": avatar.embedding(template, pose),
        "face_geom": face,
        "face_tex": face_texture,
        "face_embs": given["face_encoder"][0],
        "pose_conv": pose_image[:, ::4, ::8, ::8],
        "embs_conv": embedding_image[:, ::4, ::8, ::8],
        "geom_delta": avatar.maps.from_uv(offsets),
        "geom": body.vertices,
        "tex_mean_rec": plain,
        "tex_view_rec": torch.cat(given["view"]),
        "view_cos": torch.cat([cosine for cosine, _ in taken["view"]]),
        "shadow_map": light,
        "tex_rec": texture,
        "rgb": drawn(vertices, texture, avatar.maps, views.camera, views.size),
    }


def kept(found: dict[str, Tensor], arrays: dict[str, np.ndarray], views: int) -> dict[str, np.ndarray]:
    """What the case keeps: statistics over all views, and some texels of the first ones."""
    kept: dict[str, np.ndarray] = {}
    for name, tensor in found.items():
        all_views = tensor.expand(views, *tensor.shape[1:]) if len(tensor) == 1 else tensor
        if f"{name}_stats" in arrays:
            kept[f"{name}_stats"] = inputs.stats_row(all_views)
        if name in arrays:
            stride = STRIDES.get(name)
            some = all_views[..., ::stride, ::stride] if stride else all_views
            kept[name] = some[: len(arrays[name])].numpy()
    return kept


def but_edges(pictures: np.ndarray, wanted: np.ndarray, limit: dict[str, float]) -> np.ndarray:
    """Pictures [V, 3, H, W] with the case's pixels where few enough differ, as case `raster` allows."""
    gap = np.abs(pictures - wanted) > limit["atol"] + limit["rtol"] * np.abs(wanted)
    other = gap.any(axis=1, keepdims=True)
    assert other.mean() <= EDGES, f"{other.mean():.2%} of the pixels differ"
    return np.where(other, wanted, pictures)


def shown(pictures: Tensor, wanted: np.ndarray, limit: dict[str, float]) -> np.ndarray:
    """The frame [H, V * W, 3] with the case's values where the truncated number is near a whole one."""
    screen = displayed(pictures)
    frame = side_by_side(screen)
    values = screen.permute(2, 0, 3, 1).flatten(1, 2).numpy()
    is_near = np.abs(values - values.round()) <= limit["atol"] + limit["rtol"] * np.abs(values)
    by_one = np.abs(frame.astype(int) - wanted) == 1
    frame = np.where(by_one & is_near, wanted, frame)
    other = (frame != wanted).any(axis=2, keepdims=True)
    assert other.mean() <= EDGES, f"{other.mean():.2%} of the pixels of the screen differ"
    return np.where(other, wanted, frame)


KINDS = {"ca_body_forward": check_avatar}
INPUTS = {"ca_body_forward": ("K", "Rt", "campos", "uv_tie_*")}
