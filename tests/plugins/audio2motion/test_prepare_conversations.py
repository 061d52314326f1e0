"""`prepare conversations`: a person's published files to a store, and what is wrong with them."""

from __future__ import annotations

import csv
import json
import math
import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch
from avatarctl_audio2motion.conversations.dataset import open_conversations
from avatarctl_audio2motion.conversations.prepare import run as prepare
from avatarctl_audio2motion.conversations.scenes import person_of
from avatarctl_audio2motion.conversations.stats import Statistics, read_statistics
from avatarctl_audio2motion.settings_prepare import PrepareConversations

from avatarctl.cli.main import main
from avatarctl.errors import CheckpointError, DataError
from avatarctl.runs.run import Run

FRAMES = (60, 45, 50, 48, 40, 47, 46, 44)


@pytest.fixture(scope="session")
def person(make, tmp_path_factory):
    """Eight short scenes in the published layout."""
    return make.write_person(tmp_path_factory.mktemp("dataset") / "PXB184", FRAMES)


@pytest.fixture
def raw(person, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(person, tmp_path / "dataset" / "PXB184")


def prepared(raw, folder, **words):
    settings = PrepareConversations(folder=raw, store=folder / "store", **words)
    prepare(settings, Run.standalone(folder / "run", settings=settings))
    return open_conversations(folder / "store")


def outcomes(folder):
    with (folder / "run" / "scenes.csv").open(newline="") as file:
        return {row["scene"]: row for row in csv.DictReader(file)}


def inspected(capsys, *words):
    assert main(["inspect", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_says_what_a_persons_folder_holds(person, monkeypatch, capsys):
    monkeypatch.chdir(person.parent)
    found = inspected(capsys, "PXB184")
    unseen = sum(np.load(path).size for path in person.glob("*_missing_face_frames.npy"))
    assert found["kind"] == "data"
    assert found["facts"] == {
        "person": "PXB184",
        "scenes": 8,
        "length": "12.7 s, 380 frames at 30 a second",
        "face": f"seen in {100 * (1 - unseen / 380):.1f} % of the frames",
        "split train": "3.5 s; scenes: 2",
        "split val": "3.3 s; scenes: 2",
        "split test": "5.9 s; scenes: 4",
    }
    assert found["read_by"] == ["avatarctl prepare conversations PXB184"]


def test_inspect_says_what_a_persons_folder_lacks(raw, monkeypatch, capsys):
    monkeypatch.chdir(raw.parent)
    (raw / "data_stats.pth").unlink()
    (raw / "scene02_audio.wav").unlink()
    np.save(raw / "scene03_missing_face_frames.npy", np.arange(50))
    found = inspected(capsys, "PXB184")["facts"]
    assert found["missing"] == ["data_stats.pth", "scene02_audio.wav"]
    assert found["face never seen"] == ["scene03"]
    assert found["splits"].startswith("PXB184: 6 of 8 scenes can be used; with 2 for validation")
    (raw / "scene01_body_pose.npy").write_bytes(b"PK")
    assert main(["inspect", "PXB184"]) == 5
    assert "PXB184/scene01_body_pose.npy: not a readable .npy" in capsys.readouterr().err


def test_the_store_holds_the_files_numbers_in_the_published_splits(person, tmp_path):
    found = prepared(person, tmp_path)
    assert found.person == "PXB184"
    assert {split: found.store.split(split).names for split in ("train", "val", "test")} == {
        "train": ["scene01", "scene02"],
        "val": ["scene03", "scene04"],
        "test": ["scene05", "scene06", "scene07", "scene08"],
    }
    split = found.store.split("test")
    for index, name in enumerate(split.names):
        samples, _ = soundfile.read(person / f"{name}_audio.wav", dtype="int16")
        np.testing.assert_array_equal(
            split.clip("audio", index).reshape(-1, 2), samples.astype(np.float32) / 32768
        )
        pose = np.load(person / f"{name}_body_pose.npy")
        np.testing.assert_array_equal(np.delete(split.clip("pose", index), 3, 1), np.delete(pose, 3, 1))
        np.testing.assert_array_equal(
            split.clip("face", index), np.load(person / f"{name}_face_expression.npy")
        )
        missing = np.load(person / f"{name}_missing_face_frames.npy")
        np.testing.assert_array_equal(np.flatnonzero(split.clip("seen", index)[:, 0] == 0), missing)


@pytest.mark.parametrize(("name", "is_wrapped"), [("PXB184", True), ("RLW104", True), ("GQS883", False)])
def test_the_roots_turn_is_brought_to_one_turn_for_two_persons(raw, tmp_path, name, is_wrapped):
    path = raw / "scene01_body_pose.npy"
    pose = np.load(path)
    pose[:, 3] = np.linspace(-9, 9, len(pose))
    np.save(path, pose)
    folder = raw.rename(raw.with_name(name))
    found = prepared(folder, tmp_path).store.split("train").clip("pose", 0)[:, 3]
    wanted = np.mod(pose[:, 3].astype(np.float64), 2 * math.pi) if is_wrapped else pose[:, 3]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)  # float32 of numbers up to 12


def test_preparing_again_keeps_the_bytes_and_a_copy_elsewhere_gives_the_same(person, raw, tmp_path):
    def content(folder):
        return {path.name: path.read_bytes() for path in (folder / "store").iterdir() if path.is_file()}

    prepared(person, tmp_path / "one")
    first = content(tmp_path / "one")
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "one" / "store").iterdir()}
    prepared(person, tmp_path / "one")
    assert stamps == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "one" / "store").iterdir()}
    prepared(raw, tmp_path / "two")
    assert content(tmp_path / "two") == first


