"""From what users of audio2photoreal have, recordings and checkpoints, to training, motion and scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from avatarctl.cli.main import main

pytestmark = pytest.mark.slow
SMALL = ("--batch-size", "1", "--validate-items", "1", "--set", "loop.steps=1")
FILES = {
    "diffusion/c1_face/model000155000.pt": "", "diffusion/c1_pose/model000340000.pt": "",
    "guide/c1_pose/checkpoints/iter-0100000.pt": "model_state_dict", "vq/c1_pose/net_iter300000.pth": "net",
}  # fmt: skip
"""The published files below `checkpoints`, and the entry of each that holds the network."""


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`say(WORDS...)` types a command in an empty folder, which must end well; what --json says."""
    monkeypatch.chdir(tmp_path)

    def typed(*words: str) -> Any:
        capsys.readouterr()
        code = main([*words, "--json"])
        got = capsys.readouterr()
        assert code == 0, got.err
        return json.loads(got.out)

    return typed


def test_the_commands_of_the_readme_run_on_official_files(say: Callable[..., Any], make: ModuleType) -> None:
    make.write_person(Path("dataset/PXB184"), (90,) * 7)
    make.photoreal().write_networks(Path())
    tiny.write_sound(Path("clip.wav"), 1.0)
    say("prepare", "conversations", "dataset/PXB184")

    # Each stage goes on from its published network.
    start = ("--store", "data/PXB184", "--start", "checkpoints", *SMALL, "--frames", "60")
    for stage in ("vqvae", "guide", "body", "face"):
        more = ("--shortest", "0") if stage in ("body", "face") else ()
        more = ("--vqvae", "checkpoints") if stage == "guide" else more
        say("train", "audio2motion", "--stage", stage, *start, *more, "--out", stage)
        assert Path(stage, "weights.safetensors").is_file()

    few = ("--weights", "checkpoints", "--steps", "2")
    say("infer", "audio2motion", "clip.wav", *few, "--results", "--out", "made")
    results = next(Path("made").glob("samples_c1_pose_000340000_*_guide_iter-0100000.pt/results.npy"))
    assert np.load(results, allow_pickle=True).item()["motions"].shape == (1, 104, 1, 30)
    assert next(Path("made").glob("samples_c1_face_000155000_*/results.npy")).is_file()
    say("infer", "audio2motion", "clip.wav", *few, "--body", "body", "--mode", "body", "--out", "trained")
    one, other = (np.load(f"{name}/generated.npz")["body.npy"] for name in ("made", "trained"))
    assert one.shape == other.shape
    assert not np.array_equal(one, other)  # a step of training moved the network

    parts = ("--samples", "2", "--chunk", "30", "--mode", "body", "--keep")
    say("eval", "audio2motion", "--store", "data/PXB184", *few, *parts, "--repeats", "2", "--out", "scores")
    kept = ("--results", "scores/results_body.npy", "--repeats", "2")
    scored, again = (
        json.loads(Path(place, "metrics.json").read_text())["body"]
        for place in ("scores", say("eval", "audio2motion", *kept, "--out", "again") and "again")
    )
    assert again["published"] == scored["published"]

    say("export", "checkpoint", "checkpoints", "--to", "safetensors", "--out", "mine")
    say("export", "checkpoint", "mine", "--to", "audio2photoreal", "--out", "back")
    for name, entry in FILES.items():
        came, left = (torch.load(Path(root, name), weights_only=False) for root in ("checkpoints", "back"))
        came, left = (content[entry] if entry else content for content in (came, left))
        assert came.keys() == left.keys()
        # Tables of sines are worked out again.
        assert all(torch.equal(left[key], came[key]) for key in came if not key.endswith(".pe")), name
