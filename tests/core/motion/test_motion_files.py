"""Motion files: every AMASS variant, pickles, BVH; and what broken ones get."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from avatarctl.errors import DataError
from avatarctl.motion import Motion

FRAMES = 6


def poses(width, seed=0, frames=FRAMES):
    return np.random.default_rng(seed).normal(0, 0.3, (frames, width))


def amass(width=156, **changes):
    """The arrays of an AMASS archive; None leaves one out."""
    arrays = {
        "poses": poses(width),
        "trans": poses(3, seed=1),
        "betas": np.arange(16.0),
        "gender": np.array("female"),
        "mocap_framerate": np.array(120.0),
        "dmpls": poses(8, seed=2),
    }
    return {name: value for name, value in (arrays | changes).items() if value is not None}


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("width", "skeleton", "joints"),
    [(156, "smplh", 52), (165, "smplx", 55), (72, "smpl", 24), (66, "smplh", 22)],
)
@pytest.mark.parametrize("rate", ["mocap_framerate", "mocap_frame_rate"])
def test_archives_of_every_width_and_spelling_are_read(tmp_path, width, skeleton, joints, rate):
    arrays = amass(width, mocap_framerate=None) | {rate: np.array(100.0)}

    motion = Motion.read(save(tmp_path / "clip.npz", **arrays))

    assert (motion.skeleton, motion.fps, motion.up, motion.gender) == (skeleton, 100.0, "z", "female")
    np.testing.assert_allclose(motion.poses.reshape(FRAMES, -1), arrays["poses"], atol=1e-7)  # float32
    np.testing.assert_allclose(motion.root, arrays["trans"], atol=1e-7)
    assert motion.poses.shape == (FRAMES, joints, 3)


@pytest.mark.parametrize(
    "gender", [np.array("male"), np.array(b"male"), np.array(["male"]), np.array("Male")]
)
def test_genders_are_read_however_they_are_stored(tmp_path, gender):
    assert Motion.read(save(tmp_path / "a.npz", **amass(gender=gender))).gender == "male"


@pytest.mark.parametrize(
    "betas", [np.zeros(10), np.ones(300), np.ones((1, 10)), np.tile(np.ones(10), (FRAMES, 1))]
)
def test_betas_of_any_length_are_read(tmp_path, betas):
    found = Motion.read(save(tmp_path / "a.npz", **amass(betas=betas))).betas
    np.testing.assert_array_equal(found, betas if betas.ndim == 1 else betas[0])


def test_a_stageii_archive_in_pieces_equals_its_poses(tmp_path):
    whole = poses(165)
    pieces = dict(
        zip(
            ("root_orient", "pose_body", "pose_jaw", "pose_eye", "pose_hand"),
            np.split(whole, [3, 66, 69, 75], axis=1),
            strict=True,
        )
    )
    arrays = amass(165, poses=None, surface_model_type=np.array("smplx")) | pieces

    motion = Motion.read(save(tmp_path / "a_stageii.npz", **arrays))

    assert motion.skeleton == "smplx"
    np.testing.assert_allclose(motion.poses.reshape(FRAMES, -1), whole, atol=1e-7)


def test_pickled_archive_members_that_are_not_needed_are_not_opened(tmp_path):
    labels = np.array([["C7", None]], dtype=object)
    assert len(Motion.read(save(tmp_path / "a.npz", **amass(labels=labels)))) == FRAMES


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_the_published_animation_pickle_is_read(tmp_path, protocol):
    content = {"poses": poses(66).astype(np.float32), "trans": poses(3).astype(np.float32)}
    path = tmp_path / "dataset-a.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))

    motion = Motion.read(path)

    assert (motion.fps, motion.skeleton) == (60.0, "smplh")
    np.testing.assert_array_equal(motion.poses.reshape(FRAMES, 66), content["poses"])
    np.testing.assert_array_equal(motion.root, content["trans"])


def test_a_smpl_pickle_is_read(tmp_path):
    path = tmp_path / "fit.pkl"
    path.write_bytes(pickle.dumps({"pose": poses(72), "transl": poses(3), "betas": poses(10), "fps": 30}))
    motion = Motion.read(path)
    assert (motion.fps, motion.skeleton, motion.betas.shape) == (30.0, "smpl", (10,))


def test_the_content_decides_and_not_the_name(tmp_path):
    (tmp_path / "a.pkl").write_bytes(save(tmp_path / "a.npz", **amass()).read_bytes())
    assert len(Motion.read(tmp_path / "a.pkl")) == FRAMES


def test_paths_with_spaces_and_unicode_are_read(tmp_path):
    folder = tmp_path / "Bewegung \u00fc \u6b69\u304f"
    folder.mkdir()
    assert len(Motion.read(save(folder / "a b.npz", **amass()))) == FRAMES


@pytest.mark.parametrize("width", [156, 165, 72])
def test_a_written_motion_reads_back_and_has_the_same_bytes_each_time(tmp_path, width):
    motion = Motion.read(save(tmp_path / "a.npz", **amass(width)))

    first, second = motion.write(tmp_path / "1.npz"), motion.write(tmp_path / "2.npz")

    assert first.read_bytes() == second.read_bytes()
    back = Motion.read(first)
    assert torch.equal(back.poses, motion.poses)
    assert torch.equal(back.root, motion.root)
    assert (back.fps, back.gender, back.skeleton) == (motion.fps, motion.gender, motion.skeleton)


def changed(array, where, value):
    array = array.copy()
    array[where] = value
    return array


def bomb_header():
    """An .npy of a few bytes that announces 160 GB."""
    words = b"{'descr': '<f8', 'fortran_order': False, 'shape': (20000000000,), }"
    words += b" " * (63 - (10 + len(words)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words


BROKEN_ARCHIVES = {
    "poses: missing": amass(poses=None),
    "trans: missing": amass(trans=None),
    "mocap_framerate: missing": amass(mocap_framerate=None),
    "poses: found float64 [6, 100]": amass(poses=poses(100)),
    "poses: found int64 [6, 156]": amass(poses=np.ones((FRAMES, 156), int)),
    "poses: 0 frames": amass(poses=poses(156, frames=0), trans=np.zeros((0, 3))),
    "trans: found float64 [5, 3]": amass(trans=poses(3, frames=5)),
    "poses: frame 2: found nan": amass(poses=changed(poses(156), (2, 7), np.nan)),
    "trans: frame 4: found inf": amass(trans=changed(poses(3), (4, 0), np.inf)),
    "poses: frame 1: found 180": amass(poses=changed(poses(156), (1, 3), 180.0)),
    "poses: frame 0: found -inf": amass(poses=changed(poses(156), (0, 0), -1e300)),
    "betas: found nan": amass(betas=np.full(10, np.nan)),
    "betas: found <U1 [1]": amass(betas=np.array(["a"])),
    "mocap_framerate: found 0": amass(mocap_framerate=np.array(0.0)),
    "mocap_framerate: found nan": amass(mocap_framerate=np.array(np.nan)),
    "mocap_framerate: found fast": amass(mocap_framerate=np.array("fast")),
    "differ": amass(mocap_frame_rate=np.array(60.0)),
    "gender: found 'unknown'": amass(gender=np.array("unknown")),
    "gender: cannot be read": amass(gender=np.array(["male", None], dtype=object)),
}


@pytest.mark.parametrize("words", BROKEN_ARCHIVES)
def test_a_broken_archive_is_refused_with_file_and_field(tmp_path, words):
    path = save(tmp_path / "clip.npz", **BROKEN_ARCHIVES[words])
    with pytest.raises(DataError) as failure:
        Motion.read(path)
    assert words in failure.value.message
    assert str(path) in failure.value.message
    assert failure.value.hint
    assert "\n" not in failure.value.message


def test_things_that_are_no_motion_are_refused(tmp_path):
    whole = save(tmp_path / "whole.npz", **amass()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no motion at all")
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps({"poses": poses(66)})[:-40])
    (tmp_path / "words.pkl").write_bytes(pickle.dumps({"poses": [["a", {}]], "trans": poses(3)}))
    (tmp_path / "picture.bvh.gz").write_bytes(gzip.compress(b"\x00\xff picture"))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("poses.npy", bomb_header())
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("img/0000000.png", b"")
    for name, words in {
        "photos.zip": r"is no motion, but a zip of other files \(img/0000000.png\); expected an AMASS",
        "cut.npz": "not a readable .npz", "flipped.npz": "cannot be read", "empty.npz": "is empty",
        "notes.txt": "no motion file", "list.pkl": "holds a list", "cut.pkl": "refused", "words.pkl": "poses",
        "picture.bvh.gz": "no text", "bomb.npz": "bytes of data", "nowhere.npz": "not found",
    }.items():  # fmt: skip
        with pytest.raises(DataError, match=words) as failure:
            Motion.read(tmp_path / name)
        assert name in failure.value.message
        assert failure.value.hint
    with pytest.raises(DataError, match="is a folder"):
        Motion.read(tmp_path)


@pytest.mark.parametrize(
    ("start", "said", "hint"),
    [
        (
            b"RIFF$e\x04\x00WAVEfmt ",
            "is a sound, no motion file; expected an AMASS .npz",
            "inspect 'my file'",
        ),
        (b"fLaC\x00\x00\x00\x22", "is a sound, no motion file", "inspect 'my file'"),
        (b"\x00\x00\x00\x1cftypM4A \x00", "is a sound, no motion file", "inspect 'my file'"),
        (b"\x00\x00\x00\x1cftypisom", "is a film, no motion file", "inspect 'my file'"),
        (b"\x89PNG\r\n\x1a\n", "is a picture, no motion file", "inspect 'my file'"),
        (b"\x00\x01\x02\x03" * 8, "is no motion file", "inspect 'my file'"),
        (b"glTF\x02\x00\x00\x00", "is a glb, which is not read back", "name the motion.npz or .bvh"),
    ],
)
def test_a_whole_file_of_another_kind_is_told_what_it_is(start, said, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my file").write_bytes(start)
    with pytest.raises(DataError) as failure:
        Motion.read("my file")
    assert failure.value.message.startswith(f"my file: {said}")
    assert "\\x" not in failure.value.message
    assert hint in failure.value.hint


def mutations(raw, count, seed):
    """A file with bytes changed, cut out or doubled."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(raw)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(changed)))
            kind = random.integers(4)
            if kind == 0:
                changed[at] ^= 1 << int(random.integers(8))
            elif kind == 1:
                changed[at] = int(random.integers(256))
            elif kind == 2:
                del changed[at : at + int(random.integers(1, 40))]
            else:
                changed[at:at] = changed[at : at + int(random.integers(1, 40))]
        yield bytes(changed)


@pytest.mark.parametrize("kind", ["npz", "stored", "pkl"])
def test_mutated_archives_and_pickles_give_data_errors_or_finite_motion(tmp_path, kind):
    path = tmp_path / f"fuzz.{kind}"
    small = amass(66, dmpls=None)
    if kind == "pkl":
        raw = pickle.dumps({"poses": small["poses"], "trans": small["trans"]})
    else:
        buffer = io.BytesIO()
        (np.savez if kind == "stored" else np.savez_compressed)(buffer, **small)
        raw = buffer.getvalue()
    refused = 0
    for changed_bytes in mutations(raw, 300, seed=len(kind)):
        path.write_bytes(changed_bytes)
        try:
            motion = Motion.read(path)
        except DataError:
            refused += 1
        else:
            assert torch.isfinite(motion.poses).all()
            assert torch.isfinite(motion.root).all()
    assert refused > 30
