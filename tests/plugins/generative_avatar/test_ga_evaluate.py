"""The eval target: distances of new people to photos, as users type it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import photo_zip
import pytest
import small_people
import torch
from avatarctl_generative_avatar import evaluate
from avatarctl_generative_avatar.body import crops, face_centres
from avatarctl_generative_avatar.evaluate import Judge, planned
from avatarctl_generative_avatar.settings import Sampling
from avatarctl_generative_avatar.settings_evaluate import Evaluate

from avatarctl.cli.main import main
from avatarctl.metrics.fid import FeatureStats
from avatarctl.runs import Run

QUICK = Sampling(depth_resolution=6, depth_resolution_importance=6, fits=False)


def colours(pictures: torch.Tensor) -> torch.Tensor:
    """Features for tests: means of the channels and of their squares."""
    scaled = pictures.float() / 255
    return torch.cat([scaled.mean(dim=(2, 3)), scaled.square().mean(dim=(2, 3))], dim=1)


@pytest.fixture(autouse=True)
def _plain_features(monkeypatch):
    monkeypatch.setattr(evaluate, "load_detector", lambda name, path: colours)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return photo_zip.write(tmp_path_factory.mktemp("photos") / "photos.zip", photo_zip.contents(5, side=32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return small_people.weights().write(tmp_path_factory.mktemp("weights") / "small.safetensors")


def judged(photos, weights, folder, **changes):
    settings = Evaluate(data=photos, weights=str(weights), sampling=QUICK, **changes)
    run = Run.standalone(folder)
    people = evaluate.pipeline.of_settings(settings, run)
    return Judge(settings, run, people, evaluate.Photos(photos, 32), colours)


def test_metrics_say_how_many_people_and_what_is_seen():
    assert planned(["fid5k_full", "fid50k"], 0) == [
        ("5k", 5000, ("img", "normal", "face")), ("50k", 50000, ("img",))
    ]  # fmt: skip
    assert planned(["fid5k_face"], 128) == [("128", 128, ("face",))]


def test_statistics_of_photos_are_those_of_each_photo(photos, weights, tmp_path):
    judge = judged(photos, weights, tmp_path, cache=False)
    found = judge.real(["img", "face", "normal"])
    body = judge.people.template.body
    rows, faces = [], []
    for image, _, label in judge.photos:
        rows.append(colours(image[None])[0])
        face = crops(image[None].float(), face_centres(body, label[None]), 4)
        faces.append(colours(face.clamp(0, 255).trunc())[0])
    for kind, wanted in (("img", rows), ("face", faces)):
        np.testing.assert_allclose(found[kind].fitted()[0], torch.stack(wanted).mean(dim=0), atol=1e-6)
    assert found["normal"].count == 5


def test_kept_statistics_are_used_and_equal(photos, weights, tmp_path, monkeypatch):
    judge = judged(photos, weights, tmp_path)
    first = judge.real(["img"])
    monkeypatch.setattr(Judge, "_photos", None)
    again = judged(photos, weights, tmp_path / "b").real(["img"])
    np.testing.assert_array_equal(first["img"].products, again["img"].products)


@pytest.mark.parametrize("broken", [b"", b"PK\x03\x04 no archive"])
def test_broken_statistics_are_made_again(tmp_path, broken):
    path = tmp_path / "statistics.npz"
    path.write_bytes(broken)
    assert evaluate.read_statistics(path, "float64") == {}


def test_exactly_so_many_people_count(photos, weights, tmp_path):
    judge = judged(photos, weights, tmp_path, batch=3)
    found = judge.generated(["img", "face"], [4, 7])
    assert {count: own["img"].count for count, own in found.items()} == {4: 4, 7: 7}
    alone = judged(photos, weights, tmp_path / "b", batch=3).generated(["img"], [7])
    np.testing.assert_allclose(found[7]["img"].total, alone[7]["img"].total)


def test_published_precision_is_float32(photos, weights, tmp_path):
    judge = judged(photos, weights, tmp_path, sums="published", cache=False)
    assert judge.real(["img"])["img"].products.dtype == np.float32


def test_as_typed(photos, weights, tmp_path, capsys):
    words = ["eval", "generative-avatar", "--weights", weights, "--data", photos, "--number", 6, "--json"]
    words += ["--set", "sampling.depth_resolution=6", "--set", "sampling.depth_resolution_importance=6"]
    assert main([str(word) for word in (*words, "--features", "efflite0", "--out", tmp_path / "e")]) == 0
    numbers = json.loads(capsys.readouterr().out)
    for kind in ("img", "normal", "face"):
        assert (tmp_path / "e" / f"{kind}_made.png").is_file()
    assert "fd-efflite06_img" in json.dumps(numbers)


def test_too_few_photos_are_said(tmp_path, weights, capsys):
    one = photo_zip.write(tmp_path / "one.zip", photo_zip.contents(1, side=32))
    words = ["eval", "generative-avatar", "--weights", weights, "--data", one, "--number", 2]
    words += ["--set", "sampling.depth_resolution=6", "--set", "sampling.depth_resolution_importance=6"]
    assert main([str(word) for word in (*words, "--out", tmp_path / "e")]) == 5
    assert "1 photo; a Fréchet distance needs 2" in capsys.readouterr().err


def test_fid_without_its_network_is_one_line(photos, weights, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    words = ["eval", "generative-avatar", "--weights", weights, "--data", photos, "--out", tmp_path / "e"]
    assert main([str(word) for word in words]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Inception-v3" in said
    assert "--features efflite0" in said


def test_stats_of_no_rows_are_not_full():
    assert not FeatureStats(most=3).is_full
