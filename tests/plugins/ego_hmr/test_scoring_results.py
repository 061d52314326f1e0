"""Scoring of results against a data set's annotations."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.recovered import Recovered, Results

from avatarctl.cli.main import main
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

PARITY = Path(__file__).resolve().parents[2] / "parity"
sys.path.append(str(PARITY))

import golden  # noqa: E402
from ego_hmr import inputs  # noqa: E402

CASES = golden.FIXTURES / "ego-hmr"


@pytest.fixture(scope="module")
def data():
    """The miniature EgoBody."""
    return EgoBody(inputs.mini(CASES))


@pytest.fixture
def true(data):
    """The annotated bodies, as results with two equal samples."""
    truth = data.annotations("test")
    matrices = matrix_from_axis_angle_smpl(torch.from_numpy(truth.poses).float()).numpy()
    matrices = np.repeat(matrices[:, None], 2, axis=1)
    return Results(
        transl=truth.transl,
        betas=np.repeat(truth.betas[:, None], 2, axis=1),
        global_orient=matrices[:, :, :1],
        body_pose=matrices[:, :, 1:],
        collision=np.full((6, 2), 0.25),
        contact=np.ones((6, 2)),
    )


@pytest.fixture
def evaluate(data, tmp_path, monkeypatch):
    """Type the command; its numbers come back, metres."""
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))

    def typed(results, *words):
        out = tmp_path / "scores"
        files = ["--data", str(data.root), "--results", str(results), "--out", str(out)]
        bodies = ["--body-models", str(inputs.body_folder(CASES))]
        code = main(["eval", "ego-hmr", *files, *bodies, *words])
        metrics = out / "metrics.json"
        return code, json.loads(metrics.read_text())["metres"] if metrics.is_file() else {}

    return typed


def test_the_published_results_have_the_published_numbers(evaluate, tmp_path):
    with np.load(CASES / "cases" / "eval_stage2.npz") as file:
        content = {name[4:]: file[name] for name in file.files if name.startswith("out.")}

    code, found = evaluate(write_pickle(tmp_path / "results_seed_0.pkl", content))

    assert code == 0
    words = json.loads((CASES / "cases" / "eval_stage2.json").read_text())["printed_final"]
    assert "MPJPE all/vis/invis: 647.13 / 552.68 / 1021.67" in words
    printed = [round(1000 * found[f"mpjpe.{which}"], 2) for which in ("all", "visible", "hidden")]
    assert printed == pytest.approx([647.13, 552.68, 1021.67], abs=0.02)
    rows = list(csv.DictReader((tmp_path / "scores" / "scores.csv").open()))
    assert len(rows) == 6
    assert np.mean([float(row["mpjpe"]) for row in rows]) == pytest.approx(647.13, abs=0.02)
    assert (tmp_path / "scores" / "report.html").is_file()


def test_true_places_of_equal_samples_have_no_diversity(evaluate, true, tmp_path):
    code, found = evaluate(true.write(tmp_path / "results.pkl"))

    assert code == 0
    assert (found["std.all"], found["apd.all"], found["collision"]) == (0.0, 0.0, 0.25)
    # the neutral body with a gendered shape: what is left are the differences of the body files
    assert found["g_mpjpe.all"] < 0.1


def test_a_part_of_the_frames_may_be_scored(evaluate, true, tmp_path):
    evaluate(true.write(tmp_path / "results.pkl"), "--every", "4")

    rows = list(csv.DictReader((tmp_path / "scores" / "scores.csv").open()))
    assert [row["frame"][-9:] for row in rows] == ["01400.jpg", "01404.jpg"]


def test_bodies_of_infer_are_found_by_their_names(evaluate, true, data, tmp_path):
    truth, order = data.annotations("test"), [4, 1]
    nothing = np.full((2, 2), np.nan)
    found = Recovered(
        names=np.array([truth.names[row] for row in order]),
        rooms=np.array(["demo_room"] * 2),
        betas=true.betas[order],
        matrices=true.matrices[order],
        transl=true.transl[order],
        focal=truth.fx[order],
        centre=np.zeros((2, 2)),
        box_centre=np.zeros((2, 2)),
        box_size=np.ones(2),
        size=np.full((2, 2), (1920, 1080)),
        camera_from_scene=np.tile(np.eye(4), (2, 1, 1)),
        collision=nothing,
        contact=nothing,
        true_transl=truth.transl[order],
        gap=np.array([[0.01, 0.1], [0.05, np.inf]]),
    )
    found.write(tmp_path / "recovered.npz")

    code, numbers = evaluate(tmp_path / "recovered.npz")

    assert code == 0
    assert numbers["g_mpjpe.all"] < 0.1
    assert numbers["contact_corrected"] == 0.25
    assert numbers["collision"] is None or np.isnan(numbers["collision"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"pred_cam_full_list": np.zeros((6, 3))}, "holds translations alone"),
        ({"other": 1}, "no pred_cam_full_list"),
    ],
)
def test_results_that_cannot_be_scored_are_named(evaluate, tmp_path, content, words, capsys):
    code, _ = evaluate(write_pickle(tmp_path / "results.pkl", content))

    assert code != 0
    assert words in capsys.readouterr().err


def test_results_of_another_split_are_named(evaluate, true, tmp_path, capsys):
    short = Results(**{name: array[:4] for name, array in vars(true).items() if array is not None})

    code, _ = evaluate(short.write(tmp_path / "results.pkl"))

    assert code != 0
    assert "4 frames; the split has 6" in capsys.readouterr().err


def test_a_missing_body_is_named_with_where_it_is_from(evaluate, true, tmp_path, capsys):
    code, _ = evaluate(true.write(tmp_path / "results.pkl"), "--body-models", str(tmp_path))

    assert code != 0
    assert "body model 'smpl' for gender 'neutral' was not found" in capsys.readouterr().err


def test_places_are_not_given_twice(evaluate, true, tmp_path, capsys):
    results = true.write(tmp_path / "results.pkl")

    code, _ = evaluate(results, "--translations", str(results))

    assert code == 3
    assert "--results says where bodies are" in capsys.readouterr().err
    assert main(["eval", "ego-hmr", "--places", "--translations", str(results)]) == 3
    assert "gives what --places scores" in capsys.readouterr().err
