"""The embedded weights: their size, what is in them, and that they beat poses that know nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from avatarctl_sparse_tracking import amass, demo, pipeline
from avatarctl_sparse_tracking.evaluate import ESTIMATE, LAST_KNOWN, MEAN, Method, Results
from avatarctl_sparse_tracking.plugin import avatarctl_weights

from avatarctl.body import open_body
from avatarctl.checkpoints import open_weights
from avatarctl.motion.clips import clips

FILE = Path(next(one.path for one in avatarctl_weights() if one.name == "open-small"))


@pytest.fixture(scope="module")
def method():
    body = open_body()
    return Method.by(pipeline.load(FILE, body=body), demo.training_mean(body), body)


def test_the_file_is_small_and_complete():
    weights = open_weights(FILE)

    assert FILE.stat().st_size <= 16 << 20
    assert set(weights.parts) == {"upper", "lower", "decoder", "refiner"}
    assert all(t.dtype == torch.float16 for part in weights.parts.values() for t in part.values())


def test_no_take_is_trained_on_and_held_out():
    takes = {
        name: {clips()[clip].take for clip in amass.read_list(f"open_{name}")} for name in ("train", "test")
    }

    assert not takes["train"] & takes["test"]
    assert set(amass.read_list("open_train") + amass.read_list("open_test")) == set(clips())


def test_held_out_clips_are_closer_on_average_than_both_baselines(method):
    results = Results()

    for clip in amass.read_list("open_test"):
        demo.show(clip, method, results)

    found = {name: tally.means()["mpjpe"] for name, tally in results.tallies.items()}
    assert found[ESTIMATE] < 0.7 * min(found[LAST_KNOWN], found[MEAN])
