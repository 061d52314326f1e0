"""Training on a tiny recording: what is kept, resumed, started from and refused."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import raw_miniature
import torch
import va_recording
import yaml
from avatarctl_video_avatar import official
from avatarctl_video_avatar.losses import Criterion
from avatarctl_video_avatar.model.avatar import AvatarSizes, build, load
from avatarctl_video_avatar.plugin import avatarctl_weights
from avatarctl_video_avatar.pretraining import pretrain
from avatarctl_video_avatar.settings_train import Rates, Train, frames_of
from avatarctl_video_avatar.train import learn, length_of, optimizer_of, run, schedule_of
from avatarctl_video_avatar.training import Ahead, Drawn, Setup
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, SettingsError
from avatarctl.metrics.image import Lpips
from avatarctl.runs import Run

SMALL = AvatarSizes(img_resolution=16, img_channels=8, hidden=16, features=8, skinning_hidden=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return va_recording.write(tmp_path_factory.mktemp("recording") / "Somebody")


def train(data: Path, folder: Path, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    settings = va_recording.settings(data, **more)
    this = Run.standalone(folder, settings=settings)
    this.resume = resume
    run(settings, this)
    return open_weights(folder / "weights.safetensors")


def logged(folder: Path, split: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


def loop(steps: int) -> Loop:
    return Loop(steps=steps, log_every=1, validate_every=2, save_every=2)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Weights after four steps."""
    return train(data, tmp_path_factory.mktemp("trained") / "run")


@pytest.mark.slow
def test_the_weights_say_whose_avatar_they_are_and_how_it_is_rendered(trained: Weights) -> None:
    assert list(trained.parts) == ["avatar"]
    config = trained.config
    assert (config["body"], config["subject"], config["step"]) == ("open", "Somebody", 4)
    assert config["rendering"]["n_samples"] == 8
    assert config["validate_views"] == ["1"]
    assert load(trained, CPU).sizes == SMALL


@pytest.mark.slow
def test_every_term_is_logged_and_without_lpips_the_best_has_the_highest_psnr(trained: Weights) -> None:
    folder = trained.path.parent
    steps, scores = logged(folder, "train"), logged(folder, "valid")
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert {"total", "rgb", "mse", "nssim", "eikonal", "mask", "skinning"} <= steps[0].keys()
    best = json.loads((folder / "checkpoints" / "best.pt").read_text())
    assert best["step"] == max(scores, key=lambda line: line["psnr"])["step"]


