import csv
import json
import math

import numpy as np
import pytest
import torch
from avatarctl_sparse_tracking import baselines, evaluate, evaluate_report
from avatarctl_sparse_tracking.evaluate import ESTIMATE, LAST_KNOWN, MEAN, Clip, Data, Method, Results
from avatarctl_sparse_tracking.features import FIELDS, rest_digest
from avatarctl_sparse_tracking.scores import ALL, FACTORS, WHOLE, Posture, raw_corrected, scores
from avatarctl_sparse_tracking.settings import Evaluate
from scipy.spatial.transform import Rotation

from avatarctl.body import open_body
from avatarctl.data import StoreWriter
from avatarctl.data.store import Store
from avatarctl.data.writer import write_part
from avatarctl.errors import CheckpointError, DataError
from avatarctl.runs import Run


def clip_of(store, frames: int | None = None) -> Clip:
    split = Store(store).split("test")
    clip = next(Data(open_body(), Store(store), split, 1).clips())
    return clip if frames is None else Clip(clip.name, clip.sparse[:frames], clip.truth[:frames])


def knowing() -> Method:
    """A method that knows the truth."""
    return Method(lambda clip: clip.sixd, baselines.t_pose(), open_body())


def store_of(path, protocol: str = "S1", split: str = "test", note: str = "", **clips: tuple[int, float]):
    """A store of still bodies with the open skeleton: for each clip its frames and its true rate."""
    body = open_body()
    about = {"family": "smplh", "gender": "male", "open": True, "rest": rest_digest(body.rest_joints)}
    with StoreWriter(path, FIELDS, {"body": about, "protocol": protocol, "note": note}) as writer:
        for name, (frames, rate) in clips.items():
            rows = {field: np.zeros((frames, width), np.float32) for field, width in FIELDS.items()}
            rows["sparse"][:, :6] = (1, 0, 0, 0, 0, 1)
            rows["poses"] = np.random.default_rng(0).normal(0, 0.1, rows["poses"].shape).astype(np.float32)
            words = {"names": name, "subset": name.partition("_")[0], "fps": rate}
            write_part(writer.part(name), rows, words)
        writer.finish({split: list(clips), "empty": []}, "inputs")
    return path


def test_true_rotations_placed_by_the_head_score_zero(small_store):
    clip = clip_of(small_store, 60)
    found = knowing().compare(clip, knowing().estimates(clip)).numbers[ESTIMATE]
    assert found["mpjpe"] < 1e-3  # cm; float32 chains
    assert found["geodesic"] < 0.05  # degrees; the published conversions are off by 1e-6 of the axis
    assert found["pred_jitter"] == pytest.approx(found["gt_jitter"], rel=0.2)


def test_last_known_pose_is_right_in_the_first_frame_and_baselines_keep_the_head(small_store):
    clip = clip_of(small_store, 120)
    motions = knowing().estimates(clip)
    truth = Posture.of(clip.truth, open_body()).places
    for name in (LAST_KNOWN, MEAN):
        places = Posture.of(motions[name], open_body()).places
        torch.testing.assert_close(places[:, 15], truth[:, 15], rtol=0, atol=1e-4)
        errors = (places - truth).norm(dim=-1).mean(-1)
        assert errors[-1] > 0.03  # the walker's legs moved on
        if name == LAST_KNOWN:
            assert errors[0] < 1e-4


def test_clips_of_few_frames_have_no_jitter(small_store):
    clip = clip_of(small_store, 3)
    found = knowing().compare(clip, knowing().estimates(clip)).numbers[ESTIMATE]
    assert math.isnan(found["pred_jitter"])
    assert math.isfinite(found["mpjve"])


def test_corrected_rotation_errors_are_angles_between_rotations():
    noise = torch.Generator().manual_seed(1)
    angles = [torch.randn(5, 22, 3, generator=noise) for _ in range(2)]
    places = torch.zeros(5, 22, 3)
    found = raw_corrected(Posture(places, angles[0]), Posture(places, angles[1]))
    first, second = (Rotation.from_rotvec(one.reshape(-1, 3).numpy()) for one in angles)
    between = (first.inv() * second).magnitude().reshape(5, 22)
    # 1e-6 is what the published conversion adds to the axis; float32 otherwise.
    assert found["mpjre"] == pytest.approx(between[:, 1:].mean(), abs=2e-5)
    assert found["rootre"] == pytest.approx(between[:, 0].mean(), abs=2e-5)


