"""Single stages by their commands and by oracles: what is posed, whose root it is, what the numbers take."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from avatarctl_sparse_tracking import evaluate_stages
from avatarctl_sparse_tracking.model import build
from avatarctl_sparse_tracking.model.vqvae import HALVES, Vqvae
from avatarctl_sparse_tracking.scores import AUTOENCODED, UPPER_HALF, Posture, raw_corrected, raw_scores
from avatarctl_sparse_tracking.settings import EvaluateVqvae

from avatarctl.body import open_body
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.motion import Motion
from avatarctl.runs import Run

PRESET = str(Path(__file__).with_name("tiny.yaml"))
VQVAE = {"layers": 1, "width": 32, "heads": 2, "latent": 48, "books": 4, "codes": 8}
LEGS = [1, 2, 4, 5, 7, 8, 10, 11]
STAGES = (
    ("vqvae", "--part", "upper"),
    ("vqvae", "--part", "lower"),
    ("diffusion",),
    ("diffusion", "--part", "upper"),
    ("decoder",),
    ("refiner",),
)


def written(path: Path, parts: list[str], sizes: dict, frame: str) -> Path:
    torch.manual_seed(0)
    tensors = {part: build(part, sizes[part]).state_dict() for part in parts}
    config = {"networks": {part: sizes[part] for part in parts}, "frame": frame}
    return Weights(tensors, config, "sparse-tracking", path).write(path)


@pytest.fixture(scope="module")
def every_network(tiny_weights, tmp_path_factory) -> Path:
    """A native file with all six networks, untrained."""
    sizes = {**open_weights(tiny_weights).config["networks"], "upper_vqvae": VQVAE, "lower_vqvae": VQVAE}
    return written(tmp_path_factory.mktemp("all") / "all.safetensors", list(sizes), sizes, "heading")


@pytest.fixture
def evaluated(small_store, tmp_path, monkeypatch, capsys):
    """Types eval sparse with more words; gives the exit code and what was said."""
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))

    def typed(*words: str) -> tuple[int, str]:
        code = main(["eval", "sparse", "--store", str(small_store), "--out", str(tmp_path / "out"), *words])
        return code, " ".join(capsys.readouterr().err.split())

    return typed


@pytest.mark.parametrize("words", STAGES, ids=" ".join)
def test_every_stage_is_scored_by_its_command(evaluated, every_network, tmp_path, words):
    code, said = evaluated("--stage", *words, "--weights", str(every_network))
    assert code == 0, said
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["evaluated"].startswith(words[0])
    (row,) = csv.DictReader((tmp_path / "out" / "scores.csv").open())
    assert all(float(row[name]) >= 0 for name in metrics["scores"])
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    is_half = "--part" in words
    assert ("No figures of one half alone are published" in report) == is_half
    assert ("SAGE Net, S1" in report) == (not is_half)


@pytest.mark.parametrize("frame", ["world", "heading"])
@pytest.mark.parametrize("part", ["upper", "lower"])
def test_a_vqvae_that_gives_back_what_it_gets_has_no_error(
    small_store, tiny_weights, tmp_path, monkeypatch, part, frame
):
    path = written(tmp_path / "vqvae.safetensors", [f"{part}_vqvae"], {f"{part}_vqvae": VQVAE}, frame)
    monkeypatch.setattr(Vqvae, "forward", lambda self, rotations, trackers: (rotations, None))
    run = Run.standalone(tmp_path / "run")
    evaluate_stages.run_vqvae(EvaluateVqvae(store=small_store, weights=str(path), part=part), run)
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]
    assert found["mpjpe"] < 2e-3  # cm; float32 chains, and the store's rounded head
    assert found["mpjre"] < 0.05  # degrees; the published conversions are off by 1e-6 of the axis


def some_motion(seed: int) -> Motion:
    noise = torch.Generator().manual_seed(seed)
    return Motion(
        poses=torch.randn(6, 22, 3, generator=noise), root=torch.randn(6, 3, generator=noise), fps=60.0
    )


@pytest.mark.parametrize("scheme", [AUTOENCODED["upper"], UPPER_HALF, AUTOENCODED["lower"]])
def test_joints_of_the_other_half_are_at_rest_in_estimate_and_truth(scheme):
    posture = scheme.posture(some_motion(0), open_body())
    others = [joint for joint in range(22) if joint not in scheme.posed]
    assert not posture.angles[:, others].any()
    expected = some_motion(0).poses[:, list(scheme.posed)]
    torch.testing.assert_close(posture.angles[:, list(scheme.posed)], expected, rtol=0, atol=0)


def test_the_lower_half_stays_in_its_place_and_the_upper_one_does_not():
    rest = open_body().rest_joints[0]
    lower = AUTOENCODED["lower"].posture(some_motion(0), open_body()).places
    upper = AUTOENCODED["upper"].posture(some_motion(0), open_body()).places
    torch.testing.assert_close(lower[:, 0], rest.expand(6, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(upper[:, 0], rest + some_motion(0).root, rtol=0, atol=1e-6)


def test_a_half_counts_joints_at_rest_as_published_and_leaves_them_out_when_corrected():
    scheme = AUTOENCODED["upper"]
    body, own = open_body(), list(HALVES["upper"])
    found, truth = (scheme.posture(some_motion(seed), body) for seed in (0, 1))
    places = (found.places - truth.places).norm(dim=-1)
    published, sound = raw_scores(found, truth, scheme), raw_corrected(found, truth, scheme)
    assert published["mpjpe"] == pytest.approx(float(places.mean()), rel=1e-5)
    assert published["upperpe"] == pytest.approx(float(places[:, own].mean()), rel=1e-5)  # with the root
    assert sound["mpjpe"] == pytest.approx(float(places[:, own].mean()), rel=1e-5)
    legless = Posture(found.places, found.angles.index_fill(1, torch.tensor(LEGS), 1.0))
    both = Posture(truth.places, truth.angles.index_fill(1, torch.tensor(LEGS), 1.0))
    # 8 of the 22 joints never differ, whatever they are.
    assert raw_scores(legless, both, scheme)["mpjre"] == pytest.approx(published["mpjre"], rel=1e-5)
    assert published["mpjre"] * 22 / 14 == pytest.approx(
        raw_scores(found, truth, scheme)["upperre"], rel=1e-5
    )


def test_the_half_that_is_written_last_gives_the_root():
    upper, lower = torch.full((2, 84), 3.0), torch.full((2, 54), 5.0)
    whole = evaluate_stages.spread(lower, "lower", evaluate_stages.spread(upper, "upper"))
    assert (whole.unflatten(1, (22, 6))[:, [0, *LEGS]] == 5).all()
    assert (whole.unflatten(1, (22, 6))[:, HALVES["upper"][1:]] == 3).all()
    alone = evaluate_stages.spread(upper, "upper").unflatten(1, (22, 6))
    assert (alone[:, LEGS] == torch.tensor([1.0, 0, 0, 0, 1, 0])).all()


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("vqvae", "--part", "upper"), "lacks VQ-VAE of the upper body"),
        (("diffusion",), "lacks VQ-VAE of the lower body, VQ-VAE of the upper body"),
        (("diffusion", "--part", "upper"), "lacks VQ-VAE of the upper body"),
    ],
)
def test_weights_without_a_vqvae_say_which_file_is_needed(evaluated, tiny_weights, words, missing):
    code, said = evaluated("--stage", *words, "--weights", str(tiny_weights))
    assert code == 6
    assert missing in said
    assert "upper_vqvae/best.pth.tar" in said


def test_a_refiner_stage_without_refiner_is_refused(evaluated, every_network, tmp_path):
    whole = open_weights(every_network)
    parts = {part: whole.parts[part] for part in ("upper", "lower", "decoder")}
    path = Weights(parts, whole.config, whole.kind, whole.path).write(tmp_path / "decoder.safetensors")
    code, said = evaluated("--stage", "refiner", "--weights", str(path))
    assert code == 6
    assert "lacks refiner" in said


def test_networks_that_see_other_axes_are_refused(evaluated, tiny_weights, tmp_path):
    sizes = {"upper_vqvae": VQVAE, "lower_vqvae": VQVAE}
    path = written(tmp_path / "world.safetensors", list(sizes), sizes, "world")
    code, said = evaluated("--stage", "diffusion", "--weights", f"{tiny_weights},{path}")
    assert code == 6
    assert "'heading'" in said
    assert "'world'" in said


def test_latest_without_runs_says_what_to_train(evaluated):
    code, said = evaluated("--stage", "vqvae", "--part", "lower")
    assert code == 5
    assert "no finished run of train-sparse-vqvae" in said


@pytest.mark.slow
def test_latest_takes_each_network_from_the_newest_run_of_its_stage(evaluated, small_store, tmp_path):
    for stage, part in (
        ("vqvae", "upper"),
        ("vqvae", "lower"),
        ("diffusion", "upper"),
        ("diffusion", "lower"),
    ):
        words = [
            "train",
            "sparse",
            "--stage",
            stage,
            "--part",
            part,
            "-c",
            PRESET,
            "--store",
            str(small_store),
        ]
        assert main(words) == 0
    code, said = evaluated("--stage", "diffusion")
    assert code == 0, said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    used = [item["path"] for item in manifest["inputs"] if item["path"] != str(small_store)]
    assert [Path(path).relative_to(tmp_path / "runs").parts[:2] for path in used] == [
        ("train-sparse-diffusion", "002"),
        ("train-sparse-diffusion", "001"),
        ("train-sparse-vqvae", "002"),
        ("train-sparse-vqvae", "001"),
    ]
