"""Pictures of the generator against a plain dense renderer, values and gradients; what loading refuses."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.generator import Generator, Pictures, build, load
from avatarctl_generative_avatar.model.rays import importance, rays
from avatarctl_generative_avatar.model.renderer import Renderer
from avatarctl_generative_avatar.model.sizes import GENERATOR, GeneratorSizes
from avatarctl_generative_avatar.settings_model import Rendering
from torch import Tensor
from torch.nn import functional

from avatarctl.body import open_body
from avatarctl.checkpoints import Weights
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError

SIZES = GeneratorSizes(img_resolution=32, plane_resolution=16, z_dim=8, w_dim=8, channel_max=8, sr_channels=8)
SIDE, COARSE, FINE = 8, 6, 5
RENDERING = Rendering(depth_resolution=COARSE, depth_resolution_importance=FINE)


@pytest.fixture(scope="module")
def template() -> Template:
    """Of the open body, with distances that are no body's and partly filled."""
    noise = Noise.seeded(0, "sdf")
    distances = 0.05 * noise.normal((1, 1, 4, 8, 8))
    distances[noise.uniform(distances.shape) < 0.05] = 1.0
    return Template.of(open_body("smpl"), distances)


@pytest.fixture(scope="module")
def generator() -> Generator:
    made = build(SIZES, Noise.seeded(1, "generator"))
    with torch.no_grad():
        made.decoder.net[2].weight.mul_(0.2)
    return made.eval()


@pytest.fixture(scope="module")
def labels() -> Tensor:
    poses = 0.2 * Noise.seeded(2, "poses").normal((2, 24, 3))
    poses[:, 0] = torch.tensor([[math.pi, 0.0, 0.0], [math.pi, 0.0, 0.8]])
    return label.made(poses, scale=0.9, transl=torch.tensor([0.0, 0.2, 0.0]))


def person(generator: Generator, count: int = 2) -> tuple[Tensor, Tensor]:
    """Styles and planes."""
    noise = Noise.seeded(3, "people")
    z = noise.normal((count, SIZES.z_dim))
    ws = generator.mapping(z, torch.zeros(count, label.SIZE), rendering=RENDERING)
    return ws, noise.normal((count, 3, 32, 16, 16))


def plain_field(
    generator: Generator, planes: Tensor, space: Posing | Template, points: Tensor
) -> dict[str, Tensor]:
    """Value [N, P], colours [N, P, 32], gradients and normals [N, P, 3]: all starts of all points decoded."""
    n, p = points.shape[:2]
    if isinstance(space, Posing):
        found, template = space.dense(points), space.template
        places, kept = found.roots, found.kept  # [N, P, starts, 3]
    else:
        template, places = space, points[:, :, None]
        kept = torch.ones(n, p, 1, dtype=torch.bool)
    flat = places.flatten(1, 2)
    scaled = (flat * (2 / RENDERING.box_warp)).detach().requires_grad_()
    sampled = [
        functional.grid_sample(planes[:, plane], scaled[:, None, :, list(axes)], align_corners=False)[:, :, 0]
        for plane, axes in enumerate([(0, 1), (0, 2), (2, 1)])
    ]
    out = generator.decoder.net(torch.stack(sampled).mean(0).mT)
    (slope,) = torch.autograd.grad(out[..., 0].sum(), scaled, create_graph=True)
    sdf, steep = template.sdf_gradient_at(flat)
    value = torch.where(kept, (out[..., 0] + sdf).view(kept.shape), -100.0)
    best, start = value.max(dim=2)

    def chosen(values: Tensor) -> Tensor:
        values = (values.view(*kept.shape, -1) * kept[..., None]).take_along_dim(
            start[..., None, None], dim=2
        )
        return values.squeeze(2) * ((best > -100.0)[..., None] if isinstance(space, Posing) else 1)

    total = slope + steep
    if isinstance(space, Posing):
        moved = torch.einsum("npj,njik->npik", template.weights_at(flat), space.transforms[:, :, :3, :3])
        total, graded = (moved @ total[..., None]).squeeze(-1), slope
    else:
        graded = total
    normals = functional.normalize(chosen(total) * torch.tensor([-1.0, 1.0, 1.0]), dim=-1)
    colours = torch.sigmoid(out[..., 1:]) * 1.002 - 0.001
    return {"value": best, "colours": chosen(colours), "gradient": chosen(graded), "normals": normals}