def test_another_store_is_not_overwritten_unless_told_to(person, tmp_path):
    prepared(person, tmp_path)
    with pytest.raises(DataError, match=r"made in another way \(held_out differ\)"):
        prepared(person, tmp_path, test=3)
    assert len(prepared(person, tmp_path, test=3, replace=True).store.split("test")) == 3


def test_voices_can_change_places_and_statistics_come_from_elsewhere(person, raw, tmp_path):
    (raw / "data_stats.pth").unlink()
    plain = prepared(person, tmp_path / "plain").store.split("train").clip("audio", 0).reshape(-1, 2)
    flipped = prepared(raw, tmp_path / "flipped", swap_voices=True, stats=person)
    np.testing.assert_array_equal(
        flipped.store.split("train").clip("audio", 0).reshape(-1, 2), plain[:, ::-1]
    )


def spoil_samples(change, rate=48000):
    def spoil(scene):
        samples, _ = soundfile.read(f"{scene}_audio.wav")
        soundfile.write(f"{scene}_audio.wav", change(samples), rate, subtype="FLOAT")

    return spoil


def spoil_array(end, change):
    def spoil(scene):
        path = f"{scene}_{end}.npy"
        np.save(path, change(np.load(path)), allow_pickle=True)

    return spoil


def with_nan(array, row=3):
    array = array.copy()
    array[row, 5] = np.nan
    return array


def with_nan_sample(samples):
    samples[7] = np.nan
    return samples


def cut(scene):
    path = scene.with_name(f"{scene.name}_body_pose.npy")
    path.write_bytes(path.read_bytes()[:4000])


def without(end):
    return lambda scene: scene.with_name(f"{scene.name}_{end}").unlink()


