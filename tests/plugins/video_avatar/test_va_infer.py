"""Pictures of an avatar: modes, views, poses from anywhere, cameras, and what is said when there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import va_person
import va_recording
from avatarctl_video_avatar import pipeline
from avatarctl_video_avatar.prepared import MESHES, SUBJECT, Prepared
from PIL import Image

from avatarctl.cli.main import main
from avatarctl.motion.clips import clips

ROWS, COLUMNS = va_recording.SIZE
Infer = Callable[..., tuple[int, Path, str]]


@pytest.fixture(scope="module")
def data() -> Path:
    return va_person.recording()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return va_person.avatar_file(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def infer(
    data: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Infer:
    """Run the command; its exit code, folder, and all it said in one line."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object, quiet: bool = True) -> tuple[int, Path, str]:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        given = ["--data", data, "--weights", weights, "--out", out, *(["-q"] if quiet else []), *words]
        capsys.readouterr()
        code = main(["infer", "video-avatar", *map(str, given)])
        streams = capsys.readouterr()
        return code, out, " ".join((streams.out + streams.err).split())

    return run


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".png", ".mp4")}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def expected(mode: str, view: str, frames: range, kinds: tuple[str, ...]) -> set[str]:
    return {f"{mode}/view{view}/frame_{frame:06d}_{kind}.png" for frame in frames for kind in kinds}


