"""COAP and VolumetricSMPL: what is left out of the computation changes nothing; parts, boxes, surfaces."""

from __future__ import annotations

from dataclasses import replace

import igl
import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.coap import Coap
from avatarctl_ego_hmr.collision.load import kind_of, load_collision
from avatarctl_ego_hmr.collision.partition import Draws, Figure, Partition
from avatarctl_ego_hmr.collision.parts import PartNetwork
from avatarctl_ego_hmr.collision.volumetric import Volumetric, positions
from small_networks import network, write_weights
from torch import Tensor
from torch.nn import functional

from avatarctl.body import Bodies, BodyModel, open_body
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl

COUNT = 8
"""Points on the surface of each part."""


def double(body: BodyModel) -> BodyModel:
    """A body in float64."""
    names = ("template", "shape_directions", "pose_directions", "regressor", "weights")
    return replace(body, **{name: getattr(body, name).double() for name in names})


def figure(poses: Tensor) -> Figure:
    """Open bodies of mean shape in poses given as axis-angle [B, 24, 3]."""
    body = open_body("smpl") if poses.dtype == torch.float32 else double(open_body("smpl"))
    return Figure.of(body.shape().pose_matrices(matrix_from_axis_angle_smpl(poses)))


def poses(count: int = 2) -> Tensor:
    return 0.2 * Noise.seeded(1, "poses").normal((count, 24, 3))


def around(bodies: Figure, count: int = 150) -> Tensor:
    """Points near the vertices of bodies [B, N, 3]."""
    noise = Noise.seeded(2, "points")
    chosen = bodies.vertices[:, noise.permutation(6890)[:count]].detach()
    return chosen + 0.05 * noise.normal(chosen.shape).to(chosen)


def drawn(made: PartNetwork, bodies: Figure) -> Draws:
    noises = [Noise.seeded(3, str(body)) for body in range(len(bodies))]
    found = made.partition.draw(bodies.vertices.detach(), noises, COUNT)
    return Draws(found.faces, found.uv.to(bodies.vertices))


def given(draws: Draws):
    """Those draws, for bodies that are asked for."""
    return lambda partition, vertices, rows: draws[rows]


def collision_network(kind: str) -> PartNetwork:
    """A small network whose points are inside as often as outside."""
    made = network(kind)
    assert isinstance(made, PartNetwork)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for parameter in made.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    last = made.decoder.lin6.bias.data
    bodies = figure(poses())
    depths = made.depths(bodies, around(bodies), drawn(made, bodies)).detach()
    if kind == "coap":
        last += depths[depths.isfinite()].median()
    return made


def depth_of_pair(made: PartNetwork, local: Tensor, part: int, code: Tensor, is_held: Tensor) -> Tensor:
    """Depth in one part as the spec has it, its box left to the caller [N]; local points [N, 3]."""
    many = code.expand(len(local), -1)
    if isinstance(made, Coap):
        which = functional.one_hot(torch.tensor(part), 16).to(local).expand(len(local), -1)
        x = torch.cat([local, is_held[:, None].to(local), which, many], dim=1)
        for mlp in (made.query_encoder, made.decoder):
            x = x if mlp is made.query_encoder else torch.cat([local, x], dim=1)
            first = x
            layers = [getattr(mlp, f"lin{number}") for number in range(mlp.count)]
            for number, layer in enumerate(layers):
                x = torch.cat([x, first], dim=1) / 2**0.5 if number == mlp.skip else x
                x = layer(x)
                x = functional.softplus(x, beta=100) if number + 1 < len(layers) else x
        return -x[:, 0]
    assert isinstance(made, Volumetric)
    x = first = torch.cat([positions(local, made.sizes.levels), many], dim=1)
    for number in range(7):
        layer = getattr(made.decoder, f"lin{number}")
        x = torch.cat([x, first], dim=1) / 2**0.5 if number == 3 else x
        rank = layer.cond2weight[0](code)
        weight = layer.weight.flatten() + sum(c * w for c, w in zip(rank, layer.rf_weight[0], strict=True))
        own = zip(layer.part_weight2rank[part], layer.part_weight, strict=True)
        weight = weight + sum(c * w for c, w in own)
        x = x @ weight.view_as(layer.weight).T + layer.bias
        x = functional.softplus(x, beta=100) if number < 6 else x
    return torch.where(x[:, 0] < 0, x[:, 1].abs(), -x[:, 1].abs())


