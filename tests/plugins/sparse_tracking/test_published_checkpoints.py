"""Published checkpoints: every file of the golden manifests, read, told apart, and written back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from avatarctl_sparse_tracking import official
from avatarctl_sparse_tracking.inspecting import describe, require_chain
from avatarctl_sparse_tracking.plugin import avatarctl_weights

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.errors import CheckpointError

SMALL = ("upper_vqvae", "lower_vqvae", "refiner", "refiner_3layers")
LARGE = ("upper_vqvae_6layers", "lower_vqvae_6layers", "first", "second", "decoder")
READERS = list(avatarctl_weights())
FOLDER = {
    "upper_vqvae_6layers": "upper_vqvae",
    "lower_vqvae_6layers": "lower_vqvae",
    "refiner_3layers": "refiner",
}


def same(found: Any, wanted: Any) -> bool:
    """Whether two files hold equal keys, numbers and tensors."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, torch.Tensor):
        return found.dtype == wanted.dtype and torch.equal(found, wanted)
    return type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize(
    "manifest", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_official_to_native_to_official_is_the_same_file(
    manifest: str, tmp_path: Path, make: ModuleType
) -> None:
    given = make.write_checkpoint(tmp_path / "given" / "best.pth.tar", manifest)
    native = open_weights(given, READERS).write(tmp_path / "native.safetensors")
    (written,) = official.write(open_weights(native), tmp_path / "written")
    assert written == tmp_path / "written" / FOLDER.get(manifest, manifest) / "best.pth.tar"
    assert same(torch.load(written, weights_only=True), torch.load(given, weights_only=True))


@pytest.mark.parametrize("manifest", ["refiner", "upper_vqvae"])
def test_a_training_file_holds_the_same_networks(manifest: str, tmp_path: Path, make: ModuleType) -> None:
    plain = make.write_checkpoint(tmp_path / "best.pth.tar", manifest)
    content = torch.load(plain, weights_only=True)
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}},
        "param_groups": [{"lr": 1e-4}],
    }
    torch.save({"epoch": 7, "state_dict": content, "optimizer": optimizer}, tmp_path / "checkpoint.pth.tar")
    wanted, found = (
        open_weights(tmp_path / name, READERS) for name in ("best.pth.tar", "checkpoint.pth.tar")
    )
    assert same(found.parts, wanted.parts)
    assert found.config["epoch"] == {manifest: 7}
    assert open_weights(tmp_path, READERS).config == wanted.config  # best is taken of the two


