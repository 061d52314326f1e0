"""Training of face and body on a small store: what is learned, kept, resumed and refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from avatarctl_audio2motion.conversations.stats import Statistics
from avatarctl_audio2motion.model import load
from avatarctl_audio2motion.sampling import STEPS, guided, kept_steps, sample
from avatarctl_audio2motion.settings_train import BodyNetwork, FaceNetwork, LipNetwork, TrainBody, TrainFace
from avatarctl_audio2motion.train import draws, run_body, run_face
from avatarctl_audio2motion.training import AudioNetworks
from made_up import made_up_statistics
from tiny import LIP, SMALL

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.config.groups import Loop, Optimizer
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError, DataError, SettingsError
from avatarctl.runs import Run

FACE = FaceNetwork(**SMALL, condition_layers=1, lip=LipNetwork(**asdict(LIP)))
BODY = BodyNetwork(**SMALL)
SHORT: dict[str, Any] = {"frames": 60, "shortest": 40, "batch_size": 2, "validate_items": 2}


def loop(steps: int = 4) -> Loop:
    return Loop(steps=steps, log_every=1, validate_every=2, save_every=2)


def train(store, folder, part: str, *, resume: bool = False, **more: Any):
    """Train, and open what came out."""
    kind, network, function = {"face": (TrainFace, FACE, run_face), "body": (TrainBody, BODY, run_body)}[part]
    settings = kind(**{"store": store, "network": network, "loop": loop(), **SHORT, **more})
    run = Run.standalone(folder, settings=settings)
    run.resume = resume
    function(settings, run)
    return open_weights(folder / "weights.safetensors")


def logged(folder, split: str = "train") -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture(scope="module")
def trained(small_store, tmp_path_factory):
    """Weights of both networks after a few steps, by part."""
    root = tmp_path_factory.mktemp("trained")
    return {part: train(small_store, root / part, part) for part in ("face", "body")}


@pytest.mark.parametrize("part", ["face", "body"])
def test_weights_hold_all_that_sampling_needs(part, trained):
    weights = trained[part]
    network = load(weights, part, torch.device("cpu"))
    kept = kept_steps("ddim2", STEPS)

    condition = network.condition(torch.zeros(1, 60 * 1600, 2))
    noise = torch.randn(1, 60, network.sizes.output)
    motion = sample(guided(network, condition, 2.0, kept), noise, kept, weights.config["schedules"][part])

    assert torch.isfinite(motion).all()
    assert set(weights.parts) == {part, "stats"}
    assert weights.config["person"] == "nobody"
    found, expected = Statistics.from_tensors(weights.part("stats"), weights.path), made_up_statistics()
    assert torch.equal(found.pose_mean, expected.pose_mean)
    assert found.audio_std == pytest.approx(expected.audio_std, rel=1e-7)


@pytest.mark.parametrize("part", ["face", "body"])
def test_a_resumed_training_goes_on_bit_for_bit(part, trained, small_store, tmp_path):
    train(small_store, tmp_path, part, loop=loop(2))

    resumed = train(small_store, tmp_path, part, resume=True)

    expected = trained[part].part(part)
    assert resumed.part(part).keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.part(part).items())


def test_training_learns_the_motion_that_it_sees(small_store, tmp_path):
    train(
        small_store,
        tmp_path,
        "face",
        loop=Loop(steps=80, log_every=20, save_every=0),
        optim=Optimizer(lr=3e-3, weight_decay=0.0),
        validate_items=0,
    )

    errors = [line["total"] for line in logged(tmp_path)]  # of normalised motion: 0.5 is that of the mean
    assert errors[-1] < 0.6 * errors[0]


def test_the_audio_networks_stay_as_they_were(small_store, tmp_path, trained):
    weights = train(small_store, tmp_path, "face", audio=str(trained["face"].path), loop=loop(2))

    before, after = trained["face"].part("face"), weights.part("face")
    frozen = [name for name in before if name.startswith(("front_end.", "lip."))]
    assert len(frozen) > 10
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["frames_in.weight"], after["frames_in.weight"])


def test_a_body_takes_the_front_end_of_a_face(small_store, tmp_path, trained):
    published = BodyNetwork(**{**SMALL, "audio": BodyNetwork().audio})

    weights = train(
        small_store, tmp_path, "body", audio=str(trained["face"].path), network=published, loop=loop(1)
    )

    name = "front_end.conv_layers.1.0.weight"
    assert torch.equal(weights.part("body")[name], trained["face"].part("face")[name])


def test_a_face_cannot_do_without_a_lip_regressor(small_store, tmp_path, trained):
    with pytest.raises(CheckpointError, match="no lip regressor in it"):
        train(small_store, tmp_path, "face", audio=str(trained["body"].path))


def test_a_training_can_start_from_weights_of_other_sizes(small_store, tmp_path, trained):
    weights = train(
        small_store, tmp_path, "body", start=str(trained["body"].path), network=BodyNetwork(), loop=loop(1)
    )

    assert weights.config["networks"] == trained["body"].config["networks"]
    step = weights.part("body")["frames_in.weight"] - trained["body"].part("body")["frames_in.weight"]
    assert 0 < step.abs().max() <= 1.01e-4  # one step of AdamW at a rate of 1e-4


def test_a_training_does_not_go_on_with_another_schedule(small_store, tmp_path, trained):
    with pytest.raises(SettingsError, match=r"schedule linear: .* was trained with cosine"):
        train(small_store, tmp_path, "body", start=str(trained["body"].path), schedule="linear")


def test_published_audio_models_are_told_apart_though_both_have_a_front_end():
    parts = {
        "lip": {"front_end.weight": torch.zeros(1), "vertices.weight": torch.ones(1)},
        "audio": {"front_end.weight": torch.ones(1), "unused.vector_quantizer.vars": torch.ones(1)},
    }
    config = {"networks": {"audio": {"log_compression": True}, "lip": {}}}

    found = AudioNetworks.of(Weights(parts, config, "audio2photoreal", Path("assets")))

    assert found.tensors["front_end"].keys() == {"weight"}
    assert float(found.tensors["front_end"]["weight"]) == 1
    assert found.tensors["lip"].keys() == {"front_end.weight", "vertices.weight"}
    assert found.sizes == {"log_compression": True}


def test_the_tables_of_nothing_told_are_as_long_as_the_pieces(trained):
    assert trained["body"].part("body")["null_keys"].shape == (1, 2, 16)
    assert trained["body"].part("body")["null_tokens"].shape == (1, 198, 16)


def test_the_lip_regressors_dropout_is_off_unless_asked_for(small_store, tmp_path):
    for name, more in (("first", {}), ("again", {}), ("dropout", {"lip_dropout": True})):
        still = FACE.model_copy(update={"dropout": 0.0})
        train(small_store, tmp_path / name, "face", network=still, loop=loop(1), **more)

    first, again, dropout = (logged(tmp_path / n)[0]["total"] for n in ("first", "again", "dropout"))
    assert first == again
    assert first != dropout


def test_the_learning_rate_falls_to_nothing(small_store, tmp_path):
    train(small_store, tmp_path, "body", anneal_steps=4, validate_items=0)

    rates = [line["lr.optimizer"] for line in logged(tmp_path)]
    assert rates == pytest.approx([0.75e-4, 0.5e-4, 0.25e-4, 0.0])


def test_the_bound_is_logged_and_changes_nothing_else(small_store, tmp_path):
    still = FACE.model_copy(update={"dropout": 0.0})
    for name, log_vb in (("plain", False), ("bound", True)):
        train(small_store, tmp_path / name, "face", network=still, log_vb=log_vb, loop=loop(2))

    plain, bound = logged(tmp_path / "plain"), logged(tmp_path / "bound")
    assert [line["total"] for line in plain] == [line["total"] for line in bound]
    assert all("vb" in line for line in bound)
    assert not any("vb" in line for line in plain)


def test_conditions_are_withheld_from_their_share_of_the_samples():
    found = draws(Noise.seeded(0, "draws"), (20_000, 1, 1), drop=0.2)

    for name in ("keep_audio", "keep_keys"):
        assert float((~found[name]).float().mean()) == pytest.approx(0.2, abs=0.01)  # 3.5 deviations
    both = ~found["keep_audio"] & ~found["keep_keys"]
    assert float(both.float().mean()) == pytest.approx(0.04, abs=0.005)
    assert int(found["steps"].min()) == 0
    assert int(found["steps"].max()) == STEPS - 1


def test_pieces_are_all_full_where_none_can_be_shorter(small_store, tmp_path):
    for name, shortest in (("none", 0), ("more", 400)):
        train(small_store, tmp_path / name, "body", shortest=shortest, loop=loop(1), validate_items=0)

    none, more = (logged(tmp_path / name)[0]["total"] for name in ("none", "more"))
    assert none == more


def test_held_out_scenes_that_are_too_short_are_said_with_the_way_out(small_store, tmp_path):
    with pytest.raises(DataError, match="longest of 1 scenes has 150") as caught:
        train(small_store, tmp_path, "body", frames=180, shortest=0)

    assert "--validate-items 0" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--frames", "100"], 3, "frames: found 100, expected a multiple of 30"),
        (["--set", "network.heads=3"], 3, "width 256: expected an even multiple of heads, 3"),
        (["--store", "nowhere"], 5, "nowhere: store not found"),
        (["--frames", "600"], 5, "the longest of 3 scenes has 260 frames"),
        (["--start", "nothing.pt"], 5, "nothing.pt: no such weights file"),
    ],
)
def test_what_cannot_be_trained_is_a_line(words, code, message, small_store, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = ["train", "audio2motion", "--stage", "body", "--validate-items", "0"]
    if "--start" in words:
        given += ["--frames", "60"]
    assert main([*given, *([] if "--store" in words else ["--store", str(small_store)]), *words]) == code
    assert message in capsys.readouterr().err
