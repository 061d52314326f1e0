"""`prepare headset`: a log to features, native as published and resampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_sparse_tracking.features import read_recording
from avatarctl_sparse_tracking.prepare import run_headset
from avatarctl_sparse_tracking.settings_prepare import PrepareHeadset

from avatarctl.cli.main import main
from avatarctl.errors import DataError
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
    assert "skip_first below" in " ".join(capsys.readouterr().err.split())


def test_two_logs_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    other = tmp_path / "a" / "real_capture.old.txt"
    other.write_bytes(LOG.read_bytes())

    with pytest.raises(DataError, match="two logs are named 'real_capture'"):
        prepare(tmp_path / "run", recording=[LOG, other])


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
