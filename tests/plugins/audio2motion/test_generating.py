import numpy as np
import pytest
import tiny
import torch
from avatarctl_audio2motion import pipeline
from avatarctl_audio2motion.generated import Generated
from avatarctl_audio2motion.model.front_end import conversation_features
from avatarctl_audio2motion.sampling import STEPS, guided, kept_steps, sample
from avatarctl_audio2motion.settings import Sampling

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.device import Noise
from avatarctl.errors import AssetError, CheckpointError, DataError, SettingsError, UsageError

FAST = Sampling(steps="4", guidance=3.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(weights):
    return pipeline.load(weights, "cpu")


@pytest.fixture(scope="module")
def made(model):
    return model(tiny.voices(3.5), FAST, samples=2, repeats=2, seed=3)


def test_a_clip_of_one_window_is_what_networks_and_sampler_give(model, made):
    """Each network called by hand, in the published order, for sample 1 of repetition 1."""
    networks, name = model.networks, "sample 1 repetition 1"
    audio = networks.statistics.normalise_audio(tiny.voices(3.5))[None]
    kept = kept_steps("4", STEPS)
    noise = Noise.seeded(3, f"face {name}").normal((105, 256))[None]
    face = sample(guided(networks.face, networks.face.condition(audio), 3.0, kept), noise, kept)
    torch.testing.assert_close(
        made.face[3], networks.statistics.denormalise("face", face[0]).float(), rtol=1e-4, atol=1e-4
    )
    keys = networks.statistics.normalise("body", made.keys[3:])
    noise = Noise.seeded(3, f"body {name}").normal((105, 104))[None]
    body = sample(guided(networks.body, networks.body.condition(audio, keys), 2.0, kept), noise, kept)
    torch.testing.assert_close(
        made.body[3], networks.statistics.denormalise("body", body[0]).float(), rtol=1e-4, atol=1e-4
    )


def test_results_do_not_depend_on_what_is_computed_beside_them(model, made):
    alone = model(tiny.voices(3.5), FAST, samples=1, draws=[pipeline.Draws.seeded(3, 1, 0)])
    torch.testing.assert_close(alone.body[0], made.body[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.face[0], made.face[1], rtol=1e-4, atol=1e-4)
    in_small_batches = model(
        tiny.voices(3.5), FAST.model_copy(update={"batch_size": 1}), samples=2, repeats=2, seed=3
    )
    torch.testing.assert_close(in_small_batches.face, made.face, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made.face[0], made.face[1])
    assert not torch.equal(made.keys[0], made.keys[2])


def test_one_part_alone_is_the_same_as_beside_the_other(model, made):
    face = model(tiny.voices(3.5), FAST.model_copy(update={"mode": "face"}), samples=2, repeats=2, seed=3)
    assert face.body is None
    assert face.keys is None
    torch.testing.assert_close(face.face, made.face, rtol=1e-4, atol=1e-4)


def test_given_key_poses_stand_in_for_the_guides(model, made):
    keys = torch.full((4, 104), torch.nan)
    keys[1] = torch.linspace(-0.1, 0.1, 104)
    some = model(tiny.voices(3.5), FAST.model_copy(update={"mode": "body"}), seed=3, keys=keys)
    torch.testing.assert_close(some.keys[0, 1], keys[1])
    torch.testing.assert_close(some.keys[0, [0, 2, 3]], made.keys[0, [0, 2, 3]])
    assert not torch.allclose(some.body[0], made.body[0], atol=1e-5)


def test_networks_with_the_same_front_end_hear_once(weights, monkeypatch):
    opened = open_weights(weights)
    shared = {name: tensor for name, tensor in opened.part("face").items() if name.startswith("front_end.")}
    parts = {
        name: {**part, **shared} if name in ("body", "guide") else part for name, part in opened.parts.items()
    }
    model = pipeline.load(Weights(parts, opened.config, "tiny", weights), "cpu")
    heard = []

    def counting(front_end, audio):
        heard.append(audio.shape[1])
        return conversation_features(front_end, audio)

    monkeypatch.setattr("avatarctl_audio2motion.clip.conversation_features", counting)
    model(tiny.voices(6.0), FAST)
    assert len(heard) == 2  # a window each, not a network each


def test_long_clips_have_no_step_where_windows_meet(model):
    audio = tiny.voices(24.0)
    made = model(audio, FAST.model_copy(update={"overlap": 60}))
    for motion in (made.face[0], made.body[0]):
        speed = motion.diff(dim=0).norm(dim=1)
        seams = torch.zeros(len(speed), dtype=torch.bool)
        for start in range(60, 600, 60):
            seams[start - 2 : start + 2] = True
        inside = speed[~seams]
        assert speed[seams].max() <= inside.max()
        assert speed[seams].median() <= 1.5 * inside.median()


def test_the_first_window_of_a_long_clip_is_not_changed_before_the_second_begins(model):
    options = FAST.model_copy(update={"overlap": 30})
    audio = tiny.voices(7.0)  # windows start at 0 and 90
    whole = model(audio, options)
    first = model(audio[: 120 * 1600], options)
    torch.testing.assert_close(whole.body[:, :90], first.body[:, :90], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole.body[:, 90:120], first.body[:, 90:120], atol=1e-5)


def test_windows_are_no_longer_than_the_networks_take(model):
    with pytest.raises(SettingsError, match="at most 120 frames"):
        model(tiny.voices(2.0), FAST.model_copy(update={"window": 150}))


def test_impossible_steps_are_answered_with_the_possible_ones(model):
    with pytest.raises(UsageError) as caught:
        model(tiny.voices(2.0), Sampling(steps="ddim300"))
    assert "250" in caught.value.hint


def test_sound_shorter_than_a_second_is_refused(model):
    with pytest.raises(DataError, match=r"0\.50 s"):
        model(tiny.voices(0.5), FAST)


def test_key_poses_of_another_width_are_refused(model):
    with pytest.raises(DataError, match=r"found \[4, 63\]"):
        model(tiny.voices(3.5), FAST, keys=torch.zeros(4, 63))


@pytest.mark.parametrize("parts", ["body", "body guide", "body codec"])
def test_a_body_without_guide_or_codec_needs_key_poses(tmp_path, parts):
    model = pipeline.load(tiny.write_weights(tmp_path / "w.safetensors", parts=parts), "cpu")
    options = FAST.model_copy(update={"mode": "body"})
    with pytest.raises(CheckpointError, match="needs key poses"):
        model(tiny.voices(2.0), options)
    made = model(tiny.voices(2.0), options, keys=torch.zeros(2, 104))
    assert made.keys.abs().max() == 0


def test_weights_without_a_part_say_so(tmp_path, caplog):
    model = pipeline.load(tiny.write_weights(tmp_path / "w.safetensors", parts="face"), "cpu")
    with pytest.raises(CheckpointError, match="'body'"):
        model(tiny.voices(2.0), FAST.model_copy(update={"mode": "body"}))
    made = model(tiny.voices(2.0), FAST)
    assert made.body is None
    assert "'body' network" in caplog.text


def test_networks_that_give_no_numbers_are_refused(weights):
    opened = open_weights(weights)
    broken = {**opened.part("face"), "frames_out.weight": opened.part("face")["frames_out.weight"] * 1e38}
    parts = {**opened.parts, "face": broken}
    with pytest.raises(CheckpointError, match="not finite"):
        pipeline.load(Weights(parts, opened.config, "tiny", weights), "cpu")(tiny.voices(1.0), FAST)


def test_statistics_are_looked_for_beside_the_weights(tmp_path, weights, monkeypatch):
    opened = open_weights(weights)
    parts = {name: part for name, part in opened.parts.items() if name != "stats"}
    monkeypatch.chdir(tmp_path)
    bare = Weights(parts, {**opened.config, "person": "PXB184"}, "tiny", tmp_path / "checkpoints")
    with pytest.raises(AssetError, match="dataset/PXB184"):
        pipeline.load(bare, "cpu")
    content = {name: tensor.numpy() for name, tensor in tiny.statistics().to_tensors().items()}
    (tmp_path / "dataset" / "PXB184").mkdir(parents=True)
    content["audio_std_flat"] = content.pop("audio_std") * 2
    torch.save(content, tmp_path / "dataset" / "PXB184" / "data_stats.pth")
    assert pipeline.load(bare, "cpu").networks.statistics.audio_std == pytest.approx(0.2)
    (tmp_path / "dataset" / "PXB184").rename(tmp_path / "dataset" / "RLW104")
    with pytest.raises(DataError, match="of RLW104, but"):
        pipeline.load(bare, "cpu", stats=tmp_path / "dataset" / "RLW104")


def test_networks_of_two_persons_are_not_mixed(tmp_path, weights):
    other = open_weights(tiny.write_weights(tmp_path / "other.safetensors", person="RLW104"))
    with pytest.raises(CheckpointError, match="RLW104"):
        pipeline.with_part(open_weights(weights), "face", other)


def test_generated_files_come_back_and_have_the_same_bytes(tmp_path, made):
    first, second = made.write(tmp_path / "a.npz"), made.write(tmp_path / "b.npz")
    assert first.read_bytes() == second.read_bytes()
    again = Generated.read(first)
    torch.testing.assert_close(again.face, made.face)
    assert again.samples == 2
    assert again.about == made.about
    assert [again.stem("motion", index) for index in range(3)] == [
        "motion", "motion_sample01_rep00", "motion_sample00_rep01",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"poses": np.zeros((2, 3))}, "expected face or body"),
        ({"body": np.zeros((1, 5, 63))}, r"found \[1, 5, 63\]"),
        ({"body": np.full((1, 5, 104), np.nan)}, "not finite"),
        ({"face": np.zeros((1, 5, 256)), "rest": np.zeros(256)}, r"rest: found \[256\], expected \[104\]"),
    ],
)
def test_other_files_are_no_generated_motion(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        Generated.read(tmp_path / "a.npz")


def test_audio_models_alone_lack_networks_before_they_lack_statistics(tmp_path):
    audio = Weights({"audio": {}}, {"networks": {"audio": {}}}, "tiny", tmp_path / "assets")
    with pytest.raises(CheckpointError, match="has no 'face' network"):
        pipeline.load(audio, "cpu")
