"""Published checkpoints, read and written."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr import official
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.plugin import avatarctl_weights

from avatarctl.checkpoints import open_weights
from avatarctl.cli.main import main
from avatarctl.errors import CheckpointError

PARITY = Path(__file__).resolve().parents[2] / "parity"
sys.path.append(str(PARITY))

import golden  # noqa: E402
from ego_hmr import inputs  # noqa: E402

CASES = golden.FIXTURES / "ego-hmr"
READERS = list(avatarctl_weights())
FILES = {
    "stage1_53618": "scene", "stage2_91453": "diffusion", "coap_smpl_neutral": "collision",
    "VolumetricSMPL_smpl_neutral": "collision",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All four files."""
    place = tmp_path_factory.mktemp("published")
    for manifest in FILES:
        inputs.write_official(place / manifest, manifest, CASES)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("manifest", FILES)
def test_a_published_file_is_read_and_written_back(folder, manifest, tmp_path):
    weights = open_weights(folder / manifest, READERS)

    written = official.write(weights, tmp_path)
    again = open_weights(tmp_path, READERS)

    part = FILES[manifest]
    assert list(weights.parts) == [part]
    assert weights.config["networks"] == again.config["networks"]
    assert weights.parts[part].keys() == again.parts[part].keys()
    assert all(torch.equal(tensor, again.parts[part][name]) for name, tensor in weights.parts[part].items())
    state = torch.load(written[-1], weights_only=True)["state_dict"]
    theirs = inputs.state(manifest, CASES)
    assert theirs.keys() <= state.keys()
    assert {name.rpartition(".")[2] for name in state.keys() - theirs.keys()} <= {"pe"}


@pytest.mark.parametrize("manifest", ["stage1_53618", "stage2_91453"])
def test_sizes_of_published_networks_are_the_defaults(folder, manifest):
    weights = open_weights(folder / manifest, READERS)
    part = FILES[manifest]

    assert load(weights, part, torch.device("cpu")).sizes == official.PUBLISHED[part]


@pytest.mark.parametrize("manifest", ["coap_smpl_neutral", "VolumetricSMPL_smpl_neutral"])
def test_collision_models_are_loaded(folder, manifest):
    weights = open_weights(folder / manifest, READERS)

    network = load_collision(weights, inputs.people(CASES))

    assert not any(tensor.requires_grad for tensor in network.parameters())


def test_two_collision_models_in_a_folder_are_told_apart_by_the_user(tmp_path, folder):
    for manifest in ("coap_smpl_neutral", "VolumetricSMPL_smpl_neutral"):
        shutil.copytree(folder / manifest, tmp_path, dirs_exist_ok=True)

    with pytest.raises(CheckpointError, match="2 files hold 'collision'"):
        open_weights(tmp_path, READERS).holds("collision")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda place: shutil.rmtree(place), "no preprocess_stats"),
        (lambda place: np.savez(place / "preprocess_stats.npz", Xmean=np.zeros(144)), "Xstd: expected 144"),
        (
            lambda place: np.savez(
                place / "preprocess_stats.npz", Xmean=np.zeros(144, "f4"), Xstd=np.zeros(144, "f4")
            ),
            "above 0",
        ),
        (lambda place: (place / "preprocess_stats.npz").write_bytes(b"nothing"), "not a readable .npz"),
    ],
)
def test_missing_statistics_are_named(folder, tmp_path, change, words, capsys):
    source = folder / "stage2_91453" / "checkpoints_egohmr" / "91453"
    place = tmp_path / "mine"
    place.mkdir()
    (place / "best.pt").symlink_to(source / "best_model_mpjpe_vis.pt")
    shutil.copytree(source / "preprocess_stats", place / "preprocess_stats")
    change(place / "preprocess_stats")

    with pytest.raises(CheckpointError, match=words):
        open_weights(place / "best.pt", READERS)


def test_a_torn_file_is_named(tmp_path, folder):
    source = folder / "stage1_53618" / "checkpoints_egohmr" / "53618" / "best_model.pt"
    state = torch.load(source, weights_only=True)["state_dict"]
    del state["backbone.conv1.weight"]
    torch.save({"state_dict": state}, tmp_path / "best_model.pt")

    with pytest.raises(CheckpointError, match=r"lacks backbone\.conv1\.weight"):
        open_weights(tmp_path / "best_model.pt", READERS)


def test_an_image_network_to_start_from_is_known_and_is_none_of_ours(tmp_path, capsys):
    state = {
        "backbone.conv1.weight": torch.zeros(64, 3, 7, 7),
        "flow.fc_head.layers.0.weight": torch.zeros(1),
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pt")

    with pytest.raises(CheckpointError, match="image networks to start from"):
        open_weights(tmp_path / "checkpoint.pt", READERS)


def test_inspect_says_what_a_published_file_is(folder, capsys):
    assert main(["inspect", str(folder / "coap_smpl_neutral" / "coap_smpl_neutral.ckpt")]) == 0
    out = capsys.readouterr().out
    assert "COAP collision model" in out
    assert "SMPL (licensed)" in out


def test_another_body_file_than_that_of_the_training_is_told(folder, caplog):
    weights = open_weights(folder / "stage1_53618", READERS)
    official.check_template(weights, inputs.people(CASES))
    assert not caplog.records

    weights.config["templates"]["scene"][0] += 0.01
    official.check_template(weights, inputs.people(CASES))
    assert "another SMPL file" in caplog.text