def command(place: Path, *words: str) -> subprocess.Popen[str]:
    """The command, in a process of its own that works in a folder."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AVATARCTL_RUNS": str(place / "runs")}
    whole = [sys.executable, "-m", "avatarctl", "train", "video-avatar", "-q", *words]
    return subprocess.Popen(whole, env=environment, cwd=place, text=True, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_bit_for_bit(data: Path, tmp_path: Path) -> None:
    settings = va_recording.settings(data, loop=loop(12), validate_views=[])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    killed, whole = tmp_path / "runs" / "train-video-avatar" / "001", tmp_path / "whole"
    process = command(tmp_path, "-c", "tiny.yaml")
    while not (killed / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert json.loads((killed / "manifest.json").read_text())["status"] == "running"
    for words in (["--resume", "last"], ["-c", "tiny.yaml", "--out", str(whole)]):
        process = command(tmp_path, *words)
        trouble = process.communicate()[1]
        assert process.returncode == 0, trouble
    last = "checkpoints/step-000000012.safetensors"
    found, expected = load_file(killed / last), load_file(whole / last)
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
    assert (killed / "weights.safetensors").read_bytes()[-1000:] == (
        whole / "weights.safetensors"
    ).read_bytes()[-1000:]
    steps = [[line["total"] for line in logged(folder, "train")] for folder in (killed, whole)]
    assert steps[0] == steps[1]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    data: Path, tmp_path: Path, in_two_processes: Callable[..., None]
) -> None:
    settings = va_recording.settings(data, loop=loop(3))
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    in_two_processes("train", "video-avatar", "-q", "-c", str(preset), "--out", str(tmp_path / "two"))
    train(data, tmp_path / "one", loop=loop(3))
    for split, names in (("train", ("total", "rgb", "mask", "skinning")), ("valid", ("psnr", "ssim"))):
        pairs = zip(logged(tmp_path / "one", split), logged(tmp_path / "two", split), strict=True)
        for one, other in pairs:
            for name in names:
                assert other[name] == pytest.approx(one[name], rel=1e-4)


@pytest.mark.slow
def test_a_training_goes_on_from_weights_where_their_steps_end(
    trained: Weights, data: Path, tmp_path: Path
) -> None:
    still = Rates(lr=1e-12, lr_pose_decoder=1e-12, lr_skinning_model=1e-12, decade=2.0)
    found = train(
        data,
        tmp_path,
        start=str(trained.path),
        loop=loop(6),
        optim=still,
        network=va_recording.settings(data).network,
    )
    assert found.config["step"] in (5, 6)
    assert [line["step"] for line in logged(tmp_path, "train")] == [5, 6]
    assert logged(tmp_path, "train")[0]["lr.optimizer"] == pytest.approx(1e-12 * 0.1 ** (5 / 2.0))
    for name, tensor in trained.part("avatar").items():
        torch.testing.assert_close(found.part("avatar")[name], tensor, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_an_official_training_goes_on(tmp_path: Path) -> None:
    place = va_recording.write(tmp_path / "CoreView_377", raw_miniature.body())
    avatar = build(AvatarSizes(img_resolution=16), Noise.seeded(0, "avatar"))
    parts = {"avatar": avatar.state_dict(), "lpips": lpips_tensors()}
    config = {"networks": {"avatar": avatar.sizes.stored()}, "body": "smpl", "step": 7}
    (path,) = official.write(Weights(parts, config, "hfavatar", tmp_path), tmp_path)
    settings = va_recording.settings(
        place, start=str(path), loop=loop(8), body_models=raw_miniature.body_models(), optim=Rates(lr=1e-12)
    )
    this = Run.standalone(tmp_path / "run", settings=settings)
    this.declared_weights = tuple(avatarctl_weights())
    run(settings, this)
    (step,), (score,) = logged(tmp_path / "run", "train"), logged(tmp_path / "run", "valid")
    assert step["step"] == 8
    assert step["perceptual"] > 0
    assert score["lpips"] > 0
    assert json.loads((tmp_path / "run" / "checkpoints" / "best.pt").read_text())["step"] == 8
    found = open_weights(tmp_path / "run" / "weights.safetensors")
    torch.testing.assert_close(
        found.part("avatar")["sdf_network.planes"], avatar.sdf_network.planes.detach(), rtol=0, atol=1e-9
    )


def lpips_tensors() -> dict[str, Tensor]:
    """Made-up tensors of LPIPS."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Lpips().state_dict().items()}
    noise = Noise.seeded(1, "lpips")
    made = {name: noise.normal(shape) / max(1, shape[1:].numel()) ** 0.5 for name, shape in shapes.items()}
    return {name: tensor if name.startswith("net.") else tensor.abs() + 0.1 for name, tensor in made.items()}


@pytest.mark.slow
def test_a_training_learns(data: Path, tmp_path: Path) -> None:
    fast = Rates(lr=5e-3, lr_skinning_model=1e-2)
    train(data, tmp_path, loop=Loop(steps=50, log_every=10), validate_views=[], optim=fast)
    losses = [line["mse"] for line in logged(tmp_path, "train")]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_the_missing_perceptual_network_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        train(data, tmp_path / "run", loop=loop(1), validate_views=[])
    assert "LPIPS (vgg) was not found" in caplog.text
    assert "no perceptual term, fine texture stays softer" in caplog.text
    assert "vgg16-397923af.pth" in caplog.text


