"""Training of COAP on bodies in poses of the embedded clips."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Partition
from avatarctl_ego_hmr.collision.pool import draw_body, joined
from avatarctl_ego_hmr.settings_train import CollisionNetwork, TrainCollision
from avatarctl_ego_hmr.train_collision import cross_entropy, run
from pydantic import ValidationError
from small_networks import write_weights
from torch import Tensor

from avatarctl.body import Bodies, open_body
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.config.groups import Loop, Optimizer
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, Stopped
from avatarctl.runs import Run

SMALL = CollisionNetwork(hidden=8, features=8, query=40, mixed=8, width=24)
SHORT: dict[str, Any] = {
    "body": "open", "bodies": 4, "body_points": 256, "batch_size": 2, "points": 128, "surface": 8,
    "validate_bodies": 2, "network": SMALL,
}  # fmt: skip


def prepared(folder: Path, steps: int = 4, **more: Any) -> tuple[TrainCollision, Run]:
    """What a training is given."""
    loop = Loop(steps=steps, log_every=1, validate_every=2, save_every=2)
    settings = TrainCollision(**{"loop": loop, **SHORT, **more})
    return settings, Run.standalone(folder, settings=settings)


def train(folder: Path, steps: int = 4, *, resume: bool = False, **more: Any) -> Weights:
    """Train, and open what came out."""
    settings, made = prepared(folder, steps, **more)
    made.resume = resume
    run(settings, made)
    return open_weights(folder / "weights.safetensors")


def test_bodies_come_with_points_inside_and_outside():
    body = open_body("smpl")
    partition = Partition(body)
    pool = joined([draw_body(body, partition, Noise.seeded(0, str(i)), "train", 400) for i in range(3)])
    assert pool.points.shape == (3, 400, 3)
    assert (pool.inside.float().mean(dim=1) > 0.15).all()
    assert (pool.inside.float().mean(dim=1) < 0.7).all()
    figure = pool.figure(body)
    nearest = torch.cdist(pool.points[:, :200], figure.vertices).amin(dim=-1)
    assert nearest.mean() < 0.05
    held = partition.boxes(figure).holding(pool.points[:, 200:]).any(dim=1)
    assert held.all()
    thin = pool[:2].thinned(torch.arange(0, 400, 2))
    assert torch.equal(thin.points, pool.points[:2, ::2])


def test_points_outside_of_all_boxes_are_not_learned():
    depths, labels = torch.tensor([[2.0, -torch.inf]]), torch.tensor([[True, False]])
    assert float(cross_entropy(depths, labels)) == pytest.approx(0.126928, abs=1e-5)


def test_weights_are_a_network_of_the_open_body(tmp_path):
    weights = train(tmp_path)
    made = load_collision(weights, People.load(Bodies(), "open"))
    assert weights.config["body"] == "open"
    assert weights.config["networks"]["collision"]["kind"] == "coap"
    assert sum(parameter.numel() for parameter in made.parameters()) < 10_000
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {"near_accuracy", "box_accuracy", "cross_entropy"} <= lines[-1].keys()


def test_resumed_training_goes_on_bit_for_bit(tmp_path, monkeypatch):
    straight = train(tmp_path / "a")
    settings, stopped = prepared(tmp_path / "b", validate_bodies=0)
    calls = []

    def stopping(depths: Tensor, labels: Tensor) -> Tensor:
        calls.append(len(depths))
        stopped.stop.signal = signal.SIGINT if len(calls) == 2 else 0
        return cross_entropy(depths, labels)

    with monkeypatch.context() as patch:
        patch.setattr("avatarctl_ego_hmr.train_collision.cross_entropy", stopping)
        with pytest.raises(Stopped, match="after step 2 of 4"):
            run(settings, stopped)
    again = train(tmp_path / "b", resume=True)
    for name, tensor in straight.part("collision").items():
        assert torch.equal(again.part("collision")[name], tensor)


def test_training_goes_on_from_weights(tmp_path):
    start = write_weights(tmp_path / "start.safetensors", "coap")
    weights = train(tmp_path / "run", 1, start=str(start), optim=Optimizer(lr=1e-9))
    for name, tensor in open_weights(start).part("collision").items():
        torch.testing.assert_close(weights.part("collision")[name], tensor, atol=1e-6, rtol=0)


def test_volumetric_weights_cannot_be_gone_on_from(tmp_path):
    start = write_weights(tmp_path / "start.safetensors", "volumetric")
    with pytest.raises(CheckpointError, match="found VolumetricSMPL, expected COAP"):
        train(tmp_path / "run", start=str(start))


@pytest.mark.parametrize(("name", "value"), [("query", 27), ("width", 10)])
def test_sizes_without_room_for_the_input_are_refused(name, value):
    with pytest.raises(ValidationError, match=f"{name} {value}: expected more than"):
        CollisionNetwork(**{**SMALL.model_dump(), name: value})


@pytest.mark.slow
def test_occupancy_is_learned(tmp_path):
    network = CollisionNetwork(hidden=16, features=16, query=64, mixed=16, width=64)
    more = {"bodies": 24, "body_points": 1024, "points": 512, "surface": 32, "batch_size": 4}
    train(tmp_path, 150, network=network, optim=Optimizer(lr=5e-3), **more)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["split"] == "valid"][-1]
    assert last["box_accuracy"] > 0.66  # 0.62 of the points are outside
