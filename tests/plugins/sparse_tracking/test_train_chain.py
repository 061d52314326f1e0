"""`train sparse --stage all`: every training in turn, killed in one of a kind, resumed to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from avatarctl_sparse_tracking.plugin import avatarctl_targets
from safetensors.torch import load_file

from avatarctl.checkpoints import open_weights
from avatarctl.cli.main import main
from avatarctl.runs import index
from avatarctl.runs.folder import WEIGHTS
from avatarctl.runs.inputs import of_chain

TRAIN = ("train", "sparse", "--stage", "all", "-q")
TINY = Path(__file__).with_name("tiny.yaml")
LINKS = [
    link.name for target in avatarctl_targets() if (target.verb, target.name) == ("train", "sparse")
    for link in target.chain
]  # fmt: skip
ONE_OF_EACH = ("upper-vqvae", "lower-diffusion", "decoder", "refiner")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The chain in a process of its own, with `folder` as working folder."""
    command = [sys.executable, "-m", "avatarctl", *TRAIN, *words]
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE)


def kill_in(link: str, chain: Path, process: subprocess.Popen[str]) -> None:
    """Kill -9 as soon as a training of the chain has written a checkpoint."""
    while not list((chain / link / "checkpoints").glob("step-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_in_every_kind_of_training_and_resumed_it_makes_the_same_weights(
    small_store, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    fresh = ["-c", str(TINY), "--store", str(small_store), "-s", "loop.steps=25"]
    chain = tmp_path / "runs" / "train-sparse-all" / "001"
    words = fresh
    for link in ONE_OF_EACH:
        kill_in(link, chain, start(tmp_path, *words))
        manifest = json.loads((chain / link / "manifest.json").read_text())
        assert manifest["status"] == "running", "the kill came after the end of this training"
        words = ["--resume", "last"]
    _, trouble = (done := start(tmp_path, *words)).communicate()
    assert done.returncode == 0, trouble
    # In a process too: bits are compared, and this one may have more threads.
    _, trouble = (whole := start(tmp_path, *fresh, "--out", "whole")).communicate()
    assert whole.returncode == 0, trouble
    for link in LINKS:
        killed, once = (load_file(place / link / WEIGHTS) for place in (chain, tmp_path / "whole"))
        assert killed.keys() == once.keys()
        assert all(killed[name].equal(once[name]) for name in once), link
    everything = open_weights(of_chain(str(tmp_path / "whole")))
    assert set(everything.parts) == {
        "upper_vqvae", "lower_vqvae", "upper", "lower", "decoder", "refiner"
    }  # fmt: skip
    assert main([*TRAIN, *words]) == 2
    assert "every training of this chain is finished" in capsys.readouterr().err


def test_a_chain_is_found_by_the_words_for_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path))
    chain = tmp_path / "train-sparse-all" / "002"
    for link in ("one", "two"):
        (chain / link).mkdir(parents=True)
        for name in ("manifest.json", "settings.yaml"):
            (chain / link / name).write_text("{}")
    content = {"verb": "train", "target": "sparse", "links": ["one", "two", "three"], "words": []}
    (chain / "chain.json").write_text(json.dumps(content))
    assert index.find("train-sparse-all/002") == chain / "two"
    assert index.find("train-sparse-all/002/one") == chain / "one"
    assert index.name_of(chain / "two") == "train-sparse-all/002/two"
