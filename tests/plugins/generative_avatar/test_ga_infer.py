"""The infer target as users type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import small_people
import torch
from avatarctl_generative_avatar import label, labels, panels
from avatarctl_generative_avatar.infer import around, degrees
from avatarctl_generative_avatar.panels import cropped, middle, sheet, side_by_side, strip
from avatarctl_generative_avatar.pictures import bytes_of
from avatarctl_generative_avatar.settings import Infer
from PIL import Image

from avatarctl.cli.main import main
from avatarctl.motion.clips import clips

Typed = Callable[..., tuple[int, Path, str]]
QUICK = ("--set", "sampling.depth_resolution=6", "--set", "sampling.depth_resolution_importance=6")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return small_people.weights().write(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture
def infer(weights, tmp_path, monkeypatch, capsys) -> Typed:
    """`infer(WORDS...)`: exit code, folder of the run, what was said."""
    monkeypatch.chdir(tmp_path)
    runs = iter(range(100))

    def typed(*words: object) -> tuple[int, Path, str]:
        out = tmp_path / f"out{next(runs)}"
        capsys.readouterr()
        known = ["infer", "generative-avatar", "--weights", weights, *QUICK, "--out", out]
        code = main([str(word) for word in (*known, *words)])
        got = capsys.readouterr()
        return code, out, " ".join((got.out + got.err).split())

    return typed


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def film(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["sample", "animate"], ["samples", "animate"]),
        ("samples, canonical", ["samples", "canonical"]),
        (["gen_samples_gen_novel_view"], ["samples", "views"]),
        (["interp", "gen_interp", "views"], ["interp", "views"]),
        ("anim", ["animate"]),
        ("gen_cano,gen_anim", ["canonical", "animate"]),
    ],
)
def test_modes_have_plain_names_and_the_published_ones(given, found):
    assert Infer(mode=given).mode == found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--mode", "gen_anim"], 3, "mode: animate shows a motion, and there is none"),
        (
            ["--mode", "samples,views", "--motion", "walk_2"],
            3,
            "only animate shows it, and mode is samples",
        ),
        (["--mode", "interp"], 3, "number is 1"),
        (["--mode", "dance"], 3, "found dance, expected one of samples, canonical, views, interp, animate"),
        (["--mode", "sampels"], 3, "did you mean samples?"),
        (["--panels", "rgb,depth"], 3, "found depth, expected one of rgb, raw, normal, mesh"),
        (["--mode", "views", "--azimuth", "inf"], 3, "azimuth: found inf, expected a finite number"),
        (
            ["--mode", "views", "--azimuth", "1e30"],
            3,
            "azimuth: found 1e30, expected less than or equal to 360",
        ),
        (["--truncation", "nan"], 3, "truncation: found nan, expected a finite number"),
        (["--camera", "orbit", "--turns", "0"], 3, "turns: found 0, an orbit of no circle"),
        (["--poses", "nowhere.npy"], 5, "nowhere.npy"),
        (["--mode", "animate", "--motion", "nowhere"], 5, "'nowhere' is no motion file"),
        (["--body", "smpl"], 4, "body model 'smpl'"),
        (["--sdf", "sdf_smpl.npy"], 5, "sdf_smpl.npy"),
        (["--weights", "nothing.pkl"], 5, "nothing.pkl"),
    ],
)
def test_wrong_words_end_with_one_clear_line(words, code, said, infer, monkeypatch, tmp_path):
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "assets"))
    ended, _, text = infer(*words)
    assert ended == code, text
    assert said in text
    assert "Traceback" not in text


def test_poses_of_another_layout_are_told(infer, tmp_path):
    np.save(tmp_path / "poses.npy", np.zeros((4, 72), np.float32))
    code, _, said = infer("--poses", "poses.npy")
    assert code == 5
    assert "[4, 72]; expected an array [M, 111]" in said


def test_bytes_are_truncated_as_published():
    values = torch.tensor([-2.0, -1.0, -1 / 255, 0.0, 0.0078, 0.999, 1.0, 3.0])
    wanted = [0, 0, 127, 128, 128, 255, 255, 255]
    assert bytes_of(values.expand(3, 1, -1))[0, :, 0].tolist() == wanted


def test_views_show_the_middle_half():
    found = {name: np.full((8, 8, 3), level, np.uint8) for level, name in enumerate(("rgb", "raw", "normal"))}
    assert side_by_side(cropped(found, "none")).shape == (8, 24, 3)
    assert side_by_side(cropped(found, "published")).shape == (8, 16, 3)
    assert side_by_side(cropped(found, "all")).shape == (8, 12, 3)
    picture = np.arange(8)[None, :, None].repeat(3, 2)
    assert middle(picture)[0, :, 0].tolist() == [2, 3, 4, 5]
    assert strip([found, found]).shape == (24, 16, 3)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_a_sheet_shows_every_picture_once(count, monkeypatch):
    pictures = [np.full((6, 6, 3), 10 * number, np.uint8) for number in range(1, count + 1)]
    made = sheet(pictures)
    assert [int((made == 10 * number).all(axis=2).sum()) for number in range(1, count + 1)] == [36] * count
    monkeypatch.setattr(panels, "LARGEST", 12)
    assert max(sheet(pictures).shape) <= 12


def test_cameras_go_along_their_paths():
    one = label.canonical_pose(label.made(torch.zeros(1, label.JOINTS, 3)))
    assert torch.equal(around(one, Infer()), labels.turned(one, labels.swing()))
    orbit = Infer(camera="orbit", frames=4, turns=0.5, azimuth=10)
    assert degrees("orbit", 4, orbit).tolist() == [10, 55, 100, 145]
    assert degrees("still", 2, orbit).tolist() == [10, 10]
    assert len(around(one, Infer(camera="orbit"))) == 36
    assert degrees("swing", 30, Infer())[21:].tolist() == degrees("swing", 9, Infer()).tolist()


@pytest.mark.slow
def test_every_mode_and_panel_in_one_run(infer):
    modes = "samples,canonical,views,interp,animate"
    words = ("--mode", modes, "--number", 2, "--panels", "rgb,raw,normal,mesh", "--voxels", 24)
    code, out, said = infer(*words, "--frames", 2, "--motion", "walk_2", "--size", 48)
    assert code == 0, said
    shapes = {"00000.png": 4, "00001_cano.png": 4}
    assert {name: pixels(out / name).shape for name in shapes} == {
        name: (48, 48 * count, 3) for name, count in shapes.items()
    }
    assert pixels(out / "00000_interp.png").shape == (4 * 48, 8 * 48, 3)
    assert pixels(out / "samples.png").shape == (48, 96, 3)
    for name in ("00000.mp4", "00001.mp4", "00001_anim.mp4"):
        frames = film(out / name)
        assert len(frames) == 2
        assert frames[0].shape == (48, 4 * 48, 3)
    mesh = pixels(out / "00000.png")[:, 3 * 48 :]
    assert 0.02 < (mesh < 250).any(axis=2).mean() < 0.6
    with np.load(out / "people.npz") as people:
        assert people["labels"].shape == (2, label.SIZE)
        assert people["ws"].shape == (2, 2 * 3, small_people.SIZES.w_dim)
    assert json.loads((out / "metrics.json").read_text())["pictures"] == 2 + 2 + 4 + 8 + 4


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_other_people(infer):
    words = ("--number", 2, "--noise", "published", "--poses", "canonical")
    found = [infer(*words, "--seed", seed)[1] for seed in (1, 1, 2)]
    first, second, other = ((out / "00001.png").read_bytes() for out in found)
    assert first == second != other


@pytest.mark.slow
def test_people_take_the_poses_of_a_file(infer, tmp_path):
    one = label.canonical_pose(label.made(torch.zeros(1, label.JOINTS, 3)))
    np.save(tmp_path / "poses.npy", labels.turned(one, torch.tensor([30.0])).numpy())
    code, out, _ = infer("--poses", "poses.npy", "--number", 2)
    assert code == 0
    with np.load(out / "people.npz") as people:
        np.testing.assert_array_equal(people["labels"], np.load(tmp_path / "poses.npy").repeat(2, axis=0))


@pytest.mark.slow
def test_a_motion_that_trackers_gave_animates_a_person(infer, tmp_path):
    recording = clips()["walk_2"].motion()[:120]
    recording.write(tmp_path / "walk.npz")
    words = ["infer", "sparse", "walk.npz", "--weights", "open-small", "--out", "runs/infer-sparse/001"]
    assert main([*words, "-q"]) == 0
    shown = {}
    for source in ("run:infer-sparse/1", "runs/infer-sparse/001/motion.npz"):
        words = ("--mode", "animate", "--motion", source, "--frames", 3, "--fps", 5)
        code, out, said = infer(*words, "--panels", "normal")
        assert code == 0, said
        shown[source] = film(out / "00000_anim.mp4")
    first, second = shown.values()
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert 0.03 < (first[0] < 200).any(axis=2).mean() < 0.5
    assert not np.array_equal(first[0], first[2])


@pytest.mark.slow
def test_a_motion_that_a_voice_gave_animates_a_person(infer, tmp_path):
    import wave

    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        moments = np.arange(16_000) / 16_000
        file.writeframes((8000 * np.sin(900 * moments) * np.sin(9 * moments)).astype("<i2").tobytes())
    words = ["infer", "audio2motion", "voice.wav", "--weights", "open-toy", "--out", "runs/voice"]
    assert main([*words, "-q"]) == 0
    code, out, said = infer(
        "--mode", "animate", "--motion", "runs/voice", "--frames", 2, "--panels", "normal"
    )
    assert code == 0, said
    assert 0.03 < (film(out / "00000_anim.mp4")[0] < 200).any(axis=2).mean() < 0.5
