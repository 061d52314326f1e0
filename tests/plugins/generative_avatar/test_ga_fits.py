"""Fitted bodies of photos, from files to labels."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.fits import Fits, label_of

from avatarctl.errors import DataError
from avatarctl.geometry.rotations import matrix_from_axis_angle

sys.path.append(str(Path(__file__).resolve().parent))

import photo_zip

POSES = np.random.default_rng(0).normal(0, 0.3, 72).astype(np.float32)


def test_all_files_say_the_same(make, tmp_path):
    path = make.fashion().write_fits(tmp_path)
    wanted = make.fashion().fit(2)
    for suffix in (".json", ".npz", ".pkl"):
        fits = Fits(path.with_suffix(suffix))
        assert len(fits) == 3
        found = fits.label("more/back.png")
        np.testing.assert_allclose(label.poses(found).flatten(), wanted["poses"], rtol=1e-6)
        np.testing.assert_allclose(label.betas(found), wanted["betas"], rtol=1e-6)
        np.testing.assert_allclose(label.transl(found), wanted["transl"], rtol=1e-6)
        np.testing.assert_allclose(label.scale(found), wanted["scale"], rtol=1e-6)
        assert torch.equal(found[: label.CAMERA], label.standard_camera())


def test_weak_perspective_is_a_scale_and_a_shift():
    found = label_of({"poses": POSES, "cam": [0.8, 0.1, -0.2]}, "x")
    torch.testing.assert_close(found[25:29], torch.tensor([0.8, 0.1, -0.2, 0.0]))
    assert (label.betas(found) == 0).all()


def test_poses_may_be_rows_or_matrices():
    plain = label_of({"poses": POSES, "betas": [1.0, 2.0]}, "x")
    rows = torch.from_numpy(POSES).view(24, 3)
    assert torch.equal(label_of({"poses": rows.numpy(), "betas": [1.0, 2.0]}, "x"), plain)
    turned = label_of({"poses": matrix_from_axis_angle(rows).numpy()}, "x")
    torch.testing.assert_close(label.poses(turned), rows, atol=1e-5, rtol=1e-5)
    assert label.betas(plain).tolist() == [1, 2, *[0] * 8]


def test_labels_of_another_collection_will_do(tmp_path):
    rows = photo_zip.labels(2)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(photo_zip.index_of(["a/img1.png", "a/img2.png"], rows)))
    torch.testing.assert_close(Fits(path).label("a/img2.png"), rows[1])


@pytest.mark.parametrize("name", ["more/0001.jpg", "more/0001", "0001.jpg", "0001"])
def test_names_may_lack_folder_and_ending(name, tmp_path):
    path = tmp_path / "fits.json"
    path.write_text(json.dumps({name: {"poses": POSES.tolist()}, "less/0001.jpg": {"poses": [0] * 72}}))
    found = Fits(path).label("more/0001.jpg")
    np.testing.assert_allclose(label.poses(found).flatten(), POSES, rtol=1e-6)
    with pytest.raises(DataError, match=r"no fit of more/0002\.jpg; it has"):
        Fits(path).label("more/0002.jpg")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "poses: missing"),
        ([1], "found list; expected poses, betas"),
        ({"pose": POSES}, "pose: unknown; fields are poses, betas, scale, transl, cam, camera"),
        ({"poses": POSES[:69]}, "poses: found [69]; expected [72] or [24, 3] or [24, 3, 3]"),
        ({"poses": ["a"]}, "poses: found no numbers"),
        ({"poses": [[1], [1, 2]]}, "poses: found no numbers"),
        ({"poses": POSES * np.nan}, "poses: a number is not finite"),
        ({"poses": POSES, "transl": [0, 1e30, 0]}, "transl: found numbers beyond 1e+06"),
        ({"poses": np.ones((24, 3, 3))}, "poses: its matrices are no rotations"),
        ({"poses": POSES, "betas": np.zeros(16)}, "betas: found [16]; expected up to 10"),
        ({"poses": POSES, "scale": 0}, "scale: found 0; expected more than 0"),
        ({"poses": POSES, "cam": [1, 0, 0], "scale": 1}, "cam: found beside scale or transl"),
        ({"poses": POSES, "camera": [0] * 25}, "camera: its first 16 numbers are no rotation and place"),
        ({"poses": POSES, "camera": [*np.eye(4).reshape(-1), *[0] * 9]}, "camera: its last 9 numbers are no"),
    ],
)
def test_broken_fits_are_refused(fields, words):
    with pytest.raises(DataError) as caught:
        label_of(fields, "fits.json: a.jpg")
    assert caught.value.message.startswith("fits.json: a.jpg: ")
    assert words in caught.value.message


def test_broken_files_are_refused(tmp_path):
    def message(name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as caught:
            Fits(tmp_path / name)
        return caught.value.message

    assert "is no JSON, .npz or pickle" in message("a.json", b"{")
    assert "holds no mapping" in message("b.json", b"[]")
    assert "labels: entry 0: expected [name, [camera 25, body 86]]" in message("c.json", b'{"labels": [[1]]}')
    rows = {"names": ["a", "b"], "poses": np.zeros((3, 72))}
    assert "poses: found [3, 72]; expected a row for each of 2 names" in message("d.pkl", pickle.dumps(rows))
    np.savez(tmp_path / "e.npz", poses=np.zeros((3, 72)))
    with pytest.raises(DataError, match="names: missing; it has poses"):
        Fits(tmp_path / "e.npz")
