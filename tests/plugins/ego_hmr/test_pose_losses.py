"""Losses of stage 2: what is perfect, what is weighed, which joints and which points count."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from avatarctl_ego_hmr import losses_diffusion
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.partition import Figure
from avatarctl_ego_hmr.losses import PICTURE
from avatarctl_ego_hmr.losses_diffusion import Criterion, Predicted, considered
from avatarctl_ego_hmr.settings_train import DiffusionLosses
from avatarctl_ego_hmr.views import Truth, View

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

FOCAL, CENTRE = 1450.0, (960.0, 540.0)


@pytest.fixture(scope="module")
def people() -> People:
    return People(*[open_body("smpl")] * 3)


@pytest.fixture(scope="module")
def case(people) -> tuple[View, Truth, Predicted]:
    """Two people, the second half outside of the picture, and predictions that are right."""
    noise = Noise.seeded(0, "case")
    poses, betas = 0.3 * noise.normal((2, 24, 3)), 0.5 * noise.normal((2, 10))
    transl = torch.tensor([[0.0, 0.1, 4.0], [1.6, 0.0, 2.5]])
    matrices = matrix_from_axis_angle_smpl(poses)
    body = people.posed(matrices, betas)
    placed = body.moved(transl)
    pixels = FOCAL * placed.keypoints[..., :2] / placed.keypoints[..., 2:] + torch.tensor(CENTRE)
    confidence = noise.uniform((2, 25, 1))
    view = View(
        image=torch.zeros(2, 3, 224, 224),
        focal=torch.full((2,), FOCAL),
        centre=torch.tensor([CENTRE] * 2),
        box_centre=torch.zeros(2, 2),
        box_size=torch.ones(2),
        points=transl[:, None] + noise.normal((2, 60, 3)),
        detected=torch.ones(2, 25, dtype=torch.bool),
    )
    truth = Truth(
        keypoints=torch.zeros(2, 25, 3),
        keypoints_full=torch.cat([pixels / torch.tensor(PICTURE) - 0.5, confidence], dim=-1),
        joints=body.joints[:, :24] + 0.7,
        joints_full=placed.joints[:, :24],
        poses=poses,
        betas=betas,
        transl=transl,
        gender=torch.tensor([0, 1]),
    )
    return view, truth, Predicted(matrices, betas, matrices[..., :2].flatten(1))


def test_a_right_body_has_no_loss(people, case):
    view, truth, made = case
    terms = Criterion(people, DiffusionLosses()).terms(made, view, truth)
    assert terms.keys() == DiffusionLosses.model_fields.keys() - {"collision"}
    for name, term in terms.items():
        assert float(term) == pytest.approx(0, abs=3e-4), name  # sums over joints, metres


def test_terms_are_sums_over_a_body_and_means_over_people(people, case):
    view, truth, made = case
    wrong = replace(made, betas=made.betas + torch.tensor([[1.0], [0.0]]))
    terms = Criterion(people, DiffusionLosses()).terms(wrong, view, truth)
    assert float(terms["betas"]) == pytest.approx(10 / 2)
    vertices = [people.posed(one.matrices, one.betas) for one in (wrong, made)]
    first, second = (body.vertices - body.joints[:, :1] for body in vertices)
    assert float(terms["v2v"]) == pytest.approx(float((first - second).abs().mean()), rel=1e-3)
    places = [body.joints[:, :24] for body in vertices]
    wanted = (places[0] - places[1]).abs().sum(dim=(1, 2)).mean()
    assert float(terms["keypoints_3d_full"]) == pytest.approx(float(wanted), rel=1e-3)
    scaled = replace(made, sixd=2 * made.sixd)
    assert float(Criterion(people, DiffusionLosses()).terms(scaled, view, truth)["orthogonal"]) == (
        pytest.approx(4.5, rel=1e-4)  # A^T A is 4 I
    )


def test_the_loss_is_the_weighed_sum(people):
    names = list(DiffusionLosses.model_fields)
    terms = {name: torch.tensor(10.0**place) for place, name in enumerate(names)}
    weights = DiffusionLosses(**{name: place + 1.0 for place, name in enumerate(names)})
    assert float(Criterion(people, weights).total(terms)) == pytest.approx(987654321, rel=1e-6)


def test_errors_count_joints_whose_true_place_is_in_the_picture(people, case):
    view, truth, made = case
    turned = made.matrices.clone()
    turned[:, 16] = torch.eye(3)  # an arm
    wrong = replace(made, matrices=turned)
    error, count = Criterion(people, DiffusionLosses()).visible_errors(wrong, view, truth)
    joints = people.posed(turned, made.betas).joints[:, :24]
    wanted, number = 0.0, 0
    for person in range(2):
        for joint in range(24):
            x, y, z = truth.joints_full[person, joint].tolist()
            u, v = FOCAL * x / z + CENTRE[0], FOCAL * y / z + CENTRE[1]
            if 0 <= u < PICTURE[0] and 0 <= v < PICTURE[1]:
                apart = (joints[person, joint] - joints[person, 0]) - (
                    truth.joints[person, joint] - truth.joints[person, 0]
                )
                wanted, number = wanted + float(apart.norm()), number + 1
    assert 24 < number < 48
    assert int(count) == number
    assert float(error) == pytest.approx(wanted, rel=1e-4)
    assert wanted > 0.1


def test_the_collision_is_given_points_from_the_body_and_is_one_of_the_terms(people, case):
    view, truth, made = case
    seen = []

    def collide(figure: Figure, points: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        seen.append((points, inside))
        return figure.vertices.sum(dim=(1, 2))

    terms = Criterion(people, DiffusionLosses()).terms(made, view, truth, collide)
    ((points, inside),) = seen
    torch.testing.assert_close(points, view.points - truth.transl[:, None])
    vertices = people.posed(made.matrices, made.betas).vertices
    for person in range(2):
        low, high = vertices[person].amin(dim=0), vertices[person].amax(dim=0)
        within = ((points[person] >= low) & (points[person] <= high)).all(dim=-1)
        assert torch.equal(inside[person], within)
    torch.testing.assert_close(terms["collision"], vertices.sum(dim=(1, 2)).mean(), rtol=1e-4, atol=1e-3)


def test_of_too_many_points_the_late_ones_are_left_out(monkeypatch):
    monkeypatch.setattr(losses_diffusion, "MOST_POINTS", 3)
    corners = torch.tensor([[-1.0, -1, -1], [1, 1, 1]]).expand(2, -1, -1)
    figure = Figure(corners, corners, torch.eye(3).expand(2, 2, 3, 3))
    points = torch.full((2, 6, 3), 5.0)
    points[0, [0, 2, 4, 5]] = 0.0  # four inside, of which two are early
    points[1, [1, 4, 5]] = 0.0  # three: not too many
    found = considered(figure, points)
    assert found[0].nonzero()[:, 0].tolist() == [0, 2]
    assert found[1].nonzero()[:, 0].tolist() == [1, 4, 5]
