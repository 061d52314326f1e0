"""Films and pictures: what is in them, how the camera follows, and the files they are written to."""

from __future__ import annotations

import errno
import math

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avatarctl.body import open_body
from avatarctl.errors import DataError, SettingsError
from avatarctl.motion import Motion
from avatarctl.render import COLOURS, Actor, Film, Render
from avatarctl.render.shade import Shadow, lights
from avatarctl.render.stage import Cast, follow

SIZE = (96, 80)
BODY = open_body()


def _walk(frames=24, fps=30.0, speed=1.2, height=0.0):
    """A body with its arms down and its soles at a height, sliding forwards and swaying."""
    time = torch.arange(frames) / fps
    poses = torch.zeros(frames, 22, 3)
    poses[:, 0, 0] = math.pi / 2  # SMPL stands along y
    poses[:, 16, 2], poses[:, 17, 2] = -1.2, 1.2
    sole, pelvis = BODY.template[:, 1].min(), BODY.rest_joints[0]
    way = torch.stack([0.1 * torch.sin(9 * time), -speed * time, (height - sole).expand(frames)], dim=1)
    root = way - pelvis + torch.stack([pelvis[0], -pelvis[2], pelvis[1]])  # the root turns about the pelvis
    return Motion(poses, root, fps)


def _film(*motions, **options):
    panels = [[Actor(motion, BODY, COLOURS[index])] for index, motion in enumerate(motions)]
    return Render().film(panels, **({"size": SIZE} | options))


def _follow(motion, fps=30.0):
    cast = Cast(Actor(motion, BODY), fps)
    return cast, follow([cast], SIZE, fps)


def test_frames_are_panels_side_by_side():
    frames = list(_film(_walk(3), _walk(3)).frames())
    assert [frame.shape for frame in frames] == [(96, 160, 3)] * 3
    assert {frame.dtype for frame in frames} == {np.dtype("uint8")}


def test_panels_have_the_same_camera():
    panels = [[Actor(_walk(2), BODY)], [Actor(_walk(2), BODY)]]
    first, *_ = Render().film(panels, size=SIZE).frames()
    assert np.array_equal(first[:, :80], first[:, 80:])


@pytest.mark.parametrize(
    ("rate", "frames", "expected"), [(60.0, 61, 31), (120.0, 121, 31), (30.0, 31, 31), (20.0, 21, 31)]
)
def test_a_film_lasts_as_long_as_its_motion(rate, frames, expected):
    assert len(_film(_walk(frames, rate))) == expected


def test_the_shorter_of_two_motions_stands_still_at_its_end():
    film = _film(_walk(3), _walk(6, speed=0.0))
    assert len(film) == 6
    cast = Cast(Actor(_walk(3), BODY), 30.0)
    assert torch.equal(cast.vertices(cast.frames(4, 6)), cast.vertices(torch.tensor([2, 2])))


def test_frames_are_the_same_each_time():
    film = _film(_walk(4))
    for one, other in zip(film.frames(), film.frames(), strict=True):
        assert np.array_equal(one, other)


def test_nothing_is_painted_before_frames_are_asked_for(monkeypatch):
    painted = []
    paint = Render.film.__globals__["Painter"].paint
    monkeypatch.setattr("avatarctl.render.paint.Painter.paint", lambda *a: painted.append(1) or paint(*a))
    film = _film(_walk(200))
    assert not painted
    next(film.frames())
    assert len(painted) <= 16


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_backends_paint_the_same_picture(backend):
    actor = Actor(_walk(1), BODY)
    plain = Render(backend="torch").picture([actor], size=SIZE)
    torch.testing.assert_close(
        Render(backend=backend).picture([actor], size=SIZE), plain, rtol=0, atol=1 / 255
    )


@pytest.mark.parametrize("speed", [0.0, 1.5, 6.0])
def test_the_whole_body_is_in_every_frame(speed):
    cast, path = _follow(_walk(90, speed=speed))
    vertices = cast.vertices(torch.arange(90))
    for frame in range(90):
        pixels, depth = path.camera(frame).project(vertices[frame])
        assert (depth > 0).all()
        assert (pixels > 0).all()
        assert (pixels < torch.tensor([80.0, 96.0])).all()


def test_the_body_fills_most_of_the_picture():
    cast, path = _follow(_walk(10))
    pixels, _ = path.camera(5).project(cast.vertices(torch.tensor([5]))[0])
    assert pixels[:, 1].max() - pixels[:, 1].min() > 0.65 * 96


def test_the_camera_moves_calmly_after_a_swaying_body():
    motion = _walk(90)
    _, path = _follow(motion)
    assert (
        path.target.diff(n=2, dim=0).norm(dim=1).max() < 0.2 * motion.root.diff(n=2, dim=0).norm(dim=1).max()
    )
    travelled = (path.target[-1] - path.target[0]).norm()
    assert travelled > 0.6 * (motion.root[-1] - motion.root[0]).norm()


def test_the_camera_sees_the_first_body_from_the_front():
    cast, path = _follow(_walk(5))
    facing = cast.outline(torch.tensor([0]))[1][0]
    assert facing @ path.direction > 0.7


@pytest.mark.parametrize("up", ["y", "z"])
def test_motions_may_have_either_axis_up(up):
    motion = _walk(1)
    picture = Render().picture([Actor(motion.to_up(up), BODY)], size=SIZE)
    torch.testing.assert_close(picture, Render().picture([Actor(motion, BODY)], size=SIZE), rtol=0, atol=0.02)


