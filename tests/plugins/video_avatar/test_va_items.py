"""Samples of a recording, and of any pose and camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from avatarctl_video_avatar.items import Items, placed, pose_of, sample_of
from avatarctl_video_avatar.patches import PatchSettings
from avatarctl_video_avatar.prepared import (
    About,
    Camera,
    Fit,
    FrameBody,
    Prepared,
    Volume,
    write_bodies,
    write_picture,
    write_view,
)
from avatarctl_video_avatar.rays import rotation_of
from avatarctl_video_avatar.sample import Sample
from avatarctl_video_avatar.settings_model import Rendering

from avatarctl.body.tables import PARENTS
from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError
from avatarctl.geometry.rotations import matrix_from_axis_angle

SIZE, PLACE = (40, 60), np.array([0.3, -0.2, 4.0])
BALL = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
WIDE = trimesh.creation.icosphere(subdivisions=3, radius=0.55)
JOINTS = np.random.default_rng(0).normal(size=(24, 3)) * 0.2
BODY = SimpleNamespace(weights=torch.ones(len(BALL.vertices), 24) / 24, faces=torch.from_numpy(BALL.faces))
INTRINSICS = np.array([[100, 0, 30], [0, 100, 20], [0, 0, 1]], np.float32)
CAMERA = Camera(INTRINSICS, np.eye(4), np.array([-0.1, 0.02, 0.001, 0, 0]))
RENDERING = Rendering(n_samples=16)


def body_at(frame: int) -> FrameBody:
    """A ball that stands before the camera; its number turns it."""
    poses = 0.3 * np.random.default_rng(frame).normal(size=72).astype(np.float32)
    poses[:3] = 0
    Rh, Th, betas = np.array([0.1, 0.2, 0.1 * frame]), PLACE, np.zeros(10)
    return FrameBody(
        poses, *(part.astype(np.float32) for part in (Rh, Th, betas)),
        BALL.vertices, JOINTS, WIDE.vertices, WIDE.faces.astype(np.int64),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recording of two views and three frames."""
    bodies = {f"{frame:06d}": body_at(frame) for frame in range(3)}
    colours = np.random.default_rng(1).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    mask[12:24, 30:45] = 255
    for view in ("0", "12"):
        for frame in bodies:
            write_picture(tmp_path / view / "images" / f"{frame}.png", colours)
            write_picture(tmp_path / view / "masks" / f"{frame}.png", mask)
        write_view(tmp_path / view, dict.fromkeys(bodies, CAMERA))
    volume = Volume(np.zeros((4, 4, 4), np.float32), -1.0, 1.0)
    write_bodies(tmp_path, bodies, (JOINTS, BALL.vertices), volume, About())
    return tmp_path


def items(folder: Path, frames: slice = slice(0, -1), **options: object) -> Items:
    rendering = options.pop("rendering", RENDERING)
    return Items(Prepared(folder), ["0", "12"], frames, rendering, BODY, **options)  # type: ignore[arg-type]


def shown(sample: Sample) -> np.ndarray:
    return sample.rays.hits.view(sample.shot.height, sample.shot.width).numpy()


def test_items_run_over_frames_and_then_views(folder: Path) -> None:
    made = items(folder)
    assert len(made) == 4  # an end of -1 leaves out the last frame
    assert [made.place(index) for index in range(4)] == [
        ("0", "000000"), ("0", "000001"), ("12", "000000"), ("12", "000001"),
    ]  # fmt: skip
    shot = items(folder, slice(1, None, 2)).picture(1).shot
    assert (shot.view, shot.frame, shot.index) == ("12", "000001", 0)


