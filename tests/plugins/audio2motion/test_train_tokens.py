"""Training of codec and guide on a small store: what is learned, kept, resumed and refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from avatarctl_audio2motion.model import load
from avatarctl_audio2motion.settings_train import CodecNetwork, GuideNetwork, TrainGuide, TrainVqvae
from avatarctl_audio2motion.train_tokens import (
    guide_loss,
    run_guide,
    run_vqvae,
    shifted,
    vqvae_losses,
    warmed_up,
)
from tiny import SMALL, voices, write_weights

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop, Optimizer
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl.quantize import Quantized
from avatarctl.runs import Run

CODEC = CodecNetwork(width=16, codes=16, depth=2)
GUIDE = GuideNetwork(**SMALL, audio_layers=1)
SHORT: dict[str, Any] = {"frames": 90, "batch_size": 4, "validate_items": 2, "warm_up": 2}


def loop(steps: int = 4) -> Loop:
    return Loop(steps=steps, log_every=1, validate_every=2, save_every=2)


def train(store: Path, folder: Path, stage: str, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    settings: Any
    given = {"store": store, "loop": loop(), **SHORT, **more}
    if stage == "vqvae":
        settings, function = TrainVqvae(**{"network": CODEC, **given}), run_vqvae
    else:
        settings, function = TrainGuide(**{"network": GUIDE, **given}), run_guide
    run = Run.standalone(folder, settings=settings)
    run.resume = resume
    function(settings, run)
    return open_weights(folder / "weights.safetensors")


def logged(folder: Path, split: str = "train") -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def trained(small_store, tmp_path_factory) -> dict[str, Weights]:
    """Weights of both after a few steps, by stage."""
    root = tmp_path_factory.mktemp("trained")
    found = {"vqvae": train(small_store, root / "vqvae", "vqvae")}
    found["guide"] = train(small_store, root / "guide", "guide", vqvae=str(found["vqvae"].path))
    return found


def test_the_guide_s_weights_make_key_poses_on_their_own(trained):
    weights = trained["guide"]
    guide, codec = (load(weights, part, torch.device("cpu")) for part in ("guide", "codec"))

    codes = guide.generate(voices(3)[None], 3, 0.9, lambda chances: chances.argmax(dim=-1))
    keys = codec.decode(codes)

    assert set(weights.parts) == {"guide", "codec", "stats"}
    assert weights.config["person"] == "nobody"
    assert keys.shape == (1, 3, 104)
    assert torch.isfinite(keys).all()
    codes = trained["vqvae"].part("codec")
    assert all(torch.equal(tensor, codes[name]) for name, tensor in weights.part("codec").items())


def test_a_guide_is_as_long_as_its_pieces(trained):
    assert trained["guide"].part("guide")["null_tokens"].shape == (1, 298, 16)


@pytest.mark.parametrize(("stage", "part"), [("vqvae", "codec"), ("guide", "guide")])
def test_a_resumed_training_goes_on_bit_for_bit(stage, part, trained, small_store, tmp_path):
    more = {"vqvae": str(trained["vqvae"].path)} if stage == "guide" else {}
    train(small_store, tmp_path, stage, loop=loop(2), **more)

    resumed = train(small_store, tmp_path, stage, resume=True, **more)

    expected = trained[stage].part(part)
    assert resumed.part(part).keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.part(part).items())


def test_revived_codes_are_resumed_bit_for_bit_too(small_store, tmp_path):
    straight = train(small_store, tmp_path / "a", "vqvae", revive_below=0.5)
    train(small_store, tmp_path / "b", "vqvae", revive_below=0.5, loop=loop(2))

    resumed = train(small_store, tmp_path / "b", "vqvae", revive_below=0.5, resume=True)

    expected = straight.part("codec")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.part("codec").items())


def test_a_codec_learns_poses(small_store, tmp_path):
    long = Loop(steps=300, log_every=50, validate_every=0, save_every=0)
    train(small_store, tmp_path, "vqvae", loop=long, revive_below=0.02, optim=Optimizer(lr=3e-3))

    errors = [line["reconstruction"] for line in logged(tmp_path)]
    assert errors[-1] < 0.8 * errors[0]


def test_a_guide_learns_codes_better_than_guessing(trained, small_store, tmp_path):
    long = Loop(steps=40, log_every=10, validate_every=0, save_every=0)
    train(
        small_store,
        tmp_path,
        "guide",
        vqvae=str(trained["vqvae"].path),
        loop=long,
        optim=Optimizer(lr=1e-2),
        smoothing=0.0,
    )

    errors = [line["total"] for line in logged(tmp_path)]
    assert errors[-1] < 0.7 * min(errors[0], math.log(16))


def test_only_the_front_end_of_a_guide_stays_as_it_was(trained, small_store, tmp_path):
    before = trained["guide"]

    after = train(
        small_store,
        tmp_path,
        "guide",
        vqvae=str(trained["vqvae"].path),
        start=str(before.path),
        loop=loop(1),
        keep="last",
        condition_drop=0.5,
    )

    old, new = before.part("guide"), after.part("guide")
    frozen = {name for name in old if name.startswith("front_end.")}
    assert len(frozen) == 15
    assert {name for name in new if not torch.equal(new[name], old[name])} == old.keys() - frozen


def test_a_guide_takes_the_front_end_of_a_face(trained, small_store, tmp_path):
    audio = write_weights(tmp_path / "face.safetensors", parts="face")

    made = train(
        small_store,
        tmp_path / "run",
        "guide",
        vqvae=str(trained["vqvae"].path),
        audio=str(audio),
        network=GuideNetwork(**{**SMALL, "audio": GuideNetwork().audio}, audio_layers=1),
        loop=loop(1),
    )

    name = "front_end.conv_layers.1.0.weight"
    assert torch.equal(made.part("guide")[name], open_weights(audio).part("face")[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"person": "somebody"}, "the codec is of person 'somebody', the store of 'nobody'"),
        ({"networks": {}}, "has no 'codec' network"),
    ],
)
def test_a_codec_that_does_not_fit_is_a_line(change, words, trained, small_store, tmp_path):
    source = trained["vqvae"]
    other = Weights(source.parts, {**source.config, **change}, source.kind, source.path)
    path = other.write(tmp_path / "other.safetensors")

    with pytest.raises(CheckpointError, match=words):
        train(small_store, tmp_path / "run", "guide", vqvae=str(path))


def test_a_guide_to_another_codec_is_a_line(trained, small_store, tmp_path):
    more = {"network": CodecNetwork(width=16, codes=8, depth=2), "loop": loop(1)}
    other = train(small_store, tmp_path / "codec", "vqvae", **more)

    with pytest.raises(CheckpointError, match="a guide to a codec of codes 16; this codec has 8"):
        train(small_store, tmp_path / "run", "guide", vqvae=str(other.path), start=str(trained["guide"].path))


def test_the_guide_finds_the_latest_codec(small_store, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path))
    preset = tmp_path / "tiny.yaml"
    preset.write_text(json.dumps({"frames": 60, "warm_up": 0, "loop": {"steps": 1}, "validate_items": 0}))
    words = ["train", "audio2motion", "-c", str(preset), "--store", str(small_store), "--stage"]
    guide = [f"--set=network.{name}={json.dumps(value)}" for name, value in GUIDE.model_dump().items()]

    assert main([*words, "guide", *guide]) != 0
    assert "vqvae" in capsys.readouterr().err
    assert main([*words, "vqvae"]) == 0
    assert main([*words, "guide", *guide]) == 0

    manifest = json.loads((tmp_path / "train-audio2motion-guide" / "002" / "manifest.json").read_text())
    assert any("train-audio2motion-vqvae/001" in item["path"] for item in manifest["inputs"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["vqvae", "--frames", "100"], 3, "frames"),
        (["guide", "--set", "network.heads=3"], 3, "width 64: expected an even multiple of heads, 3"),
        (["vqvae", "--velocity-along", "joints"], 3, "velocity-along"),
        (["vqvae", "--frames", "600"], 5, "the longest of 3 scenes has 260 frames"),
    ],
)
def test_what_cannot_be_trained_is_a_line(words, code, message, small_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["--store", str(small_store), "--validate-items", "0"]

    assert main(["train", "audio2motion", "--stage", *words, *given]) == code
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_the_codec_of_one(small_store, tmp_path, monkeypatch, in_two_processes):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))
    preset = tmp_path / "tiny.yaml"
    words = {**SHORT, "network": CODEC.model_dump(), "loop": loop().model_dump(), "revive_below": 0.1}
    preset.write_text(json.dumps(words))
    stage = ["train", "audio2motion", "--stage", "vqvae", "-c", str(preset), "--store", str(small_store)]
    together, alone = ([*stage, "--out", str(tmp_path / name)] for name in ("together", "alone"))
    in_two_processes(*together)
    assert main(alone) == 0

    made = {name: open_weights(tmp_path / name / "weights.safetensors") for name in ("together", "alone")}
    for name, tensor in made["alone"].part("codec").items():
        # Summed in another order over the ranks.
        torch.testing.assert_close(made["together"].part("codec")[name], tensor, rtol=1e-4, atol=1e-5)


def rates(settings: TrainVqvae | TrainGuide, first: int, steps: list[int]) -> list[float]:
    weight = torch.nn.Parameter(torch.zeros(1))
    schedule = warmed_up(torch.optim.SGD([weight], lr=1.0), settings, first)
    return [schedule.lr_lambdas[0](step) for step in steps]


def test_the_codec_s_rate_rises_over_the_first_999_steps_and_stays_below_its_peak():
    settings = TrainVqvae(milestones=[2000], gamma=0.05)

    found = rates(settings, 2, [0, 500, 998, 999, 1999, 2000])

    kept = 1000 / 1001
    assert found == pytest.approx([2 / 1001, 502 / 1001, kept, kept, kept, 0.05 * kept])


def test_the_guide_s_rate_rises_over_the_first_5000_steps():
    found = rates(TrainGuide(), 1, [0, 4999, 5000, 49_999, 50_000, 400_000])

    kept = 5000 / 5001
    assert found == pytest.approx([1 / 5001, kept, kept, kept, 0.1 * kept, 0.01 * kept])


def test_without_warm_up_the_rate_is_the_peak():
    assert rates(TrainVqvae(warm_up=0), 2, [0, 10]) == [1.0, 1.0]


def test_published_differences_run_along_the_numbers_of_a_pose():
    true = Noise.seeded(0, "poses").normal((2, 5, 104))
    quantized = Quantized(true, torch.zeros(2, 5, 2), torch.zeros(2, 5))
    later = true + torch.arange(5.0)[None, :, None]  # one more each key pose, alike in all numbers

    along_time, along_numbers = (
        vqvae_losses(later, quantized, true, TrainVqvae(velocity=1.0, velocity_along=axis))
        for axis in ("time", "channels")
    )

    assert float(along_time["velocity"]) == pytest.approx(0.5, rel=1e-4)  # smooth L1 of 1
    assert float(along_numbers["velocity"]) == pytest.approx(0.0, abs=1e-6)
    assert float(along_time["total"] - along_numbers["total"]) == pytest.approx(0.5, rel=1e-4)


def test_each_code_is_told_from_the_token_before_it():
    codes = torch.tensor([[[1, 2], [3, 4]]])

    assert shifted(codes, 16).tolist() == [[16, 1, 2, 3]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_guide_s_loss_is_the_smoothed_cross_entropy(smoothing):
    logits = Noise.seeded(0, "logits").normal((1, 4, 6)).double()
    codes = torch.tensor([[[1, 2], [3, 4]]])

    chances = logits.exp() / logits.exp().sum(-1, keepdim=True)
    targets = torch.full((4, 6), smoothing / 6, dtype=torch.float64)
    targets[torch.arange(4), codes.flatten()] += 1 - smoothing
    expected = -(targets * chances[0].log()).sum(-1).mean()

    assert float(guide_loss(logits, codes, smoothing)) == pytest.approx(float(expected), rel=1e-9)
