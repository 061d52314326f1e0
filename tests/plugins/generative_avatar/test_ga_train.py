"""Training on a few made-up photos: what is kept, resumed, started from and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model import generator as generators
from avatarctl_generative_avatar.model.generator import load
from avatarctl_generative_avatar.model.sizes import DISCRIMINATOR, GENERATOR, RAW, GeneratorSizes
from avatarctl_generative_avatar.settings_model import Critics, Network, Rendering
from avatarctl_generative_avatar.settings_train import Augmenting, Losses, Train
from avatarctl_generative_avatar.train import begin_as_body, check, length_of, run, steps_of
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

from avatarctl.body.service import open_body
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, SettingsError
from avatarctl.runs import Run

CONFIGS = Path(__file__).parents[3] / "configs" / "generative-avatar"
PHOTOS, SIDE = 5, 32
NETWORK = Network(
    img_resolution=SIDE, plane_resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=8, sr_channels=4
)
CRITICS = Critics(channel_base=128, channel_max=8, mapping_layers=1, mbstd_group_size=2)
RENDERING = Rendering(depth_resolution=4, depth_resolution_importance=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coloured squares that pass for people."""
    folder, draw, labels = tmp_path_factory.mktemp("photos"), np.random.default_rng(0), []
    for number in range(PHOTOS):
        for kind in ("img", "normal"):
            picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
            picture[4:28, 12:20] = draw.integers(0, 200, 3)
            Image.fromarray(picture).save(folder / f"{kind}{number}.png")
        pose = torch.zeros(label.JOINTS, 3)
        pose[0, 0] = torch.pi
        made = label.made(
            pose, torch.from_numpy(draw.normal(size=label.BETAS)).float(), transl=torch.zeros(3)
        )
        row = made.tolist()
        labels.append([f"img{number}.png", [row[: label.CAMERA], row[label.CAMERA :]]])
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "body": "open"}))
    return folder


def settings(data: Path, **more: Any) -> Train:
    given = {
        "body": "open",
        "batch_size": 2,
        "picture_kimg": 0.004,
        "grid": (2, 1),
        "workers": 1,
        "losses": Losses(face_gan=False, density_reg_every=2, r1_every=3, blur_init_sigma=2.0),
        "rendering": RENDERING,
        "network": NETWORK,
        "critics": CRITICS,
        "loop": Loop(steps=4, log_every=1, save_every=2, validate_every=0),
    }
    return Train(data=data, **(given | more))


