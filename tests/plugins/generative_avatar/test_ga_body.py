"""Bodies of labels: scale, faces and crops around them."""

import math

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.body import FACE, crops, face_centres, load_body, scaled_body

from avatarctl.body import Bodies, open_body
from avatarctl.errors import AssetError, DataError

SMALL = 1e-5  # metres; float32 sums over 24 joints


def labels_of(count=2, scale=1.0, seed=0):
    draws = torch.Generator().manual_seed(seed)
    poses = 0.3 * torch.randn(count, 24, 3, generator=draws)
    poses[:, 0, 0] += math.pi
    return label.made(
        poses,
        torch.randn(count, 10, generator=draws),
        scale=scale,
        transl=0.2 * torch.randn(count, 3, generator=draws),
    )


@pytest.fixture(scope="module")
def body():
    return open_body("smpl")


def test_vertices_are_those_of_the_body_model_times_the_scale(body):
    labels = labels_of(scale=0.8)
    posed = body.shape(label.betas(labels)).pose(label.poses(labels), label.transl(labels))
    scaled = scaled_body(body, labels)
    torch.testing.assert_close(scaled.vertices, 0.8 * posed.vertices(), atol=SMALL, rtol=0)
    torch.testing.assert_close(scaled.joints[:, :24], 0.8 * posed.joints, atol=SMALL, rtol=0)
    torch.testing.assert_close(scaled.joints[:, 24:], scaled.vertices[:, list(FACE)])


def test_vertex_transforms_move_corrected_vertices_at_rest(body):
    labels = labels_of()
    posed = body.shape(label.betas(labels)).pose(label.poses(labels), label.transl(labels))
    bends = (posed.local[:, 1:] - torch.eye(3)).flatten(1)
    rest = posed.shaped.vertices + (bends @ body.pose_directions).view(2, -1, 3)
    scaled = scaled_body(body, labels)
    moved = (scaled.vertex_transforms[..., :3, :3] @ rest.unsqueeze(-1)).squeeze(-1)
    moved = moved + scaled.vertex_transforms[..., :3, 3]
    # The open body's weights are stored rounded: their sums are up to 3e-4 away from 1.
    torch.testing.assert_close(moved, scaled.vertices, atol=1e-3, rtol=0)


def test_scale_is_on_rotations_of_transforms_but_not_on_translations(body):
    plain, half = scaled_body(body, labels_of()), scaled_body(body, labels_of(scale=0.5))
    torch.testing.assert_close(half.transforms[..., :3, :3], 0.5 * plain.transforms[..., :3, :3])
    torch.testing.assert_close(half.transforms[..., 3], plain.transforms[..., 3])


def test_faces_are_where_they_are_without_scale(body):
    centres = face_centres(body, labels_of(scale=0.5))
    plain = scaled_body(body, labels_of()).vertices[:, list(FACE), :2].mean(dim=1)
    torch.testing.assert_close(centres, plain * 0.5 + 0.5)


def sampled(image, x, y):
    """One bilinear sample of [H, W], 0 outside."""
    low_x, low_y, total = math.floor(x), math.floor(y), 0.0
    for j in (low_y, low_y + 1):
        for i in (low_x, low_x + 1):
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[0]:
                total += (1 - abs(x - i)) * (1 - abs(y - j)) * image[j, i]
    return total


@pytest.mark.parametrize("size", [8, 7, 2])
def test_crops_are_bilinear_samples_between_edges(size):
    image = np.random.default_rng(0).random((2, 3, 20, 20))
    centres = torch.tensor([[0.5, 0.47], [0.1, 0.99]], dtype=torch.float64)  # the second reaches outside
    found = crops(torch.from_numpy(image), centres, size)
    half = size // 2
    assert found.shape == (2, 3, 2 * half, 2 * half)
    for n in range(2):
        cx, cy = (centres[n] * 20).tolist()
        for i in range(2 * half):
            for j in range(2 * half):
                step = 2 * half / (2 * half - 1)
                wanted = sampled(image[n, 1], cx - half + j * step, cy - half + i * step)
                assert found[n, 1, i, j] == pytest.approx(wanted, abs=1e-12)


def test_crops_are_twice_differentiable():
    image = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    centres = torch.tensor([[0.4, 0.6]], dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda one: crops(one, centres, 4).square(), (image,))


def test_the_open_body_is_loaded_without_files():
    assert load_body(Bodies(), "open").is_open


def test_a_licensed_body_that_is_missing_names_the_published_file(tmp_path):
    with pytest.raises(AssetError, match=r"basicModel_f.*pkl under the name SMPL_NEUTRAL") as caught:
        load_body(Bodies(), "smpl", tmp_path)
    assert caught.value.hint.endswith("--body open")


def test_a_body_with_other_vertices_is_refused(tmp_path, make):
    make.write_body(tmp_path, "smpl", "neutral")
    with pytest.raises(DataError, match=r"vertices.*6890"):
        load_body(Bodies(), "smpl", tmp_path)
