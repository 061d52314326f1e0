"""The demo: outlines, the baseline, and all of it with people that have learned nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from avatarctl_generative_avatar import demo
from avatarctl_generative_avatar.demo_report import Seen, overlap, table
from avatarctl_generative_avatar.model.generator import build
from avatarctl_generative_avatar.model.sizes import GENERATOR, GeneratorSizes
from avatarctl_generative_avatar.settings_demo import Demo

from avatarctl.checkpoints import native
from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.runs import Run

SMALL = GeneratorSizes(
    img_resolution=32, plane_resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, sr_channels=4
)


def painted(*columns: int) -> np.ndarray:
    """White, with some columns red."""
    picture = np.full((4, 8, 3), 255, np.uint8)
    picture[:, list(columns)] = (200, 0, 0)
    return picture


def test_outlines_share_what_both_cover() -> None:
    one, other = (painted(*columns).min(axis=2) < 255 for columns in ((0, 1, 2), (2, 3)))
    assert overlap(one, other) == 1 / 4
    assert overlap(one, one) == 1
    assert overlap(one & ~one, one & ~one) == 0


def test_people_stand_beside_photos_of_others() -> None:
    seen = [
        Seen(painted(), painted(*columns), painted(), painted(*truth).min(axis=2) < 255)
        for columns, truth in (((0, 1), (0, 1)), ((4,), (4, 5)), ((7,), (7,)))
    ]
    rows = {row.kind: row.values["overlap"] for row in table(seen).rows}
    assert rows == {"ours": pytest.approx((1 + 0.5 + 1) / 3), "baseline": 0}


def test_a_motion_that_is_missing_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.pipeline, "of_settings", lambda *_: pytest.fail("people were loaded"))
    with pytest.raises(DataError, match="'nix' is no motion file"):
        demo.run(Demo(motion="nix"), Run.standalone(tmp_path / "run"))


@pytest.mark.slow
def test_the_demo_shows_people_that_have_learned_nothing(tmp_path: Path) -> None:
    tensors = build(SMALL, Noise.seeded(0, "generator")).state_dict()
    for name in ("decoder.net.2.weight", "decoder.net.2.bias"):
        tensors[name][0] = 0  # the surface is the body's
    config = {"parts": [GENERATOR], "networks": {GENERATOR: asdict(SMALL)}, "body": "open", "step": 0}
    weights = native.save(
        tmp_path / "none.safetensors",
        {f"{GENERATOR}.{name}": tensor for name, tensor in tensors.items()},
        config,
    )
    settings = Demo(weights=str(weights), number=2, views=2, length=2, voxels=48)
    demo.run(settings, Run.standalone(tmp_path / "run"))
    for name in ("people.png", "views.mp4", "blend.png", "dance.mp4", "person.glb", "mesh.png"):
        assert (tmp_path / "run" / name).stat().st_size > 500, name
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "a person in the photo" in page
    assert "The weights are toys" not in page
