"""From what users of HF-Avatar have, recordings and checkpoints, to pictures, meshes and scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from avatarctl.cli.main import main

pytestmark = pytest.mark.slow
DATA = "data/data_prepared/CoreView_377"
OFFICIAL = "exp/CoreView_377"
CHECKPOINT = f"{OFFICIAL}/checkpoints/epoch=479-step=144000.ckpt"
FILE = "checkpoints/epoch=479-step=144000.ckpt"
AIST = "motions/gBR_sBM_cAll_d04_mBR0_ch01.pkl"
SMALL = tuple(
    word
    for size in ("img_resolution=16", "img_channels=8", "hidden=16", "features=8", "skinning_hidden=16")
    for word in ("--set", f"network.{size}")
)
FEW = (
    "--views", "0", "--views", "1", "--frames", "0:2", "--validate-views", "2", "--validate-frames", "2:3",
    "--res-level", "4", "--batch-size", "1", "--set", "patches.patch_size=16",
    "--set", "rendering.n_samples=8", "--set", "loop.save_every=2", "--set", "loop.validate_every=20",
)  # fmt: skip
STEPS = 40
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def place(make: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature of ZJU-MoCap, prepared, with bodies, an AIST++ motion and a checkpoint."""
    folder, recipes = tmp_path_factory.mktemp("video"), make.videos()
    recipes.write_bodies(folder)
    for part in (recipes.write_zju, recipes.write_aist, recipes.write_checkpoint):
        part(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AVATARCTL_BODY_MODELS", "body_models")
        assert main(["prepare", "zju-mocap", "zju_mocap/CoreView_377", "--check", "-q"]) == 0
        assert main(["prepare", "zju-mocap", "zju_mocap/CoreView_377", "--volume-size", "64", "-q"]) == 0
    return folder


@pytest.fixture
def say(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say(WORDS...)` types a command in that folder; what --json says, or the error in one line."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("AVATARCTL_BODY_MODELS", "body_models")

    def typed(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        ended = main([*words, "--json"])
        got = capsys.readouterr()
        assert ended == code, got.err
        return json.loads(got.out) if ended == 0 and got.out else " ".join(got.err.split())

    return typed


@pytest.fixture(scope="module")
def trained(place: Path) -> str:
    """A training that was killed and went on, as typed: the name of its run."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AVATARCTL_BODY_MODELS": "body_models"}
    environment.pop("AVATARCTL_RUNS", None)
    command = [sys.executable, "-m", "avatarctl", "train", "video-avatar", "-q"]
    run = place / "runs" / "train-video-avatar" / "001"

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *words], cwd=place, env=environment, text=True, stderr=subprocess.PIPE
        )

    process = start("-c", "zju-377", *FEW, *SMALL, "--set", f"loop.steps={STEPS}")
    while not (run / "checkpoints" / "last.pt").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "weights.safetensors").exists()
    process = start("--resume", "last")
    trouble = process.communicate()[1]
    assert process.returncode == 0, trouble
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == STEPS
    return "run:train-video-avatar/1"


def written(folder: str) -> set[str]:
    """Files that are no bookkeeping."""
    kinds = (".png", ".mp4", ".obj", ".npy", ".ply", ".glb", ".html", ".ckpt", ".safetensors")
    place = Path(folder)
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.suffix in kinds}


def pictures(view: str, frames: range, *kinds: str) -> set[str]:
    return {f"{view}/frame_{frame:06d}_{kind}.png" for frame in frames for kind in kinds}


@pytest.fixture(params=["published", "ours"])
def weights(request: pytest.FixtureRequest) -> str:
    """Weights as a user names them."""
    return OFFICIAL if request.param == "published" else request.getfixturevalue("trained")


def test_pictures_of_every_mode(say: Say, weights: str, tmp_path: Path) -> None:
    quick = ("--data", DATA, "--weights", weights, "--samples", "8")

    def shown(name: str, *words: str) -> set[str]:
        out = str(tmp_path / name)
        say("infer", "video-avatar", *quick, *words, "--out", out)
        return written(out)

    beside = ("rgb", "gt", "normal")
    assert shown("a", "--mode", "val", "--normals", "published") == pictures("val/view2", range(1), *beside)
    assert shown(
        "b", "--mode", "nvs", "--views", "1", "--resolution-level", "2", "--jitter", "published"
    ) == (pictures("nvs/view1", range(1), *beside))
    assert shown("c", "--mode", "unseen", "--views", "2", "--start", "1", "--end", "3", "--step", "1") == (
        pictures("unseen/view2", range(1, 3), *beside) | {"unseen/view2.mp4"}
    )
    plain, film = ("rgb", "normal"), {"odp/view0.mp4"}
    found = shown("d", "--mode", "odp", "--motion", "walk_2", "--start", "30", "--frames", "2")
    assert found == pictures("odp/view0", range(30, 32), *plain) | film
    found = shown("e", "--mode", "odp", "--pose", AIST, "--fps", "60", "--frames", "2")
    assert found == pictures("odp/view0", range(2), *plain) | film
    found = shown("f", "--mode", "odp", "--pose", DATA, "--pose-type", "zju-mocap")
    assert found == pictures("odp/view0", range(2), *plain) | film
    found = shown("g", "--camera", "orbit", "--motion", "walk_2", "--frames", "3", "--size", "48")
    assert found == pictures("odp/vieworbit", range(3), *plain) | {"odp/vieworbit.mp4"}


def test_scores_of_pictures_and_of_the_surface(say: Say, weights: str, tmp_path: Path) -> None:
    known = ("--data", DATA, "--weights", weights)
    small = ("--resolution", "24")
    found = str(tmp_path / "found")
    say("export", "video-avatar", *known, "--resolution", "24", "--pose", "frame", "--out", found)
    record = np.load(f"{found}/meshes/view2_frame0.npy", allow_pickle=True).item()
    vertices = record["vertices"] @ record["rh"] + record["th"]
    lines = [f"v {x} {y} {z}" for x, y, z in vertices]
    lines += [f"f {a + 1} {c + 1} {b + 1}" for a, b, c in record["triangles"]]
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "000001.obj").write_text("\n".join(lines))
    out = str(tmp_path / "scores")
    words = ("--geometry", str(tmp_path / "truth"), "--resolution-level", "4", "--out", out)
    metrics = say("eval", "video-avatar", *known, *small, "--samples", "8", *words)["metrics"]
    assert set(metrics["each"]) == {"published", "NeuralBody", "1 frames"}
    assert metrics["psnr"] > 3
    assert metrics["each"]["1 frames"]["chamfer_cm2"] < 1e-4
    if weights == OFFICIAL:
        assert metrics["lpips"] > 0  # its file has the network
    assert written(out) == {"report.html", "pictures/view2_frame_000000.png"}


def test_meshes_of_every_kind(say: Say, weights: str, tmp_path: Path) -> None:
    known = ("--data", DATA, "--weights", weights, "--resolution", "32")
    out = [str(tmp_path / name) for name in "ab"]
    say("export", "video-avatar", *known, "--normals", "--out", out[0])
    frame = {f"meshes/view2_frame0{end}" for end in (".obj", ".npy", ".ply", "_normal.png")}
    assert written(out[0]) == {"meshes/canonical.ply", "meshes/canonical.glb"} | frame
    say("export", "video-avatar", *known, "--motion", "walk_2", "--out", out[1])
    assert written(out[1]) == {"meshes/walk_2.glb"}


def test_a_published_checkpoint_comes_back_as_it_was(say: Say) -> None:
    assert say("inspect", CHECKPOINT)["what"].startswith("HF-Avatar")
    assert say("inspect", OFFICIAL)["kind"] == "weights"
    say("export", "checkpoint", CHECKPOINT, "--to", "safetensors", "--out", "mine")
    say("export", "checkpoint", "mine", "--to", "hfavatar", "--out", "back")
    before, after = (
        torch.load(path, weights_only=False)["state_dict"] for path in (CHECKPOINT, f"back/{FILE}")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    # The native file shows what the published one does.
    quick = ("--data", DATA, "--samples", "8", "--normals", "none")
    for weights, out in ((OFFICIAL, "theirs"), ("mine", "ours"), (f"back/{FILE}", "again")):
        say("infer", "video-avatar", *quick, "--weights", weights, "--out", out)
    name = "val/view2/frame_000000_rgb.png"
    assert len({Path(out, name).read_bytes() for out in ("theirs", "ours", "again")}) == 1


def test_a_training_goes_on_from_a_published_checkpoint(say: Say, tmp_path: Path) -> None:
    words = ("--data", DATA, "--start", CHECKPOINT, *FEW, "--set", "loop.steps=144001")
    said = say("train", "video-avatar", *words, "--out", str(tmp_path / "more"))
    assert said["status"] == "finished"
    found = say("inspect", str(tmp_path / "more" / "weights.safetensors"))
    assert found["facts"]["finished steps"] == 144001


KNOWN = ("--data", DATA, "--weights", OFFICIAL)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("prepare", "zju-mocap", "nowhere"), 5, "nowhere"),
        (
            ("train", "video-avatar", "--data", DATA, "--views", "9", *FEW[4:]),
            5,
            "no view '9'; there are 0, 1",
        ),
        (
            ("train", "video-avatar", "--data", DATA, *FEW, "--frames", "7:9"),
            3,
            "frames 7:9 are none of the 3",
        ),
        (("infer", "video-avatar", "--data", DATA, "--weights", "zju_mocap"), 6, "zju_mocap: no weight file"),
        (("infer", "video-avatar", *KNOWN, "--mode", "unseen"), 3, "--start 0 --end 3 takes all"),
        (("infer", "video-avatar", *KNOWN, "--data", "zju_mocap"), 5, "no mesh_infos.pkl"),
        (
            ("infer", "video-avatar", *KNOWN, "--mode", "odp", "--pose", f"{DATA}/mesh_infos.pkl"),
            5,
            "no smpl_poses",
        ),
        (("eval", "video-avatar", *KNOWN, "--geometry", "."), 5, "no mesh for any of the 3 frames"),
        (("export", "video-avatar", *KNOWN, "--view", "9"), 5, "no view '9'"),
    ],
)
def test_wrong_words_end_with_one_clear_line(say: Say, words: tuple[str, ...], code: int, said: str) -> None:
    text = say(*words, code=code)
    assert said in text
    assert "Traceback" not in text


def test_a_broken_recording_is_named(say: Say, trained: str, place: Path) -> None:
    path = place / DATA / "2" / "masks" / "frame_000000.png"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:100])
        text = say("infer", "video-avatar", "--data", DATA, "--weights", trained, code=5)
    finally:
        path.write_bytes(kept)
    assert "frame_000000.png: not a readable picture" in text


def test_our_weights_of_other_sizes_stay_ours(say: Say, trained: str) -> None:
    text = say("export", "checkpoint", trained, "--to", "hfavatar", "--out", "no", code=6)
    assert "the published code has" in text
    found = say("inspect", "runs/train-video-avatar/001/weights.safetensors")
    assert found["facts"]["person"] == "CoreView_377"
    text = say("infer", "video-avatar", "--data", DATA, "--weights", trained, "--mode", "odp", code=3)
    assert "--motion FILE" in text
