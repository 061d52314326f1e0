"""Raw folders that are incomplete, broken or hostile: one clear line each."""

import pickle
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from avatarctl_video_avatar import settings_prepare as settings
from avatarctl_video_avatar.raw import h36m, monocap, people_snapshot, selfrecon, synthetic_human, zju
from PIL import Image

from avatarctl.errors import DataError

sys.path.append(str(Path(__file__).resolve().parent))

import raw_miniature as mini

READ = {
    "zju377": (settings.PrepareZju, zju.read),
    "h36m": (settings.PrepareH36m, h36m.read),
    "monocap": (settings.PrepareMonocap, monocap.read),
    "people_snapshot": (settings.PreparePeopleSnapshot, people_snapshot.read),
    "selfrecon": (settings.PrepareSelfrecon, selfrecon.read),
    "synthetic_human": (settings.PrepareSyntheticHuman, synthetic_human.read),
}


def look(name, root, **words):
    """Read a raw folder, and open all pictures."""
    kind, reader = READ[name]
    for frames in reader(kind(raw=root, **words)).views.values():
        for shot in frames.values():
            shot.mask()
            shot.image()


def change(path, **fields):
    mini.boxed(path, {**mini.unboxed(path), **fields})


def change_cams(root, key, index, value):
    content = mini.unboxed(root / "annots.npy")
    content["cams"][key][index] = value
    mini.boxed(root / "annots.npy", content)


def change_npz(path, **fields):
    with np.load(path) as file:
        arrays = {**dict(file), **fields}
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


def change_hdf5(path, **fields):
    with h5py.File(path, "a") as file:
        for key, value in fields.items():
            del file[key]
            if value is not None:
                file[key] = value


def change_pickle(path, **fields):
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **fields}))


def fewer_cameras(root):
    content = mini.unboxed(root / "annots.npy")
    content["cams"]["R"] = content["cams"]["R"][:2]
    mini.boxed(root / "annots.npy", content)


def leading_out(root):
    content = mini.unboxed(root / "annots.npy")
    content["ims"][0]["ims"][0] = "../../secret.jpg"
    mini.boxed(root / "annots.npy", content)


def grey(path, value, size=(96, 96)):
    Image.new("L", size, value).save(path)


