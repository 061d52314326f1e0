"""From what users of EgoHMR have, recordings and checkpoints, to places, bodies, scores and trainings."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.recovered import read_recovered, read_results

from avatarctl.cli.main import main
from avatarctl.engine import Loop

pytestmark = pytest.mark.slow
CHECKPOINTS = {
    "checkpoints/checkpoints_egohmr/53618/best_model.pt": "scene/best_model.pt",
    "checkpoints/checkpoints_egohmr/91453/best_model_mpjpe_vis.pt": "diffusion/best_model_mpjpe_vis.pt",
    "collision/coap_smpl_neutral.ckpt": "coap_smpl_neutral.ckpt",
}
"""The published files, and where `export checkpoint --to egohmr` writes them."""
SMALL = tuple(
    word
    for size in ("network.backbone.width=8", "network.backbone.blocks=[1,1]", "network.hidden=32")
    for word in ("--set", size)
)
STOPPED = 130
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def place(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stand-ins of all files."""
    return Path(make.egobody().write(tmp_path_factory.mktemp("official")))


@pytest.fixture
def say(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say(WORDS...)` types a command in that folder; what --json says."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("AVATARCTL_BODY_MODELS", "body_models")

    def typed(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        ended = main([*words, "--json"])
        got = capsys.readouterr()
        assert ended == code, got.err
        return json.loads(got.out) if got.out else None

    return typed


def prepare(say: Say, step: str, split: str, *words: str) -> None:
    few = ("--points", "512")
    say("prepare", "egobody", "egobody", "--step", step, "--split", split, *few, *words)


def scores(say: Say, *words: str) -> dict[str, float]:
    return dict(say("eval", "ego-hmr", "--data", "egobody", *words)["metrics"]["metres"])


def test_published_networks_find_bodies_which_are_scored_and_exported(say: Say) -> None:
    say("doctor", "ego-hmr", "--data", "egobody", "--weights", "checkpoints")
    prepare(say, "front", "test")

    # Stage 1: its places are what stage 2 and its preparation take.
    say("infer", "ego-hmr", "--data", "egobody", "--weights", "checkpoints", "--places", "--out", "places")
    assert read_results("places/results.pkl").transl.shape == (6, 3)
    prepare(say, "cube-predicted", "test", "--translations", "places/results.pkl")
    scored = [
        scores(say, "--places", *words) for words in (("--weights", "checkpoints"), ("--results", "places"))
    ]
    assert scored[0] == pytest.approx(scored[1])

    # Stage 2, pushed out of the room by each of the collision networks.
    known = ("--weights", "checkpoints", "--translations", "places/results.pkl")
    for kind, name in (("coap", "coap"), ("volumetric", "VolumetricSMPL")):
        pushed = ("--collision", f"collision/{name}_smpl_neutral.ckpt", "--guidance", kind, "--every", "6")
        assert 0 <= scores(say, *known, *pushed, "--samples", "1")["collision"] <= 1
    coap = ("--collision", "collision/coap_smpl_neutral.ckpt")
    quick = (*known, *coap, "--sampler", "ddim5", "--samples", "2")
    scored = [scores(say, *quick)]
    say("infer", "ego-hmr", "--data", "egobody", *quick, "--to", "pkl", "--pictures", "1", "--out", "found")
    for results in ("found", "found/results_seed_0.pkl"):
        scored.append(scores(say, "--results", results))
    del scored[2]["contact_corrected"]  # published results do not tell at which distance there is contact
    for name in scored[2]:
        assert [one[name] for one in scored] == pytest.approx([scored[0][name]] * 3), name

    formats = ("--to", "glb", "--to", "ply", "--to", "npz", "--to", "motion", "--people", "1")
    for axes in ("scene", "camera", "kinect"):
        say("export", "ego-hmr", "found", *formats, "--axes", axes, "--out", axes)
    assert Path("scene/people.glb").is_file()


def test_published_checkpoints_come_back_as_they_were(say: Say) -> None:
    every = "checkpoints,collision/coap_smpl_neutral.ckpt"
    say("export", "checkpoint", every, "--to", "safetensors", "--out", "mine")
    say("export", "checkpoint", "mine", "--to", "egohmr", "--out", "back")
    for theirs, ours in CHECKPOINTS.items():
        came = torch.load(theirs, weights_only=False)["state_dict"]
        left = torch.load(Path("back", ours), weights_only=False)["state_dict"]
        # Body arrays and what follows from the joints' tree are no weights; sines are worked out again.
        assert {name.partition(".")[0] for name in came.keys() - left.keys()} <= {
            "smpl", "smpl_male", "partitioner", "k_one_hot",
        }  # fmt: skip
        same = [name for name in left if not name.endswith(".pe")]
        assert all(torch.equal(left[name], came[name]) for name in same), theirs
    before, after = (
        np.load(folder / "preprocess_stats/preprocess_stats.npz")
        for folder in (Path("checkpoints/checkpoints_egohmr/91453"), Path("back/diffusion"))
    )
    np.testing.assert_array_equal(after["Xmean"], before["Xmean"])


def test_trainings_are_stopped_and_go_on_and_serve_inference(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        for step in ("front", "cube-gt"):
            prepare(say, step, split)
    prepare(say, "front", "test")
    few = ("--data", "egobody", "--batch-size", "2", "--set", "loop.steps=2")
    coap = ("--collision", "collision/coap_smpl_neutral.ckpt")
    own = {
        "scene": ("--backbone", "prohmr/checkpoint.pt", "--mocap", "prohmr/cmu_mocap.npz"),
        "diffusion": (*SMALL, *coap, "--set", "collision_epoch=0"),
    }
    for stage, words in own.items():
        with monkeypatch.context() as patch:
            stop_in_first_step(patch)
            say("train", "ego-hmr", "--stage", stage, *few, *words, code=STOPPED)
        say("train", "ego-hmr", "--stage", stage, "--resume", "last")
        assert Path(f"runs/train-ego-hmr-{stage}/001/weights.safetensors").is_file()
    small = ("--sampler", "ddim5", "--samples", "1", "--every", "3", "--pictures", "0", "--out", "trained")
    say("infer", "ego-hmr", "--data", "egobody", "--weights", "latest", *coap, *small)
    assert len(read_recovered("trained")) == 2


def stop_in_first_step(patch: pytest.MonkeyPatch) -> None:
    """Have the user type Ctrl-C in the first step of a training."""
    step = Loop.step

    def stopping(loop: Loop, losses: Any, **words: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return step(loop, losses, **words)

    patch.setattr(Loop, "step", stopping)
