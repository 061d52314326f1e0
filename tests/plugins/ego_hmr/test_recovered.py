"""What infer writes, and the published results."""

import json
import pickle
import pickletools
from dataclasses import replace

import numpy as np
import pytest
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.recovered import Recovered, joined, read_recovered, read_results

from avatarctl.cli.main import main
from avatarctl.errors import DataError


def recovered(people=4, samples=2, **changes):
    """Random bodies in random places."""
    random = np.random.default_rng(0)
    turns = np.linalg.qr(random.normal(size=(people, samples, 24, 3, 3)))[0]
    arrays = {
        "names": np.array([f"picture_{index}.jpg" for index in range(people)]),
        "rooms": np.array(["room.ply"] * people),
        "betas": random.normal(size=(people, samples, 10)).astype(np.float32),
        "matrices": turns.astype(np.float32),
        "transl": random.normal(size=(people, 3)).astype(np.float32),
        "focal": np.full(people, 1450, np.float32),
        "centre": np.full((people, 2), (960, 540), np.float32),
        "box_centre": np.full((people, 2), (900, 500), np.float32),
        "box_size": np.full(people, 700, np.float32),
        "size": np.full((people, 2), (1920, 1080)),
        "camera_from_scene": np.tile(np.eye(4), (people, 1, 1)),
        "collision": np.full((people, samples), np.nan),
        "contact": np.full((people, samples), np.nan),
        "true_transl": np.full((people, 3), np.nan, np.float32),
    }
    return Recovered(**(arrays | changes), body="open", data="")


def test_inspect_says_what_was_recovered_and_what_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recovered().write("recovered.npz")
    assert main(["inspect", "recovered.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what"] == "bodies recovered by infer ego-hmr"
    assert {"people": 4, "bodies of each": 2, "rooms": "1: room.ply"}.items() <= found["facts"].items()
    assert found["read_by"] == ["avatarctl export ego-hmr recovered.npz"]
    replace(recovered(), data="my data").write("recovered.npz")  # of recordings, whose truth is known
    assert main(["inspect", "recovered.npz", "--json"]) == 0
    evaluation = "avatarctl eval ego-hmr --data 'my data' --results recovered.npz"
    assert evaluation in json.loads(capsys.readouterr().out)["read_by"]


def equal(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("names", "betas", "matrices", "transl", "size")
    )


def test_a_written_file_is_read_back(tmp_path):
    made = recovered()
    made.write(tmp_path / "recovered.npz")

    for place in (tmp_path, tmp_path / "recovered.npz"):
        found = read_recovered(place)
        assert equal(found, made)
        assert (found.body, len(found), found.num_samples) == ("open", 4, 2)


def test_windows_are_joined():
    made = recovered()

    assert equal(joined([made[:1], made[1:]]), made)


def test_published_results_are_written_and_read(tmp_path):
    made = recovered()
    path = made.results().write(tmp_path / "results_seed_0.pkl")

    content = pickle.loads(path.read_bytes())
    assert content["pred_body_pose_list"].shape == (4, 2, 23, 3, 3)
    assert {name: str(array.dtype) for name, array in content.items()} == {
        "pred_betas_list": "float32", "pred_global_orient_list": "float32", "pred_body_pose_list": "float32",
        "collision_ratio_list": "float64", "contact_ratio_list": "float64", "pred_cam_full_list": "float32",
        "gt_cam_full_list": "float32",
    }  # fmt: skip
    np.testing.assert_array_equal(read_results(path).matrices, made.matrices)


def test_pickles_name_numpy_as_its_first_version_does(tmp_path):
    path = write_pickle(tmp_path / "x.pkl", {"a": np.arange(6.0).reshape(2, 3), "b": {"c": np.float64(2)}})

    names = [words for kind, words, _ in pickletools.genops(path.read_bytes()) if kind.name == "GLOBAL"]
    assert "numpy.core.multiarray _reconstruct" in names
    assert not any("_core" in words.replace("numpy.core", "") for words in names)
    np.testing.assert_array_equal(pickle.loads(path.read_bytes())["a"], np.arange(6.0).reshape(2, 3))


def test_translations_of_stage_1_alone_are_results(tmp_path):
    path = write_pickle(tmp_path / "results.pkl", {"pred_cam_full_list": np.zeros((3, 3), np.float32)})

    assert read_results(path).betas is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"other": np.zeros(3)}, "no pred_cam_full_list"),
        ({"pred_cam_full_list": np.zeros((3, 4))}, r"expected \[n, 3\]"),
        ({"pred_cam_full_list": np.full((3, 3), np.nan)}, "not finite"),
        ({"pred_cam_full_list": np.zeros((3, 3)), "pred_betas_list": np.zeros((3, 1, 10))}, "missing"),
        (
            {"pred_cam_full_list": np.zeros((3, 3)), "pred_betas_list": np.zeros((4, 1, 10))},
            r"pred_cam_full_list: found float64 \[3, 3\], expected \[4, 3\]",
        ),
    ],
)
def test_results_that_are_wrong_are_named(tmp_path, content, words):
    path = write_pickle(tmp_path / "results.pkl", content)

    with pytest.raises(DataError, match=words):
        read_results(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"betas": np.zeros((4, 3, 10))}, r"matrices: found float32 \[4, 2, 24, 3, 3\]"),
        ({"transl": np.full((4, 3), np.inf)}, "transl: numbers that are not finite"),
        ({"names": np.zeros(4)}, "names: found float64"),
    ],
)
def test_files_of_infer_that_are_wrong_are_named(tmp_path, changes, words):
    recovered(**changes).write(tmp_path / "recovered.npz")

    with pytest.raises(DataError, match=words):
        read_recovered(tmp_path)
