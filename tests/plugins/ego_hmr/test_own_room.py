"""The user's room: its axes, its unit, and what networks see of it."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import trimesh
from avatarctl_ego_hmr.lens import Lens, Lenses
from avatarctl_ego_hmr.room import POINTS, evenly, filled, read_scan
from avatarctl_ego_hmr.scene_check import drawn, in_picture

from avatarctl.errors import DataError, SettingsError

FOLDER = Path(str(resources.files("avatarctl") / "_data" / "scene"))
OFFICE = trimesh.load(FOLDER / "office_desk_tum.ply", process=False)
LENS = Lenses.read(FOLDER / "office_desk_tum.json").of(Path("photo.jpg"))
WAYS = {
    "y": np.eye(3),
    "-y": np.diag([1, -1, -1]),
    "z": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "x": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}
"""From axes with y up to others."""


class Heard:
    """Collects what was told."""

    def __init__(self):
        self.told, self.warned = [], []

    def read(self, path, lenses, up="auto", unit="auto"):
        return read_scan(Path(path), lenses, up, unit, self.told.append, self.warned.append)


@pytest.fixture
def heard():
    return Heard()


def placed(turn=WAYS["y"], scale=1.0, lens=LENS):
    whole = np.eye(4)
    whole[:3, :3] = turn
    place = whole @ lens.world_from_camera
    place[:3, 3] *= scale
    return Lens(lens.fx, lens.fy, lens.cx, lens.cy, lens.size, place)


def written(path, turn=WAYS["y"], scale=1.0):
    trimesh.Trimesh(scale * (OFFICE.vertices @ turn.T), OFFICE.faces, process=False).export(path)
    return path


def test_a_room_in_metres_with_y_up_stays_as_it_is(heard):
    scan = heard.read(FOLDER / "office_desk_tum.ply", [LENS])
    assert not scan.is_changed
    np.testing.assert_array_equal(scan.points, OFFICE.vertices)
    assert abs(scan.floor) < 0.06
    assert heard.warned == []


@pytest.mark.parametrize(("way", "unit"), [("y", "mm"), ("z", "m"), ("z", "cm"), ("-y", "m"), ("x", "mm")])
def test_other_axes_and_units_are_found_and_told(heard, tmp_path, way, unit):
    scale = {"m": 1, "cm": 100, "mm": 1000}[unit]
    lens = placed(WAYS[way], scale)
    scan = heard.read(written(tmp_path / "room.ply", WAYS[way], scale), [lens])
    assert scan.is_changed
    np.testing.assert_allclose(scan.mesh.vertices, OFFICE.vertices, atol=1e-5)
    np.testing.assert_allclose(scan.lens(lens).world_from_camera, LENS.world_from_camera, atol=1e-12)
    told = " ".join(heard.told)
    assert f"{way} points up" in told
    assert ("it was turned into metres" in told) == (unit != "m")
    assert heard.warned == []


def test_what_the_user_says_is_taken(heard, tmp_path):
    path = written(tmp_path / "room.ply", WAYS["z"], 1000)
    scan = heard.read(path, [placed(WAYS["z"], 1000)], up="z", unit="mm")
    np.testing.assert_allclose(scan.mesh.vertices, OFFICE.vertices, atol=1e-5)
    heard.read(path, [placed(WAYS["-y"])], up="y", unit="m")
    assert "the camera's own way up is" in heard.warned[0]


def test_a_room_without_the_camera_s_place_is_in_the_camera_s_axes(heard, tmp_path):
    own = (OFFICE.vertices - LENS.world_from_camera[:3, 3]) @ LENS.world_from_camera[:3, :3]
    trimesh.PointCloud(own).export(tmp_path / "room.ply")
    lens = Lens(LENS.fx, LENS.fy, LENS.cx, LENS.cy)
    scan = heard.read(tmp_path / "room.ply", [lens])
    assert "axes of a level camera" in heard.warned[0]
    back = scan.points @ scan.lens(lens).camera_from_world[:3, :3].T
    np.testing.assert_allclose(back, own, atol=1e-5)
    with pytest.raises(SettingsError, match="scene_up: the camera file has no world_from_camera"):
        heard.read(tmp_path / "room.ply", [lens], up="y")
    with pytest.raises(DataError, match="only 1 of 2 cameras"):
        heard.read(tmp_path / "room.ply", [lens, LENS])


def test_a_mirrored_room_is_told(heard, tmp_path):
    heard.read(written(tmp_path / "room.ply", np.diag([-1, 1, 1])), [LENS])
    assert "mirrored" in heard.warned[0]


@pytest.mark.parametrize(
    ("vertices", "lens", "said"),
    [
        (np.maximum(OFFICE.vertices * 1000, [-1e9, 0, -1e9]), LENS, "they are not in one unit"),
        (np.zeros((10, 3)), LENS, "all its points are one"),
        (OFFICE.vertices * 1e6, placed(scale=1e6), "no room in m, cm or mm"),
    ],
)
def test_impossible_rooms_are_refused(heard, tmp_path, vertices, lens, said):
    trimesh.PointCloud(vertices).export(tmp_path / "room.ply")
    with pytest.raises(DataError, match=said):
        heard.read(tmp_path / "room.ply", [lens])


def test_a_camera_at_no_height_of_a_head_is_told(heard, tmp_path):
    heard.read(written(tmp_path / "room.ply"), [placed(scale=0.01)], unit="m")
    assert "the camera stands 0.07 m over the floor" in heard.warned[0]


def test_large_triangles_are_covered_with_points(heard, tmp_path):
    trimesh.creation.box(
        (6, 2.5, 5), np.array([[1, 0, 0, 0], [0, 1, 0, 1.25], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    ).export(tmp_path / "room.obj")
    scan = heard.read(tmp_path / "room.obj", [LENS])
    assert len(scan.points) > POINTS
    assert np.abs(np.abs(scan.points) - [3, 1.25, 2.5])[:, [0, 2]].min(axis=1).max() > 0
    distance = np.stack(
        [
            np.abs(np.abs(scan.points[:, 0]) - 3),
            np.abs(scan.points[:, 1] - 1.25) - 1.25,
            np.abs(np.abs(scan.points[:, 2]) - 2.5),
        ]
    )
    assert np.abs(distance).min(axis=0).max() < 1e-9  # each lies on one of the walls
    again = heard.read(tmp_path / "room.obj", [LENS])
    np.testing.assert_array_equal(again.points, scan.points)


def test_points_in_front_are_those_before_the_camera(heard):
    scan = heard.read(FOLDER / "office_desk_tum.ply", [LENS])
    front = scan.in_front(LENS.camera_from_world)
    assert len(front) == POINTS
    assert ((front - LENS.world_from_camera[:3, 3]) @ LENS.world_from_camera[:3, 2] > 0).all()
    behind = scan.in_front(np.diag([1.0, -1, -1, 1]) @ LENS.camera_from_world)
    assert len(behind) == 0


def test_points_around_a_place_are_those_of_the_cube(heard):
    scan = heard.read(FOLDER / "office_desk_tum.ply", [LENS])
    place = np.array([0.2, 1.0, -1.6])
    found = scan.around(place)
    points = OFFICE.vertices
    is_near = (np.abs(points - place) <= 1)[:, [0, 2]].all(axis=1)
    low = points[is_near, 1].min()
    wanted = points[is_near & (points[:, 1] <= low + 2)]
    np.testing.assert_array_equal(found, evenly(wanted))
    assert len(scan.around(np.array([50.0, 0, 0]))) == 0


def test_the_check_picture_shows_the_room_where_the_camera_sees_it(heard):
    scan = heard.read(FOLDER / "office_desk_tum.ply", [LENS])
    # The scan was made of this very picture.
    assert in_picture(scan.points, LENS, (480, 640)).mean() > 0.97
    away = LENS.moved(np.diag([-1.0, 1, -1, 1]))
    assert in_picture(scan.points, away, (480, 640)).mean() < 0.03
    photo = np.full((480, 640, 3), 100, np.uint8)
    made = drawn(photo, LENS, scan)
    assert made.shape == (480, 1280, 3)
    assert (made[:450, 640:] > 0).any(axis=2).mean() > 0.6  # the room fills most of what it is seen in
    assert not (drawn(photo, away, scan)[:300, 640:] > 0).any(axis=2).mean() > 0.2


def test_points_are_spread_or_repeated_to_their_number():
    many, points = np.arange(39_999), np.arange(21.0).reshape(7, 3)
    assert evenly(many[:50]).tolist() == many[:50].tolist()
    assert (evenly(many)[0], evenly(many)[-1], len(evenly(many))) == (0, 39_998, POINTS)
    assert set(filled(points)[:, 0]) == set(points[:, 0])
    assert filled(points).shape == (POINTS, 3)
