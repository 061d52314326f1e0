"""The prepared layout of a recording: written, resumed, and refused."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avatarctl_video_avatar import preparing
from avatarctl_video_avatar.body_fit import canonical, posed
from avatarctl_video_avatar.cube import cube_sdf, dilated
from avatarctl_video_avatar.prepared import Camera, Fit, Prepared
from avatarctl_video_avatar.raw.recording import Recording, Shot

from avatarctl.body import open_body
from avatarctl.errors import DataError

FRAMES = 3


class Still:
    """A picture of one colour, which a worker process can be given."""

    def __init__(self, value, shape, counter=None):
        self.value, self.shape, self.counter = value, shape, counter

    def __call__(self):
        if self.counter is not None:
            self.counter.append(self.value)
        return np.full(self.shape, self.value, np.uint8)


def stop():
    raise KeyboardInterrupt


def recording(views=("0", "1"), counter=None, shift=0.0):
    draw = np.random.default_rng(0)
    fits = {
        f"frame_{row:06d}": Fit(
            np.concatenate([np.zeros(3), draw.normal(0, 0.2, 69)]).astype(np.float32),
            np.full(3, row, np.float32),
            np.full(3, shift, np.float32),
            draw.normal(0, 0.5, 10).astype(np.float32),
        )
        for row in range(FRAMES)
    }
    camera = Camera(np.eye(3, dtype=np.float32), np.eye(4), np.zeros(5, np.float32))
    shots = {
        view: {
            name: Shot(
                Still(40 * int(view) + row, (4, 6, 3), counter), Still(255 * (row % 2), (4, 6)), camera
            )
            for row, name in enumerate(fits)
        }
        for view in views
    }
    return Recording("somebody", fits, shots, "neutral", 0.1, 0.06, "zju-mocap")


def prepare(made, out, **words):
    words = {"volume_size": 8, "run": None, "processes": 1, **words}
    preparing.prepare(made, out, lambda sex: open_body("smpl"), "open", **words)
    return Prepared(out)


@pytest.fixture
def quick(monkeypatch):
    """Dilated meshes without distances; how many were made."""
    made = []

    def surface(vertices, faces, pad, delta):
        made.append(len(vertices))
        return vertices * 1.05, faces

    monkeypatch.setattr(preparing, "dilated", surface)
    return made


def test_everything_of_a_recording_is_written(tmp_path):
    made, body = recording(), open_body("smpl")
    data = prepare(made, tmp_path / "somebody")
    assert (data.views, data.kind, data.about.dataset) == (["0", "1"], "open", "zju-mocap")
    assert data.frames("1") == list(data.bodies) == list(made.fits)
    vertices, joints = posed(body, list(made.fits.values()))
    for row, (name, found) in enumerate(data.bodies.items()):
        np.testing.assert_array_equal(found.posed_vertices, vertices[row])
        np.testing.assert_array_equal(found.joints, joints[row])
        np.testing.assert_array_equal(found.betas, made.fits[name].betas)
    surface, triangles = dilated(vertices[1], body.faces.numpy(), 0.1, 0.06)
    np.testing.assert_array_equal(data.body("frame_000001").dilated_vertices, surface)
    np.testing.assert_array_equal(data.body("frame_000001").dilated_triangles, triangles)
    betas = np.mean([fit.betas for fit in made.fits.values()], axis=0)
    for ours, wanted in zip(data.canonical, canonical(body, betas), strict=True):
        np.testing.assert_array_equal(ours, wanted)
    assert data.volume.grid.shape == (8, 8, 8)
    assert (data.image("1", "frame_000002") == 42).all()
    assert (data.mask("0", "frame_000001") == 255).all()
    assert not (data.folder / preparing.UNFINISHED).exists()


def test_the_base_shape_stands_in_star_pose(tmp_path, quick):
    made, body = recording(), open_body("smpl")
    data = prepare(made, tmp_path / "somebody")
    joints, vertices = data.canonical
    star = preparing.star_vertices(body, joints, vertices)
    assert data.volume.bbmax == pytest.approx(np.abs(star).max() + 0.1)
    wanted = cube_sdf(star, body.faces.numpy(), 8, 0.1)
    np.testing.assert_array_equal(data.volume.grid, wanted.grid)


def test_a_base_shape_that_is_there_is_made_again(tmp_path, quick):
    out = tmp_path / "somebody"
    prepare(recording(), out)
    np.save(out / "smpl_sdf.npy", np.zeros(3))
    assert prepare(recording(), out, volume_size=9).volume.grid.shape == (9, 9, 9)


@pytest.mark.slow  # two processes import everything anew
def test_processes_write_what_one_does(tmp_path):
    made = recording(views=("0",))
    one, two = prepare(made, tmp_path / "one"), prepare(made, tmp_path / "two", processes=2)
    for path in sorted(path for path in one.folder.rglob("*") if path.is_file()):
        assert (two.folder / path.relative_to(one.folder)).read_bytes() == path.read_bytes(), path.name


def test_an_ended_preparation_goes_on_where_it_was(tmp_path, quick, monkeypatch):
    out, made = tmp_path / "somebody", recording()
    written = preparing.write_picture

    def ends(path: Path, pixels: np.ndarray) -> Path:
        if path.parent.parent.name == "1":
            raise KeyboardInterrupt
        return written(path, pixels)

    monkeypatch.setattr(preparing, "write_picture", ends)
    with pytest.raises(KeyboardInterrupt):
        prepare(made, out)
    assert len(quick) == FRAMES
    with pytest.raises(DataError, match=r"no mesh_infos\.pkl"):
        Prepared(out)
    monkeypatch.setattr(preparing, "write_picture", written)
    kept = {path: path.stat().st_mtime_ns for path in (out / "0").rglob("*.png")}
    (out / ".left-behind.tmp.png").write_bytes(b"x")
    data = prepare(made, out)
    assert len(quick) == FRAMES
    assert {path: os.stat(path).st_mtime_ns for path in kept} == kept
    assert len(data.frames("1")) == FRAMES
    assert not (out / ".left-behind.tmp.png").exists()


def test_what_is_kept_belongs_to_the_same_bodies(tmp_path, quick, monkeypatch):
    out = tmp_path / "somebody"
    monkeypatch.setattr(preparing, "write_view", lambda *_: stop())
    with pytest.raises(KeyboardInterrupt):
        prepare(recording(), out)
    monkeypatch.undo()
    counter: list[int] = []
    data = prepare(recording(counter=counter, shift=1.0), out)
    assert len(counter) == 2 * FRAMES
    np.testing.assert_array_equal(data.body("frame_000000").Th, np.ones(3))


def test_frames_that_a_recording_no_longer_has_are_cleared(tmp_path, quick):
    out, made = tmp_path / "somebody", recording()
    prepare(made, out)
    first = next(iter(made.fits))
    short = replace(
        made,
        fits={first: made.fits[first]},
        views={view: {first: shots[first]} for view, shots in made.views.items()},
    )
    data = prepare(short, out)
    assert data.frames("0") == list(data.bodies) == [first]


def test_views_are_added_to_a_preparation_of_the_same_bodies_only(tmp_path, quick):
    out = tmp_path / "somebody"
    prepare(recording(views=("0",)), out)
    assert prepare(recording(views=("1",)), out).views == ["0", "1"]
    with pytest.raises(DataError, match="views 0 are there, prepared with other frames or bodies") as caught:
        prepare(recording(views=("1",), shift=2.0), out)
    assert "--into" in caught.value.hint
    assert len(Prepared(out).bodies) == FRAMES
