"""Pose files, what labels should look like, and mirrored ones."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.body import scaled_body
from avatarctl_generative_avatar.label import camera_of, mirrored
from avatarctl_generative_avatar.poses import pattern, read_poses

from avatarctl.body import open_body
from avatarctl.body.tables import mirror_pairs
from avatarctl.errors import DataError

sys.path.append(str(Path(__file__).resolve().parent))

import photo_zip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_become_float32(dtype, tmp_path):
    rows = photo_zip.labels(4).numpy()
    np.save(tmp_path / "poses.npy", rows.astype(dtype))
    found = read_poses(tmp_path / "poses.npy")
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(rows))


def test_photos_have_poses_too(tmp_path):
    files = photo_zip.contents(3)
    for name in ("photos.zip", "photos"):
        torch.testing.assert_close(read_poses(photo_zip.write(tmp_path / name, files)), photo_zip.labels(3))
    only = {"dataset.json": json.dumps(photo_zip.index_of(["a.png", "b.png"], photo_zip.labels(2))).encode()}
    assert len(read_poses(photo_zip.write(tmp_path / "labels.zip", only))) == 2


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((5, 86), np.float32), "holds float32 [5, 86]; expected an array [M, 111]"),
        (np.zeros(111, np.float32), "holds float32 [111]"),
        (np.zeros((0, 111), np.float32), "holds float32 [0, 111]"),
        (np.zeros((2, 111), "U3"), "holds <U3 [2, 111]"),
        (np.full((2, 111), np.inf), "2 of 2 rows have impossible numbers, row 0 first: camera: found inf"),
        (np.full((2, 111), 1e300), "2 of 2 rows have impossible numbers"),
        (np.eye(111)[[3, 30]] * 1e30, "row 0 first: camera: found 1e+30"),
    ],
)
def test_other_layouts_are_refused(array, words, tmp_path):
    np.save(tmp_path / "poses.npy", array)
    with pytest.raises(DataError) as caught:
        read_poses(tmp_path / "poses.npy")
    assert words in caught.value.message


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "boxed.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        read_poses(tmp_path / "boxed.npy")
    np.savez(tmp_path / "walk.npz", poses=np.zeros((2, 156)))
    (tmp_path / "notes.txt").write_text("x")
    for name in ("walk.npz", "notes.txt"):
        with pytest.raises(DataError, match=r"is no \.npy, zip or folder"):
            read_poses(tmp_path / name)
    with pytest.raises(DataError, match=r"no dataset\.json"):
        read_poses(photo_zip.write(tmp_path / "x.zip", {"a": b""}))
    with pytest.raises(DataError, match="not found"):
        read_poses(tmp_path / "none.npy")


def test_the_assumed_geometry_is_found():
    assert pattern(photo_zip.labels(5)).warnings == []


def test_deviations_are_counted():
    rows = photo_zip.labels(5)
    rows[0, label.POSES] = 0  # stands on its head in a world with y down
    rows[1, 16] = 2  # a lens that sees [-2.5, 2.5]
    rows[2, 3] = 0.3  # a camera aside
    rows[3, label.SCALE] = 1.2
    turned = math.radians(30)
    rows[4, [0, 2, 8, 10]] = torch.tensor(
        [math.cos(turned), math.sin(turned), -math.sin(turned), math.cos(turned)]
    )
    found = pattern(rows)
    assert (found.count, found.upright, found.spanning, found.ahead, found.scaled) == (5, 4, 3, 4, 1)
    assert len(found.warnings) == 3
    assert found.warnings[0].startswith("3 of 5 cameras see [-1, 1] of the plane z = 0")


def test_mirrored_labels_show_the_mirrored_body():
    body, rows = open_body("smpl"), photo_zip.labels(3)
    rows[:, 3], rows[:, 18] = 0.2, 0.45  # camera aside, and where it looks
    turned = mirrored(rows)
    assert torch.equal(mirrored(turned)[:, : label.CAMERA], rows[:, : label.CAMERA])
    swap = list(mirror_pairs("smpl"))
    joints = scaled_body(body, rows).joints[:, : label.JOINTS]
    other = scaled_body(body, turned).joints[:, swap]
    flip = torch.tensor([-1.0, 1, 1])
    assert (joints - other * flip).norm(dim=-1).max() < 0.02
    for one, opposite, here in zip(rows, turned, joints, strict=True):
        seen, depth = camera_of(one, 100).project(here)
        seen_there, depth_there = camera_of(opposite, 100).project(here * flip)
        torch.testing.assert_close(seen_there, seen * torch.tensor([-1.0, 1]) + torch.tensor([100.0, 0]))
        torch.testing.assert_close(depth_there, depth)