def train(data: Path, folder: Path, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    words = settings(data, **more)
    this = Run.standalone(folder, settings=words)
    this.resume = resume
    run(words, this)
    return open_weights(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return train(data, tmp_path_factory.mktemp("trained") / "run")


@pytest.mark.slow
def test_weights_hold_both_generators_and_the_discriminators(trained: Weights) -> None:
    assert set(trained.parts) == {GENERATOR, RAW, DISCRIMINATOR}
    config = trained.config
    assert (config["body"], config["step"], config["images"]) == ("open", 4, 8)
    assert config["rendering"]["depth_resolution"] == 4
    assert load(trained).sizes == load(trained, RAW).sizes
    averaged, raw = trained.part(GENERATOR), trained.part(RAW)
    assert not torch.equal(averaged["decoder.net.0.weight"], raw["decoder.net.0.weight"])
    assert torch.equal(averaged["backbone.mapping.w_avg"], raw["backbone.mapping.w_avg"])


@pytest.mark.slow
def test_phases_are_logged_when_they_run_and_sheets_are_drawn(trained: Weights) -> None:
    folder = trained.path.parent
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("generator", "discriminator", "density", "r1", "eikonal", "gradient.generator")
    found = {name: [line["step"] for line in lines if name in line] for name in names}
    assert found["generator"] == found["discriminator"] == found["eikonal"] == [1, 2, 3, 4]
    assert (found["density"], found["r1"]) == ([1, 3], [1, 4])
    sheet = np.asarray(Image.open(folder / "sheets" / "fakes000000.png"))
    assert sheet.shape == (SIDE, 2 * SIDE, 3)
    assert (folder / "sheets" / "reals_normal.png").is_file()


@pytest.mark.slow
def test_a_resumed_training_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    more = {"augment": Augmenting(mode="ada", kimg=0.05)}
    half, whole = tmp_path / "half", tmp_path / "whole"
    train(data, half, **more)
    for folder, resume in ((half, True), (whole, False)):
        train(data, folder, resume=resume, loop=Loop(steps=8, log_every=1, save_every=2), **more)
    last = "checkpoints/step-000000008.safetensors"
    found, expected = load_file(half / last), load_file(whole / last)
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert float(expected["augment.p"]) > 0 or float(expected["augment.signs"].sum()) == 0


def test_a_generator_may_begin_as_the_body() -> None:
    generator = generators.build(GeneratorSizes(**NETWORK.model_dump()), Noise.seeded(0, "generator"))
    template = Template.of(open_body("smpl"))
    begin_as_body(generator)
    ws = generator.mapping(torch.randn(1, 8), torch.zeros(1, label.SIZE), rendering=RENDERING)
    places = template.vertices[None, ::50] * 1.01
    found = generator.field(generator.planes(ws), template, 1.9).values(places)
    torch.testing.assert_close(found[0], template.sdf_at(places[0]))


@pytest.mark.slow
def test_a_training_starts_from_weights_without_their_noise(
    trained: Weights, data: Path, tmp_path: Path
) -> None:
    still = settings(data).optim.model_copy(update={"lr": 1e-12, "lr_discriminator": 1e-12})
    found = train(data, tmp_path, start=str(trained.path), start_noise=False, optim=still,
                  loop=Loop(steps=1, save_every=0))  # fmt: skip
    before, after = trained.part(RAW), found.part(RAW)
    for name, value in after.items():
        if name.endswith("w_avg"):
            continue
        is_taken = torch.allclose(value, before[name], rtol=0, atol=1e-6)
        assert is_taken or "noise" in name
    noise = "backbone.synthesis.b8.conv0.noise_strength"
    assert before[noise] != 0
    assert abs(float(after[noise])) < 1e-6


@pytest.mark.slow
def test_weights_of_other_sizes_are_refused(trained: Weights, data: Path, tmp_path: Path) -> None:
    network = NETWORK.model_copy(update={"channel_max": 4})
    with pytest.raises(CheckpointError, match=r"generator_raw: .*found \[8.*this training has \[4"):
        train(data, tmp_path, start=str(trained.path), network=network)


@pytest.mark.parametrize(("part", "name"), [("upper", "codebook"), (GENERATOR, "layers.0.weight")])
def test_weights_of_another_system_are_refused(part: str, name: str, data: Path, tmp_path: Path) -> None:
    path = Weights({part: {name: torch.ones(2)}}, {}, "x", Path("x")).write(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=rf"other.safetensors: nothing in it is of .* it holds {part}"):
        train(data, tmp_path / "run", start=str(path))


@pytest.mark.slow
def test_two_processes_share_a_batch(data: Path, tmp_path: Path) -> None:
    words = settings(data, batch_size=4, loop=Loop(steps=2, log_every=1, save_every=0))
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(words.model_dump(mode="json")))
    launcher = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "avatarctl",
    ]  # fmt: skip
    two = subprocess.run(
        [*launcher, "train", "generative-avatar", "-q", "-c", "tiny.yaml", "--out", "two"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert two.returncode == 0, two.stderr
    assert open_weights(tmp_path / "two" / "weights.safetensors").config["images"] == 8


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rendering": RENDERING.model_copy(update={"is_normal": False})}, "normal_gan"),
        ({"losses": Losses(face_gan=True)}, "img_resolution 32: the discriminators need 128 or more"),
        ({"losses": Losses(normal_gan=False)}, "need 64 or more"),
        ({"batch_size": 3}, "mbstd_group_size"),
        ({"batch_size": 4, "micro_batch": 3}, "3 photos at a time"),
        ({"loop": Loop(ema=0.9)}, "loop.ema"),
        (
            {"network": NETWORK.model_copy(update={"channel_base": 15})},
            "network.channel_base 15: .* 16 pixels",
        ),
        (
            {"critics": CRITICS.model_copy(update={"channel_base": 31})},
            "critics.channel_base 31: .* 32 pixels",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(more: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        check(settings(tmp_path, **more), Run.standalone(tmp_path))


@pytest.mark.parametrize("name", ["img_resolution", "plane_resolution"])
def test_resolutions_are_powers_of_two(name: str) -> None:
    with pytest.raises(ValidationError, match="expected a power of two, as 64 or 128"):
        Network(**{name: 100})


@pytest.mark.parametrize("name", ["deepfashion", "toy", "toy-128"])
def test_presets_go_together(name: str, tmp_path: Path) -> None:
    words = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text("utf-8"))["train"]
    check(Train(**({"data": tmp_path} | words)), Run.standalone(tmp_path))


def test_kimg_become_steps(tmp_path: Path) -> None:
    words = settings(tmp_path, kimg=1, save_kimg=0.1, batch_size=3, loop=Loop(steps=0, save_every=0))
    assert (length_of(words).steps, length_of(words).save_every) == (334, 34)
    assert steps_of(0.0001, words) == 1


def test_photos_of_another_body_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))
    words = settings(data, body="smpl").model_dump(mode="json")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(words))
    code = main(
        ["train", "generative-avatar", "-c", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run")]
    )
    shown = " ".join(capsys.readouterr().err.split())
    assert code != 0
    assert "body smpl: the labels of" in shown
    assert "--body open" in shown
