"""OpenPose's files, boxes, and the optional detector."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from avatarctl_ego_hmr import detect
from avatarctl_ego_hmr.keypoints import Person, files_of, in_box, read_openpose, whole

from avatarctl.errors import AssetError, DataError, DependencyError


def someone(x=300.0, y=200.0, size=100.0, seed=0):
    random = np.random.default_rng(seed)
    return np.column_stack([np.array([x, y]) + random.uniform(0, size, (25, 2)), random.uniform(0.3, 1, 25)])


def write(path, *people):
    path.write_text(
        json.dumps(
            {"version": 1.3, "people": [{"pose_keypoints_2d": one.ravel().tolist()} for one in people]}
        )
    )
    return path


def test_openpose_s_people_are_read(tmp_path):
    found = read_openpose(write(tmp_path / "a.json", someone(), someone(seed=1)))
    np.testing.assert_array_equal(found, [someone(), someone(seed=1)])
    assert read_openpose(write(tmp_path / "b.json")) == []


def test_the_box_has_a_fifth_more_than_the_keypoints_that_were_detected():
    keypoints = someone()
    keypoints[:, :2] = [[310, 220]] * 24 + [[390, 260]]
    keypoints[3] = (5000, 5000, 0)
    person = Person.of(keypoints)
    assert person.centre == (350, 240)
    assert person.side == pytest.approx(96)
    assert person.detected.sum() == 24


def test_a_box_alone_makes_everything_count_as_seen():
    person = Person.boxed(None, (100, 50, 40, 80))
    assert (person.centre, person.side, person.detected.all()) == ((120, 90), 80, True)


def test_a_box_chooses_who_is_meant():
    people = [someone(), someone(800, 200, seed=1)]
    np.testing.assert_array_equal(in_box(people, (780, 190, 130, 130)), people[1])
    assert in_box(people, (0, 900, 50, 50)) is None


def test_people_of_whom_hardly_anything_was_detected_are_left_out():
    hardly = someone()
    hardly[3:, 2] = 0
    assert len(whole([someone(), hardly])) == 1


def test_files_belong_to_pictures_by_name(tmp_path):
    pictures = [Path("x/first.jpg"), Path("y/second.png")]
    write(tmp_path / "first_keypoints.json", someone())
    write(tmp_path / "second.json", someone())
    wanted = [tmp_path / "first_keypoints.json", tmp_path / "second.json"]
    assert files_of(tmp_path, pictures) == wanted
    assert files_of(tmp_path / "*.json", pictures) == wanted
    assert files_of(wanted[1], pictures[:1]) == wanted[1:]
    for words, said in (
        (wanted[0], "one file of keypoints, but 2 pictures"),
        (tmp_path / "none", "not found"),
        (tmp_path / "f*.json", "no keypoints among the 1 files"),
    ):
        with pytest.raises(DataError, match=said):
            files_of(words, pictures)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "has no list 'people'"),
        ('{"people": [{}]}', "people[0].pose_keypoints_2d: found none"),
        (json.dumps({"people": [{"pose_keypoints_2d": [0.0] * 54}]}), "found 54 numbers, expected 75"),
        (json.dumps({"people": [{"pose_keypoints_2d": ["x"] * 75}]}), "could not convert"),
        (json.dumps({"people": [{"pose_keypoints_2d": [float("nan")] * 75}]}), "not finite"),
        (json.dumps({"people": [{"pose_keypoints_2d": [100.0] * 75}]}), "confidence of 100"),
    ],
)
def test_what_is_no_openpose_is_refused(tmp_path, content, said):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_openpose(tmp_path / "a.json")
    assert said in caught.value.message


def test_landmarks_become_keypoints():
    landmarks = np.column_stack([np.arange(33.0) + 10, np.arange(33.0) + 20, np.full(33, 0.9)])
    landmarks[14, 2] = 0.2  # the right elbow is not seen
    landmarks[28, :2] = (-5, 3)  # the right ankle is outside
    found = detect.body_25(landmarks, 100, 100)
    np.testing.assert_allclose(found[1], [21.5, 31.5, 0.9])  # neck: between the shoulders
    np.testing.assert_allclose(found[8], [33.5, 43.5, 0.9])  # between the hips
    np.testing.assert_allclose(found[7], [25, 35, 0.9])  # left wrist
    assert not found[[3, 11, 20, 23]].any()


def test_the_detector_has_an_anchor_for_each_of_its_rows():
    places = detect.anchors()
    assert places.shape == (2254, 2)
    np.testing.assert_allclose(places[[0, 1, 2]], [[4 / 224, 4 / 224]] * 2 + [[12 / 224, 4 / 224]])


def test_boxes_of_one_person_are_joined():
    centres = np.array([[0.5, 0.5], [0.52, 0.5], [0.8, 0.5]])
    assert detect.apart([0, 1, 2], centres, np.full((3, 2), 0.2)) == [0, 2]


def test_a_turned_crop_shows_the_square():
    rows, columns = np.mgrid[:60, :80]
    picture = np.stack([columns, rows, 0 * rows], -1).astype(np.uint8)
    crop = detect.turned_crop(picture, np.array([40.0, 30.0]), 20, np.pi / 2, 20)
    # Turned by a quarter: to the right in the crop is down in the picture.
    np.testing.assert_allclose(crop[5, 5], [40 + 4, 30 - 5, 0], atol=1)
    np.testing.assert_allclose(crop[5, 15], [40 + 4, 30 + 5, 0], atol=1)


class Fake:
    """Stands for the two models: one person, upright, with hips in the middle of the picture."""

    def __init__(self, presence):
        self.presence = presence

    def detection(self, image):
        boxes, scores = np.zeros((1, 2254, 12), np.float32), np.full((1, 2254, 1), -200, np.float32)
        anchor = detect.anchors()[100] * 224
        boxes[0, 100, :4] = (0, 0, 100, 100)
        boxes[0, 100, 4:6] = np.array([112, 112]) - anchor
        boxes[0, 100, 6:8] = np.array([112, 62]) - anchor
        scores[0, 100] = 5
        return [boxes, scores]

    def landmarks(self, image):
        values = np.zeros((1, 195), np.float32)
        values[0, :165].reshape(33, 5)[:] = (128 + 64, 128, 0, 9, 9)
        return [values, np.array([[self.presence]], np.float32)]


@pytest.mark.parametrize("presence", [0.9, 0.1])
def test_people_are_found_where_the_models_say(presence):
    fake = Fake(presence)
    found = detect.MediaPipe(fake.detection, fake.landmarks)(np.zeros((200, 400, 3), np.uint8))
    assert len(found) == (presence > 0.5)
    for one in found:
        # The circle has a radius of 50/224 of 400 pixels; a quarter of its square's side to the right.
        side = 2 * 1.25 * 50 / 224 * 400
        np.testing.assert_allclose(one[0], [200 + side / 4, 100, 1], atol=1e-3)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError) as caught:
        detect.MediaPipe.load()
    assert "avatarctl[detect]" in caught.value.hint
    assert "--keypoints" in caught.value.hint


def test_without_the_models_it_is_said_where_they_are(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(detect.metadata, "files", lambda name: [])
    with pytest.raises(DependencyError, match="are not installed"):
        detect.MediaPipe.load()
    with pytest.raises(AssetError, match="no such folder"):
        detect.MediaPipe.load(tmp_path / "none")
    with pytest.raises(AssetError, match=r"has no pose_detection\.tflite"):
        detect.MediaPipe.load(tmp_path)


def test_a_broken_model_is_told(monkeypatch, tmp_path):
    class Interpreter:
        def __init__(self, **_):
            raise ValueError("model provided has model identifier 'oops'")

    module = type(sys)("ai_edge_litert.interpreter")
    module.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", type(sys)("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    for name in detect.FILES:
        (tmp_path / name).write_bytes(b"oops")
    with pytest.raises(AssetError, match=r"is no \.tflite model"):
        detect.MediaPipe.load(tmp_path)
