"""`eval audio2motion`, as typed: on a results file, and on a prepared store with tiny networks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch
from avatarctl_audio2motion import scores
from avatarctl_audio2motion.results import Results, read_results
from avatarctl_audio2motion.scores import Motions
from avatarctl_audio2motion.settings_evaluate import Evaluate
from pydantic import ValidationError

from avatarctl.cli.main import main
from avatarctl.device import Noise

FAST = ("--chunk", "60", "--steps", "3", "--repeats", "2")


def evaluate(folder, *words):
    """Exit code, and metrics.json where there is one."""
    code = main(["eval", "audio2motion", *map(str, words), "--out", str(folder)])
    path = folder / "metrics.json"
    return code, json.loads(path.read_text()) if path.is_file() else {}


def walks(path, repeats=5, samples=1, frames=120):
    draw = torch.Generator().manual_seed(0)
    motion = torch.randn(repeats * samples, frames, 104, generator=draw).cumsum(1)
    return Results.of(motion, truth=motion[:samples].repeat(repeats, 1, 1).flip(1)).write(path)


def test_a_results_file_is_scored_as_published_and_corrected(tmp_path, capsys):
    path = walks(tmp_path / "results.npy")
    code, found = evaluate(tmp_path / "run", "--results", path, "--pairs", "500", "--seed", "3")
    assert code == 0
    motions = Motions.of(read_results(path), 5)
    wanted = scores.published(motions, Noise.seeded(3, "pairs"), 500)
    assert {name: found["body"]["published"][name] for name in wanted} == pytest.approx(wanted)
    assert found["protocol"].startswith("published script, 5 repetitions of 1 samples of 120 frames")
    told = capsys.readouterr().out
    assert "Corrected:" in told
    assert (tmp_path / "run" / "report.html").is_file()


def test_wrong_words_are_told(tmp_path, capsys):
    path = walks(tmp_path / "results.npy")
    assert evaluate(tmp_path / "a", "--results", path, "--repeats", "3")[0] == 5
    assert "5 motions cannot be 3 repetitions" in capsys.readouterr().err
    assert evaluate(tmp_path / "b")[0] == 3
    assert "either a results file (--results) or a prepared store (--store)" in capsys.readouterr().err
    assert evaluate(tmp_path / "c", "--results", path, "--lips", path)[0] == 4
    assert "--person FOLDER" in capsys.readouterr().err


def test_a_source_that_is_left_out_is_missing_and_two_are_one_too_many(tmp_path):
    with pytest.raises(ValidationError) as told:
        Evaluate()
    assert [(one["type"], one["loc"]) for one in told.value.errors()] == [("missing", ("store",))]
    with pytest.raises(ValidationError, match="either a results file"):
        Evaluate(results=tmp_path, store=tmp_path)


@pytest.mark.slow
def test_a_store_is_scored_with_the_networks_of_its_person(tmp_path, small_store, capsys):
    weights = tiny.write_weights(tmp_path / "weights.safetensors", person="nobody")
    words = (
        "--store",
        small_store,
        "--split",
        "train",
        "--weights",
        weights,
        *FAST,
        "--samples",
        "2",
        "--keep",
    )
    code, found = evaluate(tmp_path / "run", *words)
    assert code == 0
    results = read_results(tmp_path / "run" / "results_body.npy")
    assert results.motions.shape == (4, 104, 1, 60)
    np.testing.assert_array_equal(results.truth[:2], results.truth[2:])
    assert not np.array_equal(results.motions[:2], results.motions[2:])
    again = scores.published(Motions.of(results, 2), Noise.seeded(0, "pairs"))
    assert {name: found["body"]["published"][name] for name in again} == pytest.approx(again)
    assert found["face"]["random training sequence"]["fd_g"] > 0
    other = tiny.write_weights(tmp_path / "other.safetensors", person="somebody")
    assert evaluate(tmp_path / "no", "--store", small_store, "--weights", other, *FAST)[0] == 6
    assert "is of somebody" in capsys.readouterr().err