def test_pictures_of_a_step_have_the_mean_gradient(data: Path, tmp_path: Path) -> None:
    """Pictures go backward one by one; the sum over both must be that of their mean."""
    settings = va_recording.settings(data)
    setup = Setup.of(settings, Run.standalone(tmp_path))
    avatar = build(SMALL, Noise.seeded(0, "avatar"))
    criterion, subject = Criterion(settings.losses, None), setup.items.subject
    noise = Noise.seeded(0, "draws")
    drawn = [
        Drawn(sample := setup.items.training(index, noise), noise.uniform((len(sample.rays),)))
        for index in (0, 1)
    ]

    def gradients(chosen: list[Drawn]) -> tuple[Tensor, dict[str, Tensor]]:
        avatar.zero_grad(set_to_none=True)
        terms = learn(avatar, subject, chosen, criterion, settings.rendering, 3)
        terms["total"].backward()
        grads = {name: one.grad.clone() for name, one in avatar.named_parameters() if one.grad is not None}
        return terms["total"].detach(), grads

    (first, one), (second, other), (mean, both) = (gradients(part) for part in (drawn[:1], drawn[1:], drawn))
    torch.testing.assert_close(mean, (first + second) / 2)
    assert "pose_decoder.block_mlps.0.weight" in both, "poses are refined from step 2 on"
    for name, grad in both.items():
        wanted = (one[name] + other[name]) / 2
        torch.testing.assert_close(grad, wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()) + 1e-8)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_picture_comes_once_an_epoch_and_draws_depend_on_the_step_alone(workers: int) -> None:
    def sample(index: int, noise: Noise) -> Any:
        return Sample(index, float(noise.uniform((1,))))

    class Sample:
        def __init__(self, index: int, draw: float) -> None:
            self.index, self.draw, self.rays = index, draw, range(3)

    with Ahead(sample, 5, 2, seed=1, workers=workers) as ahead:
        assert ahead.steps_per_epoch == 3
        steps = [ahead(step) for step in range(6)]
        again = ahead(2)
    for epoch in (steps[:3], steps[3:]):
        indices = [drawn.sample.index for step in epoch for drawn in step]
        assert sorted(indices[:5]) == list(range(5))
        assert indices[5] == indices[0], "the last batch is filled up"
    assert len({drawn.sample.draw for step in steps for drawn in step}) == 12
    assert [drawn.sample.draw for drawn in again] == [drawn.sample.draw for drawn in steps[2]]
    assert torch.equal(again[0].shift, steps[2][0].shift)


def test_what_fails_in_a_thread_fails_the_step() -> None:
    def broken(index: int, noise: Noise) -> Any:
        raise SettingsError("no such picture")

    with (
        Ahead(broken, 1, 1, seed=0, workers=1) as ahead,
        pytest.raises(SettingsError, match="no such picture"),
    ):
        ahead(0)


def test_rates_are_those_of_the_groups_and_fall_by_a_decade() -> None:
    avatar = build(SMALL, Noise.seeded(0, "avatar"))
    optimizer = optimizer_of(avatar, Rates(decade=100.0))
    schedule = schedule_of(optimizer, Rates(decade=100.0), done=50)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    wanted = {"others": 5e-4, "pose_decoder": 5e-5, "skinning_model": 1e-4}
    assert rates == pytest.approx({name: rate * 0.1**0.5 for name, rate in wanted.items()})
    for _ in range(50):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-5)
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert held == {id(one) for one in avatar.parameters()}


def test_pretraining_teaches_the_weights_of_the_nearest_vertices(data: Path, tmp_path: Path) -> None:
    this = Run.standalone(tmp_path)
    setup = Setup.of(va_recording.settings(data), this)
    errors = [
        pretrain(
            build(replace(SMALL, skinning_hidden=64), Noise.seeded(0, "avatar")),
            setup.body,
            setup.data.canonical,
            steps,
            Noise.seeded(0, "pretraining"),
            this,
            points=500,
        )
        for steps in (1, 100)
    ]
    assert errors[1] < 0.6 * errors[0]