def test_validation_shows_pictures_beside_the_true_ones(infer, data):
    code, out, _ = infer("--views", "1", "--start", "1", "--end", "3", "--step", "1", "--resolution-level", 2)
    assert code == 0
    shown = expected("val", "1", range(1, 3), ("rgb", "gt", "normal"))
    assert files(out) == shown | {"val/view1.mp4"}
    assert all(pixels(out / name).shape == (ROWS // 2, COLUMNS // 2, 3) for name in shown)
    said = json.loads((out / "metrics.json").read_text())
    assert said["pictures"] == 2
    assert said["psnr"] > 5
    assert 0 < said["ssim"] < 1
    # The true picture: the masked recording where rays are rendered, black elsewhere.
    recorded = Prepared(data)
    image, mask = recorded.image("1", "frame_000001"), recorded.mask("1", "frame_000001")
    truth, inside = pixels(out / "val/view1/frame_000001_gt.png"), mask[::2, ::2] == 255
    np.testing.assert_allclose(truth[inside].astype(int), image[::2, ::2][inside], atol=1)
    assert not truth[~inside].any()
    # The avatar is where the mask is, but for the legs, which a fresh skinning network leaves in star pose.
    found = pixels(out / "val/view1/frame_000001_normal.png").any(axis=2)
    assert (found & inside).sum() > max(0.25 * inside.sum(), 0.9 * found.sum())


def test_both_vocabularies_of_modes_mean_the_same(infer):
    (_, readme, _), (_, code, _) = (infer("--mode", mode) for mode in ("val", "nvs"))
    one, two = ({name.partition("/")[2] for name in files(folder)} for folder in (readme, code))
    assert one == two == {f"view1/frame_000000_{kind}.png" for kind in ("rgb", "gt", "normal")}
    for name in one:
        np.testing.assert_array_equal(pixels(readme / "val" / name), pixels(code / "nvs" / name))
    motion = ("--motion", "walk_2", "--frames", "1")
    (_, readme, _), (_, code, _) = (infer("--mode", mode, *motion) for mode in ("test", "odp"))
    assert files(readme) == files(code) == expected("odp", "0", range(1), ("rgb", "normal"))
    for name in files(code):
        np.testing.assert_array_equal(pixels(readme / name), pixels(code / name))


def test_the_test_mode_has_no_truth(infer):
    code, out, _ = infer("--mode", "test", "--no-video")
    assert code == 0
    assert files(out) == expected("test", "0", range(2), ("rgb", "normal"))  # the last is left out
    assert "psnr" not in json.loads((out / "metrics.json").read_text())


def test_later_frames_are_those_of_the_validations_views(infer, tmp_path):
    words = ("--mode", "unseen", "--start", "0", "--normals", "none")
    code, out, _ = infer(*words)
    assert code == 0
    first = "unseen/view{}/frame_000000_{}.png"
    assert files(out) == {first.format(view, kind) for view in "01" for kind in ("rgb", "gt")}
    own = va_person.avatar_file(tmp_path, validate_views=["1"])
    code, out, _ = infer(*words, "--weights", own)
    assert code == 0
    assert files(out) == {first.format("1", kind) for kind in ("rgb", "gt")}


def test_frames_count_for_each_view(infer):
    words = ("--views", "[0,1]", "--end", "3", "--step", "1", "--frames", "2", "--normals", "none")
    code, out, _ = infer("--mode", "test", *words)
    assert code == 0
    assert {name for name in files(out) if name.endswith("png")} == {
        f"test/view{view}/frame_00000{frame}_rgb.png" for view in (0, 1) for frame in (0, 1)
    }


def test_a_clip_and_a_file_of_its_motion_show_the_same(infer, tmp_path):
    clips()["walk_2"].motion().write(tmp_path / "motion.npz")
    words = ("--frames", "2", "--start", "40", "--camera", "orbit", "--size", "33")
    (code, first, _), (again, second, _) = (
        infer("--motion", name, *words) for name in ("walk_2", "motion.npz")
    )
    assert (code, again) == (0, 0)
    shown = expected("odp", "orbit", range(40, 42), ("rgb", "normal"))
    assert files(first) == files(second) == shown | {"odp/vieworbit.mp4"}
    for name in shown:
        assert pixels(first / name).shape == (33, 33, 3)
        assert pixels(first / name).any()
        np.testing.assert_allclose(
            pixels(first / name).astype(int), pixels(second / name).astype(int), atol=2
        )


@pytest.mark.parametrize("camera", ["orbit", "fixed"])
def test_other_cameras_follow_the_recorded_person(camera, infer):
    code, out, _ = infer("--camera", camera, "--size", "40", "--end", "3", "--background", "[255,255,255]")
    assert code == 0
    shown = expected("val", camera, range(3), ("rgb", "normal"))
    assert files(out) == shown | {f"val/view{camera}.mp4"}
    for frame in range(3):
        rgb = pixels(out / f"val/view{camera}/frame_{frame:06d}_rgb.png")
        normal = pixels(out / f"val/view{camera}/frame_{frame:06d}_normal.png")
        seen = normal.any(axis=2)
        assert 0.02 < seen.mean() < 0.5
        assert not seen[[0, -1]].any()
        assert not seen[:, [0, -1]].any()
        assert (rgb[0] == 255).all()
        assert np.median(normal[seen][:, 2]) > 128  # towards the camera
    with av.open(str(out / f"val/view{camera}.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3


def test_another_recordings_poses_are_taken(infer, data):
    code, out, _ = infer("--mode", "odp", "--pose", data, "--frames", "2", "--no-video")
    assert code == 0
    assert files(out) == expected("odp", "0", range(2), ("rgb", "normal"))
    # They are the avatar's own: the same pictures as of the recording, whose mask adds no rays here.
    _, own, _ = infer("--mode", "test", "--no-video")
    found, same = (
        pixels(path)
        for path in (out / "odp/view0/frame_000001_normal.png", own / "test/view0/frame_000001_normal.png")
    )
    assert (np.abs(found.astype(int) - same).max(axis=2) < 3).mean() > 0.9


def test_jitter_is_drawn_from_the_seed_and_off_by_default(infer):
    def shown(*words: str) -> np.ndarray:
        code, out, _ = infer("--mode", "test", "--frames", "1", *words)
        assert code == 0
        return pixels(out / "test/view0/frame_000000_rgb.png")

    plain = shown("--seed", "1")
    np.testing.assert_array_equal(plain, shown("--seed", "2"))
    jittered = shown("--seed", "1", "--jitter", "published")
    np.testing.assert_array_equal(jittered, shown("--seed", "1", "--jitter", "published"))
    assert (jittered != shown("--seed", "2", "--jitter", "published")).any()
    assert (jittered != plain).any()


def test_somebody_out_of_view_is_told(infer):
    code, _, said = infer("--motion", "walk_2", "--no-placed", "--frames", "1", "--start", "20", quiet=False)
    assert code == 0
    assert "nobody is in view" not in said
    walked = clips()["walk_2"].motion()
    far = walked.replace(root=walked.root + 50.0)
    far.write("far.npz")
    code, _, said = infer("--motion", "far.npz", "--no-placed", "--frames", "1", quiet=False)
    assert code == 0
    assert "nobody is in view in 1 of 1 pictures" in said
    assert "--camera orbit" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--mode", "unseen"], 3, "mode unseen: frames 300:-1:50 are none of the 3 of view '0'"),
        (["--mode", "odp"], 3, "odp shows new poses, and there are none try --motion FILE"),
        (["--mode", "dance"], 3, "mode"),
        (["--views", "7"], 3, "has no view 7; it has 0, 1"),
        (["--camera", "orbit", "--start", "5"], 3, "frames 5:-1:1 are none of the 3 of"),
        (["--motion", "walk_2", "--start", "99999"], 3, "of walk_2 try --start 0 --end"),
        (["--motion", "nothing"], 5, "no motion file, no run and no embedded clip"),
        (["--motion", "walk_2", "--pose", "a.pkl"], 3, "name --motion or --pose, not both"),
        (["--pose", "a.pkl"], 5, "a.pkl: not found"),
        (["--pose", "."], 5, "no mesh_infos.pkl in it"),
        (["--size", "4"], 3, "size"),
        (["--background", "[0,0]"], 3, "background"),
        (["--data", "nowhere"], 5, "nowhere: no mesh_infos.pkl in it (nothing there)"),
        (["--weights", "nowhere"], 5, "nowhere: no such weights file or folder"),
    ],
)
def test_what_cannot_be_shown_is_said(words, code, said, infer):
    found, out, text = infer(*words)
    assert found == code, text
    assert said in text
    assert not files(out)


def test_another_persons_weights_are_refused(infer, tmp_path):
    code, _, said = infer("--weights", va_person.avatar_file(tmp_path, subject="Somebody"))
    assert code == 6
    assert "person: found Somebody, but" in said
    assert "has Small" in said
    assert "--data" in said
    code, _, said = infer("--weights", va_person.avatar_file(tmp_path, body="smpl"))
    assert code == 6
    assert "bodies: found smpl, but" in said


def test_weights_of_another_configuration_show_the_difference(infer, tmp_path):
    sizes = {**va_person.SIZES.stored(), "hidden": 24}
    code, _, said = infer("--weights", va_person.avatar_file(tmp_path, networks={"avatar": sizes}))
    assert code == 6
    assert "color_network.lin1" in said
    assert "[24" in said
    assert "[16" in said
    code, _, said = infer("--weights", va_person.avatar_file(tmp_path, rendering={"n_samples": "many"}))
    assert code == 6
    assert "rendering" in said
    code, _, said = infer("--weights", va_person.avatar_file(tmp_path, rendering={"colour": 3}))
    assert code == 6
    assert "colour" in said


def test_a_recording_without_views_is_told(infer, data, tmp_path):
    bare = tmp_path / "Small"
    bare.mkdir()
    for path in data.iterdir():
        if path.is_file():
            (bare / path.name).write_bytes(path.read_bytes())
    assert {MESHES, SUBJECT} <= {path.name for path in bare.iterdir()}
    for words in ([], ["--motion", "walk_2"]):
        code, _, said = infer("--data", bare, *words)
        assert code == 5
        assert "no view in it" in said
    # It needs none for a camera of its own.
    code, out, _ = infer(
        "--data", bare, "--motion", "walk_2", "--camera", "fixed", "--frames", "1", "--size", "24"
    )
    assert code == 0
    assert pixels(out / "odp/viewfixed/frame_000000_normal.png").any()


def test_settings_of_rendering_are_those_of_the_training_unless_others_are_given(data, weights):
    from avatarctl_video_avatar.settings_model import Rendering

    assert pipeline.load(weights, data).rendering.n_samples == 16
    given = pipeline.load(weights, data, rendering=Rendering(kick_in_iter=5)).rendering
    assert (given.n_samples, given.kick_in_iter) == (16, 5)


@pytest.mark.slow
def test_a_motion_that_a_headset_gave_drives_the_avatar(infer, tmp_path):
    recording = clips()["walk_2"].motion()[:120]
    recording.write(tmp_path / "walk.npz")
    words = ["infer", "sparse", "walk.npz", "--weights", "open-small", "--out", "runs/infer-sparse/001"]
    assert main([*words, "-q"]) == 0
    assert (tmp_path / "runs/infer-sparse/001/motion.npz").is_file()
    shown = {}
    for source in ("runs/infer-sparse/001", "run:infer-sparse/1", "runs/infer-sparse/001/motion.npz"):
        code, out, _ = infer("--motion", source, "--camera", "orbit", "--size", "48", "--frames", "4")
        assert code == 0
        shown[source] = [pixels(out / f"odp/vieworbit/frame_{row:06d}_normal.png") for row in range(4)]
    for frames in shown.values():
        for ours, others in zip(frames, next(iter(shown.values())), strict=True):
            assert 0.02 < ours.any(axis=2).mean() < 0.5
            np.testing.assert_array_equal(ours, others)
