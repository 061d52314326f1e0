"""Pictures of an avatar as they are shown and compared: published scalings, normals, rectangles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_scene
import torch
from avatarctl_video_avatar import pictures
from avatarctl_video_avatar.model.rendering import Picture
from scipy.spatial.transform import Rotation

H, W = 6, 5
DRAW = np.random.default_rng(0)


def random(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(DRAW.uniform(low, high, shape)).float()


def rigid() -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[:3, :3] = torch.from_numpy(Rotation.random(random_state=int(DRAW.integers(99))).as_matrix())
    matrix[:3, 3] = random(3)
    return matrix


@pytest.fixture
def sample():
    one = small_scene.sample(H, W)
    rays = replace(one.rays, colours=random(H * W, 3), hits=random(H * W) > 0.5)
    shot = replace(one.shot, extrinsics=rigid(), world=rigid())
    box = torch.zeros(H, W, dtype=torch.bool)
    box[1, 3] = box[4, 1] = True
    return replace(one, rays=rays, shot=shot, box=box)


@pytest.fixture
def picture():
    return Picture(
        random(H, W, 3, low=-0.1, high=1.1), random(H, W, 3, low=-1), random(H, W, 3, low=-1), random(H, W)
    )


def test_predictions_are_scaled_by_256_and_truth_by_255(picture, sample):
    np.testing.assert_allclose(pictures.shown(picture), (picture.image * 256).clip(0, 255), rtol=1e-6)
    expected = np.where(sample.rays.hits.view(H, W, 1), sample.rays.colours.view(H, W, 3), sample.background)
    np.testing.assert_allclose(pictures.truth(sample), 255 * expected, rtol=1e-6)


def test_published_normals_are_turned_by_the_cameras_of_the_posed_body(picture, sample):
    turn, world = (matrix[:3, :3].double().numpy() for matrix in (sample.shot.extrinsics, sample.shot.world))
    for is_test in (True, False):
        found = pictures.published_normals(picture, sample, is_test=is_test)
        for row, column in ((0, 0), (5, 4), (2, 3)):
            normal = picture.normals[row, column].double().numpy()
            if is_test:
                turned = np.linalg.inv(turn) @ normal
            else:  # spec 6: y and z by -1, then E', then the inverse of the world camera
                turned = np.linalg.inv(world) @ (turn @ (normal * [1, -1, -1]))
            np.testing.assert_allclose(
                found[row, column], np.clip(turned * 128 + 128, 0, 255), rtol=1e-5, atol=1e-3
            )


def test_normals_towards_the_camera_are_blue_and_sideways_ones_are_not(picture, sample):
    turn = sample.shot.extrinsics[:3, :3]
    for seen, colour in (
        ((0, 0, -1.0), (127.5, 127.5, 255)),
        ((1.0, 0, 0), (255, 127.5, 127.5)),
        ((0, -1.0, 0), (127.5, 255, 127.5)),  # up in the picture: y of the camera is down
    ):
        normals = (torch.tensor(seen) @ turn).expand(H, W, 3) * 0.7
        shown = pictures.camera_normals(
            replace(picture, body_normals=normals, opacity=torch.ones(H, W)), sample
        )
        np.testing.assert_allclose(shown[2, 2], colour, atol=0.01)
    nothing = replace(picture, opacity=torch.zeros(H, W))
    assert not pictures.camera_normals(nothing, sample).any()


def test_what_is_compared_is_the_rectangle_of_the_box(picture, sample):
    predicted, truth = pictures.compared(picture, sample)
    assert predicted.shape == truth.shape == (3, 4, 3)
    shown, true = pictures.shown(picture) / 255, pictures.truth(sample) / 255
    np.testing.assert_allclose(predicted, shown[1:5, 1:4].permute(2, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(truth, true[1:5, 1:4].permute(2, 0, 1), rtol=1e-6)


def test_bytes_are_rounded(picture):
    values = torch.tensor([[[-3.0, 0.4, 0.6], [254.6, 255.0, 300.0]]])
    assert pictures.to_bytes(values).tolist() == [[[0, 0, 1], [255, 255, 255]]]