def test_epochs_make_steps_and_steps_go_before() -> None:
    found = length_of(Train(data=Path()), per_epoch=300, done=0)
    assert (found.steps, found.validate_every, found.save_every) == (300_000, 3000, 3000)
    given = Train(data=Path(), loop=Loop(steps=50, validate_every=7, save_every=0), save_epochs=0)
    found = length_of(given, per_epoch=300, done=0)
    assert (found.steps, found.validate_every, found.save_every) == (50, 7, 0)
    with pytest.raises(SettingsError, match="the weights have 50 steps, and the training ends after 50"):
        length_of(given, per_epoch=300, done=50)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("0:300", slice(0, 300, None)), ("500:-1:100", slice(500, -1, 100)), (":", slice(None, None, None))],
)
def test_frames_are_slices(words: str, wanted: slice) -> None:
    assert frames_of(Train(data=Path(), frames=words).frames) == wanted


@pytest.mark.parametrize("words", ["300", "0:300:0", "a:b", "0:3:1:2", ""])
def test_what_is_no_slice_is_refused(words: str) -> None:
    with pytest.raises(ValidationError, match="expected START:END or START:END:STEP"):
        Train(data=Path(), frames=words)


def stored(folder: Path, **config: Any) -> Path:
    """Fresh weights with a configuration of their own."""
    avatar = build(SMALL, Noise.seeded(0, "avatar"))
    about = {"networks": {"avatar": avatar.sizes.stored()}, "body": "open", "subject": "Somebody", "step": 3}
    return Weights({"avatar": avatar.state_dict()}, about | config, "avatar", folder).write(
        folder / "weights.safetensors"
    )


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"subject": "Nobody"}, CheckpointError, "person: found Nobody, but .*Somebody has Somebody"),
        ({"body": "smpl"}, CheckpointError, "bodies: found smpl, but .*Somebody has open"),
        ({"step": 4}, SettingsError, "the weights have 4 steps, and the training ends after 4"),
    ],
)
def test_weights_that_do_not_belong_are_refused(
    config: dict[str, Any], error: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(data, tmp_path / "run", start=str(stored(tmp_path, **config)))


@pytest.mark.slow
def test_other_settings_than_those_of_the_weights_are_told(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stored(tmp_path, rendering={"n_samples": 64, "n_iter_backward": 2})
    with caplog.at_level(logging.INFO):
        train(data, tmp_path / "run", start=str(path), validate_views=[], network={})
    assert "network.img_resolution is 16, as in the weights; the settings say 512" in caplog.text
    assert "was trained with rendering.n_samples 64; goes on with 8" in caplog.text
    assert "n_iter_backward" not in caplog.text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--data", "nothing"], 5, "no mesh_infos.pkl"),
        (["--views", "[]"], 3, "views"),
        (["--views", "7"], 5, "no view '7'; there are 0, 1"),
        (["--frames", "90:99"], 3, "frames 90:99.* none of the 3 of view '0'"),
        (["--validate-views", "5"], 5, "validation: .*no view '5'"),
        (["--epochs", "0"], 3, "epochs"),
        (["--set", "patches.patch_size=64"], 3, "patches.patch_size: 64 pixels"),
        (["--precision", "bf16"], 3, "need fp32"),
        (["--lpips", "nothing.pth"], 5, "nothing.pth"),
        (["--start", "nothing.ckpt"], 5, "nothing.ckpt"),
        (["--set", "network.deform=nonrigid", "--pretrain-skinning", "5"], 3, "has no skinning network"),
    ],
)
def test_what_cannot_be_trained_is_a_line(
    words: list[str],
    code: int,
    message: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = va_recording.settings(data)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    found = main(["train", "video-avatar", "-c", "tiny.yaml", *words])
    text = " ".join(capsys.readouterr().err.split())
    assert found == code, text
    assert re.search(message, text), text
    assert "Traceback" not in text