def plain_march(renderer: Renderer, depths: Tensor, value: Tensor) -> Tensor:
    """Weights of steps [..., S - 1], sample by sample."""
    beta = renderer.sigmoid_beta.abs() + 1e-4
    density = torch.sigmoid(value / beta) / beta
    passing, made = torch.ones_like(depths[..., 0]), []
    for step in range(depths.shape[-1] - 1):
        mean = (density[..., step] + density[..., step + 1]) / 2
        alpha = 1 - torch.exp(-mean * (depths[..., step + 1] - depths[..., step]))
        made.append(alpha * passing)
        passing = passing * (1 - alpha + 1e-10)
    return torch.stack(made, dim=-1)


def plain_pictures(
    generator: Generator, planes: Tensor, labels: Tensor, space: Posing | Template, noise: Noise
) -> dict[str, Tensor]:
    """Everything dense and in one piece."""
    n, r = len(labels), SIDE * SIDE
    origins, directions = rays(labels, SIDE)
    jitter = noise.uniform((n, r, COARSE, 1)).squeeze(-1)
    even = torch.linspace(-0.3, 0.3, COARSE) + jitter * (0.6 / (COARSE - 1)) - origins[..., 2:]

    def asked(depths: Tensor) -> dict[str, Tensor]:
        points = (origins[:, :, None] + directions[:, :, None] * depths[..., None]).flatten(1, 2)
        found = plain_field(generator, planes, space, points)
        return {name: part.unflatten(1, depths.shape[1:]) for name, part in found.items()}

    coarse = asked(even)
    weights = plain_march(generator.renderer, even, coarse["value"]).detach()
    draws = noise.uniform((n * r, FINE))
    fine_depths = importance(even.flatten(0, 1), weights.flatten(0, 1), draws).view(n, r, FINE)
    fine = asked(fine_depths)
    depths, order = torch.cat([even, fine_depths], dim=-1).sort(dim=-1)
    both = {name: torch.cat([coarse[name], fine[name]], dim=2) for name in coarse}
    value = both["value"].gather(2, order)
    weights = plain_march(generator.renderer, depths, value)

    def picture(values: Tensor) -> Tensor:
        values = values.take_along_dim(order[..., None], dim=2)
        seen = (weights[..., None] * (values[:, :, 1:] + values[:, :, :-1]) / 2).sum(2)
        return (seen + 1 - weights.sum(-1, keepdim=True)).mT.unflatten(-1, (SIDE, SIDE))

    depth = (weights * (depths[..., 1:] + depths[..., :-1]) / 2).sum(-1) / weights.sum(-1)
    depth = depth.nan_to_num(torch.inf).clamp(depths.min(), depths.max())
    parts = [coarse, fine]
    return {
        "features": picture(both["colours"]) * 2 - 1,
        "image_normal": picture(both["normals"]),
        "image_depth": depth.view(n, 1, SIDE, SIDE),
        "sdf": torch.cat([part["value"].flatten(1) for part in parts], dim=1),
        "grad_cano": torch.cat([part["gradient"].flatten(1, 2) for part in parts], dim=1),
    }


def drawn() -> Noise:
    return Noise.seeded(4, "depths")


def ours(
    generator: Generator, ws: Tensor, planes: Tensor, labels: Tensor, space: Posing | Template, **more
) -> Pictures:  # type: ignore[no-untyped-def]
    settings = more.pop("rendering", RENDERING)
    noise = more.pop("noise", drawn())
    return generator.render(planes, ws, labels, space, settings, rays=SIDE, noise=noise, **more)