TURNED = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1.0]])
FAULTS = [
    ("zju377", lambda root: (root / "annots.npy").unlink(), "no annots.npy"),
    (
        "zju377",
        lambda root: (root / "annots.npy").write_bytes(b"\x93NUMPY rubbish"),
        "annots.npy: not a .npy",
    ),
    (
        "zju377",
        lambda root: np.save(root / "annots.npy", np.zeros(3)),
        "expected cameras and pictures, pickled",
    ),
    (
        "zju377",
        lambda root: mini.boxed(root / "annots.npy", {"cams": {}, "ims": [{"ims": ["a"]}]}),
        "K, R, T, D",
    ),
    ("zju377", lambda root: change(root / "annots.npy", ims=[]), "ims: missing"),
    ("zju377", lambda root: change(root / "annots.npy", ims=[{}]), "frame 0 names no pictures"),
    ("zju377", leading_out, "leads out of the folder"),
    ("zju377", fewer_cameras, "camera 2 is missing in K, R, T or D"),
    ("zju377", lambda root: change_cams(root, "K", 1, np.zeros((3, 3))), "camera 1: K is singular"),
    ("zju377", lambda root: change_cams(root, "R", 2, TURNED), "camera 2: R is no rotation"),
    ("zju377", lambda root: change_cams(root, "R", 0, np.zeros((3, 3))), "camera 0: R is no rotation"),
    (
        "zju377",
        lambda root: change_cams(root, "T", 0, np.full((3, 1), np.nan)),
        "T: holds numbers that are not",
    ),
    ("zju377", lambda root: change_cams(root, "D", 0, np.zeros(8)), "D: 8 numbers"),
    ("zju377", lambda root: change_cams(root, "K", 0, "K"), "camera 0: K: not numbers"),
    ("zju377", lambda root: (root / "new_params" / "1.npy").unlink(), "1.npy: not found"),
    ("zju377", lambda root: change(root / "new_params" / "1.npy", poses=np.zeros((1, 156))), "(52 joints)"),
    ("zju377", lambda root: change(root / "new_params" / "0.npy", Th=np.zeros((1, 2))), "Th: 2 numbers"),
    (
        "zju377",
        lambda root: mini.boxed(root / "new_params" / "0.npy", {"poses": 0}),
        "Rh, Th, shapes: missing",
    ),
    ("zju377", lambda root: (root / "Camera_B2" / "000001.jpg").unlink(), "000001.jpg: not found"),
    (
        "zju377",
        lambda root: shutil.rmtree(root / "mask_cihp" / "Camera_B3"),
        "000000.png: not found (and 2 more",
    ),
    (
        "zju377",
        lambda root: (root / "Camera_B1" / "000000.jpg").write_bytes(b"junk"),
        "not a readable picture",
    ),
    (
        "zju377",
        lambda root: (root / "mask" / "Camera_B1" / "000000.png").write_bytes(b""),
        "000000.png: is empty",
    ),
    (
        "zju377",
        lambda root: grey(root / "mask" / "Camera_B1" / "000001.png", 1, (48, 96)),
        "48 x 96 pixels; its",
    ),
    ("h36m", lambda root: grey(root / "mask_cihp" / "54138969" / "000000.png", 0, (48, 48)), "mask is empty"),
    ("h36m", lambda root: (root / "new_params" / "5.npy").unlink(), "5.npy: not found"),
    ("monocap", lambda root: (root / "params" / "1.npy").unlink(), "1.npy: not found"),
    ("monocap", lambda root: change_cams(root, "D", 0, np.ones(1)), "one alone has to be zero"),
    (
        "monocap",
        lambda root: change(root / "annots.npy", ims=[{"ims": ["a/0.jpg"]}] * 3),
        "in no folder 'images'",
    ),
    ("people_snapshot", lambda root: (root / "masks.hdf5").write_bytes(b"no"), "not a readable HDF5"),
    ("people_snapshot", lambda root: change_hdf5(root / "masks.hdf5", masks=None), "masks: missing"),
    (
        "people_snapshot",
        lambda root: change_hdf5(root / "masks.hdf5", masks=np.ones((6, 8, 8))),
        "says 64 x 64",
    ),
    (
        "people_snapshot",
        lambda root: change_hdf5(root / "masks.hdf5", masks=np.zeros((6, 64, 64))),
        "mask is empty",
    ),
    (
        "people_snapshot",
        lambda root: change_hdf5(root / "masks.hdf5", masks=np.ones(6)),
        "[frames, rows, columns]",
    ),
    (
        "people_snapshot",
        lambda root: change_hdf5(root / "reconstructed_poses.hdf5", pose=np.zeros((6, 156))),
        "24 joints of SMPL",
    ),
    (
        "people_snapshot",
        lambda root: change_hdf5(root / "reconstructed_poses.hdf5", trans=np.zeros((4, 3))),
        "no body for frame 4",
    ),
    (
        "people_snapshot",
        lambda root: change_pickle(root / "camera.pkl", camera_rt=np.ones(3)),
        "camera_rt is",
    ),
    ("people_snapshot", lambda root: change_pickle(root / "camera.pkl", camera_f=np.zeros(2)), "lengths > 0"),
    (
        "people_snapshot",
        lambda root: (root / "camera.pkl").write_bytes(b"no pickle"),
        "camera.pkl: is no pickle",
    ),
    (
        "people_snapshot",
        lambda root: (root / "male-3-casual.mp4").write_bytes(b"junk"),
        "not a readable film",
    ),
    ("people_snapshot", lambda root: (root / "male-3-casual.mp4").unlink(), "found none; expected one .mp4"),
    (
        "people_snapshot",
        lambda root: shutil.copy(root / "male-3-casual.mp4", root / "b.mp4"),
        "found b.mp4, male-3-casual.mp4",
    ),
    ("selfrecon", lambda root: change_npz(root / "camera.npz", fx=np.zeros(1)), "K is singular"),
    ("selfrecon", lambda root: change_npz(root / "camera.npz", T=None), "T: missing"),
    ("selfrecon", lambda root: change_npz(root / "smpl_rec.npz", poses=np.zeros((4, 22, 3))), "(22 joints)"),
    (
        "selfrecon",
        lambda root: change_npz(root / "smpl_rec.npz", trans=np.zeros((3, 3))),
        "expected [F, 24, 3] and",
    ),
    ("selfrecon", lambda root: (root / "imgs" / "000002.png").unlink(), "000002.png: not found"),
    (
        "synthetic_human",
        lambda root: change_npz(root / "motion.npz", poses=np.zeros((4, 156)), shapes=np.zeros((4, 16))),
        "an SMPL-X body (manuel), which cannot be prepared",
    ),
    (
        "synthetic_human",
        lambda root: change_npz(root / "motion.npz", poses=np.zeros((4, 66))),
        "[frames, 72] or",
    ),
    (
        "synthetic_human",
        lambda root: change_npz(root / "motion.npz", Rh=np.zeros((2, 3))),
        "of [2, 4] frames",
    ),
    ("synthetic_human", lambda root: (root / "images" / "02" / "000003.jpg").unlink(), "3 pictures (.jpg)"),
    ("synthetic_human", lambda root: (root / "mask" / "02" / "000003.png").unlink(), "000003.png: not found"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "words"), FAULTS, ids=[f"{name}-{words}" for name, _, words in FAULTS]
)
def test_a_fault_is_told(name, spoil, words, tmp_path):
    root = mini.copy(name, tmp_path)
    spoil(root)
    with pytest.raises(DataError) as caught:
        look(name, root)
    assert words in caught.value.message
    assert caught.value.hint
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("zju377", {"views": ["23"]}, "no camera '23'; there are 0, 1, 2"),
        ("zju377", {"start": 4}, "--start 4 is out of range; there are 4 frames"),
        ("zju377", {"end": 5}, "--end 5 is out of range; there are 4 frames"),
        ("zju377", {"start": 3}, "no frame of 4 is left from --start 3 to --end -1"),
        ("people_snapshot", {"end": 700}, "--end 700 is out of range; there are 6 frames"),
        ("people_snapshot", {"views": ["1"]}, "no camera '1'; there are 0"),
        ("people_snapshot", {"subject": "somebody"}, "'somebody' does not tell the sex"),
        ("h36m", {"views": ["7"]}, "there are 54138969, 55011271, 58860488, 60457274"),
    ],
)
def test_what_is_not_there_cannot_be_chosen(name, words, message):
    with pytest.raises(DataError) as caught:
        look(name, mini.recording(name), **words)
    assert message in caught.value.message


