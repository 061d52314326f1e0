"""What `avatarctl inspect` says of a prepared recording."""

from __future__ import annotations

import json

import pytest
import va_recording
from PIL import Image

from avatarctl.cli.main import main


@pytest.fixture
def inspected(tmp_path, capsys):
    """A fresh recording of two cameras and three frames, and what is said of it: code, JSON, error."""
    folder = va_recording.write(tmp_path / "Small")

    def said():
        code = main(["inspect", str(folder), "--json"])
        got = capsys.readouterr()
        return code, json.loads(got.out) if code == 0 else None, got.err

    return folder, said


def test_a_prepared_recording_has_its_person_cameras_frames_and_sizes(inspected):
    folder, said = inspected
    _, found, _ = said()
    assert (found["kind"], found["what"]) == ("data", "prepared recording of a person, for video-avatar")
    assert found["facts"] == {
        "subject": "Small",
        "data set": "zju-mocap",
        "bodies": "open body, 6890 vertices",
        "frames": "3: frame_000000 to frame_000002",
        "cameras": "2: 0, 1",
        "pictures": "3 of each camera",
        "size": "40 x 48 pixels",
        "base shape": "24 x 24 x 24 signed distances, -1.064 to 1.064 m",
    }
    assert f"avatarctl train video-avatar --data {folder}" in found["read_by"]


def test_what_pictures_lack_is_told(inspected):
    folder, said = inspected
    for name in ("frame_000001", "frame_000002"):
        (folder / "1" / "masks" / f"{name}.png").unlink()
    (folder / "0" / "images" / "frame_000000.png").unlink()
    Image.new("RGB", (8, 6)).save(folder / "0" / "images" / "late.png")
    Image.new("RGB", (8, 6)).save(folder / "1" / "images" / "frame_000000.png")
    facts = said()[1]["facts"]
    assert facts["missing"] == (
        "mask of camera 0, late; camera of camera 0, late; body of camera 0, late; "
        "mask of camera 1, frame_000001 and 1 more"
    )
    assert facts["pictures"] == "3 of each camera"
    assert facts["size"] == "40 x 48 pixels (camera 0), 8 x 6 pixels (camera 1)"


def test_a_recording_as_published_says_that_nothing_names_its_data_set(inspected):
    folder, said = inspected
    (folder / "subject.json").unlink()
    facts = said()[1]["facts"]
    assert facts["data set"] == "no subject.json says it; taken as zju-mocap"
    assert facts["bodies"] == "SMPL, 6890 vertices"


def test_splits_of_a_made_up_recording_are_told(inspected):
    folder, said = inspected
    split = {"train": {"views": ["0"], "frames": [0, 2]}, "held_out": {"views": ["1"], "frames": [2, 3]}}
    (folder / "synthetic.json").write_text(json.dumps({"options": {}, "split": split}))
    facts = said()[1]["facts"]
    assert facts["split train"] == "views 0, frames 0:2"
    assert facts["split held out"] == "views 1, frames 2:3"


@pytest.mark.parametrize("name", ["smpl_sdf.npy", "canonical_joints.pkl"])
def test_a_file_that_is_not_there_is_named(inspected, name):
    folder, said = inspected
    (folder / name).unlink()
    code, _, error = said()
    assert code == 5
    assert name in error