@pytest.mark.parametrize("is_canonical", [False, True])
def test_pictures_are_those_of_a_dense_renderer(generator, template, labels, is_canonical):
    ws, planes = person(generator)
    space = template if is_canonical else Posing(template, labels)
    with torch.no_grad():
        found = ours(generator, ws, planes, labels, space, keeps_samples=True)
    pictures = plain_pictures(generator, planes, labels, space, drawn())
    wanted = {name: tensor.detach() for name, tensor in pictures.items()}
    assert (wanted["sdf"] > -100).float().mean() > 0.02, "people are in the picture"
    near = {"rtol": 1e-4, "atol": 1e-4}  # float32, other orders of sums
    torch.testing.assert_close(found.image_raw, wanted["features"][:, :3], **near)
    torch.testing.assert_close(found.image_depth, wanted["image_depth"], **near)
    torch.testing.assert_close(found.samples.sdf[..., 0, 0], wanted["sdf"], **near)
    if not is_canonical:  # inside the filling canonical normals are noise
        torch.testing.assert_close(found.image_normal, wanted["image_normal"], **near)
        torch.testing.assert_close(found.samples.grad_cano[:, :, 0, 0], wanted["grad_cano"], **near)
        eikonal = (wanted["grad_cano"].norm(dim=-1) - 1).square().mean()
        torch.testing.assert_close(found.samples.eikonal, eikonal, **near)


