"""Made-up people: where clothes are, that they follow the body, and that outfits differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from avatarctl.body import open_body
from avatarctl.body.dressed import HAIR_ENDS, LEGS, PATTERNS, SLEEVES, Fabric, Outfit, Person, thickness, worn
from avatarctl.device import Noise

NOSE, LEFT_EYE = 332, 2800


@pytest.fixture(scope="module")
def person() -> Person:
    return Person.made(open_body("smpl"), 0)


def test_clothes_stand_off_where_they_are_and_nowhere_else(person: Person) -> None:
    x, y, z = person.places.unbind(-1)
    hands, face = x.abs() > 0.5, (y > 0.27) & (z > 0.17) & (y < 0.36)
    trunk = (x.abs() < 0.1) & (y > -0.2) & (y < 0.1)
    assert (person.offsets[hands | face] == 0).all()
    assert person.offsets[trunk].min() > 0.002
    assert person.offsets.min() >= 0
    assert person.offsets.max() < 0.04, "farther out than a surface is looked for"


def test_people_differ_in_shape_and_colours(person: Person) -> None:
    other = Person.made(person.body, 1)
    assert not torch.equal(other.betas, person.betas)
    assert (other.colours(person.places) - person.colours(person.places)).abs().mean() > 0.05


def test_the_dressed_mesh_follows_the_body(person: Person) -> None:
    vertices = person.body.shape(person.betas).vertices.double()
    dressed = person.dressed(vertices)
    moved = person.dressed(vertices + torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(moved - dressed, torch.tensor([1.0, 2.0, 3.0]).double().expand_as(dressed))
    # Loop's subdivision flattens curved skin by a few millimetres at most.
    assert (dressed[NOSE] - vertices[NOSE]).norm() < 0.004


def test_the_face_is_painted_on_the_face(person: Person) -> None:
    eye = person.body.template[LEFT_EYE]
    hand = torch.tensor([0.75, 0.12, 0.03])
    eye_colour, skin = person.colours(torch.stack([eye, hand]))
    assert torch.allclose(skin, torch.tensor(person.outfit.skin), atol=0.01)
    assert (eye_colour - skin).abs().max() > 0.2


def test_garments_end_where_the_outfit_says(person: Person) -> None:
    arm, shin, nape = (
        torch.tensor([place]) for place in ((0.45, 0.13, 0.06), (0.12, -0.95, 0.04), (0.0, 0.15, -0.02))
    )
    for sleeve, covers in ((0.27, 0.0), (0.62, 1.0)):
        assert worn(arm, replace(person.outfit, sleeve=sleeve)).shirt == covers
    for leg, covers in ((-0.66, 0.0), (-1.13, 1.0)):
        assert worn(shin, replace(person.outfit, leg=leg)).trousers == covers
    for end, covers in ((0.275, 0.0), (0.10, 1.0)):
        assert worn(nape, replace(person.outfit, hair_end=end)).hair == covers


def test_patterns_differ_and_without_an_emblem_there_is_none(person: Person) -> None:
    chest, side = torch.tensor([[0.0, 0.11, 0.1]]), person.places[(person.places[:, 0].abs() < 0.15)]
    emblem, plain = (
        replace(person.outfit, pattern="plain"),
        replace(person.outfit, pattern="plain", emblem=None),
    )
    one, other = (Person.of(person.body, person.betas, outfit, person.fabric) for outfit in (emblem, plain))
    assert (one.colours(chest) - other.colours(chest)).abs().max() > 0.2
    painted = [
        Person.of(person.body, person.betas, replace(person.outfit, pattern=pattern), person.fabric).colours(
            side
        )
        for pattern in PATTERNS
    ]
    assert all((painted[a] - painted[b]).abs().mean() > 0.02 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_random_outfits_stay_near_the_skin_and_use_every_kind() -> None:
    fabric = Fabric.of(open_body("smpl"))
    outfits = [Outfit.drawn(Noise.seeded(number, "outfit")) for number in range(24)]
    assert {outfit.pattern for outfit in outfits} == set(PATTERNS)
    assert {outfit.sleeve for outfit in outfits} == set(SLEEVES)
    assert {outfit.leg for outfit in outfits} == set(LEGS)
    assert {outfit.hair_end for outfit in outfits} == set(HAIR_ENDS)
    assert {outfit.emblem is None for outfit in outfits} == {True, False}
    for outfit in outfits:
        offsets = thickness(fabric.places, fabric.normals, outfit)
        assert offsets.min() >= 0
        assert offsets.max() < 0.04
        assert len({outfit.shirt[0], outfit.shirt[1], outfit.trousers}) == 3
