"""The published checkpoint files: which they are, what is in them, and both ways without a changed bit."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import va_person
from avatarctl_video_avatar import official, pipeline
from avatarctl_video_avatar.model.avatar import AvatarSizes, build, load
from avatarctl_video_avatar.plugin import avatarctl_weights
from torch import Tensor

from avatarctl.checkpoints import native, open_weights
from avatarctl.cli.main import main
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, DataError

READERS = list(avatarctl_weights())
KINDS = {
    "planes": AvatarSizes(img_resolution=32),
    "plain": AvatarSizes(sdf="mlp", deform="nonrigid"),
}


def networks(kind: str = "planes") -> dict[str, Tensor]:
    """Published networks, planes of 32 x 32."""
    state = build(KINDS[kind], Noise.seeded(3, "official")).state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}


def perceptual() -> dict[str, Tensor]:
    """Tensors under LPIPS's names, each `lin` also as one of `lins`, and all of them twice."""
    draw = Noise.seeded(4, "perceptual")
    own = {"scaling_layer.shift": draw.normal((1, 3, 1, 1)), "net.slice1.0.weight": draw.normal((4, 3, 3, 3))}
    for number in range(5):
        own[f"lin{number}.model.1.weight"] = own[f"lins.{number}.model.1.weight"] = draw.normal((1, 4, 1, 1))
    return {
        f"{prefix}{name}": tensor for prefix in ("lpips.", "criteria.p_loss.") for name, tensor in own.items()
    }


def file(folder: Path, name: str = "epoch=12-step=70000.ckpt", kind: str = "planes", **changes) -> Path:
    """A file that a published training has written."""
    content = {
        "epoch": 12,
        "global_step": 70000,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": networks(kind) | perceptual(),
        "callbacks": {"ModelCheckpoint{'monitor': 'val_lpips'}": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": []}],
        "lr_schedulers": [],
        **changes,
    }
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_goes_both_ways_bit_for_bit(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    theirs = file(tmp_path / "exp", kind=kind)
    assert main(["export", "checkpoint", str(theirs), "--to", "safetensors", "--out", "ours", "-q"]) == 0
    assert main(["export", "checkpoint", "ours", "--to", "hfavatar", "--out", "back", "-q"]) == 0
    (back,) = Path("back").rglob("*.ckpt")
    assert back.name == theirs.name
    before, after = (torch.load(path, weights_only=False) for path in (theirs, back))
    assert before["state_dict"].keys() == after["state_dict"].keys()
    for name, tensor in before["state_dict"].items():
        assert tensor.dtype == after["state_dict"][name].dtype, name
        assert torch.equal(tensor, after["state_dict"][name]), name
    assert (after["epoch"], after["global_step"]) == (12, 70000)
    assert set(before) <= set(after)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_those_of_the_tensors(kind, tmp_path):
    weights = open_weights(file(tmp_path, kind=kind), READERS)
    assert set(weights.parts) == {"avatar", "lpips"}
    avatar = load(weights, torch.device("cpu"))
    assert avatar.sizes.stored() == KINDS[kind].stored()
    for name, tensor in networks(kind).items():
        assert torch.equal(avatar.state_dict()[name], tensor), name
    assert (weights.config["step"], weights.config["body"]) == (70000, "smpl")


def test_files_without_a_perceptual_network_are_read(tmp_path):
    weights = open_weights(file(tmp_path, state_dict=networks()), READERS)
    assert list(weights.parts) == ["avatar"]


def test_what_the_layout_has_no_place_for_comes_back_too(tmp_path, caplog):
    path = va_person.avatar_file(tmp_path, offset="published", validate_views=["1"])
    _, config = native.load(path)
    config["networks"] = {"avatar": KINDS["planes"].stored()}
    native.save(path, {f"avatar.{name}": tensor for name, tensor in networks().items()}, config)
    weights = open_weights(path, READERS)
    with caplog.at_level(logging.WARNING):
        (written,) = official.write(weights, tmp_path / "back")
    assert "holds no perceptual network" in caplog.text
    back = open_weights(written, READERS).config
    for name in official.STATED:
        assert back[name] == weights.config[name], name


def test_sizes_that_the_published_code_cannot_build_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = va_person.avatar_file(tmp_path)
    assert main(["export", "checkpoint", str(path), "--to", "hfavatar", "--out", "back"]) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "img_channels 8: the published code has 24" in said
    assert "--to safetensors" in said
    assert not list(Path("back").rglob("*.ckpt"))


def without(*names: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in networks().items() if name not in names}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_step": None}, "global_step is None, expected a number of steps"),
        ({"global_step": -3}, "global_step is -3"),
        ({"state_dict": without("sdf_network.decoder.lin3.bias")}, "lacks sdf_network.decoder.lin3.bias"),
        ({"state_dict": without("pose_decoder.block_mlps.0.bias")}, "lacks pose_decoder.block_mlps.0.bias"),
        ({"state_dict": networks() | {"sdf_network.planes": torch.zeros(3)}}, "tensors of other dimensions"),
        ({"avatarctl": "mine"}, "avatarctl: found mine, expected a description"),
        ({"avatarctl": {"body": "cat"}}, "expected a description"),
    ],
)
def test_a_broken_file_is_told(changes, said, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        open_weights(file(tmp_path, **changes), READERS)
    assert said in caught.value.message
    assert "epoch=12-step=70000.ckpt" in caught.value.message
    assert caught.value.hint


def test_a_tensor_of_another_shape_is_shown_beside_the_expected_one(tmp_path):
    state = networks() | {"color_network.lin2.bias": torch.zeros(255)}
    with pytest.raises(CheckpointError) as caught:
        load(open_weights(file(tmp_path, state_dict=state), READERS), torch.device("cpu"))
    assert "color_network.lin2.bias" in caught.value.message
    assert "255" in caught.value.message
    assert "256" in caught.value.message


def test_other_systems_files_are_left_to_others(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}, "global_step": 3}, path)
    assert official.sniff({"state_dict.encoder.weight": (3,)}) == ()
    with pytest.raises(CheckpointError):
        open_weights(path, READERS)


