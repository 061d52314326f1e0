"""Mapping, backbone, super-resolution and discriminators, tiny and with the published initial values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from avatarctl_generative_avatar.model.backbone import Backbone, Synthesis
from avatarctl_generative_avatar.model.discriminator import Discriminator, batch_deviation, build
from avatarctl_generative_avatar.model.layers import initialise, normalise
from avatarctl_generative_avatar.model.mapping import Mapping
from avatarctl_generative_avatar.model.sizes import DiscriminatorSizes, GeneratorSizes
from avatarctl_generative_avatar.model.superresolution import SuperResolution

from avatarctl.device import Noise

MANIFESTS = Path(__file__).parents[3] / "fixtures/parity/generative-avatar/manifests"
SIZES = GeneratorSizes(
    img_resolution=32, plane_resolution=16, z_dim=6, w_dim=8, c_dim=5, channel_max=8, sr_channels=8
)
CRITICS = DiscriminatorSizes(img_resolution=128, c_dim=5, channel_base=512, channel_max=8)


@pytest.fixture
def noise() -> Noise:
    return Noise.seeded(0, "networks")


@pytest.fixture
def synthesis(noise) -> Synthesis:
    made = Synthesis(SIZES)
    initialise(made, noise)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.3)
    return made.eval().requires_grad_(False)


def pictures(noise: Noise, count: int) -> dict[str, torch.Tensor]:
    sides = {"image": 128, "image_raw": 64, "normal": 64, "face": 16, "normal_face": 8}
    return {name: noise.normal((count, 3, side, side)) for name, side in sides.items()}


def of_manifest(name: str) -> tuple[dict[str, list[int]], dict]:
    words = json.loads((MANIFESTS / f"{name}.json").read_text())
    return {key: entry["shape"] for key, entry in words["tensors"].items()}, words["init_kwargs"]


@pytest.mark.parametrize("name", ["D", "train_D"])
def test_discriminators_have_the_published_tensors(name):
    shapes, given = of_manifest(name)
    sizes = DiscriminatorSizes(
        given["img_resolution"], channel_base=given["channel_base"], channel_max=given["channel_max"]
    )
    with torch.device("meta"):
        made = Discriminator(sizes)
    assert {key: list(tensor.shape) for key, tensor in made.state_dict().items()} == shapes


@pytest.mark.parametrize("name", ["G_ema", "train_G"])
def test_backbone_and_superresolution_have_the_published_tensors(name):
    shapes, given = of_manifest(name)
    names = ("img_resolution", "z_dim", "w_dim", "channel_base", "channel_max")
    sizes = GeneratorSizes(**{key: given[key] for key in names})
    with torch.device("meta"):
        parts = {"backbone": Backbone(sizes), "superresolution": SuperResolution(sizes)}
    found = {
        f"{part}.{key}": list(tensor.shape)
        for part, made in parts.items()
        for key, tensor in made.state_dict().items()
    }
    assert found == {key: shape for key, shape in shapes.items() if key.partition(".")[0] in parts}


def test_mapping_truncates_towards_the_mean_style(noise):
    mapping = Mapping(6, 5, 8, 4, 2)
    initialise(mapping, noise)
    mapping.w_avg.copy_(noise.normal((8,)))
    z, c = noise.normal((3, 6)), noise.normal((3, 5))
    whole = mapping(z, c)
    assert whole.shape == (3, 4, 8)
    torch.testing.assert_close(mapping(z, c, 0.0), mapping.w_avg.expand(3, 4, 8))
    half = mapping(z, c, 0.5, cutoff=1)
    torch.testing.assert_close(half[:, 0], (whole[:, 0] + mapping.w_avg) / 2)
    torch.testing.assert_close(half[:, 1:], whole[:, 1:])
    torch.testing.assert_close(mapping(z * 7, c), whole, rtol=1e-4, atol=1e-5)  # draws are normalised


def test_mean_style_follows_batches_slowly_and_outside_the_graph(noise):
    mapping = Mapping(6, 5, 8, 4, 2)
    initialise(mapping, noise)
    mapping.w_avg.copy_(noise.normal((8,)))
    before = mapping.w_avg.clone()
    ws = mapping(noise.normal((3, 6)), noise.normal((3, 5)), update_w_avg=True)
    torch.testing.assert_close(mapping.w_avg, 0.998 * before + 0.002 * ws[:, 0].detach().mean(0))
    assert not mapping.w_avg.requires_grad


def test_mapping_of_labels_alone_gives_one_vector(noise):
    mapping = Mapping(0, 5, 8, None, 8, w_avg=False)
    initialise(mapping, noise)
    assert mapping(None, noise.normal((3, 5))).shape == (3, 8)
    assert "w_avg" not in mapping.state_dict()


def test_normalised_vectors_have_a_mean_square_of_one(noise):
    found = normalise(noise.normal((4, 9)) * 5)
    torch.testing.assert_close(found.square().mean(-1), torch.ones(4))


def test_a_picture_shares_its_style_with_the_next_convolution(synthesis, noise):
    ws = noise.normal((1, synthesis.num_ws, 8))
    assert synthesis.num_ws == 6  # 5 convolutions up to 16 pixels, and the last picture
    base = {}
    for changed in (None, 1, 5):
        seen, other = [], ws.clone()
        if changed is not None:
            other[:, changed] = noise.normal((8,))
        hooks = [
            block.register_forward_hook(lambda _, __, made, seen=seen: seen.append(made))
            for block in synthesis.values()
        ]
        synthesis(other)
        for hook in hooks:
            hook.remove()
        base[changed] = seen
    same = [
        [torch.equal(a, b) for a, b in zip(one, two, strict=True)]
        for one, two in zip(base[None], base[1], strict=True)
    ]
    assert same == [[True, False], [False, False], [False, False]]
    last = [
        [torch.equal(a, b) for a, b in zip(one, two, strict=True)]
        for one, two in zip(base[None], base[5], strict=True)
    ]
    assert last == [[True, True], [True, True], [True, False]]


def test_one_picture_in_use_is_what_it_is_within_a_batch_and_in_training(synthesis, noise):
    ws = noise.normal((3, synthesis.num_ws, 8))
    batch = synthesis(ws)
    alone = torch.cat([synthesis(one[None]) for one in ws])
    torch.testing.assert_close(alone, batch, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synthesis.train()(ws), batch, rtol=0, atol=0)


def test_random_noise_is_drawn_layer_by_layer_for_each_picture(synthesis, noise):
    ws = noise.normal((2, synthesis.num_ws, 8))
    shapes = [(2, 1, side, side) for side in (4, 8, 8, 16, 16)]
    drawn = [noise.normal(shape) for shape in shapes]
    stream = Noise.replay(drawn)
    found = synthesis(ws, "random", stream)
    assert stream.position == len(drawn)
    convolutions = [
        layer
        for block in synthesis.values()
        for layer in (block.conv1, *block.children())
        if hasattr(layer, "noise_const")
    ]
    ordered = dict.fromkeys(
        layer for block in synthesis.values() for layer in block.children() if layer in convolutions
    )
    for layer, draw in zip(ordered, drawn, strict=True):
        layer.noise_const.copy_(draw[0, 0])
    torch.testing.assert_close(found[:1], synthesis(ws[:1], "const"), rtol=1e-4, atol=1e-4)
    assert not torch.equal(synthesis(ws, "none"), synthesis(ws, "const"))


def test_superresolution_doubles_the_working_size_and_leaves_its_inputs(noise):
    network = SuperResolution(SIZES)
    initialise(network, noise)
    network.eval()
    ws = noise.normal((2, 6, 8))
    for side in (16, 24):
        features = noise.normal((2, 32, side, side))
        before = features.clone()
        made = network(features[:, :3], features, ws)
        assert made.shape == (2, 3, 32, 32)
        assert torch.equal(features, before)
    ws[:, :-1] = noise.normal((2, 5, 8))
    torch.testing.assert_close(network(features[:, :3], features, ws), made, rtol=0, atol=0)


def test_superresolution_adds_to_the_upsampled_colours(noise):
    network = SuperResolution(SIZES)  # all weights 0
    rgb, features = noise.normal((1, 3, 16, 16)), noise.normal((1, 32, 16, 16))
    made = network.eval()(rgb, features, noise.normal((1, 6, 8)))
    inner = F.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(made[:, :, 1:-1, 1:-1], inner)  # [1, 3, 3, 1] is bilinear inside


def test_deviation_is_that_of_every_other_sample(noise):
    x = noise.normal((6, 3, 4, 4))
    found = batch_deviation(x, 3)
    for n in range(6):
        group = x[n % 2 :: 2]
        expected = (group.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(found[n], expected)
    torch.testing.assert_close(batch_deviation(x[:1], 4), torch.tensor([1e-4]))
    with pytest.raises(ValueError, match="a batch of 6 pictures cannot be split into groups of 4"):
        batch_deviation(x, 4)


def test_pictures_that_are_given_are_judged(noise):
    made = build(CRITICS, noise)
    given, labels = pictures(noise, 4), noise.normal((4, 5))
    logits = made(given, labels)
    assert {name: tuple(value.shape) for name, value in logits.items()} == dict.fromkeys(
        ("full", "normal", "face", "normal_face"), (4, 1)
    )
    only = {name: given[name] for name in ("image", "image_raw")}
    assert torch.equal(made(only, labels)["full"], logits["full"])
    assert list(made(only, labels)) == ["full"]
    image_only = build(CRITICS, noise, has_normal=False, has_face=False)
    assert {name.partition(".")[0] for name in image_only.state_dict()} == {"D_image"}


def test_noise_on_labels_reaches_the_picture_discriminator_alone(noise):
    made = build(CRITICS, noise)
    given, labels = pictures(noise, 4), noise.normal((4, 5))
    plain = made(given, labels)
    made.label_noise = 0.5
    draw, kept = noise.normal((4, 5)), labels.clone()
    noisy = made(given, labels, Noise.replay([draw]))
    assert torch.equal(labels, kept)
    assert torch.equal(noisy["face"], plain["face"])
    made.label_noise = 0.0
    told = made(given, labels + 0.5 * draw * labels.std(0))
    torch.testing.assert_close(noisy["full"], told["full"], rtol=0, atol=0)


def test_penalty_on_gradients_has_the_derivatives_of_finite_differences(noise):
    sizes = DiscriminatorSizes(img_resolution=128, c_dim=5, channel_base=64, channel_max=4, mapping_layers=2)
    head = build(sizes, noise).D_face_image.double()
    labels = noise.normal((2, 5), dtype=torch.float64)
    image = noise.normal((2, 3, 16, 16), dtype=torch.float64).requires_grad_()
    weight = head.b16.conv0.weight

    def penalty() -> torch.Tensor:
        (slope,) = torch.autograd.grad(head(image, labels).sum(), image, create_graph=True)
        return slope.square().sum()

    (found,) = torch.autograd.grad(penalty(), weight)
    step = noise.normal(weight.shape, dtype=torch.float64)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(step, alpha=sign * 1e-6)
        ends.append(penalty().detach())
        with torch.no_grad():
            weight.sub_(step, alpha=sign * 1e-6)
    torch.testing.assert_close((found * step).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-8)


def test_fresh_networks_keep_the_size_of_what_passes(noise):
    sizes = GeneratorSizes(
        img_resolution=64, plane_resolution=32, z_dim=64, w_dim=64, channel_base=2048, channel_max=64
    )
    backbone = Backbone(sizes)
    initialise(backbone, noise)
    with torch.no_grad():
        ws = backbone.mapping(noise.normal((8, 64)), noise.normal((8, 111)))
        planes = backbone.synthesis(ws)
    # each of the four blocks adds a picture of about unit variance, which upsampling lessens
    assert 0.7 < float(ws.square().mean()) < 1.3
    assert 0.7 < float(planes.square().mean()) < 4
