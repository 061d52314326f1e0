"""The user's camera file."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from avatarctl_ego_hmr.lens import TURNED, Lenses

from avatarctl.errors import DataError

OFFICE = resources.files("avatarctl") / "_data" / "scene" / "office_desk_tum.json"
PLAIN = {"fx": 1450, "fy": 1452, "cx": 959.5, "cy": 539.5, "width": 1920, "height": 1080}


def lens(tmp_path, content, picture="photo.jpg"):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content))
    return Lenses.read(path).of(Path(picture))


def turned(angle=0.3, place=(0.1, 1.6, -2.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    matrix[:3, 3] = place
    return matrix


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        {"intrinsics": PLAIN},
        {"intrinsics": [[1450, 0, 959.5], [0, 1452, 539.5], [0, 0, 1]], "width": 1920, "height": 1080},
        {"f": [1450, 1452], "c": [959.5, 539.5], "width": 1920, "height": 1080},
        {"images": {"photo.jpg": PLAIN, "other.jpg": {**PLAIN, "fx": 1}}},
        {**PLAIN, "fx": 7, "images": {"photo": {"fx": 1450}}},
    ],
)
def test_every_layout_says_the_same(tmp_path, content):
    found = lens(tmp_path, content)
    assert (found.fx, found.fy, found.cx, found.cy, found.size) == (1450, 1452, 959.5, 539.5, (1920, 1080))
    assert found.world_from_camera is None


def test_the_embedded_office_s_camera_is_read():
    found = Lenses.read(Path(str(OFFICE))).of(Path("photo.jpg"))
    assert (found.fx, found.size) == (525.0, (640, 480))
    assert found.world_from_camera[1, 3] == pytest.approx(1.828061)


def test_either_direction_of_the_place_may_be_given(tmp_path):
    matrix = turned()
    for name, given in (("world_from_camera", matrix), ("camera_from_world", np.linalg.inv(matrix))):
        found = lens(tmp_path, {**PLAIN, name: given.tolist()})
        np.testing.assert_allclose(found.world_from_camera, matrix, atol=1e-12)
        np.testing.assert_allclose(found.camera_from_world @ matrix, np.eye(4), atol=1e-12)


def test_a_camera_moves_with_its_room(tmp_path):
    found = lens(tmp_path, {**PLAIN, "world_from_camera": turned(place=(100, 160, -200)).tolist()})
    moved = found.moved(TURNED, 0.01)
    np.testing.assert_allclose(moved.world_from_camera, TURNED @ turned(place=(1.0, 1.6, -2.0)), atol=1e-12)


def test_a_smaller_copy_of_a_picture_has_a_smaller_camera(tmp_path):
    found = lens(tmp_path, PLAIN)
    half = found.fitted((960, 540), Path("photo.jpg"), tmp_path)
    assert (half.fx, half.fy, half.size) == (725, 726, (960, 540))
    # A ray through the middle of the picture's corner pixel stays the same ray.
    assert (half.cx + 0.5) / half.fx == pytest.approx((found.cx + 0.5) / found.fx)
    assert found.fitted((1920, 1080), Path("photo.jpg"), tmp_path) is found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "found a list"),
        ({**PLAIN, "fx": None}, "fx: found None, expected a number"),
        ({key: value for key, value in PLAIN.items() if key != "cy"}, "cy: missing"),
        ({**PLAIN, "fx": -1450}, "expected pixels above 0"),
        ({**PLAIN, "fx": 0.75, "fy": 1.2}, "no length in pixels"),
        ({**PLAIN, "width": 0}, "width, height: found 0"),
        ({**PLAIN, "camera_axes": "x right, y up, z backward"}, "camera_axes: found 'x right, y up"),
        ({"intrinsics": [[1450, 3, 959], [0, 1450, 539], [0, 0, 1]]}, "[0, fy, cy]"),
        ({**PLAIN, "world_from_camera": [[1, 0], [0, 1]]}, "expected numbers [4, 4]"),
        ({**PLAIN, "world_from_camera": turned().T.tolist()}, "the last row is"),
        ({**PLAIN, "world_from_camera": (turned() * [2, 2, 2, 1]).tolist()}, "it scales by 2"),
        ({**PLAIN, "world_from_camera": (turned() * [-1, 1, 1, 1]).tolist()}, "it mirrors"),
        ({**PLAIN, "world_from_camera": (turned() + np.eye(4, k=1) * 0.3).tolist()}, "no rotation"),
        ({**PLAIN, "world_from_camera": [["a"] * 4] * 4}, "expected numbers [4, 4]"),
        ({"images": {"other.jpg": PLAIN}}, "has no photo.jpg; it has other.jpg"),
        ({"images": [PLAIN]}, "expected a camera for each name"),
    ],
)
def test_what_is_no_camera_is_refused(tmp_path, content, said):
    with pytest.raises(DataError) as caught:
        lens(tmp_path, content)
    assert said in caught.value.message
    assert "camera.json" in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "\x00\x01", "[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "camera.json").write_text(text)
    with pytest.raises(DataError):
        Lenses.read(tmp_path / "camera.json")


def test_a_picture_of_other_proportions_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is 1080x1920, but the camera of .* is for 1920x1080"):
        lens(tmp_path, PLAIN).fitted((1080, 1920), Path("photo.jpg"), tmp_path)
    without = {key: value for key, value in PLAIN.items() if key not in ("width", "height")}
    with pytest.raises(DataError, match="far outside of"):
        lens(tmp_path, without).fitted((200, 100), Path("photo.jpg"), tmp_path)
