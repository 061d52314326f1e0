"""The demo: made-up people in the office, found with and without guidance, shown and scored."""

import json

import av
import numpy as np
import pytest
import small_networks
import torch
import trimesh
from avatarctl_ego_hmr.demo import stacked
from avatarctl_ego_hmr.demo_report import GUIDED, MEAN, UNGUIDED, Scores, verdict
from avatarctl_ego_hmr.evaluate import Bodies
from avatarctl_ego_hmr.recovered import read_recovered
from avatarctl_ego_hmr.scores import measure
from PIL import Image

from avatarctl.cli.main import main


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_networks.write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.mark.slow
def test_the_demo_finds_shows_and_scores(weights, tmp_path):
    out = tmp_path / "out"
    words = ("--people", "1", "--samples", "2", "--size", "128", "-q")
    assert main(["demo", "ego-hmr", "--weights", str(weights), *words, "--out", str(out)]) == 0
    guided, free = read_recovered(out), read_recovered(out / "recovered_unguided.npz")
    assert guided.betas.shape == free.betas.shape == (1, 2, 10)
    assert np.isfinite(guided.collision).all()
    np.testing.assert_array_equal(guided.transl, free.transl)
    width = round(128 * 16 / 9)
    assert Image.open(out / "picture.png").size == (3 * width + 12, 128)
    assert Image.open(out / "room.png").size == (2 * 171 + 6, 128)
    with av.open(str(out / "turntable.mp4")) as film:
        assert film.streams.video[0].frames == 60
    stem = next((out / "office" / "egocentric_color").glob("*_S03_*")).name
    names = set(trimesh.load(out / "people.glb").geometry)
    assert len(names) == 4  # the room, two samples and the truth
    assert sum(name.startswith(stem) for name in names) == 2
    said = json.loads((out / "metrics.json").read_text())
    assert {"with_guidance", "without_guidance", "mean_body"} <= said.keys()
    report = (out / "report.html").read_text()
    assert "Guidance pushes bodies out of the room" in report
    assert report.count("<img ") == 3


@pytest.mark.slow
def test_without_a_collision_network_nothing_is_compared(tmp_path):
    weights = small_networks.write_weights(tmp_path / "small.safetensors", "scene diffusion")
    out = tmp_path / "out"
    words = ("--people", "1", "--samples", "1", "--size", "128", "--sampler", "ddim5", "--no-turntable")
    code = main(["demo", "ego-hmr", "--weights", str(weights), *words, "--out", str(out), "-q"])
    assert code == 0
    assert not (out / "recovered_unguided.npz").exists()
    assert not (out / "turntable.mp4").exists()
    assert "there was no guidance" in (out / "report.html").read_text()


def scores(collisions):
    noise = torch.Generator().manual_seed(0)
    joints, vertices = torch.randn(2, 3, 24, 3, generator=noise), torch.randn(2, 3, 7, 3, generator=noise)
    seen = torch.ones(2, 24, dtype=torch.bool)
    errors = measure(joints, vertices, joints[:, 0], vertices[:, 0], seen, seen[:, :7])
    bodies = {
        name: Bodies(np.arange(2), *[np.zeros(1)] * 3, *[np.full((2, 3), share)] * 3)
        for name, share in collisions.items()
    }
    return Scores(dict.fromkeys(bodies, errors), {name: one.room() for name, one in bodies.items()}, bodies)


def test_the_best_sample_is_the_one_nearest_to_the_truth():
    values = scores({UNGUIDED: 0.0}).table().rows[0].values
    assert values["mpjpe_best"] == 0.0
    assert values["mpjpe.all"] > 0.5


def test_the_report_says_what_guidance_did():
    both = scores({GUIDED: 0.01, UNGUIDED: 0.02, MEAN: np.nan})
    assert both.is_compared
    words = verdict(both, 2.0)
    assert "6 bodies of 2 people were found in 2.0 s" in words
    assert "1.000% of the points" in words
    assert "without guidance 2.000%" in words
    assert "collision" not in both.numbers()["mean_body"]
    assert not scores({GUIDED: np.nan, UNGUIDED: np.nan}).is_compared


def test_panels_are_stacked_with_white_between_them():
    made = stacked([[np.zeros((4, 5, 3), np.uint8)] * 2] * 2)
    assert made.shape == (14, 16, 3)
    assert (made[4:10] == 255).all()
    assert (made[:, 5:11] == 255).all()
    assert not made[:4, :5].any()
