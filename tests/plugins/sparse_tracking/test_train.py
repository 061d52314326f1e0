"""The training stages through their commands: the chain, resumed runs, several processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from avatarctl_sparse_tracking import pipeline

from avatarctl.checkpoints import open_weights
from avatarctl.cli.main import main
from avatarctl.motion.clips import clips

PRESET = str(Path(__file__).with_name("tiny.yaml"))
CHAIN = (
    ("vqvae", "--part", "upper"),
    ("vqvae", "--part", "lower"),
    ("diffusion", "--part", "upper"),
    ("diffusion", "--part", "lower"),
    ("decoder",),
    ("refiner",),
)

pytestmark = pytest.mark.slow


def words(store: Path, stage: str, *more: str) -> list[str]:
    return ["train", "sparse", "--stage", stage, "-c", PRESET, "--store", str(store), *more]


@pytest.fixture(scope="module")
def chain(small_store, tmp_path_factory):
    """The runs folder of all stages, trained one after the other; each finds the ones before by `latest`."""
    root = tmp_path_factory.mktemp("chain") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARCTL_RUNS", str(root))
        for stage, *more in CHAIN:
            assert main(words(small_store, stage, *more)) == 0
    return root


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["total"] for line in lines if line["split"] == "train"]


def test_the_chain_ends_with_weights_that_infer(chain, small_store):
    refiner = open_weights(chain / "train-sparse-refiner" / "001" / "weights.safetensors")

    model = pipeline.load(refiner)

    assert set(refiner.parts) == {"upper", "lower", "decoder", "refiner"}
    assert model.frame == "heading"
    assert torch.isfinite(model.sixd(torch.randn(30, 54))).all()


def test_every_stage_lists_what_it_came_from(chain):
    for stage, inputs in (("diffusion", 2), ("decoder", 3), ("refiner", 2)):
        manifest = json.loads((chain / f"train-sparse-{stage}" / "001" / "manifest.json").read_text())
        assert len(manifest["inputs"]) == inputs
        assert manifest["status"] == "finished"


def test_latest_takes_the_half_that_was_asked_for(chain):
    manifest = json.loads((chain / "train-sparse-diffusion" / "002" / "manifest.json").read_text())

    used = [item["path"] for item in manifest["inputs"] if item["path"].endswith(".safetensors")]

    assert [Path(path).parent.parent.name for path in used] == [
        "train-sparse-vqvae",
        "train-sparse-diffusion",
    ]
    assert [Path(path).parent.name for path in used] == ["002", "001"]


def test_two_processes_have_the_loss_of_one(chain, small_store, tmp_path, in_two_processes, monkeypatch):
    stage = ("vqvae", "--part", "upper", "--set", "network.dropout=0")  # its codebooks follow both processes
    alone, together = tmp_path / "alone", tmp_path / "together"

    monkeypatch.setenv("AVATARCTL_RUNS", str(chain))
    assert main(words(small_store, *stage, "--out", str(alone))) == 0
    in_two_processes(*words(small_store, *stage, "--out", str(together)))

    torch.testing.assert_close(torch.tensor(losses(together)), torch.tensor(losses(alone)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ("network.heads=3", "network: width 256: expected a multiple of heads, 3"),
        ("network.width=36", "network: width 36: expected a multiple of heads, 8"),
        ("network.books=5", "network: latent 384: expected a multiple of books, 5"),
    ],
)
def test_sizes_that_do_not_go_together_are_a_setting_s_fault(sizes, words, capsys):
    more = ["--set", "network.heads=8"] if "width" in sizes else []
    assert main(["train", "sparse", "--stage", "vqvae", "--dry-run", "--set", sizes, *more]) == 3
    assert words in capsys.readouterr().err


def test_a_store_without_enough_windows_is_one_line(small_store, capsys, tmp_path):
    code = main(words(small_store, "vqvae", "--batch-size", "100000", "--out", str(tmp_path / "a")))

    assert code == 5
    assert "fewer windows than a batch of 100000" in capsys.readouterr().err


def test_a_store_without_test_clips_trains_unvalidated_when_told_so(small_store, capsys, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    shutil.copy(clips()["dab"].path, folder)
    (folder / "none.txt").write_text("")
    store = tmp_path / "store"
    held_out = ["--held-out", str(folder / "none.txt")]
    assert main(["prepare", "amass", str(folder), "--store", str(store), *held_out]) == 0

    assert main(words(store, "vqvae", "--out", str(tmp_path / "a"))) == 5
    assert "split 'test': no clip" in capsys.readouterr().err
    assert main(words(store, "vqvae", "--out", str(tmp_path / "b"), "--validate-clips", "0")) == 0


def test_a_resumed_training_keeps_its_body_half_and_its_first_command(
    chain, small_store, capsys, monkeypatch
):
    monkeypatch.setenv("AVATARCTL_RUNS", str(chain))
    folder = chain / "train-sparse-vqvae" / "001"
    before = (folder / "settings.yaml").read_text(), json.loads((folder / "manifest.json").read_text())

    code = main(["train", "sparse", "--stage", "vqvae", "--resume", str(folder), "--part", "lower"])

    assert code == 3
    assert "cannot change in a resumed run" in capsys.readouterr().err
    assert (
        (folder / "settings.yaml").read_text(),
        json.loads((folder / "manifest.json").read_text()),
    ) == before
    assert main(["train", "sparse", "--stage", "vqvae", "--resume", str(folder), "--set", "loop.keep=2"]) == 0
    after = json.loads((folder / "manifest.json").read_text())
    assert after["argv"] == before[1]["argv"]
    assert after["origin"]["part"] == "--part"
    assert after["resumed"][-1]["changed"] == {"loop.keep": [3, 2]}


def test_a_finished_result_is_not_resumed(tiny_weights, tmp_path, capsys):
    words = ["infer", "sparse", str(clips()["dab"].path), "--weights", str(tiny_weights)]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    before = (tmp_path / "a" / "motion.npz").read_bytes()

    assert main([*words, "--resume", str(tmp_path / "a")]) == 2
    assert "is finished, there is nothing to go on with" in capsys.readouterr().err
    assert (tmp_path / "a" / "motion.npz").read_bytes() == before
