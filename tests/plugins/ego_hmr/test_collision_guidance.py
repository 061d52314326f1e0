"""Collision guidance: which joints it moves, how hard, and that it does not depend on who stands beside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from avatarctl_ego_hmr.collision.partition import Figure, seeded
from avatarctl_ego_hmr.collision.parts import PartNetwork
from avatarctl_ego_hmr.guidance import Guide, factors
from torch import Tensor, nn

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_sixd, sixd_from_matrix

BODY = open_body("smpl")
LEGS = (1, 2, 4, 5, 7, 8, 10, 11)
MIDDLE = torch.tensor([0.0, -0.15, 0.0])
RADIUS = 0.2


class Balls(PartNetwork):
    """A stand-in whose parts are balls below their joints."""

    is_boxed = True

    def __init__(self) -> None:
        super().__init__(4, 4, BODY)
        self.requires_grad_(False)

    def depth(self, local: Tensor, part: Tensor, codes: Tensor, code: Tensor) -> Tensor:
        return RADIUS - (local - MIDDLE).norm(dim=-1)

    def cost(self, depth: Tensor) -> Tensor:
        return depth.relu()


def standing(count: int = 1) -> Tensor:
    """Poses near rest as rows of 6D [B, 144]."""
    rest = sixd_from_matrix(torch.eye(3).expand(24, 3, 3), "interleaved").flatten()
    return rest + 0.1 * Noise.seeded(0, "poses").normal((count, 144))


def figure(poses: Tensor) -> Figure:
    matrices = matrix_from_sixd(poses.unflatten(-1, (24, 6)), "interleaved")
    return Figure.of(BODY.shape(torch.zeros(len(poses), 10)).pose_matrices(matrices))


def room(poses: Tensor) -> Tensor:
    """Points around knees and elbows [B, N, 3]."""
    joints = figure(poses).joints[:, [4, 5, 18, 19]]
    offsets = 0.05 * Noise.seeded(1, "room").normal((len(poses), 4, 30, 3))
    return (joints[:, :, None] + offsets).flatten(1, 2)


def draws(count: int):
    return seeded([Noise.seeded(2, str(body)) for body in range(count)], 4)


def gradient(guide: Guide, poses: Tensor, points: Tensor, draw=None) -> Tensor:
    draw = draws(len(poses)) if draw is None else draw
    return guide.gradient(poses, torch.zeros(len(poses), 10), points, draw)


def test_gradient_is_minus_that_of_finite_differences_times_the_joint_s_factor():
    guide, poses = Guide(Balls(), BODY, 1.0), standing()
    points = room(poses)
    found = gradient(guide, poses, points)[0]

    def loss(changed: Tensor) -> float:
        bodies = figure(changed)
        with torch.no_grad():
            return float(guide.network.loss(bodies, points, draws(1), bodies.around(points)))

    for joint, factor in ((1, 1.0), (2, 1.0), (4, 2.0), (5, 2.0)):
        number = int(found.unflatten(0, (24, 6))[joint].abs().argmax()) + 6 * joint
        step = torch.zeros_like(poses)
        step[0, number] = 1e-3
        slope = (loss(poses + step) - loss(poses - step)) / 2e-3
        assert float(found[number]) == pytest.approx(-factor * slope, rel=0.02)


def test_only_legs_are_moved():
    guide, poses = Guide(Balls(), BODY, 1.0), standing()
    moved = gradient(guide, poses, room(poses)).unflatten(1, (24, 6)).abs().amax(dim=(0, 2)) > 0
    assert set(moved.nonzero()[:, 0].tolist()) <= set(LEGS)
    assert moved[[1, 2, 4, 5]].any()
    per_joint = factors(poses).unflatten(0, (24, 6))[:, 0].tolist()
    assert [per_joint[joint] for joint in (0, 1, 2, 3, 4, 11, 12)] == [0, 1, 1, 0, 2, 2, 0]


def test_a_step_along_the_gradient_collides_less():
    guide, poses = Guide(Balls(), BODY, 1.0), standing(2)
    points = room(poses)
    before = guide.network.loss(figure(poses), points, draws(2))
    after = guide.network.loss(figure(poses + 0.01 * gradient(guide, poses, points)), points, draws(2))
    assert (after < before).all()


def test_bodies_do_not_depend_on_who_stands_beside():
    guide, poses = Guide(Balls(), BODY, 1.0), standing(7)  # more than are computed at once
    points = room(poses)
    every = gradient(guide, poses, points)
    for body in range(7):
        alone = gradient(guide, poses[[body]], points[[body]], seeded([Noise.seeded(2, str(body))], 4))
        torch.testing.assert_close(every[[body]], alone)


def test_surfaces_are_those_of_exactly_posed_bodies_rounded_once():
    guide, poses = Guide(Balls(), BODY, 1.0), standing()
    given: list[Tensor] = []
    guide.network.encoder.register_forward_pre_hook(lambda _, words: given.append(words[0].detach()))
    gradient(guide, poses, room(poses))
    matrices = matrix_from_sixd(poses.double().unflatten(-1, (24, 6)), "interleaved")
    bodies = Figure.of(
        BODY.to(dtype=torch.float64).shape(torch.zeros(1, 10).double()).pose_matrices(matrices)
    )
    partition = guide.network.partition
    drawn, boxes = draws(1)(partition, bodies.vertices, torch.arange(1)), partition.boxes(bodies)
    groups = boxes.holding(room(poses).double(), bodies.around(room(poses)))[0].any(dim=1).nonzero()[:, 0]
    surfaces = partition.surface(bodies, boxes, drawn, groups)
    assert torch.equal(torch.cat(given)[: len(groups)], surfaces.float())


def test_body_in_an_empty_room_stays_and_draws_nothing():
    guide, poses = Guide(Balls(), BODY, 1.0), standing(2)
    points = room(poses)
    points[1] += 50.0
    unused = Noise.replay([])
    found = gradient(guide, poses, points, seeded([Noise.seeded(2, "0"), unused], 4))
    assert found[0].abs().max() > 0
    assert not found[1].any()


def test_network_without_the_body_s_box_sees_points_outside_of_it():
    class Wide(Balls):
        def depth(self, local: Tensor, part: Tensor, codes: Tensor, code: Tensor) -> Tensor:
            return 1 - local.norm(dim=-1)

    class Unboxed(Wide):
        is_boxed = False

    poses = standing()
    bodies = figure(poses)
    boxes = Balls().partition.boxes(bodies)
    local = boxes.centres[0, 6] + (Noise.seeded(3, "box").uniform((500, 3)) - 0.5) * boxes.sizes[0, 6]
    points = local @ boxes.rotations[0, 6].mT + boxes.origins[0, 6]  # of a foot and what is around it
    points = points[~bodies.around(points[None])[0]][None]
    assert not gradient(Guide(Wide(), BODY, 1.0), poses, points).any()
    assert gradient(Guide(Unboxed(), BODY, 1.0), poses, points).any()


@pytest.mark.parametrize(
    ("step", "share"), [(11, 0.0), (10, 0.4 * 0.3), (5, 0.4 * 0.3), (4, 0.4 * 0.01), (0, 0.4 * 0.01)]
)
def test_late_steps_are_guided_by_their_variance_and_the_last_by_a_fixed_share(step, share):
    assert Guide(Balls(), BODY, 0.4).share(step, 0.3, images=5) == pytest.approx(share)


def test_published_strength_is_that_of_the_mean_over_a_batch():
    guide = Guide(Balls(), BODY, 2.0, of_mean=True)
    assert guide.share(7, 0.3, images=5) == pytest.approx(Guide(Balls(), BODY, 0.4).share(7, 0.3, images=1))
    assert replace(guide, of_mean=False).share(7, 0.3, images=5) == pytest.approx(0.6)


def test_networks_are_modules_that_store_their_own_tensors_only():
    assert isinstance(Balls(), nn.Module)
    assert all(name.startswith("encoder.") for name in Balls().state_dict())