def test_a_picture_shows_mesh_and_mask(folder: Path) -> None:
    sample = items(folder, res_level=1).picture(0)
    rows, columns = np.mgrid[:40, :60]
    middle = PLACE[:2] / PLACE[2] * 100 + (30, 20)
    apart = np.hypot(columns - middle[0], rows - middle[1])
    alpha = sample.rays.alpha.view(SIZE).numpy()
    hits = shown(sample)
    assert hits[apart < 13].all()
    assert hits[alpha > 0].all()
    assert not hits[(apart > 15) & (alpha == 0)].any()
    assert sample.box is not None
    assert sample.box[int(middle[1]), int(middle[0])]
    inside = sample.rays[hits.ravel() & (apart < 12).ravel()]
    points = inside.origins[:, None] + inside.depths[..., None] * inside.directions[:, None]
    assert points.norm(dim=-1).max() < 0.56  # all samples lie in the dilated ball


def test_a_strided_picture_is_the_stride_of_the_whole(folder: Path) -> None:
    whole, part = items(folder).picture(3), items(folder, res_level=3).picture(3)
    assert (part.shot.height, part.shot.width) == (14, 20)
    assert torch.equal(whole.box[::3, ::3], part.box)  # type: ignore[index]
    for field in ("origins", "directions", "colours", "alpha", "near", "far", "depths", "hits"):
        dense = getattr(whole.rays, field)
        strided = dense.view(*SIZE, *dense.shape[1:])[::3, ::3].flatten(0, 1)
        torch.testing.assert_close(strided, getattr(part.rays, field), rtol=0, atol=0)


def test_colours_are_cut_out_on_the_background(folder: Path) -> None:
    rays = items(folder, background=(0.0, 1.0, 0.5)).picture(0).rays
    outside = rays.colours[rays.alpha == 0]
    torch.testing.assert_close(outside, torch.tensor([0.0, 1.0, 0.5]).expand_as(outside))
    assert ((rays.alpha > 0) & (rays.alpha < 1)).any()  # an undistorted mask has soft edges


def test_a_training_sample_is_part_of_the_picture(folder: Path) -> None:
    made = items(folder, patches=PatchSettings(3, 8, 0.5))
    sample, whole = made.training(2, Noise.seeded(0, "patches")), made.picture(2)
    assert sample.patches is not None
    assert sample.patches.colours.shape == (3, 8, 8, 3)
    assert sample.patches.bounds[-1] == len(sample.rays) == int(sample.patches.masks.sum())
    torch.testing.assert_close(sample.patches.colours[sample.patches.masks], sample.rays.colours)
    by_direction = {tuple(row.tolist()): number for number, row in enumerate(whole.rays.directions)}
    rows = [by_direction[tuple(row.tolist())] for row in sample.rays.directions]
    for field in ("colours", "alpha", "near", "far", "depths", "hits"):
        torch.testing.assert_close(getattr(sample.rays, field), getattr(whole.rays, field)[rows])


