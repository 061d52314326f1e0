"""From what users of the published code have (bodies, AMASS, checkpoints, YAML) to scores and motions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from avatarctl.cli.main import main

pytestmark = pytest.mark.slow
BODIES = ("--body-models", "body_models")


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


def test_the_commands_of_the_readme_run_on_official_files(
    say: Callable[..., Any], make: ModuleType, tmp_path: Path
) -> None:
    make.golden().write_body_model(tmp_path / "body_models")
    make.write_listed(tmp_path / "AMASS", frames=12, per_list=1)
    for name in ("decoder", "refiner"):
        make.write_checkpoint(tmp_path / "outputs" / name / "best.pth.tar", name)

    say("prepare", "amass", "AMASS", "-c", "sparse-tracking/s1", *BODIES)
    weights = ("--weights", "outputs", *BODIES)
    scored = say("eval", "sparse", "-c", "sparse-tracking/s1", *weights, "--limit", "1", "--out", "scores")
    assert scored["metrics"]["protocol"] == "S1"
    rows = list(csv.DictReader((tmp_path / "scores" / "scores.csv").open()))
    assert len(rows) == 1
    assert 0 < float(rows[0]["mpjpe"]) < 300  # untrained networks, limbs of at most 3 m

    # The published configuration beside the folder means the same weights.
    Path("config_decoder").mkdir()
    words = ("DECODER_DIR: outputs/decoder", "REFINER_DIR: outputs/refiner", "SUPPORT_DIR: body_models",
             "PROTOCOL: real", "REFINER: {n_layers: 2}")  # fmt: skip
    Path("config_decoder/refiner.yaml").write_text("\n".join(words))
    sequence = next(str(path) for path in sorted(Path("AMASS/CMU").rglob("*_poses.npz")))
    say("infer", "sparse", sequence, *weights, "--out", "by-folder")
    say("infer", "sparse", sequence, "-c", "config_decoder/refiner.yaml", "--out", "by-file")
    one, other = (np.load(f"{name}/motion.npz")["poses"] for name in ("by-folder", "by-file"))
    assert len(one) == 11
    assert np.array_equal(one, other)

    # The decoder's file is enough, and without the refiner the motion is another.
    say("infer", "sparse", sequence, "--weights", "outputs/decoder", *BODIES, "--out", "unrefined")
    assert not np.array_equal(np.load("unrefined/motion.npz")["poses"], one)

    say(
        "export",
        "sparse",
        "by-folder",
        "--to",
        "bvh",
        "--to",
        "npz",
        "--to",
        "pkl",
        *BODIES,
        "--out",
        "files",
    )
    assert all((tmp_path / "files" / f"motion.{suffix}").stat().st_size for suffix in ("bvh", "npz", "pkl"))
