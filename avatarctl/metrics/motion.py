"""How things move: velocity error and jitter of joint places over time."""

from __future__ import annotations

from torch import Tensor

from avatarctl.geometry.shapes import expect


def mpjve(predicted: Tensor, truth: Tensor, fps: float) -> Tensor:
    """Mean velocity error of the joints, metres per second; NaN for fewer than 2 frames; a scalar.

    Args:
        predicted: Joint places, metres [T, J, 3].
        truth: The same of the truth [T, J, 3].
        fps: Frames per second.
    """
    expect(predicted, "T J 3", "predicted")
    if predicted.shape != truth.shape:
        raise ValueError(f"truth has shape {list(truth.shape)}, predicted {list(predicted.shape)}")
    velocity, true_velocity = (places[1:] - places[:-1] for places in (predicted, truth))
    speeds: Tensor = ((velocity - true_velocity) * fps).norm(dim=-1)
    return speeds.mean()


def jitter(places: Tensor, fps: float) -> Tensor:
    """Mean third derivative of joint places [T, J, 3], m/s^3; NaN for fewer than 4 frames; a scalar."""
    expect(places, "T J 3", "places")
    third = places[3:] - 3 * places[2:-1] + 3 * places[1:-2] - places[:-3]  # [T - 3, J, 3]
    sizes: Tensor = (third * fps**3).norm(dim=-1)
    return sizes.mean()
