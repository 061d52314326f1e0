"""`prepare headset`: a log to findings, a report and features, native as published and resampled."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_sparse_tracking import infer
from avatarctl_sparse_tracking.features import read_recording
from avatarctl_sparse_tracking.prepare_headset import run as run_headset
from avatarctl_sparse_tracking.settings import Infer
from avatarctl_sparse_tracking.settings_prepare import PrepareHeadset

from avatarctl.body import open_body
from avatarctl.cli.main import main
from avatarctl.errors import DataError
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import Tracking, write_headset_log
from avatarctl.runs.run import Run

CASES = Path(__file__).resolve().parents[3] / "fixtures" / "parity" / "sparse-tracking" / "cases"
LOG = CASES / "real_capture.txt"


def prepare(folder, **words):
    settings = PrepareHeadset(**({"recording": [LOG]} | words))
    run = Run.standalone(folder, settings=settings)
    run_headset(settings, run)
    return run


def test_native_features_are_the_published_ones_in_both_layouts(tmp_path):
    prepare(tmp_path, rate="native", layout=["features", "official"])

    with np.load(CASES / "real_capture.npz") as case:
        wanted = case["features"]
    for name, fps in (("real_capture.npz", 72.0), ("real_capture.pt", 60.0)):
        sparse, found = read_recording(tmp_path / name)
        assert sparse.dtype == torch.float64
        np.testing.assert_allclose(sparse, wanted, rtol=2e-3, atol=5e-4)  # the case's tolerance
        assert found == pytest.approx(fps, abs=0.5)


def test_resampling_is_the_default_and_keeps_the_duration(tmp_path):
    run = prepare(tmp_path)

    sparse, fps = read_recording(tmp_path / "real_capture.npz")
    native = prepare(tmp_path / "native", rate="native").metrics["rows"][0]
    assert fps == 60.0
    assert len(sparse) / fps == pytest.approx(native["seconds"], abs=1 / 60)
    assert run.metrics["rows"][0]["frames"] == len(sparse)


def test_the_command_writes_beside_its_manifest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "mein log ä.v2.txt"
    log.write_bytes(LOG.read_bytes())

    assert main(["prepare", "headset", str(log), "--skip-first", "50", "--out", "features"]) == 0

    assert (tmp_path / "features" / "mein log ä.npz").is_file()
    assert (tmp_path / "features" / "manifest.json").is_file()
    assert main(["prepare", "headset", str(log), "--skip-first", "500"]) == 5
    assert "drop fewer frames: --skip-first" in " ".join(capsys.readouterr().err.split())


def test_infer_takes_the_run_whose_only_features_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "headset", str(LOG)]) == 0
    for name in ("run:prepare-headset/1", "runs/prepare-headset/001"):
        assert main(["infer", "sparse", name, "--out", "body"]) == 0
        assert json.loads(Path("body/metrics.json").read_text())["input"] == "prepared features"
        Path("body").rename(f"body of {Path(name).name}")
    assert main(["export", "motion", "run:prepare-headset/1"]) == 5  # features are no motion
    assert "no motion.npz in it; there is" in " ".join(capsys.readouterr().err.split())
    assert main(["prepare", "headset", str(LOG), "--layout", "features,official", "--out", "both ways"]) == 0
    capsys.readouterr()
    assert main(["infer", "sparse", "both ways"]) == 5
    hint = "name one: 'both ways/real_capture.npz' 'both ways/real_capture.pt'"
    assert hint in " ".join(capsys.readouterr().err.split())


def test_two_logs_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    other = tmp_path / "a" / "real_capture.old.txt"
    other.write_bytes(LOG.read_bytes())

    with pytest.raises(DataError, match="two logs are named 'real_capture'"):
        prepare(tmp_path / "run", recording=[LOG, other])


@pytest.fixture
def swapped(tmp_path):
    """A recording with the controllers in the wrong hands."""
    tracking = Tracking.from_motion(clips()["walk_1"].motion())
    path = write_headset_log(tracking, tmp_path / "swapped.txt")
    words = path.read_text().replace("Left", "Other").replace("Right", "Left").replace("Other", "Right")
    order = [
        ";".join([f[0], *f[1:3], *f[5:7], *f[3:5]])
        for f in (line.split(";") for line in words.splitlines() if line)
    ]
    path.write_text("\n".join(order))
    return path


def test_findings_are_told_with_what_mends_them(swapped, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    assert main(["prepare", "headset", str(swapped), "--skip-first", "10", "--out", "a"]) == 0

    told = capsys.readouterr()
    assert "--swap-hands, or --axes gltf" in " ".join(told.out.split())
    assert f"prepare headset {swapped} --skip-first 10 --swap-hands" in " ".join(told.err.split())
    page = (tmp_path / "a" / "report.html").read_text()
    assert f"avatarctl infer sparse {swapped} --skip-first 10 --swap-hands --video" in page
    assert "data:image/png" in page
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["findings"]["swapped.txt"][0]["options"] == {"swap_hands": True}

    assert main(["prepare", "headset", str(swapped), "--skip-first", "10", "--swap-hands", "--out", "b"]) == 0
    assert "serious" not in capsys.readouterr().out


def test_infer_warns_of_what_is_serious_in_one_line(swapped, caplog):
    settings = Infer(recording=swapped, skip_first=10)
    infer.read(swapped, settings, open_body())
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "--swap-hands" in warnings[0]
    assert warnings[1].endswith(f"avatarctl prepare headset {swapped} --skip-first 10")


def test_options_of_logs_are_not_ignored_in_silence(tmp_path, caplog):
    clip = clips()["walk_1"].motion()[:4].write(tmp_path / "walk.npz")
    infer.read(clip, Infer(recording=clip), open_body())
    assert "change nothing" not in caplog.text
    infer.read(clip, Infer(recording=clip, swap_hands=True, axes="openxr"), open_body())
    assert "change nothing: --axes openxr --swap-hands" in caplog.text


def test_lost_hands_are_refused_or_filled(tmp_path):
    tracking = Tracking.from_motion(clips()["walk_1"].motion())
    path = write_headset_log(tracking, tmp_path / "lost.txt")
    lines = path.read_text().split("\n\n")
    gone = r"LeftController-Rotation: (0, 0, 0, 0)"
    lines[60:80] = [re.sub(r"LeftController-Rotation: \([^)]*\)", gone, line) for line in lines[60:80]]
    path.write_text("\n\n".join(lines))

    with pytest.raises(DataError, match="line 121: LeftController-Rotation") as caught:
        prepare(tmp_path / "run", recording=[path], skip_first=0)
    assert "--lost-hands" in caught.value.hint
    assert (tmp_path / "run" / "report.html").is_file()
    good = write_headset_log(tracking, tmp_path / "good.txt")
    with pytest.raises(DataError, match=r"lost\.txt: line 121"):
        prepare(tmp_path / "both", recording=[path, good], skip_first=0)
    assert len(read_recording(tmp_path / "both" / "good.npz")[0]) == len(tracking) - 1
    prepare(tmp_path / "filled", recording=[path], skip_first=0, lost_hands="interpolate")
    sparse, _ = read_recording(tmp_path / "filled" / "lost.npz")
    hand = sparse[:, 30:33]  # the left controller's place
    assert (hand - tracking.positions[1:, 1]).norm(dim=-1).max() < 0.4


def test_centimetres_are_refused_with_the_option_that_reads_them(tmp_path):
    tracking = Tracking.from_motion(clips()["walk_1"].motion())
    tracking = replace(tracking, positions=100 * tracking.positions)
    path = write_headset_log(tracking, tmp_path / "cm.txt")
    with pytest.raises(DataError, match=r"Headset-Position: found .* metres; expected up to 100") as caught:
        prepare(tmp_path / "run", recording=[path])
    assert "--units cm" in caught.value.hint
    prepare(tmp_path / "mended", recording=[path], units="cm")


def test_motions_are_sent_to_infer(tmp_path):
    path = tmp_path / "walk.bvh"
    path.write_text("HIERARCHY\n")
    with pytest.raises(DataError, match="no headset log") as caught:
        prepare(tmp_path / "run", recording=[path])
    assert caught.value.hint == f"avatarctl infer sparse {path}"


@pytest.mark.parametrize(
    ("name", "arrays", "reason"),
    [
        ("a.npz", {"sparse": np.zeros((4, 54))}, "no tracker features"),
        ("a.npz", {"sparse": np.zeros((4, 53)), "fps": 60.0}, "sparse: expected numbers \\[N, 54\\]"),
        ("a.npz", {"sparse": np.zeros((0, 54)), "fps": 60.0}, "no frames"),
        ("a.npz", {"sparse": np.full((4, 54), np.nan), "fps": 60.0}, "not finite"),
        ("a.npz", {"sparse": np.zeros((4, 54)), "fps": 0.0}, "fps: found 0; expected 1 to 1000"),
        (
            "a.npz",
            {"sparse": np.full((4, 54), 1e30), "fps": 60.0},
            "sparse: frame 0: .* beyond 100000 metres",
        ),
        ("a.pt", torch.zeros(4, 53), "sparse: expected numbers"),
        ("a.pt", torch.zeros(4, 54, dtype=torch.bool), "sparse: expected numbers"),
        ("a.pt", {"sparse": torch.zeros(4, 54)}, "sparse: expected numbers"),
    ],
)
def test_files_that_hold_no_features_are_refused(tmp_path, name, arrays, reason):
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(arrays, path)
    else:
        np.savez(path, **arrays)

    with pytest.raises(DataError, match=reason) as caught:
        read_recording(path)
    assert "avatarctl prepare headset" in caught.value.hint


def test_features_in_the_other_byte_order_are_read(tmp_path):
    rows = np.random.default_rng(0).normal(size=(4, 54))
    np.savez(tmp_path / "a.npz", sparse=rows.astype(">f8"), fps=60.0)
    np.testing.assert_array_equal(read_recording(tmp_path / "a.npz")[0].numpy(), rows)


def test_broken_files_of_features_are_refused(tmp_path):
    for name in ("a.pt", "a.npz"):
        (tmp_path / name).write_bytes(b"nothing that anyone wrote")
        with pytest.raises(DataError, match=name):
            read_recording(tmp_path / name)
