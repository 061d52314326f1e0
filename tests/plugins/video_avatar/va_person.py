"""A tiny recording, and an avatar whose surface is the body with a skin: made without training."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import va_recording
from avatarctl_video_avatar.body_fit import star_vertices
from avatarctl_video_avatar.model.avatar import AvatarSizes, build
from avatarctl_video_avatar.prepared import Fit, Prepared, Volume, write_bodies
from avatarctl_video_avatar.preparing import bodies_of
from avatarctl_video_avatar.settings_model import Rendering
from scipy.spatial import cKDTree

from avatarctl.body import open_body
from avatarctl.checkpoints import native
from avatarctl.device import Noise
from avatarctl.geometry.meshes import vertex_normals

BODY = open_body("smpl")
SKIN = 0.02
"""How far the surface lies outside the body, metres."""
SHARP = 0.6
SIZES = AvatarSizes(img_resolution=16, img_channels=8, hidden=16, features=8, skinning_hidden=16)


@cache
def recording() -> Path:
    """The recording of `va_recording`, its volume that of the body with a skin, with room around it.

    It is made once, for reading alone; the person's name is Small.
    """
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    made = Prepared(va_recording.write(place / "Small"))
    fits = {name: Fit(body.poses, body.Rh, body.Th, body.betas) for name, body in made.bodies.items()}
    bodies = bodies_of(fits, BODY, made.about.pad, made.about.delta)
    write_bodies(made.folder, bodies, made.canonical, volume(64), made.about)
    return made.folder


def volume(n: int) -> Volume:
    """Signed distances to the body in star pose, less `SKIN`; signs by the nearest vertex's normal."""
    vertices = star_vertices(BODY, BODY.rest_joints.numpy(), BODY.template.numpy())
    normals = vertex_normals(torch.from_numpy(vertices), BODY.faces).numpy()
    side = float(np.abs(vertices).max()) + 0.1
    axis = side * (-1 + (2 * np.arange(n) + 1) / n)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    far, which = cKDTree(vertices).query(places)
    sign = np.where(((places - vertices[which]) * normals[which]).sum(-1) < 0, -1, 1)
    return Volume(((sign * far - SKIN) / side).astype(np.float32), -side, side)


def avatar_file(folder: Path, *, everywhere: float = 0.0, **config: Any) -> Path:
    """A fresh avatar's weights, its surface sharp; its network adds the same distance everywhere.

    Args:
        everywhere: That distance, metres below 0.1.
        config: Other entries than those of the person named Small.
    """
    avatar = build(SIZES, Noise.seeded(0, "avatar"))
    state = avatar.state_dict()
    state["sdf_network.decoder.lin3.weight_g"].zero_()
    state["sdf_network.decoder.lin3.bias"].fill_(2 * np.arctanh(everywhere / 0.1))
    state["deviation_network.variance"].fill_(SHARP)
    whole = {
        "parts": ["avatar"],
        "networks": {"avatar": avatar.sizes.stored()},
        "body": "open",
        "subject": "Small",
        "step": 70000,
        "rendering": Rendering(n_samples=16).model_dump(),
        **config,
    }
    return native.save(
        folder / "a.safetensors", {f"avatar.{name}": one for name, one in state.items()}, whole
    )