@pytest.mark.parametrize("inside", ["", "checkpoints"])
def test_the_newest_is_that_with_the_largest_numbers(inside, tmp_path):
    names = ("epoch=99-step=30000.ckpt", "epoch=479-step=144000.ckpt", "epoch=479-step=9.ckpt", "last.ckpt")
    for name in names:
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / name).write_bytes(b"")
    assert official.is_training(tmp_path / inside)
    assert official.newest(tmp_path / inside).name == "epoch=479-step=144000.ckpt"


def test_without_numbers_the_last_is_taken_and_else_none(tmp_path):
    assert not official.is_training(tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoints/epoch=E-step=S\.ckpt"):
        official.newest(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"")
    assert official.newest(tmp_path).name == "last.ckpt"


def test_a_trainings_folder_is_as_good_as_its_newest_file(tmp_path):
    for step, name in ((5, "epoch=99-step=5.ckpt"), (7, "epoch=100-step=7.ckpt")):
        file(tmp_path / "exp", name, global_step=step, avatarctl={"body": "open"})
    for words in (tmp_path / "exp", tmp_path / "exp" / "checkpoints"):
        assert pipeline.load(words, va_person.recording()).step == 7


def test_embedded_weights_are_loaded_by_name():
    with pytest.raises(DataError, match="nowhere"):  # the recording is what is missing
        pipeline.load("avatar-toy", "nowhere")


def test_inspection_says_what_it_is_and_what_takes_it(tmp_path, capsys):
    path = file(tmp_path)
    assert main(["inspect", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "HF-Avatar (PGAHum), one person's avatar", "three planes of 32²", "a skinning network", "70000",
        "perceptual network there", "avatarctl infer video-avatar --data PREPARED --weights",
    ):  # fmt: skip
        assert words in said
