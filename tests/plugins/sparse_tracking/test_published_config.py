"""The published YAML files: as spec 4.8 lists them, they are the defaults of the settings."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from avatarctl.cli.main import main

COMMON: dict[str, Any] = {
    "CUDA": True, "SEED": 10, "DATASET_PATH": "./dataset/", "SUPPORT_DIR": "body_models", "SPARSE_DIM": 54,
    "MOTION_NFEAT": 132, "INPUT_MOTION_LENGTH": 20, "OVERLAPPING_TEST": False, "MASK_RATIO": 0.5,
    "NUM_WORKERS": 8, "WEIGHT_DECAY": 1e-4, "FPS": 60, "PROTOCOL": "1_small_dataset",
    "VQVAE": {
        "hid_dim": 256, "heads": 4, "dropout": 0, "n_codebook": 8, "n_e": 512, "e_dim": 384, "beta": 1.0,
        "n_layers": [4, 4],
    },
}  # fmt: skip
LATER: dict[str, Any] = {
    **COMMON, "DEVICE": 0, "MASK_TRAINING": True, "LAST_FRAME": True, "LOSS_FUNC": "l1", "EPOCH": 200,
    "VIS": False, "SAVE_GT": False, "NUM_PER_BATCH": 1024, "UPPER_VQ_DIR": "outputs/upper_vqvae",
    "DIFFUSION": {
        "mask_traing": True, "mask_num": 2, "layers_upper": 12, "layers_lower": 12, "init_noise_sigma": 0.01,
        "scheduler": {
            "num_inference_timesteps": 5, "eta": 0.0,
            "params": {
                "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
                "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample", "clip_sample": False,
                "set_alpha_to_one": False, "steps_offset": 0,
            },
        },
    },
}  # fmt: skip


def vqvae(part: str, hand: float) -> dict[str, Any]:
    return COMMON | {
        "part": part, "BATCH_SIZE": 512, "LR": 1e-4, "EPOCH": 40, "MILESTONES": [30, 50], "ROOTLOSS": True,
        "LOSS": {"alpha_codebook": 0.25, "fk_loss": 5, "hand_align_loss": hand},
        "TRAIN_DATASET_REPEAT_TIMES": 500, "NUM_PER_BATCH": 1024,
    }  # fmt: skip


FIRST = LATER | {
    "TRAIN_DATASET_REPEAT_TIMES": 500, "BATCH_SIZE": 400, "LR": 2e-4, "MILESTONES": [20, 30], "GAMMA": 0.25,
}  # fmt: skip
SECOND = FIRST | {
    "LOWER_VQ_DIR": "outputs/lower_vqvae_ori", "UPPER_DIF_DIR": "outputs/first", "BATCH_SIZE": 512,
    "MILESTONES": [15, 20], "GAMMA": 0.2,
}  # fmt: skip
DECODER = LATER | {
    "LOWER_VQ_DIR": "outputs/lower_vqvae", "UPPER_DIF_DIR": "outputs/first",
    "LOWER_DIF_DIR": "outputs/second", "TRAIN_DATASET_REPEAT_TIMES": 500, "BATCH_SIZE": 300, "LR_1": 1e-4,
    "LR_2": 8e-5, "EPOCH_DECODER": 6, "EPOCH_ALL": 12, "GAMMA": 0.2,
    "DECODER": {
        "n_layers": 4, "hid_dim": 256, "heads": 4, "e_dim": 384,
        "loss_weight": {"root": 0.02, "other_joints": 1.0, "body_fk": 5.0},
    },
}  # fmt: skip
REFINER = LATER | {
    "LOWER_VQ_DIR": "outputs/lower_vqvae", "DECODER_DIR": "outputs/decoder", "REFINER_DIR": "outputs/refiner",
    "FULL_MOTION_LENGTH": 500, "BATCH_SIZE": 1, "NUM_PER_BATCH": 512, "LR": 8e-5, "MILESTONES": [15],
    "GAMMA": 0.2,
    "DECODER": {
        **DECODER["DECODER"],
        "loss_weight": {**DECODER["DECODER"]["loss_weight"], "upper": 0.1, "lower": 0.5},
    },
    "REFINER": {
        "n_layers": 2, "hidden_dim": 512,
        "loss_weight": {
            "recons": 0.01, "vel_1": 60, "vel_2": 20, "fk_loss": 0.01, "hand_align": 0.01, "jitter": 0.03,
        },
    },
}  # fmt: skip
SIX = {"VQVAE": {**COMMON["VQVAE"], "n_layers": [6, 6]}}
RAND0 = REFINER | SIX | {
    "PROTOCOL": "randomsplit_0", "DECODER_DIR": "outputs/decoder_full_rand0",
    "REFINER_DIR": "outputs/refiner_full_rand0", "REFINER": {**REFINER["REFINER"], "n_layers": 3},
}  # fmt: skip
DEMO = {key: value for key, value in REFINER.items() if key != "DECODER_DIR"} | {
    "PROTOCOL": "real", "FINETUNE_DIR": "outputs/decoder_FULL", "REFINER_DIR": "outputs/refiner_FULL",
}  # fmt: skip

Resolve = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Resolve:
    """`resolved(CONTENT, WORDS...)`: exit code, settings of a dry run by dotted name, and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(content: dict[str, Any] | None, *words: str) -> tuple[int, dict[str, Any], str]:
        config = []
        if content is not None:
            Path("file.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            config = ["-c", "file.yaml"]
        capsys.readouterr()
        code = main([*words, *config, "--dry-run", "--json"])
        captured = capsys.readouterr()
        return code, _flat(json.loads(captured.out).get("settings") or {}), captured.err

    return run


def _flat(tree: dict[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{at}{name}.") if isinstance(value, dict) else {at + name: value}
    return found


@pytest.mark.parametrize(
    ("content", "words", "other"),
    [
        (vqvae("upper", 5), ("--stage", "vqvae"), {}),
        # hand: for the upper half only, so that 0 and 5 are the same for the lower one
        (vqvae("lower", 0), ("--stage", "vqvae", "--part", "lower"), {"losses.hand": 0.0}),
        (FIRST, ("--stage", "diffusion"), {}),
        (SECOND, ("--stage", "diffusion", "--part", "lower"), {}),
        (DECODER, ("--stage", "decoder"), {}),
        (REFINER, ("--stage", "refiner"), {}),
    ],
)
def test_a_published_file_gives_the_defaults_of_its_stage(content, words, other, resolved: Resolve) -> None:
    plain = resolved(None, "train", "sparse", *words)[1]
    code, found, err = resolved(content, "train", "sparse", *words)
    assert code == 0, err
    assert found == plain | other
    assert "no effect" not in err


def test_sizes_of_the_other_settings_are_taken(resolved: Resolve) -> None:
    upper = vqvae("upper", 5) | SIX
    assert resolved(upper, "train", "sparse", "--stage", "vqvae")[1]["network.layers"] == 6
    assert resolved(RAND0, "train", "sparse", "--stage", "refiner")[1]["network.layers"] == 3


def test_changed_values_reach_their_settings(resolved: Resolve) -> None:
    changed = copy.deepcopy(REFINER) | {"LR": 1e-3, "FULL_MOTION_LENGTH": 99, "MILESTONES": [1, 2]}
    changed["REFINER"]["loss_weight"]["fk_loss"] = 0.5
    found = resolved(changed, "train", "sparse", "--stage", "refiner", "--epochs", "3")[1]
    assert (found["optim.lr"], found["frames"], found["schedule.milestones"]) == (1e-3, 99, [1, 2])
    assert (found["losses.fk"], found["epochs"]) == (0.5, 3)
    books = copy.deepcopy(vqvae("upper", 5))
    books["VQVAE"] |= {"n_codebook": 4, "n_e": 128}
    found = resolved(books, "train", "sparse", "--stage", "vqvae")[1]
    assert (found["network.books"], found["network.codes"]) == (4, 32)


def test_folders_are_taken_where_they_exist_and_the_newest_run_elsewhere(resolved: Resolve) -> None:
    found, err = resolved(SECOND, "train", "sparse", "--stage", "diffusion")[1:]
    assert (found["part"], found["vqvae"], found["upper"]) == ("lower", "latest", "latest")
    assert "LOWER_VQ_DIR outputs/lower_vqvae_ori: no such folder; the newest run is taken" in err
    Path("outputs/first").mkdir(parents=True)
    assert resolved(SECOND, "train", "sparse", "--stage", "diffusion")[1]["upper"] == "outputs/first"


def test_evaluation_takes_weights_store_and_protocol(resolved: Resolve) -> None:
    for name in ("decoder_full_rand0", "refiner_full_rand0"):
        Path("outputs", name).mkdir(parents=True)
    found = resolved(RAND0, "eval", "sparse")[1]
    assert found["weights"] == "outputs/decoder_full_rand0,outputs/refiner_full_rand0"
    assert (found["protocol"], found["store"]) == ("S3", "data/amass-s3")
    Path("body_models").mkdir()
    assert resolved(RAND0, "eval", "sparse")[1]["body_models"] == "body_models"
    moved = RAND0 | {"DATASET_PATH": "elsewhere"}
    assert resolved(moved, "eval", "sparse", "--limit", "2")[1]["store"] == "elsewhere"


def test_inference_takes_the_demo_file(resolved: Resolve) -> None:
    Path("outputs/decoder_FULL").mkdir(parents=True)
    code, found, err = resolved(DEMO | {"VIS": True}, "infer", "sparse", "log.txt")
    assert (code, found["weights"], found["video"]) == (0, "outputs/decoder_FULL", True)
    assert "REFINER_DIR outputs/refiner_FULL: no such folder; left out" in err


def test_keys_may_stand_elsewhere_and_in_other_case(resolved: Resolve) -> None:
    moved = {key: value for key, value in REFINER.items() if key not in ("LR", "FULL_MOTION_LENGTH")}
    moved |= {"TRAIN": {"lr": 2e-5, "Full_Motion_Length": 77}}
    found = resolved(moved, "train", "sparse", "--stage", "refiner")[1]
    assert (found["optim.lr"], found["frames"]) == (2e-5, 77)


def test_changed_keys_that_nothing_reads_are_said_in_one_line(resolved: Resolve) -> None:
    changed = REFINER | {"EPOCH": 300, "LOSS_FUNC": "l2", "SEED": 4, "FANCY": 1}
    code, found, err = resolved(changed, "train", "sparse", "--stage", "refiner")
    assert (code, found["epochs"]) == (0, 18)
    assert "file.yaml: no effect, in the published code as here: LOSS_FUNC, EPOCH\n" in err
    assert "say --seed 4" in err
    assert "left out, as no published file has them: FANCY" in err


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (
            {"MILESTONE": [3]},
            "train sparse --stage refiner",
            "MILESTONE: no such key .* did you mean MILESTONES?",
        ),
        ({"FPS": 30}, "train sparse --stage refiner", "fps: found 30, expected 60"),
        ({"BATCH_SIZE": 4}, "train sparse --stage refiner", "batch_size: found 4, expected 1"),
        ({"LR": "fast"}, "train sparse --stage refiner", "optim.lr: found fast, expected a valid number"),
        ({"PROTOCOL": "4_x"}, "eval sparse", "PROTOCOL: found 4_x, expected one of 1_small_dataset"),
        ({}, "train sparse --stage decoder", "configuration of stage refiner, and does not go with"),
        ({}, "eval sparse --stage vqvae", "configuration of stage refiner, and does not go with"),
    ],
)
def test_what_cannot_be_done_is_named(change, words, message, resolved: Resolve) -> None:
    code, _, err = resolved(REFINER | change, *words.split())
    assert code == 3

    assert re.search(message, " ".join(err.split())), err


def test_a_file_of_ours_is_not_taken_for_a_published_one(resolved: Resolve) -> None:
    code, _, err = resolved({"epoch": 3}, "train", "sparse", "--stage", "refiner")
    assert code == 3
    assert "epoch: no such setting, did you mean epochs?" in err
