"""Scores of pictures in two conventions, and of the surface beside meshes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_scene
import torch
import va_person
from avatarctl_video_avatar import evaluate, pictures, scores
from avatarctl_video_avatar.model.rendering import Picture
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity

from avatarctl.cli.main import main
from avatarctl.geometry.meshes import Mesh

H, W = 30, 26
BOX = slice(4, 27), slice(2, 22)
"""The rectangle around the box."""
Command = Callable[..., tuple[int, Path, str]]


@pytest.fixture
def pair():
    """A picture with its sample; the box is a disc in the rectangle."""
    draw = np.random.default_rng(0)
    sample = small_scene.sample(H, W)
    image = torch.from_numpy(draw.uniform(-0.05, 1.05, (H, W, 3))).float()
    colours = (image.reshape(-1, 3) + torch.from_numpy(draw.normal(0, 0.1, (H * W, 3))).float()).clamp(0, 1)
    rows, columns = np.mgrid[:H, :W]
    disc = ((rows - 15) / 11.5) ** 2 + ((columns - 11.5) / 10.0) ** 2 <= 1
    hits = torch.from_numpy(disc.ravel() & (draw.uniform(size=H * W) < 0.8))
    box = torch.from_numpy(disc)
    rows, columns = np.nonzero(disc)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (4, 27, 2, 22)
    image = torch.where(hits.view(H, W, 1), image, sample.background)
    nothing = torch.zeros(H, W, 3)
    rays = replace(sample.rays, colours=colours, hits=hits)
    return Picture(image, nothing, nothing, torch.zeros(H, W)), replace(sample, rays=rays, box=box)


class Recorder:
    """Stands for LPIPS: says what it was given."""

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        self.given = first, second
        return torch.tensor(0.25)


def truth_of(sample) -> np.ndarray:
    """0 to 1 [H, W, 3]."""
    hits, colours = sample.rays.hits.view(H, W, 1).numpy(), sample.rays.colours.view(H, W, 3).numpy()
    return np.where(hits, colours, sample.background.numpy()).astype(np.float64)


def gaussian_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """11 x 11 Gaussian window of sigma 1.5, zeros around; the mean over pixels and channels."""
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blurred(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            image = correlate1d(image, window, axis=axis, mode="constant")
        return image

    a, b = blurred(first), blurred(second)
    aa, bb, ab = blurred(first**2) - a * a, blurred(second**2) - b * b, blurred(first * second) - a * b
    C1, C2 = 0.01**2, 0.03**2
    return float((((2 * a * b + C1) * (2 * ab + C2)) / ((a * a + b * b + C1) * (aa + bb + C2))).mean())


def test_published_numbers_are_of_the_rectangle_with_the_published_scalings(pair):
    picture, sample = pair
    network = Recorder()
    found = scores.scores(picture, sample, network)
    predicted = np.clip(picture.image.double().numpy() * 256, 0, 255)[BOX] / 255
    truth = truth_of(sample)[BOX]
    assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean((predicted - truth) ** 2)), rel=1e-5)
    assert found["ssim"] == pytest.approx(gaussian_ssim(predicted, truth), abs=1e-5)
    assert found["lpips"] == 0.25
    for given, expected in zip(network.given, (predicted, truth), strict=True):
        np.testing.assert_allclose(given.permute(1, 2, 0), expected, atol=1e-6)  # 0 to 1, as published


def test_neuralbodys_numbers_are_of_the_pixels_of_the_box(pair):
    picture, sample = pair
    network = Recorder()
    found = scores.scores_neuralbody(picture, sample, network)
    predicted, truth = picture.image.double().numpy().clip(0, 1), truth_of(sample)
    inside = sample.box.numpy()
    error = np.mean((predicted[inside] - truth[inside]) ** 2)
    assert found["psnr"] == pytest.approx(-10 * np.log10(error), rel=1e-5)
    expected = structural_similarity(predicted[BOX], truth[BOX], channel_axis=2, data_range=1.0)
    assert found["ssim"] == pytest.approx(expected, abs=1e-5)
    for given, image in zip(network.given, (predicted, truth), strict=True):
        np.testing.assert_allclose(given.permute(1, 2, 0), 2 * image[BOX] - 1, atol=1e-6)


def test_rectangles_too_small_for_a_window_are_left_out(pair):
    picture, sample = pair
    box = torch.zeros_like(sample.box)
    box[4:8, 4:8] = True
    sample = replace(sample, box=box)
    assert set(scores.scores(picture, sample, Recorder())) == {"psnr", "ssim"}
    assert set(scores.scores_neuralbody(picture, sample, Recorder())) == {"psnr"}
    found = scores.means([{"psnr": 10.0, "ssim": 0.5}, {"psnr": 20.0}])
    assert found == {"psnr": 15.0, "ssim": 0.5}


@pytest.fixture(scope="module")
def data() -> Path:
    return va_person.recording()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return va_person.avatar_file(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def command(
    data: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run a verb of video-avatar; its exit code, folder, and all it said in one line."""
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *words: object) -> tuple[int, Path, str]:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        given = ("--data", data, "--weights", weights, "--out", out, *words)
        capsys.readouterr()
        code = main([verb, "video-avatar", *map(str, given)])
        streams = capsys.readouterr()
        return code, out, " ".join((streams.out + streams.err).split())

    return run


