"""Pictures of bodies: over the photo, in the room, from aside, and going around."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.drawing import Room
from avatarctl_ego_hmr.gallery import Gallery
from avatarctl_ego_hmr.pictures import (
    GREEN,
    PUBLISHED,
    TRUTH,
    Stage,
    colours_of,
    picture_camera,
    placed,
    sheet,
    with_box,
)
from office_people import people, recovered

from avatarctl.body import open_body
from avatarctl.errors import DataError
from avatarctl.geometry.cameras import Camera, look_at

BODY = open_body("smpl")
SIZE = (90, 120)
UP = torch.tensor([0.0, 1.0, 0.0])


def standing(x=0.0, z=0.0):
    """The body at rest on the floor, y up [1, V, 3]."""
    vertices = BODY.template + torch.tensor([x, 0.0, z])
    return (vertices - torch.tensor([0.0, float(vertices[:, 1].min()), 0.0]))[None]


def camera_at(*eye, target=(0.0, 0.9, 0.0), size=SIZE):
    intrinsics = torch.tensor([[size[0], 0.0, size[1] / 2], [0.0, size[0], size[0] / 2], [0.0, 0.0, 1.0]])
    return Camera(intrinsics, *look_at(torch.tensor(eye), torch.tensor(target), UP))


def quad(a, b, c, d, colour):
    """A rectangle, seen from outside where its corners go round counter-clockwise."""
    vertices = np.array([a, b, c, d], np.float64)
    return vertices, np.array([[0, 1, 2], [0, 2, 3]]), np.tile(np.float32(colour), (4, 1))


def room_of(*quads):
    vertices, faces, colours = zip(*quads, strict=True)
    faces = [face + 4 * index for index, face in enumerate(faces)]
    return Room.of(np.concatenate(vertices), np.concatenate(faces), np.concatenate(colours))


def wall(z, colour, top=3.0, left=-4.0, right=4.0):
    """A wall that looks along z."""
    return quad((left, 0, z), (right, 0, z), (right, top, z), (left, top, z), colour)


FLOOR = quad((-4, 0, 4), (4, 0, 4), (4, 0, -4), (-4, 0, -4), (0.2, 0.3, 0.9))
CEILING = quad((-4, 2.4, -4), (4, 2.4, -4), (4, 2.4, 4), (-4, 2.4, 4), (0.1, 0.8, 0.1))


def changed(one, other):
    return (one != other).any(axis=-1)


def test_principal_points_count_from_the_middle_of_the_first_pixel():
    camera = picture_camera(100.0, (59.5, 44.5))
    pixels, _ = camera.project(torch.tensor([[0.0, 0.0, 2.0]]))
    assert pixels[0].tolist() == [60.0, 45.0]  # the middle of 120 x 90 pixels


def test_a_body_is_drawn_where_the_camera_projects_it():
    camera = camera_at(0.5, 1.2, 3.0)
    photo = np.zeros((*SIZE, 3), np.uint8)
    drawn = Stage.of(standing(), BODY.faces).over(photo, camera)
    rows, columns = np.nonzero(changed(drawn, photo))
    pixels, _ = camera.project(standing()[0])
    low, high = pixels.amin(0), pixels.amax(0)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found, [*low.tolist(), *high.tolist()], atol=1.0)


def test_cameras_of_pictures_and_of_scenes_see_the_same():
    camera_from_scene = torch.eye(4)
    camera_from_scene[:3, :3], camera_from_scene[:3, 3] = look_at(torch.tensor([1.0, 1.5, 2.0]), UP * 0.9, UP)
    own = picture_camera(80.0, (59.5, 44.5))
    points = standing()[0]
    moved = points @ camera_from_scene[:3, :3].T + camera_from_scene[:3, 3]
    torch.testing.assert_close(
        placed(own, camera_from_scene).project(points)[0], own.project(moved)[0], rtol=0, atol=1e-3
    )


def test_furniture_hides_what_is_behind_it():
    camera = camera_at(0.0, 0.9, 3.0)
    desk = wall(0.8, (0.9, 0.1, 0.1), top=0.8)
    with_body, without = (
        Stage.of(standing(x), BODY.faces, room_of(wall(-3.0, (0.5, 0.5, 0.5)), desk)).picture(camera, SIZE)
        for x in (0.0, 50.0)
    )
    hidden = camera.project(standing()[0, standing()[0, :, 1] < 0.6])[0].long()
    seen = camera.project(standing()[0, standing()[0, :, 1] > 1.2])[0].long()
    difference = changed(with_body, without)
    assert not difference[hidden[:, 1], hidden[:, 0]].any()
    assert difference[seen[:, 1], seen[:, 0]].mean() > 0.9


def test_ceilings_and_walls_before_the_bodies_are_left_out_of_an_open_room():
    """The room is seen from outside: the wall turns its back on the camera, the ceiling is over the body."""
    near = quad((4, 0, 2), (-4, 0, 2), (-4, 3, 2), (4, 3, 2), (0.9, 0.1, 0.1))
    camera = camera_at(0.0, 2.9, 4.0)
    room, floor = room_of(FLOOR, CEILING, near), room_of(FLOOR)
    shut, opened = (
        Stage.of(standing(), BODY.faces, room).picture(camera, SIZE, is_open=is_open)
        for is_open in (False, True)
    )
    np.testing.assert_array_equal(opened, Stage.of(standing(), BODY.faces, floor).picture(camera, SIZE))
    body = changed(opened, Stage.of(standing(50.0), BODY.faces, floor).picture(camera, SIZE))
    assert changed(shut, opened)[body].mean() > 0.9


def test_a_room_wound_the_other_way_is_drawn_alike():
    camera = camera_at(1.0, 1.5, 3.0)
    vertices, faces, colours = FLOOR
    one, other = (
        Stage.of(standing(), BODY.faces, Room.of(vertices, order, colours))
        .seen_by(camera)
        .picture(camera, SIZE, is_open=True)
        for order in (faces, faces[:, ::-1])
    )
    np.testing.assert_array_equal(one, other)


def test_a_body_casts_a_shadow_on_the_floor():
    camera = camera_at(0.0, 2.0, 3.0)
    stages = [Stage.of(standing(x), BODY.faces, room_of(FLOOR)) for x in (0.0, 50.0)]
    lit, plain = (stage.picture(camera, SIZE).astype(int).sum(-1) for stage in stages)
    assert (lit < plain - 20).any()


def test_rooms_of_points_are_closed_surfaces():
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 120), [0.0], np.linspace(-2, 2, 120)), -1).reshape(-1, 3)
    room = Room.of(grid, np.empty((0, 3)), np.tile(np.float32([0.9, 0.2, 0.2]), (len(grid), 1)))
    camera = camera_at(0.0, 2.5, 0.5, target=(0.0, 0.0, 0.0))
    drawn = Stage.of(standing(50.0), BODY.faces, room).seen_by(camera).picture(camera, SIZE, samples=1)
    middle = drawn[20:70, 30:90].reshape(-1, 3).astype(int)
    assert (middle[:, 0] > middle[:, 1] + 80).mean() > 0.97


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rooms_of_few_points_can_be_drawn(count):
    room = Room.of(np.random.default_rng(0).normal(size=(count, 3)), np.empty((0, 3)), None)
    assert Stage.of(standing(), BODY.faces, room).picture(camera_at(0, 1.5, 4.0), SIZE).shape == (*SIZE, 3)


def test_one_sample_has_the_published_colour_and_others_their_own():
    assert colours_of(1) == [PUBLISHED] == [(1.0, 193 / 255, 193 / 255)]
    several = [*colours_of(5), TRUTH]
    assert len(set(several)) == 6
    photo = np.zeros((*SIZE, 3), np.uint8)
    drawn = Stage.of(standing(), BODY.faces).over(photo, camera_at(0, 1.2, 3.0)).reshape(-1, 3).astype(float)
    body = drawn[drawn[:, 0] > 100]
    np.testing.assert_allclose((body[:, 1:] / body[:, :1]).mean(0), 193 / 255, atol=0.06)


def test_the_first_sample_is_over_the_others_which_let_the_photo_through():
    bodies = torch.cat([standing(), standing(0.3)])
    photo = np.full((*SIZE, 3), 30, np.uint8)
    camera = camera_at(0, 1.2, 3.0)
    drawn = Stage.of(bodies, BODY.faces).over(photo, camera)
    alone = Stage.of(standing(), BODY.faces).over(photo, camera)
    first = changed(alone, photo)
    inner = first & (np.roll(first, 2, 1) & np.roll(first, -2, 1))
    assert (np.abs(drawn[inner].astype(int) - alone[inner]).max(-1) < 40).mean() > 0.95
    only_second = changed(drawn, photo) & ~np.roll(first, 1, 1) & ~np.roll(first, -1, 1) & ~first
    assert only_second.sum() > 50
    opaque = Stage.of(bodies, BODY.faces, opacity=1.0).over(photo, camera)
    assert drawn[only_second].mean() < opaque[only_second].mean() - 20


def test_bodies_that_the_camera_does_not_see_leave_the_photo_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    behind = standing(z=10.0)
    drawn = Stage.of(behind, BODY.faces).over(photo, camera_at(0, 1.2, 3.0))
    np.testing.assert_array_equal(drawn, photo)


def test_the_box_is_green_and_three_pixels_wide():
    photo = np.zeros((100, 120, 3), np.uint8)
    drawn = with_box(photo, (50, 40), 40)
    assert not photo.any()
    expected = np.zeros((100, 120), bool)
    expected[19:62, 29:72] = True
    expected[22:59, 32:69] = False
    np.testing.assert_array_equal((drawn == GREEN).all(-1), expected)


@pytest.mark.parametrize(("centre", "side"), [((0, 0), 40), ((119, 99), 300), ((500, 500), 20)])
def test_boxes_may_reach_out_of_the_picture(centre, side):
    drawn = with_box(np.zeros((100, 120, 3), np.uint8), centre, side)
    assert (drawn == GREEN).all(-1).any() == (side == 40)


def test_a_sheet_is_halved_by_the_mean_of_four():
    panels = np.random.default_rng(0).integers(0, 256, (2, 3, 10, 14, 3), dtype=np.uint8)
    whole = np.concatenate([np.concatenate(list(row), 1) for row in panels])
    mean = whole.reshape(10, 2, 21, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(sheet(panels), np.floor(mean + 0.5))


@pytest.mark.parametrize("azimuth", [0.0, 1.0, 2.5, -2.0])
def test_cameras_around_keep_the_bodies_in_the_picture(azimuth):
    bodies = torch.cat([standing(-0.5), standing(1.2, -0.5)])
    stage = Stage.of(bodies, BODY.faces)
    start = camera_at(1.0, 1.6, 3.0)
    camera = stage.orbit(start, azimuth, SIZE)
    pixels, depth = camera.project(bodies.flatten(0, 1))
    assert (depth > 0).all()
    assert ((pixels > 0) & (pixels < torch.tensor([SIZE[1], SIZE[0]]))).all()
    middle = bodies.flatten(0, 1)
    middle = (middle.amin(0) + middle.amax(0)) / 2
    ways = [torch.atan2(*(one.centre - middle)[[0, 2]]) for one in (start, camera)]
    turned = math.remainder(float(ways[1] - ways[0]) - azimuth, 2 * math.pi)
    assert abs(turned) < 1e-3
    assert camera.centre[1] > middle[1]


def test_a_film_goes_all_around_and_swings_where_the_room_has_one_side():
    camera = camera_at(0.5, 1.6, 3.0)
    every = [wall(-3.0, (0.5, 0.5, 0.5))]
    stages = [Stage.of(standing(), BODY.faces), Stage.of(standing(), BODY.faces, room_of(*every))]
    films = [stage.turntable(camera, (30, 40), length=4) for stage in stages]
    frames = [list(film.frames()) for film in films]
    assert [len(film) for film in films] == [4, 4]
    assert all(frame.shape == (30, 40, 3) and frame.dtype == np.uint8 for one in frames for frame in one)
    # Swinging, the third frame is where the first was; going around, it is behind.
    assert changed(frames[0][0], frames[0][2]).any()
    np.testing.assert_array_equal(frames[1][0], frames[1][2])


def test_the_side_is_chosen_that_sees_the_body():
    """A high wall to the camera's right hides the body from there."""
    screen = quad((0.8, 0, 2.2), (2.2, 0, 0.8), (2.2, 3, 0.8), (0.8, 3, 2.2), (0.5, 0.5, 0.5))
    stage = Stage.of(standing(), BODY.faces, room_of(FLOOR, screen))
    start = camera_at(0.0, 1.6, 3.0)
    assert stage.side(start, SIZE).centre[0] < 0.9
    free = Stage.of(standing(), BODY.faces, room_of(FLOOR)).side(start, SIZE)
    assert free.centre[0] > 0.9