def test_gradients_are_those_of_a_dense_renderer(generator, template, labels):
    ws, planes = person(generator)
    posing = Posing(template, labels)
    planes.requires_grad_()
    inputs = [planes, *generator.decoder.parameters(), generator.renderer.sigmoid_beta]
    noise = Noise.seeded(5, "loss")
    shown, normal = noise.normal((2, 3, SIDE, SIDE)), noise.normal((2, 3, SIDE, SIDE))
    found = ours(generator, ws, planes, labels, posing)
    wanted = plain_pictures(generator, planes, labels, posing, drawn())
    assert found.image_normal is not None
    assert found.samples is not None
    losses = (
        (found.image_raw * shown).sum() + (found.image_normal * normal).sum() + 10 * found.samples.eikonal,
        (wanted["features"][:, :3] * shown).sum()
        + (wanted["image_normal"] * normal).sum()
        + 10 * (wanted["grad_cano"].norm(dim=-1) - 1).square().mean(),
    )
    for one, other in zip(*(torch.autograd.grad(loss, inputs) for loss in losses), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


def test_densities_at_canonical_places_are_differentiable(generator, template):
    _, planes = person(generator)
    planes.requires_grad_()
    points = 0.5 * Noise.seeded(6, "points").normal((2, 50, 3))
    value = generator.field(planes, template, RENDERING.box_warp).values(points)
    wanted = plain_field(generator, planes, template, points)["value"]
    is_near = wanted > -1e3
    loss, other = ((generator.renderer.density(one) * is_near).sum() for one in (value, wanted))
    for found, expected in zip(
        torch.autograd.grad(loss, [planes, generator.renderer.sigmoid_beta]),
        torch.autograd.grad(other, [planes, generator.renderer.sigmoid_beta]),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("jittered", [False, True])
def test_chunks_change_nothing(generator, template, labels, jittered):
    ws, planes = person(generator)
    posing = Posing(template, labels)
    small = RENDERING.model_copy(update={"chunk": 200})
    with torch.no_grad():
        one, other = (
            ours(
                generator,
                ws,
                planes,
                labels,
                posing,
                rendering=rendering,
                noise=drawn() if jittered else None,
                keeps_samples=True,
            )
            for rendering in (RENDERING, small)
        )
    for name in ("image", "image_raw", "image_normal", "image_depth"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(one.samples.eikonal, other.samples.eikonal)


def test_one_persons_planes_serve_many_poses(generator, template, labels):
    ws, planes = person(generator, 1)
    posing = Posing(template, labels)
    with torch.no_grad():
        shared = ours(generator, ws, planes, labels, posing)
        each = ours(generator, ws.repeat(2, 1, 1), planes.repeat(2, 1, 1, 1, 1), labels, posing)
    torch.testing.assert_close(shared.image, each.image, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fine", [0, 3])
def test_the_second_pass_may_have_other_counts_or_be_left_out(generator, template, labels, fine):
    ws, planes = person(generator)
    rendering = RENDERING.model_copy(update={"depth_resolution_importance": fine})
    with torch.no_grad():
        made = ours(generator, ws, planes, labels, Posing(template, labels), rendering=rendering)
    assert made.image_raw.isfinite().all()
    assert (made.image_raw < 0.9).any(), "somebody is there"


def test_where_nobody_is_pictures_are_white_and_as_deep_as_it_gets(generator, template, labels):
    ws, planes = person(generator)
    away = labels.clone()
    away[:, label.TRANSL] = torch.tensor([50.0, 0.0, 0.0])
    with torch.no_grad():
        made = ours(generator, ws, planes, away, Posing(template, away), noise=None)
    assert (made.image_raw == 1).all()
    assert (made.image_normal == 1).all()
    assert (made.image_depth == made.image_depth.max()).all()
    assert float(made.image_depth.max()) == pytest.approx(10.3 + 0.06, abs=1e-5)


def test_normals_that_nobody_asks_for_are_left_out(generator, template, labels):
    ws, planes = person(generator)
    with torch.no_grad():
        made = ours(generator, ws, planes, labels, Posing(template, labels), wants_normals=False)
    assert made.image_normal is None
    assert made.samples is None


def test_noise_is_drawn_for_planes_then_for_both_passes(generator, template, labels):
    ws, _ = person(generator)
    shapes = [(2, 1, 4, 4), *[(2, 1, side, side) for side in (8, 8, 16, 16)]]
    shapes += [(2, SIDE * SIDE, COARSE, 1), (2 * SIDE * SIDE, FINE)]
    noise = Noise.replay([torch.full(shape, 0.5) for shape in shapes])
    with torch.no_grad():
        made = generator.synthesis(ws, labels, template, RENDERING, "random", noise, rays=SIDE)
    assert noise.position == len(shapes)
    assert made.image.shape == (2, 3, 32, 32)


def test_a_label_is_told_only_if_rendering_says_so(generator):
    z = Noise.seeded(7, "z").normal((1, SIZES.z_dim))
    told, other = torch.zeros(1, label.SIZE), torch.ones(1, label.SIZE)
    open_eyed = Rendering(c_gen_conditioning_zero=False, c_scale=0.5)
    same = [generator.mapping(z, one, rendering=RENDERING) for one in (told, other)]
    differ = [generator.mapping(z, one, rendering=open_eyed) for one in (told, other)]
    assert torch.equal(*same)
    assert not torch.equal(*differ)
    torch.testing.assert_close(differ[1], generator.backbone.mapping(z, other / 2))


def weights_of(generator: Generator, sizes: GeneratorSizes = SIZES, **more: Tensor) -> Weights:
    networks = {GENERATOR: asdict(sizes)}
    return Weights(
        {GENERATOR: {**generator.state_dict(), **more}}, {"networks": networks}, "own", Path("file")
    )


def test_a_written_generator_is_read_back(generator):
    spread = Noise.seeded(8, "std").uniform((label.SIZE,))
    read = load(weights_of(generator, dataset_label_std=spread))
    assert torch.equal(read.dataset_label_std, spread)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    assert not any(parameter.requires_grad for parameter in read.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"img_resolution": 64}, "wrong shape"),
        ({"plane_resolution": 32}, "missing"),
        ({"z_dim": -1}, "z_dim"),
    ],
)
def test_a_generator_of_other_sizes_is_refused(generator, change, said):
    with pytest.raises(CheckpointError, match=said):
        load(weights_of(generator, replace(SIZES, **change)))


def test_initial_values_are_those_published():
    made = build(SIZES, Noise.seeded(9, "generator"))
    assert made.renderer.sigmoid_beta.item() == pytest.approx(0.1)
    weights = torch.cat([part.weight.flatten() for part in (made.decoder.net[0], made.decoder.net[2])])
    assert weights.std().item() == pytest.approx(1, abs=0.05)
    assert not made.backbone.synthesis["b8"].conv0.noise_strength.any()
