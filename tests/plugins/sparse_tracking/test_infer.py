import gzip
import json
import shutil

import numpy as np
import pytest
import torch
from avatarctl_sparse_tracking import export, infer, prepare_headset
from avatarctl_sparse_tracking.settings import Export, Infer
from avatarctl_sparse_tracking.settings_prepare import PrepareHeadset

from avatarctl.body import open_body
from avatarctl.cli.main import main
from avatarctl.errors import DataError, SettingsError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import Tracking, write_headset_log
from avatarctl.runs import Run, open_run

SECONDS = slice(0, 90)


@pytest.fixture(scope="module")
def motion() -> Motion:
    return clips()["walk_2"].motion()[SECONDS]


@pytest.fixture(scope="module")
def log(motion, tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "12345.txt"
    return write_headset_log(Tracking.from_motion(motion), path)


def inferred(recording, tiny_weights, folder, **settings) -> tuple[Motion, dict]:
    run = Run.standalone(folder)
    infer.run(Infer(recording=recording, weights=str(tiny_weights), **settings), run)
    return Motion.read(folder / "motion.npz"), json.loads((folder / "metrics.json").read_text())


def test_a_motion_and_its_headset_log_give_the_same_estimate(motion, log, tiny_weights, tmp_path):
    motion.write(tmp_path / "walk.npz")
    first, about = inferred(tmp_path / "walk.npz", tiny_weights, tmp_path / "a")
    second, about_log = inferred(log, tiny_weights, tmp_path / "b", skip_first=0, rate="native")
    assert about["input"] == "head and hands of a motion"
    assert about_log["input"] == "headset log"
    assert len(first) == len(motion) - 1
    # The log rounds places and quaternions to four decimals.
    torch.testing.assert_close(first.root, second.root, rtol=0, atol=2e-2)


def test_prepared_features_give_the_log_s_estimate(log, tiny_weights, tmp_path):
    settings = PrepareHeadset(recording=[log], skip_first=0, rate="native")
    prepare_headset.run(settings, Run.standalone(tmp_path / "prepared"))
    first, _ = inferred(log, tiny_weights, tmp_path / "a", skip_first=0, rate="native")
    second, about = inferred(tmp_path / "prepared" / "12345.npz", tiny_weights, tmp_path / "b")
    assert about["input"] == "prepared features"
    torch.testing.assert_close(first.poses, second.poses, rtol=0, atol=0)
    torch.testing.assert_close(first.root, second.root, rtol=0, atol=0)


def test_published_feature_files_are_read(log, tiny_weights, tmp_path):
    torch.save(Tracking.read(log, rate="native", skip_first=0).features(), tmp_path / "12345.pt")
    found, about = inferred(tmp_path / "12345.pt", tiny_weights, tmp_path / "a")
    assert about["input"] == "prepared features"
    assert len(found) == 89


def test_the_estimate_is_placed_by_the_tracked_head(motion, tiny_weights, tmp_path):
    motion.write(tmp_path / "walk.npz")
    found, _ = inferred(tmp_path / "walk.npz", tiny_weights, tmp_path / "a")
    head = Tracking.from_motion(motion).positions[1:, 0]
    placed = Tracking.from_motion(found).positions[:, 0]
    torch.testing.assert_close(placed, head, rtol=0, atol=1e-4)


def test_a_motion_of_another_rate_is_resampled(motion, tiny_weights, tmp_path):
    motion.resampled(30.0).write(tmp_path / "slow.npz")
    found, _ = inferred(tmp_path / "slow.npz", tiny_weights, tmp_path / "a")
    assert found.fps == 60.0
    assert abs(found.seconds - motion.seconds) < 0.06


def test_bvh_is_found_by_its_content(tiny_weights, tmp_path):
    with gzip.open(clips()["dab"].path) as file:
        (tmp_path / "dab.bvh").write_bytes(file.read())
    run = Run.standalone(tmp_path / "run")
    infer.run(Infer(recording=tmp_path / "dab.bvh", weights=str(tiny_weights)), run)
    assert run.metrics["input"] == "head and hands of a motion"


def test_seeded_noise_repeats_and_zero_noise_is_another(motion, tiny_weights, tmp_path):
    motion.write(tmp_path / "walk.npz")
    first, second, zero = (
        inferred(tmp_path / "walk.npz", tiny_weights, tmp_path / name, noise=noise)[0].poses
        for name, noise in (("a", "seeded"), ("b", "seeded"), ("c", "zero"))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, zero)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.txt", b"", "is empty"),
        ("broken.npz", b"PK\x03\x04 and no more", "not"),
        ("words.txt", b"FPS: fast;Headset", "expected"),
    ],
)
def test_broken_recordings_are_refused_with_their_name(name, content, words, tiny_weights, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        inferred(tmp_path / name, tiny_weights, tmp_path / "run")
    assert name in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_latest_is_the_newest_trained_refiner(motion, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))
    with open_run(verb="train", target="sparse", stage="refiner", settings={}) as trained:
        shutil.copy(tiny_weights, trained.folder / "weights.safetensors")
    motion.write(tmp_path / "walk.npz")
    recording, out = tmp_path / "walk.npz", tmp_path / "a"
    assert main(["infer", "sparse", str(recording), "--weights", "latest", "--out", str(out)]) == 0
    inputs = json.loads((out / "manifest.json").read_text())["inputs"]
    assert str(trained.folder / "weights.safetensors") in [item["path"] for item in inputs]


