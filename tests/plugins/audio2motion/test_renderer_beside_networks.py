"""Folders of published files that hold a drawn person beside the networks, or nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_avatar
import tiny
import torch
from avatarctl_audio2motion import official
from avatarctl_audio2motion import official_diffusion as diffusion
from avatarctl_audio2motion.model import build
from avatarctl_audio2motion.plugin import avatarctl_weights

from avatarctl.checkpoints import open_weights
from avatarctl.checkpoints.describe import describe_weights
from avatarctl.errors import CheckpointError

READERS = list(avatarctl_weights())
DRAWN = "a drawn person's network, mesh or views (infer audio2motion --person)"


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    """A drawn person's folder below `checkpoints`, with the views in `assets`."""
    return small_avatar.write_avatar(tmp_path)


def test_a_drawn_person_beside_networks_is_passed_over_in_silence(avatar: Path, tmp_path: Path, caplog):
    path = tmp_path / "checkpoints" / "diffusion" / "c1_pose" / "model000000700.pt"
    path.parent.mkdir(parents=True)
    state = build("body", vars(tiny.sizes()["body"])).state_dict()
    theirs = {official.MAPS["body"].theirs(name): tensor for name, tensor in state.items()}
    torch.save({**theirs, **diffusion.buffers(theirs)}, path)
    caplog.set_level("WARNING")
    assert open_weights(tmp_path, READERS).parts.keys() == {"body"}
    assert not caplog.records
    facts = describe_weights(tmp_path, READERS).facts
    assert facts[str((avatar / "body_dec.ckpt").relative_to(tmp_path))] == DRAWN
    assert facts["assets/render_defaults_PXB184.pth"] == DRAWN


def test_a_drawn_person_alone_is_described_and_is_no_network(avatar: Path):
    with pytest.raises(CheckpointError, match=r"body_dec\.ckpt: holds no networks"):
        open_weights(avatar, READERS)
    with pytest.raises(CheckpointError, match=r"a drawn person's network.*expected trained networks"):
        open_weights(avatar / "body_dec.ckpt", READERS)
    found = describe_weights(avatar, READERS)
    assert found.what == "folder without networks"
    assert found.facts["body_dec.ckpt"] == DRAWN