def test_people_of_a_gallery_have_their_panels():
    found = recovered(1, 2)
    gallery = Gallery(found, people())
    made = gallery.sheet(0)
    assert made.shape == (480, 960, 3)  # two rows of three panels of 640 x 480, halved
    green = (made == GREEN).all(-1)
    assert green[:240, :320].any()
    assert not green[:, 320:].any()
    without_room = Gallery(replace(found, camera_from_scene=np.full((1, 4, 4), np.nan)), people())
    assert without_room.sheet(0).shape == (480, 640, 3)


def test_a_photo_of_another_size_is_refused():
    gallery = Gallery(replace(recovered(1), size=np.array([[1920, 1080]])), people())
    with pytest.raises(DataError, match="640x480 pixels; the bodies were found in 1920x1080"):
        gallery.photo(0)


def test_bodies_stand_upright_in_scene_axes():
    gallery = Gallery(recovered(1), people())
    body = gallery.moved(0, "scene", gallery.body(0).vertices)
    heights = body[..., 1].amax(1) - body[..., 1].amin(1)
    assert (heights > 1.2).all()
    pixels, _ = gallery.camera(0).project(body[0])
    own, _ = picture_camera(525.0, (319.5, 239.5)).project(gallery.body(0).vertices[0])
    torch.testing.assert_close(pixels, own, rtol=0, atol=2e-3)
