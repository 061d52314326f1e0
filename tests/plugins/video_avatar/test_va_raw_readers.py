"""Raw data sets of people, read from miniatures in their published layouts."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_video_avatar import settings_prepare as settings
from avatarctl_video_avatar.prepared import Fit
from avatarctl_video_avatar.raw import film, h36m, monocap, people_snapshot, selfrecon, synthetic_human, zju
from PIL import Image
from scipy.ndimage import binary_dilation

from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl
from avatarctl.render.video import Film

sys.path.append(str(Path(__file__).resolve().parent))

import raw_miniature as mini

READ = {
    "zju377": (settings.PrepareZju, zju.read),
    "zju313": (settings.PrepareZju, zju.read),
    "h36m": (settings.PrepareH36m, h36m.read),
    "monocap": (settings.PrepareMonocap, monocap.read),
    "people_snapshot": (settings.PreparePeopleSnapshot, people_snapshot.read),
    "selfrecon": (settings.PrepareSelfrecon, selfrecon.read),
    "synthetic_human": (settings.PrepareSyntheticHuman, synthetic_human.read),
}


def read(name, folder=None, **words):
    """The recording in a raw folder."""
    kind, reader = READ[name]
    return reader(kind(raw=folder or mini.recording(name), **words))


def golden():
    with np.load(mini.videos().OWN / "cases" / "prep_zju.npz") as file:
        return dict(file)


def seen(fit: Fit, camera, *, is_about_root):
    """Pixels of the body's vertices, by the written convention."""
    shaped = mini.body().shape(torch.from_numpy(fit.betas))
    body = shaped.pose(torch.from_numpy(fit.poses).view(24, 3)).vertices().double().numpy()
    root = shaped.joints[0].double().numpy() * is_about_root
    turn = matrix_from_axis_angle_smpl(torch.from_numpy(fit.Rh).double()).numpy()
    world = (body - root) @ turn.T + root + fit.Th
    view = world @ camera.extrinsics[:3, :3].T + camera.extrinsics[:3, 3]
    pixels = view @ camera.intrinsics.T.astype(np.float64)
    return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.parametrize("name", [name for name in READ if not name.startswith("zju")])
def test_bodies_lie_on_their_masks_in_every_view(name):
    recording = read(name, step=1)
    about_root = name in ("people_snapshot", "selfrecon")  # these files turn bodies about the root (Q7)
    for frames in recording.views.values():
        assert list(frames) == list(recording.fits)
        for frame, shot in frames.items():
            mask = shot.mask()
            near = binary_dilation(mask > 0, np.ones((3, 3)))  # vertices of the outline round to both sides
            pixels = seen(recording.fits[frame], shot.camera, is_about_root=about_root).round().astype(int)
            x, y = pixels.T.clip(0, np.array(mask.shape[::-1])[:, None] - 1)
            assert near[y, x].mean() > 0.999
            assert shot.image().shape == (*mask.shape, 3)


def test_zju_is_read_as_the_golden_case_says():
    case, recording = golden(), read("zju377")
    assert list(recording.fits) == case["out_frame_names"].tolist()
    for view, frames in recording.views.items():
        camera = frames["frame_000000"].camera
        for key, found in (("K", camera.intrinsics), ("E", camera.extrinsics), ("D", camera.distortions)):
            assert found.dtype == case[f"out_{key}_{view}"].dtype
            np.testing.assert_array_equal(found, case[f"out_{key}_{view}"])
        for index, shot in enumerate(frames.values()):
            np.testing.assert_array_equal(shot.mask(), case[f"out_masks_{view}"][index])
            np.testing.assert_array_equal(shot.image(), case["raw_image"][index, int(view)])
    for index, fit in enumerate(recording.fits.values()):
        np.testing.assert_array_equal(fit.poses, case[f"out_poses_{index}"])
        np.testing.assert_array_equal(fit.betas, case[f"out_beats_{index}"])