def test_fingers_that_the_motion_does_not_move_are_relaxed():
    cast = Cast(Actor(_walk(2), BODY), 30.0)
    assert torch.equal(cast.poses(torch.tensor([0, 1]))[1, 22:], BODY.hands_mean)
    moving = _walk(2).replace(poses=torch.cat([_walk(2).poses, torch.full((2, 30, 3), 0.1)], dim=1))
    assert (Cast(Actor(moving, BODY), 30.0).poses(torch.tensor([0]))[:, 22:] == 0.1).all()


def test_shadows_lie_below_the_feet_and_blur_with_height():
    cast = Cast(Actor(_walk(1), BODY), 30.0)
    vertices = cast.vertices(torch.tensor([0]))[0]
    soles = vertices[vertices[:, 2] < 0.03]
    toe = soles[soles[:, 1].argmin()] * torch.tensor([1.0, 1.0, 0.0])  # the body faces -y
    ahead = torch.tensor([0.0, -1.0, 0.0])
    points = torch.stack([toe - 0.1 * ahead, toe + 0.06 * ahead, toe + 3 * ahead])
    _, above = lights(torch.tensor([1.0, -1.0, 0.3]))
    grounded, raised = (
        Shadow.cast(
            vertices + torch.tensor([0.0, 0.0, height]), BODY.faces, above, "torch", is_below=True
        ).on(points)
        for height in (0.0, 0.6)
    )
    assert grounded[0] > 0.9
    assert grounded[1] < 0.2
    assert raised[0] > 0.5
    assert raised[0] - raised[1] < 0.7 * (grounded[0] - grounded[1])
    assert grounded[2] == raised[2] == 0


def test_bodies_of_one_panel_stand_at_their_offsets():
    actors = [
        Actor(_walk(1), BODY, (0.9, 0.1, 0.1)),
        Actor(_walk(1), BODY, (0.1, 0.1, 0.9), offset=(-1.0, 0.0, 0.0)),
    ]
    picture = Render().picture(actors, size=(120, 160))
    red, blue = (picture[..., 0] - picture[..., 2] > 0.3), (picture[..., 2] - picture[..., 0] > 0.3)
    columns = torch.arange(160.0)
    assert red.sum() > 300
    assert blue.sum() > 300
    assert abs((red.sum(0) * columns).sum() / red.sum() - (blue.sum(0) * columns).sum() / blue.sum()) > 30


def test_a_motion_far_below_the_floor_is_still_shown():
    picture = Render().picture([Actor(_walk(1, height=-50.0), BODY, (0.9, 0.1, 0.1))], size=SIZE)
    assert (picture[..., 0] - picture[..., 2] > 0.3).sum() > 300


@pytest.mark.parametrize(
    "label", ["", "estimate", "a very long label that does not fit into the picture at all"]
)
def test_titles_and_labels_change_their_corners_only(label):
    plain = next(_film(_walk(1)).frames())
    actors = [Actor(_walk(1), BODY, label=label)]
    written = next(Render().film([actors], size=SIZE, titles=["Truth"]).frames())
    assert (written[:30] != plain[:30]).any()
    assert np.array_equal(written[30:66], plain[30:66])
    assert (written[66:] != plain[66:]).any() == bool(label)


@pytest.mark.parametrize("size", [(96, 80), (95, 81)])
def test_mp4_is_h264_that_plays_everywhere(tmp_path, size):
    path = _film(_walk(7), _walk(7), size=size, fps=24).write(tmp_path / "film of two.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 24)
    assert len(frames) == len(_film(_walk(7), fps=24))
    assert frames[0].shape == (96, 160 if size[1] == 80 else 162, 3)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is loaded to the end


def test_mp4_shows_the_frames(tmp_path):
    film = _film(_walk(4))
    with av.open(str(film.write(tmp_path / "film.mp4"))) as container:
        for shown, made in zip(container.decode(video=0), film.frames(), strict=True):
            assert np.abs(shown.to_ndarray(format="rgb24").astype(float) - made).mean() < 4


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_gif_lasts_as_long_as_the_film(tmp_path, fps):
    film = _film(_walk(31, 30.0), fps=fps)
    with Image.open(film.write(tmp_path / "film.gif")) as gif:
        total = 0
        for index in range(gif.n_frames):
            gif.seek(index)
            total += gif.info["duration"]
        assert gif.size == (80, 96)
    assert total / 1000 == pytest.approx(len(film) / fps, abs=0.021)


def test_other_formats_are_refused_before_anything_is_made(tmp_path):
    with pytest.raises(SettingsError, match=r"film\.avi: a film is written as \.mp4 or \.gif") as caught:
        Film(lambda: pytest.fail("made"), 1, 30.0).write(tmp_path / "film.avi")
    assert caught.value.hint == "use film.mp4"


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_that_cannot_be_made_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    path.write_text("old")

    def make():
        yield np.zeros((16, 16, 3), np.uint8)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="cannot be written: No space left on device"):
        Film(make, 2, 30.0).write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_progress_sees_every_frame(tmp_path):
    seen = []

    def progress(items, what, total):
        for item in items:
            seen.append((what, total))
            yield item

    Render(progress=progress).motion(_walk(3), BODY, size=SIZE).write(tmp_path / "film.mp4")
    assert seen == [("rendering film.mp4", 3)] * 3


@pytest.mark.parametrize(
    ("broken", "words"),
    [(_walk(5)[:0], "0 frames"), (_walk(5).replace(root=torch.full((5, 3), math.nan)), "frame 0")],
)
def test_motions_that_cannot_be_shown_are_refused(broken, words):
    with pytest.raises(DataError, match=words):
        _film(broken)