def test_scores_are_means_over_the_modes_pictures(command):
    words = ("--mode", "unseen", "--start", "0", "--end", "3", "--step", "1", "--resolution-level", "1")
    code, out, said = command("eval", *words, "--pictures", "2")
    assert code == 0
    assert "not comparable with published numbers" in said
    assert "LPIPS needs its network" in said
    content = json.loads((out / "metrics.json").read_text())
    assert content["psnr"] == content["each"]["published"]["psnr"]
    assert content["each"]["NeuralBody"]["psnr"] != content["psnr"]
    assert (out / "report.html").is_file()
    assert sorted(path.name for path in (out / "pictures").iterdir()) == [
        "view0_frame_000000.png", "view1_frame_000002.png",
    ]  # fmt: skip
    # As infer measures the same pictures.
    code, out, _ = command("infer", *words, "--normals", "none")
    assert code == 0
    shown = json.loads((out / "metrics.json").read_text())
    assert shown["pictures"] == 6
    assert shown["psnr"] == pytest.approx(content["psnr"])
    assert shown["ssim"] == pytest.approx(content["ssim"])


def truths(command: Command, folder: Path, resolution: int) -> Path:
    """The surface of frames 1 and 2 in the world, under the published numbers."""
    words = ("--pose", "frame", "--to", "npy", "--frames", "1:3", "--view", "0")
    code, out, _ = command("export", *words, "--resolution", resolution)
    assert code == 0
    place = folder / "truth"
    place.mkdir()
    for row, frame in enumerate((1, 2)):
        record = np.load(out / "meshes" / f"view0_frame{row}.npy", allow_pickle=True).item()
        vertices = record["vertices"].astype(np.float64) @ record["rh"] + record["th"]  # x = rh^T x + th
        triangles = record["triangles"][:, [0, 2, 1]]
        Mesh(vertices, triangles).write(place / f"{frame + 1:06d}.obj")
    return place


def test_a_surface_is_no_distance_from_itself(command, tmp_path):
    place = truths(command, tmp_path, 24)
    words = ("--geometry", place, "--resolution", "24", "--start", "1", "--resolution-level", "4")
    code, out, said = command("eval", *words)
    assert code == 0, said
    found = json.loads((out / "metrics.json").read_text())["each"]["2 frames"]
    assert found["chamfer_cm2"] < 1e-6
    assert found["normal_consistency"] > 0.999
    sampled = ("--geometry-protocol", "sampled", "--geometry-frames", "[2]")
    code, out, _ = command("eval", *words, *sampled)
    assert code == 0
    found = json.loads((out / "metrics.json").read_text())["each"]["1 frames"]
    # The same surface, but other places on it: 10000 lie about 1 cm apart.
    assert found["chamfer_m2"] < 4e-4


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--mode", "test"], 3, "mode: test has no true pictures try --mode val or --mode unseen"),
        (["--mode", "unseen"], 3, "mode unseen: frames 300:-1:50 are none of the 3"),
        (["--geometry", "nowhere"], 5, "nowhere: not found"),
        (["--geometry", "."], 5, "no mesh for any of the 3 frames"),
        (
            ["--geometry", ".", "--geometry-frames", "[0,7]"],
            3,
            "geometry_frames: 7: the recording has 3 frames",
        ),
        (
            ["--geometry", ".", "--geometry-frames", "[1]"],
            5,
            "no mesh number 2, which frame 1 is stored under",
        ),
        (["--geometry", ".", "--ground", "ground.json"], 5, "no plane for subject 'Small'; there are 377"),
        (["--lpips", "[nowhere.pth]"], 5, "nowhere.pth: not found"),
    ],
)
def test_what_cannot_be_scored_is_said(words, code, said, command):
    Path("ground.json").write_text('{"377": [0, 0, 0]}')
    found, _, text = command("eval", *words)
    assert found == code, text
    assert said in text


def test_published_frames_are_scored_where_the_recording_has_them(data, tmp_path):
    class Person:
        class data:
            name, bodies = "CoreView_377", dict.fromkeys(range(200))

    from avatarctl_video_avatar.settings_evaluate import Evaluate

    settings = Evaluate(data=data, geometry=tmp_path)
    assert evaluate.frames_of(settings, Person) == [30, 90, 120]
    Person.data.bodies = dict.fromkeys(range(100))
    (tmp_path / "000031.ply").write_bytes(b"")
    assert evaluate.frames_of(settings, Person) == [30]


def test_a_comparison_shows_prediction_and_truth(pair):
    picture, sample = pair
    both = evaluate.beside(picture, sample)
    assert both.shape == (H, 2 * W, 3)
    np.testing.assert_array_equal(both[:, W:], pictures.to_bytes(pictures.truth(sample)))
