"""The drawn avatar: texture lookup, the screen's curve, frames of several views, films with sound."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from avatarctl_audio2motion.avatar.assets import Views, read_views
from avatarctl_audio2motion.avatar.avatar import Body
from avatarctl_audio2motion.avatar.drawing import displayed, drawn, side_by_side
from avatarctl_audio2motion.avatar.film import at_height, film, frame_of
from avatarctl_audio2motion.avatar.seams import Seams
from avatarctl_audio2motion.avatar.uv import Topology, UvMaps, texel_maps

from avatarctl.errors import DataError, DependencyError
from avatarctl.geometry.cameras import Camera
from avatarctl.render import Render

FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
UVS = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
SQUARE = torch.tensor([[-1.0, -1, 4], [1, -1, 4], [1, 1, 4], [-1, 1, 4]])
SIZE = (40, 50)
MAPS = UvMaps(
    Topology(FACES, FACES, UVS, torch.arange(4)[:, None]),
    texel_maps(Topology(FACES, FACES, UVS, torch.arange(4)[:, None]), 16),
)


def _views(*shifts):
    """Cameras that look along +z from places beside each other; the square is 20 pixels wide."""
    intrinsics = torch.tensor([[40.0, 0, 25.25], [0, 40, 20.25], [0, 0, 1]]).expand(len(shifts), 3, 3)
    places = torch.tensor([[shift, 0.0, 0.0] for shift in shifts])
    return Views(Camera(intrinsics, torch.eye(3).expand(len(shifts), 3, 3), -places), places, SIZE)


class _Square:
    """A square as a person: pose moves it sideways, the first code is its brightness."""

    maps, num_codes, texture_std = MAPS, 2, 1.0
    skeleton = SimpleNamespace(num_pose=3)
    mean_texture = torch.zeros(1, 3, 32, 32)
    seams = Seams(
        torch.zeros(1, 2).long(), torch.zeros(1, 2).long(), torch.zeros(16, 16, 2), torch.zeros(16, 16)
    )

    def __init__(self, needs_occlusion=False):
        self.needs_occlusion = needs_occlusion
        self.shadow = SimpleNamespace(mean=torch.full((1, 8, 8), 0.5))
        self.places, self.occlusion = [], []

    def body(self, pose, codes, occlusion):
        self.occlusion.append(occlusion)
        move = torch.tensor([1.0, 0, 0]) * pose[:, :1]
        texture = codes[:, :1, None, None].expand(-1, 3, 16, 16).clone()
        return Body(SQUARE + move[:, None], texture, torch.ones(1, 1, 32, 32))

    def texture(self, body, places):
        self.places.append(places)
        return (body.texture + 0 * places[:, :1, None, None]).expand(len(places), -1, -1, -1)


def test_texture_coordinates_reach_the_centres_of_the_outer_texels():
    texture = torch.arange(6.0).expand(6, 6)[None, None].repeat(1, 3, 1, 1).contiguous()
    texture[:, 1] = texture[:, 1].mT.clone()
    views = _views(0.0)
    (picture,) = drawn(SQUARE[None], texture, MAPS, views.camera, SIZE)
    y, x = (torch.arange(count) + 0.5 for count in SIZE)
    u, v = (x - 25.25) / 20 + 0.5, (y - 20.25) / 20 + 0.5  # 0 to 1 across the square
    inside = ((v > 0) & (v < 1))[:, None] & ((u > 0) & (u < 1))[None]
    on_edge = torch.isclose(u[None], v[:, None])
    column, row = (5 * u).expand(SIZE), (5 * v)[:, None].expand(SIZE)
    wanted = torch.stack([column, row, column]) * inside
    torch.testing.assert_close(picture[:, ~on_edge], wanted[:, ~on_edge], rtol=0, atol=1e-4)
    assert inside.sum() == 400


def test_the_screen_curve_is_that_of_the_formula():
    linear = torch.tensor([0.0, 5 / 1.05, 6.0, 80.0, 200.0, 400.0])
    values = displayed(linear.view(1, 1, -1).expand(3, 1, -1))[:, 0]
    for channel, gain in enumerate((1.05, 0.95, 1.45)):
        for value, found in zip(linear.tolist(), values[channel].tolist(), strict=True):
            x = value / 255 * gain - 5 / 255
            y = 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 1.5) - 0.055
            assert found == pytest.approx(255 * min(max(y, 0.0), 1.0), abs=1e-3)


def test_values_are_cut_off_and_views_stand_side_by_side():
    frame = side_by_side(torch.stack([torch.full((3, 2, 4), 9.99), torch.full((3, 2, 4), 255.0)]))
    assert frame.shape == (2, 8, 3)
    assert frame.dtype == np.uint8
    assert np.array_equal(np.unique(frame[:, :4]), [9])
    assert np.array_equal(np.unique(frame[:, 4:]), [255])


@pytest.mark.parametrize("look", ["full", "draft", "shape"])
def test_each_view_shows_the_person_where_its_camera_sees_it(look):
    frame = frame_of(_Square(), torch.zeros(1, 3), torch.full((1, 2), 120.0), _views(0.0, 0.5), look=look)
    assert frame.shape == (40, 100, 3)
    columns = frame[20].max(-1) > 0
    left, right = columns[:50].nonzero()[0], columns[50:].nonzero()[0]
    if look == "shape":  # its outline is black
        assert 15 <= left.min() < left.max() <= 34
    else:
        assert (left.min(), left.max()) == (15, 34)
    assert left.mean() - right.mean() == pytest.approx(5.0, abs=0.5)  # half a unit aside, 10 pixels a unit


def test_the_full_look_takes_the_texture_that_the_views_places_see():
    person, views = _Square(), _views(0.0, 0.5)
    frame_of(person, torch.zeros(1, 3), torch.full((1, 2), 120.0), views)
    assert torch.equal(person.places[0], views.places)


def test_a_person_whose_shadows_need_it_gets_its_mean_occlusion(caplog):
    person = _Square(needs_occlusion=True)
    with caplog.at_level(logging.INFO):
        next(film(person, torch.zeros(2, 3), torch.zeros(2, 2), _views(0.0)).frames())
    assert "mean one shades all frames" in caplog.text
    assert torch.equal(person.occlusion[0], torch.full((1, 1, 8, 8), 0.5))


def test_a_film_shows_pose_and_codes_frame_by_frame_with_its_sound(tmp_path):
    pose, codes = torch.zeros(12, 3), torch.full((12, 2), 120.0)
    pose[:, 0] = 0.1 * torch.arange(12)
    codes[6:] = 60.0
    tone = 0.5 * np.sin(np.arange(48000) / 20)[:, None].astype(np.float32)
    made = film(_Square(), pose, codes, _views(0.0), sound=(tone, 48000))
    with av.open(str(made.write(tmp_path / "person.mp4"))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.audio[0].duration * container.streams.audio[0].time_base == pytest.approx(
            0.4, abs=0.05
        )
    assert len(frames) == 12
    seen = [np.nonzero(frame[20].mean(-1) > 30)[0] for frame in frames]
    assert seen[11].mean() - seen[0].mean() == pytest.approx(11, abs=1)  # 0.1 units are a pixel
    bright = [frame[20, 32].mean() for frame in frames]
    assert min(bright[:6]) > max(bright[6:]) + 30


def test_another_height_shows_the_same_in_fewer_pixels():
    person, pose, codes = _Square(), torch.zeros(1, 3), torch.full((1, 2), 120.0)
    views = at_height(_views(0.5), 20)
    assert views.size == (20, 25)
    small = frame_of(person, pose, codes, views)
    large = frame_of(person, pose, codes, at_height(_views(0.5), 80))
    area = [(frame.max(-1) > 0).mean() for frame in (small, large)]
    middle = [(np.nonzero(frame.max(-1) > 0)[1].mean() + 0.5) / frame.shape[1] for frame in (small, large)]
    assert area[0] == pytest.approx(area[1], rel=0.1)
    assert middle[0] == pytest.approx(middle[1], abs=0.01)


@pytest.mark.parametrize(
    ("pose", "codes", "words"),
    [
        (torch.zeros(4, 7), torch.zeros(4, 2), r"body poses of shape \[4, 7\]; this person needs \[4, 3\]"),
        (torch.zeros(4, 3), torch.zeros(5, 2), r"face codes of shape \[5, 2\]; this person needs \[4, 2\]"),
        (torch.zeros(0, 3), torch.zeros(0, 2), r"body poses of shape \[0, 3\]"),
        (torch.full((4, 3), torch.nan), torch.zeros(4, 2), "body poses that are not finite"),
    ],
)
def test_motion_of_another_person_is_refused_before_anything_is_drawn(pose, codes, words):
    with pytest.raises(DataError, match=words):
        film(_Square(), pose, codes, _views(0.0))


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_rasteriser_is_the_render_services(backend):
    frames = [
        next(
            film(_Square(), torch.zeros(1, 3), torch.full((1, 2), 90.0), _views(0.0), render=render).frames()
        )
        for render in (Render(), Render().using(backend))
    ]
    assert np.array_equal(*frames)


def test_progress_of_the_service_sees_every_frame(tmp_path):
    seen = []

    def progress(items, what, total):
        for item in items:
            seen.append((what, total))
            yield item

    made = film(
        _Square(), torch.zeros(3, 3), torch.zeros(3, 2), _views(0.0), render=Render(progress=progress)
    )
    made.write(tmp_path / "a.mp4")
    assert seen == [("rendering a.mp4", 3)] * 3


def test_numba_that_is_missing_is_said_when_the_service_is_chosen(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(DependencyError, match="'numba' is not installed"):
        Render().using("numba")


def test_cameras_of_a_json_file_take_the_place_of_the_published_views(tmp_path):
    path = tmp_path / "cameras.json"
    wanted = _views(0.0, 0.5)
    rigid = torch.cat([wanted.camera.rotation, wanted.camera.translation[..., None]], -1)
    words = {"K": wanted.camera.intrinsics.tolist(), "Rt": rigid.tolist(), "size": list(SIZE)}
    path.write_text(json.dumps(words))
    found = read_views(path, (7, 7))
    assert found.size == SIZE
    torch.testing.assert_close(found.places, wanted.places)
    torch.testing.assert_close(found.camera.intrinsics, wanted.camera.intrinsics)
    del words["size"]
    path.write_text(json.dumps(words))
    assert read_views(path, (7, 9)).size == (7, 9)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[]", "'Rt' is missing"),
        ('{"Rt": [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]]}', "'K' is missing"),
        ('{"Rt": [[[1, 0, 0, 0], [0, 1, 0, 0]]], "K": []}', r"'Rt' has shape \[1, 2, 4\]"),
        (
            '{"Rt": [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]], "K": [[[9, 1, 0], [0, 9, 0], [0, 0, 1]]]}',
            "have a skew of 1 pixels",
        ),
    ],
)
def test_files_that_hold_no_cameras_are_refused(tmp_path, content, words):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_views(path, SIZE)