def test_embedded_clips_and_runs_are_recordings_by_their_name(motion, tmp_path, monkeypatch, tiny_weights):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))
    read = infer.read("walk_2", Infer(recording="walk_2"), open_body())
    assert (read.kind, len(read.sparse)) == (
        "head and hands of a motion",
        len(clips()["walk_2"].motion()) - 1,
    )
    with open_run(verb="infer", target="sparse", stage="", settings={}) as made:
        made.save("motion.npz", motion)
    again = Run.standalone(tmp_path / "again")
    infer.run(Infer(recording="run:infer-sparse/1", weights=str(tiny_weights)), again)
    assert again.manifest.inputs[0]["path"] == str(made.folder / "motion.npz")
    with pytest.raises(DataError, match=r"no headset log, no file of prepared features, .* mean walk_2\?"):
        inferred("wolk_2", tiny_weights, tmp_path / "none")


def test_a_motion_of_one_frame_is_refused(motion, tiny_weights, tmp_path):
    motion[:1].write(tmp_path / "still.npz")
    with pytest.raises(DataError, match="1 frames at 60 a second; expected at least 2"):
        inferred(tmp_path / "still.npz", tiny_weights, tmp_path / "run")


def test_recordings_that_are_one_frame_at_60_a_second_are_refused(motion, tiny_weights, tmp_path):
    motion[:3].replace(fps=240.0).write(tmp_path / "short.npz")
    write_headset_log(Tracking.from_motion(motion[:3].replace(fps=240.0)), tmp_path / "short.txt")
    for name in ("short.npz", "short.txt"):
        with pytest.raises(DataError, match="expected at least 2") as caught:
            inferred(tmp_path / name, tiny_weights, tmp_path / f"run {name}", skip_first=0)
        assert str(tmp_path / name) in caught.value.message


def test_export_takes_the_motion_of_a_run(motion, tmp_path):
    made = Run.standalone(tmp_path / "infer")
    made.save("motion.npz", motion)
    made.write_manifest()
    run = Run.standalone(tmp_path / "export")
    export.run(Export(source=tmp_path / "infer", to=["bvh", "pkl", "npz"]), run)
    names = {item["path"] for item in run.manifest.outputs}
    assert names == {"motion.bvh", "motion.pkl", "motion.npz"}
    content = np.load(tmp_path / "export" / "motion.pkl", allow_pickle=True)
    np.testing.assert_allclose(content["poses"], motion.body_poses().flatten(1).numpy(), atol=1e-6)
    assert open_body().is_open


def test_export_refuses_unknown_formats_and_runs_without_a_motion(tmp_path):
    Run.standalone(tmp_path / "empty")
    with pytest.raises(SettingsError, match="'bhv' is no format"):
        export.run(Export(source=tmp_path / "empty", to=["bhv"]), Run.standalone(tmp_path / "a"))
    with pytest.raises(DataError, match="this run made no motion"):
        export.run(Export(source=tmp_path / "empty", to=["bvh"]), Run.standalone(tmp_path / "b"))
