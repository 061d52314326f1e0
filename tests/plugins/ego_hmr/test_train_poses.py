"""Training of stage 2 on the miniature EgoBody: what is kept, resumed, started from and refused."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import egobody_mini
import numpy as np
import pytest
import small_networks
import torch
from avatarctl_ego_hmr import train_diffusion
from avatarctl_ego_hmr.egobody.annotations import statistics
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.prepare import run as prepare
from avatarctl_ego_hmr.settings_prepare import PrepareEgobody
from avatarctl_ego_hmr.settings_train import (
    BackboneNetwork,
    DiffusionLosses,
    DiffusionNetwork,
    TrainDiffusion,
)
from avatarctl_ego_hmr.train_diffusion import draw, run

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop, Optimizer
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, DataError
from avatarctl.runs import Run

TINY = DiffusionNetwork(
    backbone=BackboneNetwork(width=4, blocks=[1, 1]),
    point_hidden=8,
    point_features=6,
    place_hidden=6,
    place_features=4,
    latent=8,
    hidden=12,
    layers=1,
    head=8,
)


@pytest.fixture(scope="module")
def egobody(tmp_path_factory) -> Path:
    """The miniature EgoBody, of open bodies, with cubes of points."""
    root = tmp_path_factory.mktemp("egobody") / "data"
    spec = importlib.util.spec_from_file_location("mini_egobody", egobody_mini.RECIPES / "mini_egobody.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", str(root)])
        recipe.main()
    (root / "synthetic.json").write_text('{"body": "open"}')
    for split in ("train", "val"):
        settings = PrepareEgobody(data=root, step="cube-gt", split=split, points=100)
        prepare(settings, Run.standalone(tmp_path_factory.mktemp("prepared"), settings=settings))
    return root


@pytest.fixture(scope="module")
def coap(tmp_path_factory) -> str:
    """A small COAP of open bodies."""
    return str(small_networks.write_weights(tmp_path_factory.mktemp("coap") / "coap.safetensors", "coap"))


def loop(steps: int = 6) -> Loop:
    return Loop(steps=steps, log_every=1, validate_every=3, save_every=3)


def train(egobody: Path, folder: Path, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    given = {"data": egobody, "batch_size": 2, "network": TINY, "loop": loop(), "validate_spacing": 2}
    settings = TrainDiffusion(**{**given, "collision": "none", **more})
    this = Run.standalone(folder, settings=settings)
    this.resume = resume
    run(settings, this)
    return open_weights(folder / "weights.safetensors")


def logged(folder: Path, split: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def trained(egobody, coap, tmp_path_factory) -> Weights:
    """Weights after two epochs of three steps, the second with collisions."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return train(egobody, folder, collision=coap, collision_epoch=1)


@pytest.mark.slow
def test_the_weights_hold_the_network_the_statistics_and_whose_bodies_it_knows(trained, egobody):
    network = load(trained, "diffusion", torch.device("cpu"))
    assert set(trained.parts) == {"diffusion"}
    assert trained.config["body"] == "open"
    assert network.sizes.hidden == TINY.hidden
    arrays = egobody_mini.arrays_of(egobody, "train")
    poses = np.concatenate([arrays["global_orient_pv"], arrays["pose"]], axis=1).reshape(-1, 24, 3)
    mean, std = statistics(poses)
    np.testing.assert_allclose(network.pose_mean, mean, atol=1e-6)
    np.testing.assert_allclose(network.pose_std, std, atol=1e-6)


@pytest.mark.slow
def test_collisions_count_from_their_epoch_on(trained):
    steps = logged(trained.path.parent, "train")
    assert {"total", *DiffusionLosses.model_fields} - {"collision"} <= steps[0].keys()
    assert [("collision" in line) for line in steps] == [False] * 3 + [True] * 3


@pytest.mark.slow
def test_the_best_weights_have_the_least_error_of_visible_joints(trained):
    folder = trained.path.parent
    scores = logged(folder, "valid")
    assert [line["step"] for line in scores] == [3, 6]
    assert {"mpjpe_visible", "loss", "v2v", "keypoints_3d"} <= scores[0].keys()
    best = json.loads((folder / "checkpoints" / "best.pt").read_text())
    assert best["step"] == min(scores, key=lambda line: line["mpjpe_visible"])["step"]


@pytest.mark.slow
def test_a_resumed_training_goes_on_bit_for_bit(trained, egobody, coap, tmp_path):
    given = {"collision": coap, "collision_epoch": 1}
    train(egobody, tmp_path, loop=loop(3), **given)
    resumed = train(egobody, tmp_path, resume=True, **given).part("diffusion")
    expected = trained.part("diffusion")
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())


