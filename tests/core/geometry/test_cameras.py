"""Cameras: closed forms of projection, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at

INTRINSICS = torch.tensor([[100.0, 0, 40], [0, 120.0, 25], [0, 0, 1]])


def _camera(intrinsics=INTRINSICS):
    return Camera(intrinsics, torch.eye(3), torch.zeros(3))


def test_projection_is_focal_length_times_slope_plus_principal_point():
    pixels, depth = _camera().project(torch.tensor([[0.5, -0.25, 2.0]]))
    torch.testing.assert_close(pixels, torch.tensor([[100 * 0.25 + 40, 120 * -0.125 + 25]]))
    assert depth.item() == 2


def test_rays_go_through_the_pixel_centres_that_their_points_project_to():
    eye, target, up = torch.tensor([1.0, 2, 3]), torch.tensor([0.0, 0.3, 1]), torch.tensor([0.0, 0, 1])
    camera = Camera(INTRINSICS, *look_at(eye, target, up))
    points = camera.centre + 3 * camera.rays((50, 80))
    pixels, depth = camera.project(points.flatten(0, 1))
    y, x = torch.meshgrid(torch.arange(50) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([x, y], -1).flatten(0, 1), rtol=0, atol=1e-3)
    torch.testing.assert_close(depth, torch.full_like(depth, 3.0))


def test_look_at_puts_the_target_in_the_middle_and_up_above_it():
    eye, target, up = torch.tensor([2.0, -1, 1]), torch.tensor([0.0, 0.5, 0.2]), torch.tensor([0.0, 0, 1])
    camera = Camera(intrinsics_from_view(math.radians(60), (60, 100)), *look_at(eye, target, up))
    pixels, depth = camera.project(torch.stack([target, target + 0.1 * up]))
    torch.testing.assert_close(pixels[0], torch.tensor([50.0, 30.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(depth[0], (target - eye).norm())
    torch.testing.assert_close(camera.centre, eye)
    torch.testing.assert_close(pixels[1, 0], pixels[0, 0], rtol=0, atol=1e-3)
    assert pixels[1, 1] < pixels[0, 1]
    torch.testing.assert_close(torch.linalg.det(camera.rotation), torch.tensor(1.0))


def test_the_view_is_that_of_the_shorter_side():
    intrinsics = intrinsics_from_view(math.radians(90), (60, 100))
    assert intrinsics[0, 0] == pytest.approx(30)  # 45 degrees to the upper edge


def test_a_window_sees_the_same_points_shifted_and_finer():
    points = torch.tensor([[0.1, 0.2, 2.0], [-0.3, 0.1, 1.0]])
    whole, _ = _camera().project(points)
    part, _ = _camera().window(7, 11, 3).project(points)
    torch.testing.assert_close(part, 3 * (whole - torch.tensor([7.0, 11.0])))


def test_a_batch_of_cameras_equals_cameras_one_by_one():
    eyes = torch.tensor([[3.0, 0, 1], [0.0, 2, 0.5]])
    target, up = torch.tensor([0.0, 0, 1]), torch.tensor([0.0, 0, 1])
    points = torch.rand(5, 3)
    both, _ = Camera(INTRINSICS, *look_at(eyes, target, up)).project(points)
    for index, eye in enumerate(eyes):
        one, _ = Camera(INTRINSICS, *look_at(eye, target, up)).project(points)
        torch.testing.assert_close(both[index], one)


def test_skewed_intrinsics_are_refused():
    skewed = INTRINSICS.clone()
    skewed[0, 1] = 2.5
    with pytest.raises(ValueError, match=r"skew of 2\.5 pixels.*set intrinsics"):
        _camera(skewed)


@pytest.mark.parametrize(("place", "value", "words"), [((2, 2), 2.0, "last row"), ((1, 1), -1.0, "positive")])
def test_other_matrices_are_no_intrinsics(place, value, words):
    broken = INTRINSICS.clone()
    broken[place] = value
    with pytest.raises(ValueError, match=words):
        _camera(broken)