def test_a_training_sample_follows_from_the_noise(folder: Path) -> None:
    made = items(folder, patches=PatchSettings(2, 8))
    first, again, other = (
        made.training(0, Noise.seeded(seed, "patches")).rays.directions for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_sampling_inside_the_mask_alone_is_shown(folder: Path) -> None:
    rendering = Rendering(n_samples=16, inner_sampling=False)
    sample = items(folder, rendering=rendering).picture(0)
    assert torch.equal(sample.rays.hits, sample.rays.alpha > 0)
    torch.testing.assert_close(sample.rays.depths[:, -1], sample.rays.far)


def test_the_mesh_is_the_dilated_one_or_the_body(folder: Path) -> None:
    wide = shown(items(folder).picture(0)).sum()
    body = shown(items(folder, rendering=Rendering(n_samples=16, use_dilated=False)).picture(0)).sum()
    assert body < wide


def test_a_new_camera_needs_no_picture(folder: Path) -> None:
    body = body_at(0)
    mesh = body.dilated_vertices, body.dilated_triangles
    recorded = items(folder).picture(0)
    pose, fit = pose_of(body, JOINTS), body
    sample = sample_of(pose, CAMERA, fit, SIZE, RENDERING, mesh)
    in_mesh = shown(recorded) & (recorded.rays.alpha == 0).view(SIZE).numpy()
    assert (shown(sample) >= in_mesh).all()
    torch.testing.assert_close(sample.rays.depths, recorded.rays.depths)
    assert not sample.rays.alpha.any()
    boxed = sample_of(pose, CAMERA, fit, SIZE, RENDERING, None)
    assert torch.equal(boxed.rays.hits.view(SIZE), boxed.box)


@pytest.mark.parametrize("place", [(9.0, 0.0, 4.0), (0.0, 0.0, -4.0)])
def test_a_body_out_of_view_makes_an_empty_picture(place: tuple[float, float, float]) -> None:
    body = replace(body_at(0), Th=np.array(place))
    for mesh in (None, (body.dilated_vertices, body.dilated_triangles)):
        sample = sample_of(pose_of(body, JOINTS), CAMERA, body, SIZE, RENDERING, mesh)
        assert not sample.rays.hits.any()
        assert torch.isfinite(sample.rays.depths).all()


def test_a_pose_is_told_as_published() -> None:
    body = body_at(1)
    pose = pose_of(body, JOINTS)
    np.testing.assert_allclose(pose.numbers, body.poses[3:] + 0.01, atol=1e-7)
    exact = matrix_from_axis_angle(torch.from_numpy(body.poses.reshape(24, 3)).double())
    torch.testing.assert_close(pose.rotations.double(), exact, rtol=0, atol=1e-4)  # the axis is 1e-5 short
    chained = [torch.zeros(3)] * 24
    for joint, parent in enumerate(PARENTS["smpl"]):
        chained[joint] = pose.offsets[joint] + (chained[parent] if joint else 0)
    np.testing.assert_allclose(torch.stack(chained), JOINTS, atol=1e-6)
    legs = {1, 2, 4, 5, 7, 8, 10, 11}
    for joint in range(24):
        is_identity = torch.equal(pose.star[joint], torch.eye(4))
        assert is_identity == (joint not in legs)


def test_bodies_that_turn_about_their_root_are_moved() -> None:
    fit = Fit(*(np.asarray(getattr(body_at(2), name)) for name in ("poses", "Rh", "Th", "betas")))
    assert placed(fit, JOINTS, "zju-mocap", "exact") is fit
    published = placed(fit, JOINTS, "people-snapshot", "published")
    np.testing.assert_allclose(published.Th - fit.Th, [0, -0.4, 0], atol=1e-7)
    exact, point = placed(fit, JOINTS, "selfrecon", "exact"), np.array([0.3, 0.4, 0.5])
    turn = rotation_of(fit.Rh)
    about_root = turn @ (point - JOINTS[0]) + JOINTS[0] + fit.Th  # as SMPL does
    np.testing.assert_allclose(turn @ point + exact.Th, about_root, atol=1e-7)


def test_a_recording_knows_where_it_comes_from(folder: Path) -> None:
    about = json.loads((folder / "subject.json").read_text())
    (folder / "subject.json").write_text(json.dumps(about | {"dataset": "people-snapshot"}))
    moved = items(folder, offset="published").picture(0).shot.place - torch.from_numpy(PLACE).float()
    np.testing.assert_allclose(moved, [0, -0.4, 0], atol=1e-6)
    assert torch.equal(
        items(folder, dataset="zju-mocap").picture(0).shot.place, torch.from_numpy(PLACE).float()
    )


def test_a_subject_is_the_neutral_body_and_the_volume(folder: Path) -> None:
    subject = items(folder).subject
    assert torch.equal(subject.skinning, BODY.weights)
    assert subject.grid.shape == (4, 4, 4)
    assert (subject.bbmin, subject.bbmax) == (-1, 1)


def test_frames_out_of_range_are_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"frames 5:-1:2 are none of the 3 of view '0'") as caught:
        items(folder, slice(5, -1, 2))
    assert "START:END:STEP" in caught.value.hint