@pytest.mark.slow
def test_a_training_goes_on_from_weights_with_their_sizes_and_statistics(trained, egobody, tmp_path):
    still = {"optim": {"lr": 1e-12, "weight_decay": 0.0}, "network": DiffusionNetwork()}
    start = str(trained.path)
    found = train(egobody, tmp_path, start=start, loop=loop(1), validate_spacing=0, **still).part("diffusion")
    for name in ("beta_layer.layers.0.weight", "diffusion_model.gconv_output.W", "pose_mean", "pose_std"):
        torch.testing.assert_close(found[name], trained.part("diffusion")[name], rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_training_starts_from_the_mean_shape_of_its_file(egobody, tmp_path):
    shape = np.linspace(-1, 1, 10)
    np.savez(tmp_path / "means.npz", shape=shape, cam=[0.9, 0, 0], pose=np.zeros(144))
    given = {"mean_params": tmp_path / "means.npz", "validate_spacing": 0, "loop": loop(1)}
    found = train(egobody, tmp_path / "run", **given).part("diffusion")
    np.testing.assert_allclose(found["beta_layer.init_betas"][0], shape, atol=1e-6)


@pytest.mark.slow
def test_a_training_learns_the_poses(egobody, tmp_path):
    # The recordings' joints are not those of open bodies.
    losses = DiffusionLosses(keypoints_3d=0, keypoints_3d_full=0, keypoints_2d_full=0)
    train(
        egobody,
        tmp_path,
        loop=Loop(steps=20, log_every=1, validate_every=0, save_every=0),
        batch_size=6,
        augment=False,
        validate_spacing=0,
        optim=Optimizer(lr=1e-2),
        losses=losses,
    )
    errors = [line["v2v"] for line in logged(tmp_path, "train")]
    assert max(errors[-3:]) < 0.5 * errors[0]


def test_images_are_withheld_as_often_as_said():
    kept = draw(Noise.seeded(0, "draw"), 4000, 0.25)
    assert float(kept.keep_image.float().mean()) == pytest.approx(0.75, abs=0.03)  # four deviations
    assert draw(Noise.seeded(0, "draw"), 100, 0.0).keep_image.all()
    assert set(kept.steps.tolist()) == set(range(50))
    assert float(kept.noise.std()) == pytest.approx(1, abs=0.01)


def test_surfaces_are_drawn_alike_however_a_batch_is_shared():
    """Each body has its own stream, by its place in the whole batch."""
    network, vertices = small_networks.network("coap"), torch.randn(4, 6890, 3)
    whole = train_diffusion.surfaces(3, 7, torch.arange(4))(network.partition, vertices, torch.arange(4))
    half = train_diffusion.surfaces(3, 7, torch.tensor([2, 3]))
    second = half(network.partition, vertices[2:], torch.arange(2))
    assert torch.equal(whole[torch.tensor([2, 3])].faces, second.faces)
    assert torch.equal(whole[torch.tensor([2, 3])].uv, second.uv)


def collision_of(tmp_path: Path, words: str, people: Any = None, **more: Any) -> Any:
    settings = TrainDiffusion(collision=words, **more)
    return train_diffusion.collision_of(settings, Run.standalone(tmp_path, settings=settings), people)


def test_the_collision_network_is_wanted_unless_it_is_switched_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"collision: coap_smpl_neutral\.ckpt: no such") as failure:
        collision_of(tmp_path, TrainDiffusion().collision)
    assert "--collision none" in failure.value.hint
    assert collision_of(tmp_path, "none") is None
    assert collision_of(tmp_path, "nothing.ckpt", losses=DiffusionLosses(collision=0)) is None


def test_weights_without_a_collision_network_are_refused(tmp_path):
    path = small_networks.write_weights(tmp_path / "scene.safetensors", "scene")
    with pytest.raises(CheckpointError, match="collision"):
        collision_of(tmp_path, str(path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "16"], "6 people in its train split, fewer than a batch of 16"),
        (["--batch-size", "2", "--points", "front"], "avatarctl prepare egobody"),
        (["--batch-size", "2"], "--collision none"),
        (["--batch-size", "2", "--backbone", "nothing.pt", "--collision", "none"], "nothing.pt"),
        (["--image-drop", "1"], "image-drop"),
    ],
)
def test_what_cannot_be_trained_is_a_line(words, message, egobody, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "ego-hmr", "--stage", "diffusion", "--data", str(egobody), *words]) != 0
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