def test_all_that_is_missing_is_told_at_once(tmp_path):
    root = mini.copy("zju377", tmp_path)
    shutil.rmtree(root / "mask")
    (root / "new_params" / "2.npy").unlink()
    change_cams(root, "K", 2, np.zeros((3, 3)))
    with pytest.raises(DataError) as caught:
        look("zju377", root)
    for words in ("Camera_B1/000000.png: not found (and 2 more there)", "2.npy: not found", "camera 2: K"):
        assert words in caught.value.message


def test_an_empty_mask_may_be_taken(tmp_path):
    root = mini.copy("h36m", tmp_path)
    grey(root / "mask_cihp" / "54138969" / "000000.png", 0, (48, 48))
    look("h36m", root, allow_empty=True)


def test_arahs_layout_is_recognised(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "000000.npz").write_bytes(b"x")
    for name in READ:
        with pytest.raises(DataError, match="ARAH's own layout") as caught:
            look(name, tmp_path)
        assert "raw data set itself" in caught.value.hint


class Trap:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.mkdir, (self.mark,))


@pytest.mark.parametrize(
    ("name", "file"),
    [("zju377", "annots.npy"), ("zju377", "new_params/0.npy"), ("people_snapshot", "camera.pkl")],
)
def test_nothing_in_a_pickle_is_run(name, file, tmp_path):
    root, mark = mini.copy(name, tmp_path), tmp_path / "sprung"
    path = root / file
    if path.suffix == ".npy":
        change(path, poses=Trap(mark), cams=Trap(mark))
    else:
        path.write_bytes(pickle.dumps({"camera_c": Trap(mark)}))
    with pytest.raises(DataError):
        look(name, root)
    assert not mark.exists()


@pytest.mark.parametrize("size", [(2, 10**12, 64), (10**12, 64, 64), (6, 10**6, 10**6)])
def test_masks_of_absurd_size_are_not_read(size, tmp_path):
    root = mini.copy("people_snapshot", tmp_path)
    with h5py.File(root / "masks.hdf5", "w") as file:
        file.create_dataset("masks", size, "u1", chunks=(1, 64, 64))
    with pytest.raises(DataError, match="rows, columns"):
        look("people_snapshot", root)
