"""Training of stage 1 on the miniature EgoBody: what is kept, resumed, started from and refused."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.model.networks import build, load
from avatarctl_ego_hmr.prepare import run as prepare
from avatarctl_ego_hmr.settings_prepare import PrepareEgobody
from avatarctl_ego_hmr.settings_train import BackboneNetwork, SceneNetwork, TrainScene
from avatarctl_ego_hmr.train_scene import read_mocap, run
from avatarctl_ego_hmr.training import start_backbone, start_means

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop, Optimizer
from avatarctl.errors import CheckpointError, DataError
from avatarctl.runs import Run

RECIPE = Path(__file__).parents[3] / "fixtures" / "parity" / "ego-hmr" / "mini_egobody.py"
TINY = SceneNetwork(
    backbone=BackboneNetwork(width=4, blocks=[1, 1]),
    point_hidden=8,
    point_features=6,
    layers=2,
    hidden=16,
    depth=1,
    head=12,
    critic=8,
)


@pytest.fixture(scope="module")
def egobody(tmp_path_factory) -> Path:
    """The miniature EgoBody, of open bodies, with points in front of the camera."""
    root = tmp_path_factory.mktemp("egobody")
    spec = importlib.util.spec_from_file_location("mini_egobody", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    before, sys.argv = sys.argv, ["", str(root)]
    try:
        recipe.main()
    finally:
        sys.argv = before
    (root / "synthetic.json").write_text('{"body": "open"}')
    for split in ("train", "val"):
        settings = PrepareEgobody(data=root, step="front", split=split, points=100)
        prepare(settings, Run.standalone(tmp_path_factory.mktemp("prepared"), settings=settings))
    return root


@pytest.fixture(scope="module")
def mocap(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mocap") / "cmu_mocap.npz"
    random = np.random.default_rng(0)
    poses, betas = 0.2 * random.normal(size=(20, 72)), random.normal(size=(20, 10))
    np.savez(path, body_pose=poses.astype(np.float32), betas=betas.astype(np.float32))
    return path


def loop(steps: int = 4) -> Loop:
    return Loop(steps=steps, log_every=1, validate_every=2, save_every=2)


def train(egobody: Path, folder: Path, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    settings = TrainScene(**{"data": egobody, "batch_size": 2, "network": TINY, "loop": loop(), **more})
    this = Run.standalone(folder, settings=settings)
    this.resume = resume
    run(settings, this)
    return open_weights(folder / "weights.safetensors")


def logged(folder: Path, split: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def trained(egobody, mocap, tmp_path_factory) -> Weights:
    """Weights after four steps."""
    return train(egobody, tmp_path_factory.mktemp("trained") / "run", mocap=mocap)


@pytest.mark.slow
def test_the_weights_hold_the_network_and_whose_bodies_it_knows(trained):
    network = load(trained, "scene", torch.device("cpu"))
    assert set(trained.parts) == {"scene"}
    assert trained.config["body"] == "open"
    assert network.sizes.hidden == TINY.hidden
    assert bool(network.initialized)
    assert all(bool(one.initialized) for one in network.flow.flow.transforms[::3])


@pytest.mark.slow
def test_every_term_is_logged_and_the_best_has_the_least_error_of_joints(trained):
    folder = trained.path.parent
    steps, scores = logged(folder, "train"), logged(folder, "valid")
    assert [line["step"] for line in scores] == [2, 4]
    assert {"total", "generator", "discriminator", "adversarial", "nll", "v2v_mode"} <= steps[0].keys()
    assert {"loss", "nll", "keypoints_3d_mode", "keypoints_2d_full_exp"} <= scores[0].keys()
    best = json.loads((folder / "checkpoints" / "best.pt").read_text())
    assert best["step"] == min(scores, key=lambda line: line["keypoints_3d_mode"])["step"]


@pytest.mark.slow
def test_a_resumed_training_goes_on_bit_for_bit(trained, egobody, mocap, tmp_path):
    train(egobody, tmp_path, mocap=mocap, loop=loop(2))
    resumed = train(egobody, tmp_path, mocap=mocap, resume=True).part("scene")
    expected = trained.part("scene")
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.items())


@pytest.mark.slow
def test_without_recorded_poses_the_discriminator_rests_and_that_is_told(egobody, tmp_path, caplog):
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        train(egobody, tmp_path, loop=loop(1), validate_spacing=0)
    assert "--mocap" in caplog.text
    assert "discriminator" not in logged(tmp_path, "train")[0]


@pytest.mark.slow
def test_a_training_goes_on_from_weights_with_their_sizes(trained, egobody, tmp_path):
    still = {"optim": {"lr": 1e-12, "weight_decay": 0.0}, "network": SceneNetwork(), "validate_spacing": 0}
    found = train(egobody, tmp_path, start=str(trained.path), loop=loop(1), **still).part("scene")
    for name in ("flow.fc_head.layers.0.weight", "flow.flow._transform._transforms.0.shift"):
        torch.testing.assert_close(found[name], trained.part("scene")[name], rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_training_learns(egobody, tmp_path):
    long = Loop(steps=60, log_every=10, validate_every=0, save_every=0)
    train(
        egobody,
        tmp_path,
        loop=long,
        batch_size=6,
        augment=False,
        validate_spacing=0,
        optim=Optimizer(lr=1e-3),
    )
    losses = [line["total"] for line in logged(tmp_path, "train")]
    assert losses[-1] < 0.7 * losses[0]


def backbone() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build("scene", TINY.model_dump()).backbone.state_dict()


@pytest.mark.parametrize(
    "content",
    [
        lambda own: {"state_dict": {f"backbone.{name}": one for name, one in own.items()}, "epoch": 3},
        lambda own: own | {"fc.weight": torch.ones(10, 3), "fc.bias": torch.ones(10)},
        lambda own: {name: one for name, one in own.items() if "num_batches" not in name},
    ],
    ids=["prohmr", "imagenet", "old-imagenet"],
)
def test_the_image_network_starts_from_published_files(content, tmp_path):
    own, network = backbone(), build("scene", TINY.model_dump()).backbone
    torch.save(content(own), tmp_path / "file.pt")
    start_backbone(network, tmp_path / "file.pt")
    assert all(torch.equal(tensor, own[name]) for name, tensor in network.state_dict().items())


def test_files_without_an_image_network_are_refused(tmp_path):
    torch.save({"state_dict": {"smpl.betas": torch.ones(3)}}, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match="no image network among its 1 tensors"):
        start_backbone(torch.nn.Linear(1, 1), tmp_path / "file.pt")


def test_mean_parameters_and_recorded_poses_are_checked(tmp_path, mocap):
    poses, betas = read_mocap(mocap)
    assert (poses.shape, betas.shape) == ((20, 23, 3), (20, 10))
    with np.load(mocap) as stored:
        np.testing.assert_array_equal(poses.flatten(1), stored["body_pose"][:, 3:])
    np.savez(tmp_path / "means.npz", shape=np.arange(10.0), cam=[0.9, 0, 0], pose=np.zeros(144))
    shape, camera = start_means(tmp_path / "means.npz")
    assert shape.tolist() == list(range(10))
    assert camera.tolist() == pytest.approx([0.9, 0, 0])
    with pytest.raises(DataError, match="no array 'shape'"):
        start_means(mocap)
    with pytest.raises(DataError, match=r"expected body_pose \[m, 72\]"):
        read_mocap(tmp_path / "means.npz")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "16"], "6 people in its train split, fewer than a batch of 16"),
        (["--batch-size", "2", "--points", "cube-gt"], "avatarctl prepare egobody"),
        (["--batch-size", "2", "--backbone", "nothing.pt"], "nothing.pt"),
        (["--batch-size", "2", "--body", "smpl", "--body-models", "."], "body model 'smpl'"),
    ],
)
def test_what_cannot_be_trained_is_a_line(words, message, egobody, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "ego-hmr", "--stage", "scene", "--data", str(egobody), *words]) != 0
    assert message in capsys.readouterr().err