def shapes(make: ModuleType, setting: str, *folders: str) -> Weights:
    """The networks of published folders, with the shapes of their manifests and no numbers."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    networks: dict[str, Any] = {}
    for name, manifest in make.CHECKPOINTS[setting].items():
        if name in folders or not folders:
            about = json.loads((make.SPARSE / "manifests" / f"{manifest}.json").read_text())["tensors"]
            header = {key: torch.zeros(()).expand(tuple(item["shape"])) for key, item in about.items()}
            for part, prefix in official._parts(header).items():
                own = {
                    official.MAPS[part].ours(key.removeprefix(prefix)): tensor
                    for key, tensor in header.items()
                    if key.startswith(prefix)
                }
                parts[part], networks[part] = own, official.sizes_of(Path(name), part, own)
    return Weights(parts, {"networks": networks, "frame": "world"}, "sage-net", Path(setting))


@pytest.mark.parametrize("setting", ["S1", "S2", "S3"])
def test_sizes_tell_the_setting(setting: str, make: ModuleType) -> None:
    found = describe(shapes(make, setting))
    assert found is not None
    what, facts, commands = found
    assert what == "SAGE Net, all stages: both VQ-VAEs, both diffusion models, decoder, refiner"
    assert facts["sizes"] == f"published, of {setting}"
    assert commands == ["avatarctl infer sparse", "avatarctl eval sparse"]


def test_parameters_are_counted_as_the_published_code_counts_them(make: ModuleType) -> None:
    # spec 4.2, 4.4 to 4.6: measured on the published networks
    wanted = {
        "VQ-VAE of the upper body": "7,239,436", "VQ-VAE of the lower body": "7,200,986",
        "upper diffusion": "57,969,432", "lower diffusion": "58,264,728", "decoder": "4,035,374",
        "refiner": "2,635,908",
    }  # fmt: skip
    found = describe(shapes(make, "S1"))
    assert found is not None
    assert {name: found[1][name].partition(" ")[0] for name in wanted} == wanted


def test_files_of_different_settings_fit_none(make: ModuleType) -> None:
    mixed = shapes(make, "S1")
    refiner = shapes(make, "S3", "refiner_full_rand0")
    networks = {**mixed.config["networks"], **refiner.config["networks"]}
    mixed = replace(
        mixed, parts={**mixed.parts, **refiner.parts}, config={**mixed.config, "networks": networks}
    )
    found = describe(mixed)
    assert found is not None
    assert found[1]["sizes"] == "of no published setting"


@pytest.mark.parametrize(
    ("folders", "what", "commands"),
    [
        (("decoder",), "decoder stage: upper and lower diffusion, decoder", ["infer", "eval", "train"]),
        (("upper_vqvae",), "VQ-VAE of the upper body", ["train"]),
        (("first",), "upper diffusion", ["train", "train"]),
        (("refiner",), "refiner", ["infer", "eval"]),
    ],
)
def test_each_file_is_named_with_the_commands_that_take_it(folders, what, commands, make: ModuleType) -> None:
    found = describe(shapes(make, "S1", *folders))
    assert found is not None
    assert found[0] == f"SAGE Net, {what}"
    assert [command.split()[1] for command in found[2]] == commands


def test_weights_of_other_systems_are_not_named() -> None:
    assert describe(Weights({"generator": {}}, {"networks": {}}, "x", Path("f"))) is None
    assert official.sniff({"decoder_state_dict.fc.weight": (3, 3)}) == ()
    assert official.sniff({"model.backbone.conv1.weight": (3, 3)}) == ()


def test_what_is_missing_for_inference_is_named_with_the_file_that_has_it(make: ModuleType) -> None:
    with pytest.raises(
        CheckpointError, match="holds VQ-VAE of the upper body, VQ-VAE of the lower body"
    ) as caught:
        require_chain(shapes(make, "S1", "upper_vqvae", "lower_vqvae"))
    assert "lacks upper diffusion, lower diffusion, decoder" in caught.value.message
    assert "decoder/best.pth.tar" in caught.value.hint
    require_chain(shapes(make, "S1", "decoder"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame": "heading"}, "axes 'heading'"),
        ({"networks": {"decoder": {"heads": 2}}}, "decoder has 2 heads, expected 4"),
    ],
)
def test_networks_that_would_be_read_as_others_are_not_written(
    change, words, make: ModuleType, tmp_path
) -> None:
    weights = shapes(make, "S1", "decoder")
    with pytest.raises(CheckpointError, match=words) as caught:
        official.write(replace(weights, config={**weights.config, **change}), tmp_path / "out")
    assert "safetensors" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_decoder_without_its_diffusion_models_is_not_written(make: ModuleType, tmp_path) -> None:
    weights = shapes(make, "S1", "decoder")
    alone = replace(weights, parts={"decoder": weights.parts["decoder"]})
    with pytest.raises(CheckpointError, match="a decoder without both diffusion models"):
        official.write(alone, tmp_path)


def test_a_file_that_lacks_a_tensor_names_it_as_the_file_does(make: ModuleType, tmp_path) -> None:
    path = make.write_checkpoint(tmp_path / "best.pth.tar", "refiner")
    content = torch.load(path, weights_only=True)
    del content["linear.weight"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"best\.pth\.tar: the refiner weights lack linear\.weight"):
        open_weights(path, READERS)


def test_a_file_that_lacks_a_network_is_named(tmp_path: Path) -> None:
    content = {"upper_state_dict": {"denoiser_upper.last.weight": torch.ones(4, 8)}, "lower_state_dict": {}}
    torch.save(
        {**content, "decoder_state_dict": {"post_quant_emb.weight": torch.ones(8, 12)}}, tmp_path / "f.pth"
    )
    with pytest.raises(CheckpointError, match=r"f\.pth: the lower weights lack denoiser_upper\.last\.weight"):
        open_weights(tmp_path / "f.pth", READERS)
