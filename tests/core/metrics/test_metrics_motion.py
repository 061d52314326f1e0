import math

import pytest
import torch

from avatarctl.metrics.motion import jitter, mpjve

FPS = 50.0


def cubic(scale: float, frames: int = 12, joints: int = 3) -> torch.Tensor:
    """Places that go scale * t^3 along x: the third derivative is 6 * scale."""
    t = torch.arange(frames, dtype=torch.float64) / FPS
    places = torch.zeros(frames, joints, 3, dtype=torch.float64)
    places[..., 0] = scale * t[:, None] ** 3
    return places


def test_jitter_is_the_third_derivative():
    assert float(jitter(cubic(2.5), FPS)) == pytest.approx(15.0, rel=1e-6)


def test_steady_motion_has_no_jitter():
    t = torch.arange(9, dtype=torch.float64)[:, None, None]
    assert float(jitter(t.expand(9, 2, 3), FPS)) == pytest.approx(0.0, abs=1e-6)


def test_velocity_error_ignores_a_constant_distance():
    places = cubic(1.0)
    assert float(mpjve(places + 0.3, places, FPS)) == pytest.approx(0.0, abs=1e-9)


def test_velocity_error_is_in_metres_per_second():
    still = torch.zeros(6, 2, 3, dtype=torch.float64)
    moving = still.clone()
    moving[..., 1] = 0.04 * torch.arange(6, dtype=torch.float64)[:, None]
    assert float(mpjve(moving, still, FPS)) == pytest.approx(0.04 * FPS, rel=1e-12)


def test_too_few_frames_give_nan():
    assert math.isnan(float(jitter(torch.zeros(3, 2, 3), FPS)))
    assert math.isnan(float(mpjve(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), FPS)))
