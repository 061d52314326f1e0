"""The made-up person's recording: that cameras, bodies and pictures say the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_video_avatar import synthetic
from avatarctl_video_avatar.mesh_pictures import lens_of
from avatarctl_video_avatar.prepared import MARK, Prepared
from avatarctl_video_avatar.settings_synthetic import PrepareSynthetic
from avatarctl_video_avatar.synthetic_film import fits_of, shoot, world

from avatarctl.body import open_body
from avatarctl.body.dressed import Person
from avatarctl.errors import DataError, SettingsError
from avatarctl.motion.clips import clips
from avatarctl.runs import Run


@pytest.fixture(scope="module")
def person() -> Person:
    return Person.made(open_body("smpl"), 0)


@pytest.fixture(scope="module")
def made() -> synthetic.Made:
    return synthetic.Made.of(PrepareSynthetic(frames=3, cameras=4, size="96x80"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    settings = PrepareSynthetic(into=folder / "Somebody", frames=2, cameras=2, size="48x40", volume_size=16)
    synthetic.run(settings, Run.standalone(folder / "run"))
    return settings.into


def test_fits_put_bodies_where_smpl_does(person: Person) -> None:
    fits = fits_of(person.body, person.betas, "walk_2", 3)
    motion = clips()["walk_2"].motion().to_skeleton("smpl").to_up("z")
    rows = [0, round((len(motion) - 1) / 2), len(motion) - 1]
    wanted = person.body.shape(person.betas).pose(
        motion.body_poses(24)[rows].float(), motion.root[rows].float()
    )
    for fit, vertices in zip(fits, wanted.vertices(), strict=True):
        assert (fit.poses[:3] == 0).all()
        own = person.body.shape(torch.from_numpy(fit.betas)).pose(torch.from_numpy(fit.poses).view(24, 3))
        found = world(fit, own.vertices().double())
        # Weights of a few vertices sum up to a little less than one.
        assert (found - vertices).abs().max() < 2e-4
        assert (found - vertices).abs().median() < 1e-6


def test_somebody_stands_on_the_floor_and_in_every_picture(made: synthetic.Made) -> None:
    assert abs(made.stage.lowest) < 1e-5
    for camera in made.cameras:
        pixels, depth = lens_of(camera).project(made.stage.surfaces.flatten(0, 1).float())
        assert depth.min() > 1
        assert pixels.min() > 0
        assert (pixels < torch.tensor([96, 80])).all()


def test_whole_numbers_are_pixel_centres_in_the_cameras_that_are_written(made: synthetic.Made) -> None:
    shifts = []
    for frame in range(len(made.fits)):
        for camera in made.cameras:
            _, cover = shoot(made.stage, frame, camera, made.size)
            rows, columns = np.nonzero(cover)
            view = made.stage.surfaces[frame].numpy() @ camera.extrinsics[:3, :3].T + camera.extrinsics[:3, 3]
            pixels = (view / view[:, 2:]) @ camera.intrinsics.T
            for found, wanted in ((columns, pixels[:, 0]), (rows, pixels[:, 1])):
                shifts.append((found.min() + found.max() - wanted.min() - wanted.max()) / 2)
    assert abs(np.mean(shifts)) < 0.15, "half a pixel would be 0.5"


def test_pictures_show_the_person_before_a_studio(made: synthetic.Made) -> None:
    picture, cover = shoot(made.stage, 0, made.cameras[0], made.size)
    assert picture.shape == (80, 96, 3)
    assert cover.shape == (80, 96)
    assert 0.02 < (cover == 255).mean() < 0.3
    assert ((cover > 0) & (cover < 255)).any(), "edges are partly covered"
    assert np.ptp(picture[cover == 0].astype(int), axis=1).max() < 20, "the studio is grey"
    assert np.ptp(picture[cover == 255].astype(int), axis=1).max() > 150, "clothes are vivid"


def test_the_recording_is_read_back(written: Path) -> None:
    data = Prepared(written)
    assert data.kind == "open"
    assert data.views == ["0", "1"]
    assert data.frames("1") == ["frame_000000", "frame_000001"]
    assert data.image("0", "frame_000001").shape == (40, 48, 3)
    assert data.volume.grid.shape == (16, 16, 16)
    assert data.body("frame_000001").posed_vertices.shape == (6890, 3)
    camera = data.camera("1", "frame_000000")
    assert camera.intrinsics[0, 2] == 23.5
    split = json.loads((written / MARK).read_text("utf-8"))["split"]
    assert data.name == "Synthetic"  # whatever the folder is called: the toy weights are of this person
    assert split["train"] == {"views": ["0"], "frames": [0, 1]}
    assert split["held_out"] == {"views": ["1"], "frames": [1, 2]}


def test_what_is_proposed_next_takes_the_frames_that_there_are(written: Path) -> None:
    assert synthetic.chosen(PrepareSynthetic()) == ""
    few = PrepareSynthetic(into=written, frames=2, cameras=2, size="48x40", volume_size=16)
    assert synthetic.chosen(few) == (" --views 0 --frames 0:1 --validate-views 1 --validate-frames 1:2")


def test_a_recording_that_was_not_finished_is_told_from_others(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text("{}")
    with pytest.raises(DataError, match=r"no mesh_infos\.pkl in it") as caught:
        Prepared(tmp_path)
    assert f"avatarctl prepare synthetic-video --into {tmp_path}" in caught.value.hint


def test_what_is_there_is_kept_and_other_options_are_refused(written: Path, tmp_path: Path) -> None:
    same = PrepareSynthetic(into=written, frames=2, cameras=2, size="48x40", volume_size=16)
    before = (written / "mesh_infos.pkl").stat().st_mtime_ns
    synthetic.write(same, Run.standalone(tmp_path))
    assert (written / "mesh_infos.pkl").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="other options") as caught:
        synthetic.write(same.model_copy(update={"person": 1}), Run.standalone(tmp_path))
    assert "--replace" in str(caught.value.hint)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        synthetic.write(PrepareSynthetic(into=tmp_path), Run.standalone(tmp_path / "run"))


def test_an_unknown_clip_is_named_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"jumping_jack'.*jumping_jacks"):
        synthetic.Made.of(PrepareSynthetic(clip="jumping_jack"))
