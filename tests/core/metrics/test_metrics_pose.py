import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarctl.metrics.pose import joint_distances, mean_geodesic, mpjpe, mpjre, mpjre_agrol

LEADING = [(), (2,), (2, 3)]


def pair(leading: tuple[int, ...], size: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(3)
    return tuple(size * torch.randn(*leading, 5, 3, generator=noise, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("leading", LEADING)
def test_mpjpe_is_the_mean_of_the_joints_distances(leading):
    predicted, truth = pair(leading)
    rows = zip(predicted.reshape(-1, 3).tolist(), truth.reshape(-1, 3).tolist(), strict=True)
    distances = [math.dist(one, other) for one, other in rows]
    assert float(mpjpe(predicted, truth)) == pytest.approx(sum(distances) / len(distances), rel=1e-12)
    assert joint_distances(predicted, truth).flatten().tolist() == pytest.approx(distances, rel=1e-12)


@pytest.mark.parametrize("leading", LEADING)
def test_geodesic_error_agrees_with_scipy(leading):
    predicted, truth = pair(leading, size=1.2)
    first, second = (Rotation.from_rotvec(angles.reshape(-1, 3).numpy()) for angles in (predicted, truth))
    oracle = (first.inv() * second).magnitude().mean()
    # The published axis-angle conversion divides by theta + 1e-6, so angles are off by about that much.
    assert float(mean_geodesic(predicted, truth)) == pytest.approx(oracle, abs=5e-6)


@pytest.mark.parametrize("metric", [mpjre, mpjre_agrol, mean_geodesic])
def test_rotation_errors_choose_joints(metric):
    predicted, truth = pair((4,))
    truth[:, [0, 2]] = predicted[:, [0, 2]]
    assert float(metric(predicted, truth, (0, 2))) == pytest.approx(0.0, abs=1e-6)
    assert float(metric(predicted, truth)) > 0.01


def test_published_rotation_error_wraps_the_subtracted_vector_as_a_rotation():
    truth = torch.tensor([[[0.0, 0.0, 2.5]]], dtype=torch.float64)
    predicted = torch.tensor([[[0.0, 0.0, -2.5]]], dtype=torch.float64)
    # The difference, 5 rad about z, is the rotation by 2 pi - 5 about -z; one component of three carries it.
    assert float(mpjre(predicted, truth)) == pytest.approx((2 * math.pi - 5) / 3, abs=1e-5)


def test_agrol_rotation_error_wraps_each_component():
    truth = torch.tensor([[[3.0, 2.0, 0.0]]], dtype=torch.float64)
    predicted = torch.tensor([[[-3.0, -2.0, 0.0]]], dtype=torch.float64)
    wrapped = abs(6 - 2 * math.pi) + abs(4 - 2 * math.pi)
    assert float(mpjre_agrol(predicted, truth)) == pytest.approx(wrapped / 3, rel=1e-12)
    assert float(mpjre(predicted, truth)) != pytest.approx(wrapped / 3, rel=1e-2)


def test_the_three_rotation_errors_agree_for_small_turns_about_one_axis():
    truth = torch.zeros(1, 4, 3, dtype=torch.float64)
    predicted = truth.clone()
    predicted[..., 0] = torch.tensor([0.01, 0.02, -0.015, 0.03], dtype=torch.float64)
    mean = 0.075 / 4
    assert float(mean_geodesic(predicted, truth)) == pytest.approx(mean, abs=2e-6)
    assert float(mpjre_agrol(predicted, truth)) == pytest.approx(mean / 3, abs=1e-12)
    assert float(mpjre(predicted, truth)) == pytest.approx(mean / 3, abs=2e-6)


def test_places_of_different_shapes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"truth has shape \[3, 5, 3\], predicted \[2, 5, 3\]"):
        mpjpe(torch.zeros(2, 5, 3), torch.zeros(3, 5, 3))
