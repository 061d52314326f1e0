"""The demo: pictures side by side, the baseline, and all of it with an avatar that has learned nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_video_avatar import demo
from avatarctl_video_avatar.demo_report import Seen, table
from avatarctl_video_avatar.mesh_pictures import mesh_picture
from avatarctl_video_avatar.model.avatar import PART, AvatarSizes, build
from avatarctl_video_avatar.prepared import Camera
from avatarctl_video_avatar.settings_demo import Demo
from avatarctl_video_avatar.settings_model import Rendering

from avatarctl.checkpoints import native
from avatarctl.device import Noise
from avatarctl.geometry.meshes import Mesh
from avatarctl.runs import Run

SMALL = AvatarSizes(
    img_resolution=16, img_channels=8, hidden=16, features=8, skinning_hidden=16, pose_hidden=16
)


def test_pictures_are_cut_to_what_they_show() -> None:
    first, second = np.zeros((2, 40, 50, 3), np.uint8)
    first[10, 20], second[30, 25] = 9, 9
    found = demo.stacked([[first, second], [second, first]])
    gap = demo.GAP
    height, width = 21 + 2 * gap, 6 + 2 * gap
    assert found.shape == (2 * height + gap, 2 * width + gap, 3)
    assert (found[height : height + gap] == 255).all()
    assert (found[gap, gap] == 9).all()


def test_the_mean_stands_beside_the_baseline() -> None:
    seen = [
        Seen(name, {"psnr": psnr, "ssim": 0.9}, {"psnr": 10.0, "ssim": 0.5}, [])
        for name, psnr in (("a", 20.0), ("b", 24.0))
    ]
    rows = {row.name: row for row in table(seen).rows}
    assert rows["mean"].values["psnr"] == 22
    assert rows["mean colour in the true outline"].values["psnr"] == 10
    assert rows["mean colour in the true outline"].kind == "baseline"


def test_a_mesh_is_drawn_where_it_is() -> None:
    corners = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]])
    mesh = Mesh(corners, np.array([[0, 2, 1]]))
    view = np.eye(4)
    view[2, 3] = 4
    camera = Camera(np.array([[40, 0, 19.5], [0, 40, 19.5], [0, 0, 1]], np.float32), view, np.zeros(5))
    red = torch.tensor([[1.0, 0.0, 0.0]]).expand(3, 3)
    up = torch.tensor([0.0, -1.0, 0.0])
    found = mesh_picture(mesh, red, camera, (40, 40), up)
    assert found.shape == (40, 40, 3)
    assert (found[0, 0] == 255).all()
    assert (found[18, 20] == [255, 0, 0]).all()
    grey = mesh_picture(mesh, None, camera, (40, 40), up)
    assert np.ptp(grey[18, 20].astype(int)) == 0
    assert (np.ptp(grey.astype(int), axis=2) == 0).all()
    assert ((grey < 255).any(axis=2) == (found < 255).any(axis=2)).all()


@pytest.mark.slow
def test_the_demo_shows_an_avatar_that_has_learned_nothing(tmp_path: Path) -> None:
    avatar = build(SMALL, Noise.seeded(0, "avatar"))
    config = {
        "parts": [PART],
        "networks": {PART: SMALL.stored()},
        "body": "open",
        "rendering": Rendering(n_samples=8).model_dump(),
        "subject": "Synthetic",
        "step": 0,
    }
    tensors = {f"{PART}.{name}": tensor for name, tensor in avatar.state_dict().items()}
    weights = native.save(tmp_path / "none.safetensors", tensors, config)
    settings = Demo(weights=str(weights), length=1, size=32, resolution=24)
    demo.run(settings, Run.standalone(tmp_path / "run"))
    for name in ("views.png", "dance.mp4", "avatar.glb", "mesh.png", "report.html"):
        assert (tmp_path / "run" / name).stat().st_size > 500, name
    assert f"camera {demo.VIEWS[1]}, new pose" in (tmp_path / "run" / "report.html").read_text("utf-8")