def test_a_missing_view_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="no view '7'; there are 0, 12"):
        Items(Prepared(folder), ["7"], slice(None), RENDERING, BODY)  # type: ignore[arg-type]


def test_a_frame_without_camera_or_body_is_refused(folder: Path) -> None:
    write_view(folder / "12", {"000000": CAMERA})
    with pytest.raises(DataError, match=r"12/cameras\.pkl: nothing for frame '000001'"):
        items(folder)
    write_picture(folder / "0" / "images" / "000009.png", np.zeros((*SIZE, 3), np.uint8))
    write_view(folder / "0", dict.fromkeys(["000000", "000009"], CAMERA))
    with pytest.raises(DataError, match=r"mesh_infos\.pkl: nothing for frame '000009'"):
        Items(Prepared(folder), ["0"], slice(3, 4), RENDERING, BODY)  # type: ignore[arg-type]


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    write_picture(folder / "0" / "masks" / "000000.png", np.zeros((20, 30), np.uint8))
    words = r"0/images/000000\.png: the picture has 60 x 40 pixels, its mask 30 x 20"
    with pytest.raises(DataError, match=words):
        items(folder).picture(0)
    with pytest.raises(DataError, match=words):
        items(folder, patches=PatchSettings()).training(0, Noise.seeded(0, "a"))


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (replace(CAMERA, intrinsics=np.zeros((3, 3), np.float32)), r"000000: intrinsics \[\[0\.0"),
        (
            replace(CAMERA, extrinsics=np.diag([1000.0, 1000, 1000, 1])),
            "extrinsics do not begin with a rotation",
        ),
        (replace(CAMERA, extrinsics=np.diag([1.0, 1, -1, 1])), "extrinsics do not begin with a rotation"),
    ],
)
def test_a_camera_without_rays_is_refused(folder: Path, camera: Camera, words: str) -> None:
    write_view(folder / "0", dict.fromkeys(["000000", "000001"], camera))
    with pytest.raises(DataError, match=words):
        items(folder)


@pytest.mark.parametrize(
    ("place", "words"),
    [((4000, 0, 4), "no pixel sees the body's box"), ((0, 0, 0), "the camera stands in the body's box")],
)
def test_a_recorded_body_out_of_view_is_refused(
    folder: Path, place: tuple[float, float, float], words: str
) -> None:
    bodies = {f"{frame:06d}": replace(body_at(frame), Th=np.array(place)) for frame in range(3)}
    volume = Volume(np.zeros((4, 4, 4), np.float32), -1.0, 1.0)
    write_bodies(folder, bodies, (JOINTS, BALL.vertices), volume, About())
    for sample in (
        lambda: items(folder).picture(0),
        lambda: items(folder, patches=PatchSettings(1, 8)).training(0, Noise.seeded(0, "a")),
    ):
        with pytest.raises(DataError, match=rf"0/images/000000\.png: {words}"):
            sample()


def test_bodies_of_another_model_are_refused(folder: Path) -> None:
    other = SimpleNamespace(weights=torch.ones(7, 24), faces=BODY.faces)
    with pytest.raises(DataError, match="162 vertices, the body model has 7"):
        Items(Prepared(folder), ["0"], slice(None), RENDERING, other)  # type: ignore[arg-type]


def test_triangles_of_another_mesh_are_refused(folder: Path) -> None:
    bodies = {f"{frame:06d}": replace(body_at(frame), dilated_vertices=BALL.vertices) for frame in range(3)}
    volume = Volume(np.zeros((4, 4, 4), np.float32), -1.0, 1.0)
    write_bodies(folder, bodies, (JOINTS, BALL.vertices), volume, About())
    with pytest.raises(DataError, match="dilated_triangles do not fit the 162 dilated_vertices"):
        items(folder)