def plain_loss(made: PartNetwork, bodies: Figure, points: Tensor, draws: Draws) -> Tensor:
    """The collision of each body, every point in every part."""
    boxes, losses = made.partition.boxes(bodies), []
    codes = made.codes(bodies, boxes, draws, torch.arange(16 * len(bodies))).unflatten(0, (-1, 16))
    for body, cloud in enumerate(points):
        deepest = torch.full((len(cloud),), -torch.inf, dtype=cloud.dtype)
        for part in range(16):
            local = (cloud - boxes.origins[body, part]) @ boxes.rotations[body, part]
            is_held = ((local - boxes.centres[body, part]).abs() < boxes.sizes[body, part] / 2).all(dim=1)
            depth = depth_of_pair(made, local, part, codes[body, part], is_held)
            deepest = torch.maximum(deepest, torch.where(is_held, depth, -torch.inf))
        inside = deepest[deepest > 0]
        losses.append((inside.sigmoid() - 0.5).sum() if isinstance(made, Coap) else inside.sum())
    return torch.stack(losses)


@pytest.mark.parametrize("kind", ["coap", "volumetric"])
def test_loss_and_gradient_equal_those_of_all_points_in_all_parts(kind):
    made = collision_network(kind)
    turns = poses().requires_grad_(True)
    bodies = figure(turns)
    points, draws = around(bodies), drawn(made, bodies)
    fast = made.loss(bodies, points, given(draws))
    slow = plain_loss(made, bodies, points, draws)
    assert (slow > 0.01).all()
    torch.testing.assert_close(fast, slow)
    gradients = [torch.autograd.grad(loss.sum(), turns, retain_graph=True)[0] for loss in (fast, slow)]
    assert gradients[1].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(made.loss(bodies, points, given(draws)), slow)


def test_gradient_is_that_of_finite_differences():
    made = collision_network("coap").double()
    turns = poses(1).double().requires_grad_(True)
    points, draws = around(figure(turns)), drawn(made, figure(turns))

    def loss(turns: Tensor) -> Tensor:
        return made.loss(figure(turns), points, given(draws))[0]

    (gradient,) = torch.autograd.grad(loss(turns), turns)
    for joint, axis in ((1, 0), (4, 1), (8, 2)):
        step = torch.zeros_like(turns)
        step[0, joint, axis] = 1e-6
        with torch.no_grad():
            slope = (loss(turns + step) - loss(turns - step)) / 2e-6
        torch.testing.assert_close(gradient[0, joint, axis], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["coap", "volumetric"])
def test_points_count_only_where_they_are_considered(kind):
    made = collision_network(kind)
    bodies = figure(poses())
    points, draws = around(bodies), drawn(made, bodies)
    considered = torch.zeros(points.shape[:2], dtype=torch.bool)
    considered[0, ::2] = True
    asked: list[Tensor] = []

    def draw(partition: Partition, vertices: Tensor, rows: Tensor) -> Draws:
        asked.append(rows)
        return draws[rows]

    inside = made.occupied(bodies, points, draw, considered)
    everything = made.occupied(bodies, points, given(draws))
    assert torch.equal(inside, everything & considered)
    assert inside.any()
    with torch.no_grad():
        loss = made.loss(bodies, points, draw, considered)
    torch.testing.assert_close(loss[0], made.loss(bodies, points[:, ::2], given(draws))[0])
    assert float(loss[1]) == 0
    assert all(rows.tolist() == [0] for rows in asked)  # the other body draws nothing


@pytest.mark.parametrize("kind", ["coap", "volumetric"])
def test_body_without_points_near_does_not_collide(kind):
    made = collision_network(kind)
    turns = poses().requires_grad_(True)
    bodies = figure(turns)
    loss = made.loss(bodies, around(bodies) + 100, given(drawn(made, bodies)))
    assert loss.tolist() == [0, 0]
    assert not loss.requires_grad


