"""Actors with a face, colours of their vertices, and a camera that keeps some joints in the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avatarctl.body import open_body
from avatarctl.motion import Motion
from avatarctl.render import Actor, Render
from avatarctl.render.stage import Cast, follow

BODY = open_body("smplx")
HEAD = (12, 15)


def _standing(frames):
    poses = torch.zeros(frames, 55, 3)
    poses[:, 0, 0] = math.pi / 2  # SMPL stands along y
    return Motion(poses, torch.zeros(frames, 3), 30.0, skeleton="smplx")


def _faces(frames):
    return torch.linspace(0, 1, frames)[:, None] * torch.ones(10)


def test_an_expression_moves_the_vertices_as_the_body_says():
    cast = Cast(Actor(_standing(4), BODY, expression=_faces(4)), 30.0)
    frames = torch.tensor([1, 3])
    expected = BODY.shape(torch.zeros(16), _faces(4)[frames]).pose(cast.poses(frames), cast.places(frames))
    torch.testing.assert_close(cast.vertices(frames), expected.vertices())
    assert not torch.allclose(cast.vertices(frames)[0], cast.vertices(frames)[1], atol=1e-4)


@pytest.mark.parametrize(("fps", "expected"), [(15.0, [0, 2, 4]), (30.0, [0, 1, 2, 3, 4]), (60.0, 9)])
def test_a_face_is_shown_at_the_films_rate(fps, expected):
    found = Cast(Actor(_standing(5), BODY, expression=_faces(5)), fps).expression
    if isinstance(expected, int):
        assert len(found) == expected
    else:
        assert torch.equal(found, _faces(5)[expected])


def test_a_still_has_the_face_of_its_frame():
    actor = Actor(_standing(3), BODY, expression=_faces(3))
    assert torch.equal(actor.still(1).expression, _faces(3)[1:2])
    assert len(actor.still(9).motion) == 1
    assert torch.equal(actor.still(9).expression, _faces(3)[2:])


def test_the_camera_comes_near_for_a_head():
    cast = Cast(Actor(_standing(2), BODY), 30.0)
    whole, head = (follow([cast], (80, 80), 30.0, joints) for joints in ((), HEAD))
    assert head.distance[0] < whole.distance[0] / 3
    place = cast.shaped.pose(cast.poses(torch.tensor([0])), cast.places(torch.tensor([0]))).joints[0, 15]
    pixel, depth = head.camera(0).project(place[None])
    assert (depth > 0).all()
    assert ((pixel > 20) & (pixel < 60)).all()


def test_vertices_have_colours_of_their_own():
    colours = torch.tensor([0.9, 0.1, 0.1]).repeat(len(BODY.template), 1)
    colours[BODY.template[:, 1] < -0.5] = torch.tensor([0.1, 0.1, 0.9])  # below the hips
    picture = Render().picture([Actor(_standing(1), BODY, colours=colours)], size=(90, 90))
    red, _, blue = (picture[..., channel].numpy() for channel in range(3))
    reddish, bluish = np.argwhere(red > blue + 0.2), np.argwhere(blue > red + 0.2)
    assert len(reddish) > 50
    assert len(bluish) > 50
    assert reddish[:, 0].mean() < bluish[:, 0].mean() - 15  # rows
