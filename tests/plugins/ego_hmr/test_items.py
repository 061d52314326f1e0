"""People of the miniature EgoBody as networks are given them: what is changed fits together; bad data."""

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.augment import Augmentation
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.changes import MIRROR_JOINTS, MIRROR_KEYPOINTS
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import moved
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.pickles import write_pickle
from egobody_mini import arrays_of, bodies, egobody, spoil
from PIL import Image

from avatarctl.body import Bodies
from avatarctl.device import Noise
from avatarctl.errors import DataError

SIZE = (320, 180)
DRAWS = (
    Augmentation(),
    Augmentation(scale=0.8, rotation_deg=-30.0, shift=(0.02, -0.01)),
    Augmentation(scale=1.2, rotation_deg=20.0, flip=True, gains=(0.9, 1.0, 1.1), shift=(-0.01, 0.02)),
)
DOT = 3


@pytest.fixture(scope="module")
def people():
    return People.load(Bodies(), "smpl", bodies())


@pytest.fixture
def root(tmp_path):
    """Recordings with small pictures, each with a bright dot at its first keypoint, and joints as cubes."""
    place = egobody(tmp_path / "egobody")
    for split in ("train", "val"):
        arrays = arrays_of(place, split)
        shrunk = {name: arrays[name] / 6 for name in ("center", "scale", "cx", "cy", "fx", "fy")}
        keypoints = arrays["valid_keypoints"] / [6, 6, 1]
        keypoints[:, 0] = [170, 100, 0.9]
        spoil(place, split, **shrunk, valid_keypoints=keypoints)
        for name in EgoBody(place).annotations(split).names:
            picture = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
            picture[100 - DOT : 101 + DOT, 170 - DOT : 171 + DOT] = 200
            Image.fromarray(picture).save(place / name, "PNG")
    write_cubes(place)
    return place


def write_cubes(root, **counts):
    """The annotated joints of each frame as its scene points; of some frames fewer."""
    data = EgoBody(root)
    rows = data.annotations("train")
    for index, name in enumerate(rows.names):
        camera = data.transforms().camera_from_scene(rows.recording(index), rows.timestamp(index))
        points = moved(rows.joints[index], np.linalg.inv(camera))[: counts.get(f"frame_{index}")]
        path = root / prepared.FOLDERS["cube-gt"] / prepared.cube_file("train", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, points)


def items_of(root, people, split="train", **settings):
    return Items(EgoBody(root), split, people, **({"points": "cube-gt"} | settings))


def test_without_changes_numbers_are_those_of_the_annotations(root, people):
    items = items_of(root, people)

    view, truth = items.batch([1, 4])

    rows = items.people
    for found, wanted in (
        (truth.joints_full, rows.joints),
        (truth.transl, rows.transl),
        (truth.betas, rows.betas),
        (truth.poses[:, 1:], rows.poses[:, 1:]),
        (view.focal, rows.fx),
        (view.centre, np.stack([rows.cx, rows.cy], axis=1)),
        (view.box_centre, rows.centre),
        (view.box_size, rows.scale * 1.2 * 200),
        (view.detected, rows.keypoints[..., 2] > 0),
    ):
        wanted = torch.from_numpy(np.asarray(wanted[[1, 4]], found.numpy().dtype))
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    in_pixels = (truth.keypoints_full[..., :2] + 0.5) * torch.tensor(SIZE)
    torch.testing.assert_close(in_pixels, torch.from_numpy(rows.keypoints[[1, 4], :, :2]).float())
    assert truth.gender.tolist() == [1, 0]


@pytest.mark.parametrize("draws", DRAWS)
def test_a_keypoint_lies_where_its_pixel_went(root, people, draws):
    view, truth = items_of(root, people).item(0, draws)

    bright = view.image[0, 0] - view.image[0, 0].median() > 0.5
    assert bright.any()
    found = bright.nonzero().double().mean(dim=0).flip(0)
    place = int(draws.flip and MIRROR_KEYPOINTS.index(0))
    wanted = (truth.keypoints[0, place, :2] + 0.5) * 224
    torch.testing.assert_close(wanted.double(), found, rtol=0, atol=1.0)  # the dot has hard edges


@pytest.mark.parametrize("draws", DRAWS)
def test_scene_points_move_with_the_joints(root, people, draws):
    view, truth = items_of(root, people).item(2, draws)

    points = view.points[:, MIRROR_JOINTS] if draws.flip else view.points
    torch.testing.assert_close(points, truth.joints_full, rtol=0, atol=1e-5)


@pytest.mark.parametrize("draws", DRAWS)
def test_the_annotated_body_stands_where_its_pelvis_is(root, people, draws):
    _, truth = items_of(root, people).item(3, draws)

    pelvis = people.annotated(truth.poses, truth.betas, truth.gender).joints[:, 0]
    torch.testing.assert_close(truth.transl + pelvis, truth.joints_full[:, 0], rtol=0, atol=1e-5)