def test_corrected_velocities_take_the_rate_that_the_clip_has():
    noise = torch.Generator().manual_seed(1)
    first, second = (Posture(torch.randn(9, 22, 3, generator=noise), torch.zeros(9, 22, 3)) for _ in range(2))
    published, sound = scores(first, second), raw_corrected(first, second, fps=50.0)
    assert 100 * sound["mpjve"] == pytest.approx(published["mpjve"] * 50 / 60)
    assert sound["pred_jitter"] == pytest.approx(published["pred_jitter"] * (50 / 60) ** 3)


def test_mean_pose_comes_from_the_training_clips(small_store, monkeypatch):
    mean = baselines.mean_pose(Store(small_store))
    assert mean.source.endswith("training frames")
    root = mean.local[0]
    torch.testing.assert_close(root @ root.T, torch.eye(3), rtol=0, atol=1e-5)
    assert root[2, 1] > 0.9  # the body's y axis points up
    monkeypatch.setattr(baselines, "MOST", 100)
    thinned = baselines.mean_pose(Store(small_store))
    assert thinned.source != mean.source
    assert (thinned.local - mean.local).abs().max() < 0.05


def test_eval_writes_every_clip_and_the_means(small_store, tiny_weights, tmp_path):
    run = Run.standalone(tmp_path / "run")
    evaluate.run(Evaluate(store=small_store, weights=str(tiny_weights)), run)
    rows = list(csv.DictReader((tmp_path / "run" / "scores.csv").open()))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [row["clip"] for row in rows] == ["walk_2"]
    for name in FACTORS:
        assert float(rows[0][name]) == pytest.approx(metrics["scores"][name], rel=1e-6)
    for name, value in metrics["corrected"].items():
        assert float(rows[0][f"{name} corrected"]) == pytest.approx(value, rel=1e-6)
    assert metrics["protocol"] == "clips"
    assert metrics["body"] == "the open body"
    assert metrics["evaluated"] == "the whole chain"
    assert set(metrics["baselines"]) == {LAST_KNOWN, MEAN}
    assert {item["path"] for item in run.manifest.inputs} == {str(small_store), str(tiny_weights)}
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "SAGE Net, S1" in report
    assert "not comparable" in report
    assert "<td>MPJRE, deg</td>" in report  # published beside corrected
    assert report.count("<img") == 3  # joints, clips, frames; there is one subset only


def test_eval_is_the_same_for_the_same_seed(small_store, tiny_weights, tmp_path):
    settings = Evaluate(store=small_store, weights=str(tiny_weights))
    for name in ("a", "b"):
        evaluate.run(settings, Run.standalone(tmp_path / name, seed=3))
    assert (tmp_path / "a" / "scores.csv").read_bytes() == (tmp_path / "b" / "scores.csv").read_bytes()


def test_short_clips_are_named_and_published_beside_corrected(tmp_path, tiny_weights, caplog):
    store = store_of(tmp_path / "store", CMU_a=(3, 60.0), KIT_b=(30, 50.0))
    evaluate.run(Evaluate(store=store, weights=str(tiny_weights)), Run.standalone(tmp_path / "run"))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["skipped"] == {"pred_jitter": 1, "gt_jitter": 1}
    assert metrics["corrected"]["pred_jitter"] == pytest.approx(
        metrics["scores"]["pred_jitter"] * (50 / 60) ** 3
    )
    assert "fewer than 4 frames have no jitter" in caplog.text
    assert "2 of 536 clips of the split were scored" in caplog.text
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "makes published NaN" in report
    assert "takes every rate for 60" in report
    assert report.count("<img") == 4