def test_bodies_belong_to_their_frames_when_the_first_ones_are_left_out():
    recording, case = read("zju377", start=2, end=4, views=["1"]), golden()
    assert list(recording.fits) == ["frame_000000", "frame_000001"]
    assert list(recording.views) == ["1"]
    np.testing.assert_array_equal(recording.fits["frame_000001"].poses, case["raw_params_poses"][3, 0])
    shot = recording.views["1"]["frame_000001"]
    np.testing.assert_array_equal(shot.image(), case["raw_image"][3, 1])


def test_long_names_of_zju_say_which_body_is_theirs():
    recording, case = read("zju313"), golden()
    assert len(recording.fits) == 3
    np.testing.assert_array_equal(recording.fits["frame_000002"].poses, case["raw_params_poses"][2, 0])


@pytest.mark.parametrize("words", ["313", "CoreView_313"])
def test_a_subject_is_found_below_the_folder_of_the_data_set(words):
    recording = read("zju313", mini.recording("zju313").parent, subject=words)
    assert recording.name == "CoreView_313"


def test_h36m_takes_every_fifth_frame_under_its_number_and_cameras_by_name():
    recording = read("h36m", views=["60457274", "54138969"])
    assert (recording.name, list(recording.fits)) == ("S6", ["000000", "000005"])
    whole = read("h36m", step=1)
    np.testing.assert_array_equal(recording.fits["000005"].Rh, whole.fits["000005"].Rh)
    path = recording.views["60457274"]["000005"].image.path
    assert path.parts[-2:] == ("60457274", "000005.jpg")


@pytest.mark.parametrize(("name", "sex"), [("people_snapshot", "male"), ("selfrecon", "female")])
def test_these_keep_the_last_frame_and_know_the_sex(name, sex):
    recording = read(name)
    assert len(recording.fits) == {"people_snapshot": 6, "selfrecon": 4}[name]
    assert recording.sex == sex
    assert not recording.fits["frame_000001"].poses[:3].any()
    assert len(read(name, end=2).fits) == 2
    assert read(name, sex="neutral").sex == "neutral"


@pytest.mark.parametrize(
    ("name", "sex"), [("female_outfit1", "female"), ("female_outfit2", "male"), ("male_outfit1", "male")]
)
def test_selfrecons_other_women_get_the_male_body_as_published(name, sex):
    assert read("selfrecon", subject=name).sex == sex


def test_no_distortion_may_be_one_zero():
    camera = read("monocap").views["2"]["000000"].camera
    np.testing.assert_array_equal(camera.distortions, np.zeros(5, np.float32))


def test_black_pixels_of_synthetic_human_are_background(tmp_path):
    root = mini.copy("synthetic_human", tmp_path)
    Image.new("L", (48, 48), 255).save(root / "mask" / "01" / "000000.png")
    shot = read("synthetic_human", root).views["1"]["000000"]
    lit = shot.image().sum(axis=2, dtype=int) > 10
    np.testing.assert_array_equal(shot.mask() > 0, lit)
    assert 0 < lit.mean() < 0.3


def test_a_film_on_its_side_is_turned_up(tmp_path):
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:16, :16] = 255  # upper left
    Film(lambda: iter([wide]), 1, 30.0).write(tmp_path / "a.mp4")
    turned = film.FilmPicture(film.Film(tmp_path / "a.mp4"), 0, (64, 32))()
    assert turned.shape == (64, 32, 3)
    assert turned[:16, 16:].mean() > 200  # transposed, then columns mirrored: upper right
    assert turned[20:].mean() < 50


def test_frames_of_a_film_come_in_any_order_and_through_a_pickle():
    shots = list(read("people_snapshot").views["0"].values())
    wanted = [shot.image() for shot in shots]
    for index in (4, 1, 1, 5, 0):
        copied = pickle.loads(pickle.dumps(shots[index]))
        np.testing.assert_array_equal(shots[index].image(), wanted[index])
        np.testing.assert_array_equal(copied.image(), wanted[index])
    assert any((wanted[0] != other).any() for other in wanted[1:])