def test_the_crop_s_camera_sees_the_body_where_the_crop_does(root, people):
    items = items_of(root, people)
    items.people.joints[:, 0] = items.people.transl

    view, truth = items.item(0, Augmentation(scale=1.2, shift=(0.02, -0.02)))

    pixel = truth.joints_full[0, 0, :2] / truth.joints_full[0, 0, 2] * view.focal + view.centre[0]
    wanted = (pixel - view.box_centre[0]) / view.box_size
    found = view.focal * truth.joints[0, 0, :2] / truth.joints[0, 0, 2] / 224
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_mirrored_view_is_the_view_of_a_mirrored_picture(root, people):
    mirrored, _ = items_of(root, people).item(0, Augmentation(flip=True))
    arrays = arrays_of(root, "train")
    spoil(root, "train", center=(arrays["center"] - [SIZE[0] - 1, 0]) * [-1, 1])
    path = root / str(arrays["imgname"][0])
    with Image.open(path) as image:
        pixels = np.asarray(image)[:, ::-1]
    Image.fromarray(pixels).save(path, "PNG")

    plain, _ = items_of(root, people).item(0)

    torch.testing.assert_close(
        mirrored.image, plain.image, rtol=0, atol=0.02
    )  # a grey level: centres are rounded
    torch.testing.assert_close(mirrored.box_centre, plain.box_centre)


def test_roots_are_turned_against_the_picture_and_by_half_a_turn_at_most(root, people):
    poses = np.array([0, 0, 4.0])
    spoil(root, "train", global_orient_pv=np.tile(poses, (6, 1)))
    items = items_of(root, people)

    plain, turned = items.item(0)[1], items.item(0, Augmentation(rotation_deg=30.0))[1]

    wanted = 4.0 - 2 * np.pi
    assert plain.poses[0, 0].tolist() == pytest.approx([0, 0, wanted], abs=1e-6)
    assert turned.poses[0, 0].tolist() == pytest.approx([0, 0, wanted - np.pi / 6], abs=1e-6)


def test_a_batch_is_its_items_with_the_draws_of_the_noise(root, people):
    items = items_of(root, people, augment=True)

    view, truth = items.batch([5, 0, 3], Noise.seeded(0, "augmentation/7"))

    noise = Noise.seeded(0, "augmentation/7")
    for row, index in enumerate([5, 0, 3]):
        one = items.item(index, Augmentation.drawn(noise))
        for whole, part in zip((view, truth), one, strict=True):
            for name, tensor in vars(part).items():
                torch.testing.assert_close(getattr(whole, name)[row : row + 1], tensor, msg=name)


def test_front_points_are_taken_from_the_kinect_to_the_camera(root, people):
    data = EgoBody(root)
    names = data.annotations("val").names
    points = np.random.default_rng(0).normal(size=(50, 3))
    place = root / prepared.FOLDERS["front"]
    mapping, clouds = (place / name for name in prepared.front_files("val"))
    prepared.write_clouds(clouds, [(names[0], points)])
    write_pickle(mapping, dict.fromkeys(names, names[0]))

    items = items_of(root, people, "val", points="front")
    view, _ = items.item(3)

    camera = data.transforms().camera_from_kinect(items.people.recording(3), items.people.timestamp(3))
    torch.testing.assert_close(
        view.points[0].double(), torch.from_numpy(moved(points, camera)), rtol=0, atol=1e-5
    )


def test_pictures_of_another_size_than_the_recording_s_are_told(root, people):
    items = items_of(root, people)
    Image.new("RGB", (160, 90)).save(root / items.people.names[4], "PNG")
    items.item(0)

    with pytest.raises(
        DataError, match=r"01404\.jpg: is 160x90; \S+01400\.jpg of the same recording is 320x180"
    ):
        items.item(4)


def test_pictures_of_half_the_annotated_size_are_told(root, people):
    items = items_of(root, people)
    for name in items.people.names:
        Image.new("RGB", (160, 90)).save(root / name, "PNG")

    with pytest.raises(
        DataError, match="is 160x90; its annotated principal point is 159, 90, far from the mid"
    ):
        items.batch([0, 1])


def test_pictures_that_cannot_be_read_are_told(root, people):
    items = items_of(root, people)
    (root / items.people.names[2]).write_bytes(b"no picture")
    (root / items.people.names[3]).unlink()

    with pytest.raises(DataError, match=r"01402\.jpg: cannot be read as a picture"):
        items.batch([0, 1, 2])
    with pytest.raises(DataError, match=r"01403\.jpg: not found"):
        items.batch([3])


def test_clouds_of_other_lengths_are_told(root, people):
    write_cubes(root, frame_2=20)

    with pytest.raises(DataError, match=r"01402\.jpg: 20 scene points; \S+01401\.jpg has 24"):
        items_of(root, people).batch([1, 2])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", 0.0, r"train_smpl\.npz: scale: row 3 \(\S+01403\.jpg\): found 0; expected 0.005 to 500"),
        ("fx", -5.0, r"fx: row 3 \(\S+01403\.jpg\): found -5; expected 1 to 1e\+06"),
        ("center", 1e9, r"centre: row 3 \(\S+01403\.jpg\): found 1e\+09, 1e\+09; expected -100000 to 100000"),
    ],
)
def test_boxes_and_focal_lengths_that_are_none_are_told(root, people, name, value, words):
    array = arrays_of(root, "train")[name]
    array[3] = value
    spoil(root, "train", **{name: array})

    with pytest.raises(DataError, match=words):
        items_of(root, people)


def test_mirrors_undo_themselves():
    for order in (MIRROR_JOINTS, MIRROR_KEYPOINTS):
        assert [order[place] for place in order] == list(range(len(order)))
