"""New people from weights: draws, chance, samples of rays, surfaces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import small_people
import torch
from avatarctl_generative_avatar import label, labels, pipeline
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.mesh import Surface
from avatarctl_generative_avatar.pipeline import Look, People, Person
from avatarctl_generative_avatar.settings import Sampling

from avatarctl.device import Noise
from avatarctl.errors import AssetError, CheckpointError

QUICK = Sampling(depth_resolution=8, depth_resolution_importance=8)


@pytest.fixture(scope="module")
def people() -> People:
    return pipeline.load(small_people.weights(), sampling=QUICK, device="cpu")


@pytest.fixture(scope="module")
def standing() -> torch.Tensor:
    return label.canonical_pose(label.made(torch.zeros(1, label.JOINTS, 3)))


@pytest.fixture(scope="module")
def moving(people) -> torch.Tensor:
    """A pose of a clip."""
    return labels.of_clips(people.template.body)[50:51]


@pytest.fixture
def person(people, standing) -> Person:
    return people.sample(1, 3, standing)[0]


def test_people_are_drawn_from_the_published_streams():
    z, rows = pipeline.drawn(3, 5, 4, 100)
    stream = np.random.RandomState(5)
    np.testing.assert_array_equal(z.numpy(), stream.randn(3, 4).astype(np.float32))
    assert rows == [stream.randint(100) for _ in range(3)]


def test_people_have_their_draws_styles_and_labels(people, standing):
    poses = labels.turned(standing, torch.arange(7.0))
    z, rows = pipeline.drawn(3, 5, small_people.SIZES.z_dim, len(poses))
    made = people.sample(3, 5, poses, truncation=0.5)
    for number, one in enumerate(made):
        ws = people.generator.mapping(z[number, None], poses[:1], 0.5, rendering=people.rendering)
        torch.testing.assert_close(one.ws, ws)
        assert torch.equal(one.label[0], poses[rows[number]])
        assert one.number == number


def test_rendering_is_that_of_the_training_with_samples_as_given():
    made = small_people.weights(rendering={"box_warp": 2.0, "depth_resolution": 30, "ray_end": 0.2})
    rendering = pipeline.rendering_of(made, Sampling(ray_end=0.7))
    assert (rendering.box_warp, rendering.depth_resolution, rendering.ray_end) == (2.0, 48, 0.7)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"box_warp": -1.0}, "rendering.box_warp: found -1.0"),
        ({"colour": 1}, "rendering.colour: found 1"),
        ("fast", "found fast, expected settings by name"),
    ],
)
def test_weights_that_state_no_settings_are_refused(stated, said):
    with pytest.raises(CheckpointError) as caught:
        pipeline.rendering_of(small_people.weights(rendering=stated), Sampling())
    assert said in caught.value.message


def test_weights_of_a_licensed_body_ask_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path))
    monkeypatch.delenv("AVATARCTL_BODY_MODELS", raising=False)
    with pytest.raises(AssetError, match="smpl"):
        pipeline.load(small_people.weights(body="smpl"))
    assert pipeline.load(small_people.weights(body="smpl"), body="open").template.body.is_open


def test_embedded_weights_are_loaded_by_name():
    people = pipeline.load("fashion-toy", device="cpu")
    assert people.weights.path.name == "fashion-toy.safetensors"
    assert people.template.body.is_open


def test_planes_are_made_once_for_a_person(person, monkeypatch):
    calls = []
    generator = type(person.people.generator)
    plain = generator.planes
    monkeypatch.setattr(generator, "planes", lambda *words: calls.append(words) or plain(*words))
    turned = labels.turned(person.label, torch.tensor([0.0, 20.0, 40.0]))
    ours = list(person.frames(turned, 1))
    together = list(person.frames(turned, 2))
    assert len(calls) == 1
    for one, other in zip(ours, together, strict=True):
        torch.testing.assert_close(one.image, other.image, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.image_raw, other.image_raw, rtol=0, atol=1e-5)


def test_published_chance_is_drawn_for_each_picture_in_the_published_order(people, person):
    made = replace(person, look=Look("published", seed=4))
    noise = Noise.seeded(4, "person", 0)
    found = list(made.frames(person.label.expand(2, -1), 2, wants_normals=True))
    for one in found:
        with torch.no_grad():
            wanted = people.generator.synthesis(
                person.ws,
                person.label,
                people.template,
                people.fitted(person.label),
                "random",
                noise,
                wants_normals=True,
            )
        assert torch.equal(one.image, wanted.image)
        assert torch.equal(one.image_normal, wanted.image_normal)
    assert not torch.equal(found[0].image, found[1].image)


def test_random_detail_stays_with_the_person(person):
    made = replace(person, look=Look("random", seed=4))
    first, second = made.frames(person.label.expand(2, -1))
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, person.pictures(person.label).image)


def test_samples_reach_as_far_as_the_body_and_are_as_dense(people, standing):
    assert people.fitted(standing) is people.rendering  # all of it is within half a metre
    aside = labels.turned(standing, torch.tensor([0.0, 90.0]))
    made, given = people.fitted(aside), people.rendering
    z = Posing(people.template, aside).vertices[..., 2]
    assert made.ray_start < z.min()
    assert made.ray_end > z.max()
    spacing = [(one.ray_end - one.ray_start) / one.depth_resolution for one in (made, given)]
    assert spacing[0] == pytest.approx(spacing[1], rel=0.1)
    fixed = replace(people, fits=False)
    assert fixed.fitted(aside) is given


def test_a_blend_goes_from_one_person_to_the_other(people, standing):
    poses = labels.turned(standing, torch.arange(5.0))
    first, second = people.sample(2, 0, poses)
    steps = first.towards(second, 5)
    torch.testing.assert_close(steps[0].ws, first.ws)
    torch.testing.assert_close(steps[2].ws, (first.ws + second.ws) / 2)
    torch.testing.assert_close(steps[-1].ws, second.ws)
    assert all(torch.equal(one.label, first.label) for one in steps)
    assert not torch.equal(steps[0].kept_planes, steps[-1].kept_planes)


@pytest.mark.parametrize(("noise", "is_alike"), [("random", True), ("published", False)])
def test_steps_of_a_blend_share_their_detail_unless_it_is_drawn_anew(person, noise, is_alike):
    given = replace(person, look=Look(noise, seed=4))
    first, second = (one.pictures(one.label).image for one in given.towards(given, 2))
    assert torch.equal(first, second) == is_alike


def test_there_are_as_many_rays_as_the_weights_say_or_as_asked_for(standing):
    for stated, asked, found in ((None, 0, 16), (8, 0, 8), (8, 12, 12)):
        words = {} if stated is None else {"rays": stated}
        sampling = QUICK.model_copy(update={"rays": asked})
        people = pipeline.load(small_people.weights(**words), sampling=sampling, device="cpu")
        (one,) = people.sample(1, 3, standing)
        made = one.pictures(standing)
        assert made.image_raw.shape[-1] == found
        assert made.image.shape[-1] == 32


@pytest.mark.parametrize("stated", [-1, 4096, True, "many"])
def test_weights_that_state_no_number_of_rays_are_refused(stated):
    with pytest.raises(CheckpointError, match=f"rays: found {stated}, expected a whole number up to 1024"):
        pipeline.rays_of(small_people.weights(rays=stated))


def test_a_surface_at_rest_is_skinned_to_where_its_places_come_from(people, moving):
    posing = Posing(people.template, moving)
    points = posing.vertices[:, ::50]
    roots = posing.roots(points)
    surface = Surface(
        roots.places.double().numpy(),
        np.zeros((0, 3), np.int64),
        torch.zeros(len(roots.places), 3),
        people.template.weights_at(roots.places),
    )
    moved = pipeline.skinned(surface, posing)
    found = torch.from_numpy(moved.vertices).float()
    # Roots are found to 2e-4 metres (spec 4.8).
    torch.testing.assert_close(found, points[0, roots.point], rtol=0, atol=3e-4)


def test_a_posed_surface_is_carried_with_the_body(people, moving):
    pose, other = (
        Posing(people.template, one) for one in (moving, labels.turned(moving, torch.tensor([70.0]), 10))
    )
    vertices = pose.vertices[0].double().numpy()
    surface = Surface(vertices, np.zeros((0, 3), np.int64), torch.zeros(len(vertices), 3), torch.zeros(0))
    moved = pipeline.carried(surface, pose, other)
    # Weights of the open body sum to 1 within 3e-4.
    np.testing.assert_allclose(moved.vertices, other.vertices[0].double().numpy(), atol=3e-4)


def test_surfaces_are_closed_and_near_the_body(person):
    for pose in (None, person.label):
        surface = person.surface(32, pose)
        assert len(surface.faces) > 100
        assert surface.weights.shape == (len(surface.vertices), label.JOINTS)
        body = (
            person.people.template.vertices if pose is None else Posing(person.people.template, pose).vertices
        )
        reach = body.reshape(-1, 3).abs().amax(dim=0).numpy() + 0.2
        assert (np.abs(surface.vertices) < reach).all()