def test_the_note_of_an_approximate_split_is_passed_on(tmp_path, tiny_weights, caplog):
    store = store_of(tmp_path / "store", "S3", note="S3 membership is approximate", CMU_a=(8, 60.0))
    settings = Evaluate(store=store, weights=str(tiny_weights), protocol="S3")
    evaluate.run(settings, Run.standalone(tmp_path / "run"))
    assert "S3 membership is approximate" in caplog.text
    assert "S3 membership is approximate" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_store_of_another_protocol_is_refused(tmp_path):
    settings = Evaluate(store=store_of(tmp_path / "store", "S2", a=(8, 60.0)), protocol="S1")
    with pytest.raises(DataError, match="protocol: prepared for 'S2', expected S1") as caught:
        evaluate.run(settings, Run.standalone(tmp_path / "run"))
    assert "--protocol S1" in caught.value.hint


def test_a_split_without_clips_lists_those_that_have_some(tmp_path):
    settings = Evaluate(store=store_of(tmp_path / "store", a=(8, 60.0)), split="empty")
    with pytest.raises(DataError, match="split 'empty' has no clips") as caught:
        evaluate.run(settings, Run.standalone(tmp_path / "run"))
    assert caught.value.hint == "choose from test"


def test_a_store_of_another_skeleton_is_refused(small_store, tmp_path, golden_recipes):
    golden_recipes.write_body_model(tmp_path / "bodies")
    settings = Evaluate(store=small_store, body_models=tmp_path / "bodies")
    with pytest.raises(DataError, match="prepared with the open body") as caught:
        evaluate.run(settings, Run.standalone(tmp_path / "run"))
    assert "--body-models" in caught.value.hint


def test_a_store_of_another_target_is_refused(tmp_path):
    with StoreWriter(tmp_path / "store", {"sparse": 54}, {"fps": 60}) as writer:
        write_part(writer.part("a"), {"sparse": np.ones((5, 54), np.float32)}, {"names": "a"})
        writer.finish({"test": ["a"]}, "inputs")
    with pytest.raises(
        DataError, match=r"no store of prepare amass: it lacks sixd, head, .*, attributes body"
    ):
        evaluate.run(Evaluate(store=tmp_path / "store"), Run.standalone(tmp_path / "run"))


def test_an_unknown_split_lists_what_there_is(small_store, tiny_weights, tmp_path):
    settings = Evaluate(store=small_store, weights=str(tiny_weights), split="valid")
    with pytest.raises(DataError, match="no split 'valid'; it has test, train"):
        evaluate.run(settings, Run.standalone(tmp_path / "run"))


def test_weights_without_a_needed_network_are_refused(small_store, tiny_weights, tmp_path):
    from avatarctl.checkpoints import open_weights

    whole = open_weights(tiny_weights)
    parts = {"refiner": whole.parts["refiner"]}
    path = type(whole)(parts, whole.config, whole.kind, whole.path).write(tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match="holds refiner; lacks upper diffusion, lower diffusion"):
        evaluate.run(Evaluate(store=small_store, weights=str(path)), Run.standalone(tmp_path / "run"))


def test_examples_are_the_worst_median_and_best_clip_and_the_worst_come_first(small_store):
    clip, results = clip_of(small_store, 30), Results()
    body = open_body()
    for angle in (0.3, 0.1, 0.2, 0.0, 0.4):
        method = Method(lambda one, angle=angle: one.sixd + angle, baselines.t_pose(), body)
        named = Clip(f"off_{angle}", clip.sparse, clip.truth)
        results.add(named, method.compare(named, method.estimates(named)))
    names = [row.name for row in evaluate_report.worst(results).rows]
    assert names == ["off_0.4", "off_0.3", "off_0.2", "off_0.1", "off_0.0"]
    titles = list(evaluate_report.examples(results))
    assert [title.partition(",")[0] for title in titles] == [
        "worst: off_0.4",
        "median: off_0.2",
        "best: off_0.0",
    ]
    joints = results.by_joint()[ESTIMATE]
    assert joints.shape == (len(ALL),)
    assert joints.mean() == pytest.approx(results.tallies[ESTIMATE].means()["mpjpe"], rel=1e-5)
    assert WHOLE.posed == ALL