def test_distance_beyond_the_boxes_is_that_to_the_nearest_box():
    made = collision_network("volumetric")
    assert isinstance(made, Volumetric)
    bodies = figure(torch.zeros(1, 24, 3))
    boxes = made.partition.boxes(bodies)
    half = boxes.sizes[0, 0] / 1.125 / 2
    away = boxes.centres[0, 0] + torch.stack([half * torch.tensor([1.0, 0, 0]) + torch.tensor([2.0, 0, 0])])
    point = (boxes.rotations[0, 0] @ away[..., None])[..., 0] + boxes.origins[0, 0]
    found = made.distances(bodies, point[None], drawn(made, bodies))
    assert float(found[0, 0, 0]) == pytest.approx(2.0, abs=1e-5)


def test_parts_share_out_faces_and_vertices():
    body = open_body("smpl")
    partition = Partition(body)
    count = len(body.faces)
    own, extended = ([row[row < count] for row in rows] for rows in partition.lists)
    assert torch.equal(torch.cat(own).sort()[0], torch.arange(count))
    assert all(set(one.tolist()) < set(more.tolist()) for one, more in zip(own, extended, strict=True))
    vertices = torch.cat([row.unique() for row in partition.owned])
    assert torch.equal(vertices.sort()[0], torch.arange(6890))
    assert partition.kept.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 12, 16, 17, 18, 19, 20, 21]
    assert not partition.state_dict()


def test_boxes_hold_their_vertices():
    bodies, partition = figure(poses()), Partition(open_body("smpl"))
    held = partition.boxes(bodies).holding(bodies.vertices)
    for part, row in enumerate(partition.owned):
        assert held[:, part, row].all()


def test_surface_points_lie_on_the_surface_and_are_spread_by_area():
    bodies, partition = figure(poses(1)), Partition(open_body("smpl"))
    draws = partition.draw(bodies.vertices, [Noise.seeded(0, "many")], 4000)
    boxes = partition.boxes(bodies)
    local = partition.surface(bodies, boxes, draws, torch.arange(16))
    points = local @ boxes.rotations[0].mT + boxes.origins[0, :, None]
    vertices, faces = bodies.vertices[0].double().numpy(), partition.faces.numpy()
    squares = igl.point_mesh_squared_distance(points.flatten(0, 1).double().numpy(), vertices, faces)[0]
    assert squares.max() < 1e-10
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    for part in range(16):
        own = partition.lists[0, part][partition.lists[0, part] < len(faces)]
        centre = np.average(corners[own].mean(axis=1), axis=0, weights=areas[own])
        found = points[part, :2000].double().numpy()
        assert np.abs(found.mean(axis=0) - centre).max() < 4 * found.std(axis=0).max() / 2000**0.5


def test_draws_of_a_body_do_not_depend_on_the_others():
    bodies, partition = figure(poses(3)), Partition(open_body("smpl"))

    def noises(rows: list[int]) -> list[Noise]:
        return [Noise.seeded(5, str(row)) for row in rows]

    every = partition.draw(bodies.vertices, noises([0, 1, 2]), COUNT)
    some = partition.draw(bodies.vertices[[2]], noises([2]), COUNT)
    assert torch.equal(every.faces[2], some.faces[0])
    assert torch.equal(every.uv[2], some.uv[0])


@pytest.mark.parametrize("kind", ["coap", "volumetric"])
def test_networks_come_back_from_files(tmp_path, kind):
    weights = open_weights(write_weights(tmp_path / "small.safetensors", kind))
    made = load_collision(weights, People.load(Bodies(), "open"))
    assert kind_of(weights) == kind
    for name, tensor in network(kind).state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor)
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_network_of_another_body_is_refused(tmp_path):
    weights = open_weights(write_weights(tmp_path / "small.safetensors", "coap", body="smpl"))
    with pytest.raises(CheckpointError, match="of the body 'smpl'; the bodies here are 'open'"):
        load_collision(weights, People.load(Bodies(), "open"))


def test_unknown_kind_is_refused(tmp_path):
    weights = open_weights(write_weights(tmp_path / "small.safetensors", "coap"))
    odd = Weights(weights.parts, {"networks": {"collision": {"kind": "sdf"}}}, "small", weights.path)
    with pytest.raises(CheckpointError, match="found kind 'sdf', expected coap or volumetric"):
        load_collision(odd, People.load(Bodies(), "open"))


def test_weights_without_collision_network_are_refused(tmp_path):
    weights = Weights({"scene": {}}, {"networks": {"scene": {}}}, "small", tmp_path / "small.safetensors")
    with pytest.raises(CheckpointError, match="has no 'collision' weights; it holds 'scene'"):
        kind_of(weights)