UNSEEN = "missing_face_frames"
FAULTS = {
    "short audio": (spoil_samples(lambda s: s[:-100]), "(60 frames of 1600): 100 too few, 0.002 s"),
    "long audio": (spoil_samples(lambda s: np.tile(s, (2, 1))), "96000 too many, 2.000 s"),
    "one channel": (spoil_samples(lambda s: s[:, 0]), "1 channel at 48000 Hz; expected 2"),
    "three channels": (spoil_samples(lambda s: s[:, [0, 1, 1]]), "3 channels at 48000 Hz; expected 2"),
    "other rate": (spoil_samples(lambda s: s, 44100), "2 channels at 44100 Hz"),
    "audio of NaN": (spoil_samples(with_nan_sample), "sample 7 of channel 0 (0.00 s) is not a number"),
    "no audio": (without("audio.wav"), "_audio.wav: not found"),
    "narrow pose": (spoil_array("body_pose", lambda a: a[:, :90]), "[60, 90]; expected numbers [T, 104]"),
    "pose of NaN": (spoil_array("body_pose", with_nan), "frame 3 holds numbers that are not finite"),
    "pickled pose": (spoil_array("body_pose", lambda a: np.array([{}], object)), "not a readable .npy"),
    "cut pose": (cut, "not a readable .npy"),
    "short face": (spoil_array("face_expression", lambda a: a[:-1]), "59 frames; the body has 60"),
    "no face": (without("face_expression.npy"), "_face_expression.npy: not found"),
    "unseen beyond": (spoil_array(UNSEEN, lambda a: np.array([60])), "60 to 60; the scene has 0 to 59"),
    "unseen halves": (spoil_array(UNSEEN, lambda a: np.array([0.5])), "expected a list of whole numbers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_scene_is_told_and_the_others_are_prepared(raw, tmp_path, fault):
    spoil, words = FAULTS[fault]
    spoil(raw / "scene01")
    with pytest.raises(DataError) as caught:
        prepared(raw, tmp_path, validation=1, test=2)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert "scene01" in caught.value.message
    assert outcomes(tmp_path)["scene01"]["status"] == "bad"
    found = prepared(raw, tmp_path, validation=1, test=2, skip_bad=True)
    assert found.store.split("train").names == ["scene02", "scene03", "scene04", "scene05"]


def test_a_scene_whose_face_is_never_seen_is_left_out_as_published(raw, tmp_path):
    np.save(raw / "scene01_missing_face_frames.npy", np.arange(FRAMES[0]))
    found = prepared(raw, tmp_path)
    assert found.store.split("train").names == ["scene02"]
    assert outcomes(tmp_path)["scene01"]["status"] == "face never seen"


def test_codes_of_unseen_frames_may_be_anything_and_the_list_may_be_empty(raw, tmp_path):
    spoil_array("face_expression", with_nan)(raw / "scene01")
    np.save(raw / "scene01_missing_face_frames.npy", np.array([3]))
    np.save(raw / "scene02_missing_face_frames.npy", np.array([]))
    split = prepared(raw, tmp_path).store.split("train")
    assert np.isfinite(split.field("face")).all()
    assert [int((split.clip("seen", scene) == 0).sum()) for scene in (0, 1)] == [1, 0]


def test_odd_scenes_are_used_and_told(raw, tmp_path):
    spoil_samples(lambda samples: 0 * samples)(raw / "scene01")
    spoil_samples(lambda samples: np.clip(1000 * samples, -1, 1))(raw / "scene02")
    spoil_array("body_pose", lambda pose: pose + 40)(raw / "scene03")
    spoil_samples(lambda samples: samples * [1, 0])(raw / "scene04")
    prepared(raw, tmp_path)
    notes = {name: row["note"] for name, row in outcomes(tmp_path).items()}
    assert notes["scene01"].startswith("the sound is silent")
    assert "clipped" in notes["scene02"]
    assert "are the statistics of another person?" in notes["scene03"]
    assert notes["scene04"] == "the partner (channel 1) is silent"
    assert notes["scene05"] == ""


def test_too_few_scenes_say_what_is_missing(raw, tmp_path, capsys):
    for number in range(1, 5):
        cut(raw / f"scene{number:02d}")
    words = [
        "prepare",
        "conversations",
        str(raw),
        "--store",
        str(tmp_path / "store"),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 5
    told = capsys.readouterr().err
    assert "4 of 8 scenes can be used" in told
    assert "lower --validation and --test" in told
    assert not (tmp_path / "store" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content.pop("pose_std"), "no pose_std"),
        (lambda content: content.update(code_mean=np.zeros(9)), "code_mean: found shape [9], expected [256]"),
        (lambda content: content["pose_std"].__setitem__(4, 0), "pose_std: expected numbers above 0"),
        (lambda content: content["audio_mean"].__setitem__(0, np.nan), "audio_mean: expected finite numbers"),
        (lambda content: content.update(pose_mean="text"), "pose_mean: holds no numbers"),
    ],
)
def test_broken_statistics_are_told(make, tmp_path, spoil, words):
    content = make.statistics()
    spoil(content)
    torch.save(content, tmp_path / "data_stats.pth")
    with pytest.raises(DataError) as caught:
        read_statistics(tmp_path)
    assert words in caught.value.message


def test_missing_cut_or_foreign_statistics_are_told(person, tmp_path):
    with pytest.raises(DataError, match="not found; a person's recordings come with it"):
        read_statistics(tmp_path)
    (tmp_path / "data_stats.pth").write_bytes((person / "data_stats.pth").read_bytes()[:3000])
    with pytest.raises(DataError, match="ends early"):
        read_statistics(tmp_path)
    (tmp_path / "data_stats.pth").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="holds a list, expected statistics"):
        read_statistics(tmp_path)


def test_statistics_survive_weights_and_stores_to_the_last_digit(person):
    statistics = read_statistics(person)
    for again in (
        Statistics.from_tensors(statistics.to_tensors(), "w"),
        Statistics.from_plain(json.loads(json.dumps(statistics.to_plain())), "s"),
    ):
        for name, tensor in statistics.to_tensors().items():
            torch.testing.assert_close(again.to_tensors()[name], tensor, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="no code_std"):
        Statistics.from_tensors({k: v for k, v in statistics.to_tensors().items() if k != "code_std"}, "w")


def test_normalising_is_that_of_the_text(make, person):
    content, statistics = make.statistics(), read_statistics(person)
    raw = torch.randn(3, 7, 104, generator=torch.Generator().manual_seed(0))
    wanted = (raw.double().numpy() - content["pose_mean"]) / content["pose_std"]
    np.testing.assert_allclose(statistics.normalise("body", raw), wanted, rtol=1e-6, atol=1e-6)
    back = statistics.denormalise("body", torch.from_numpy(wanted))
    np.testing.assert_allclose(back, raw, rtol=0, atol=1e-12)
    audio = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    wanted = (audio.numpy() - content["audio_mean"]) / content["audio_std_flat"]
    np.testing.assert_allclose(statistics.normalise_audio(audio), wanted, rtol=1e-6)
    torch.testing.assert_close(statistics.denormalise_audio(statistics.normalise_audio(audio)), audio)


def test_the_person_is_found_in_the_path_as_published(tmp_path):
    assert person_of(tmp_path / "RLW104" / "scenes") == "RLW104"
    assert person_of(tmp_path / "somebody") == "somebody"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nothing"], "no such folder"),
        (["."], "no scene in it"),
        (["open", "--swap-voices"], "goes with a folder of recordings only"),
    ],
)
def test_wrong_folders_are_told(tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "conversations", *words, "--out", "run"]) in (3, 5)
    assert told in capsys.readouterr().err
