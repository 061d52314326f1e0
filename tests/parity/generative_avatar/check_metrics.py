"""Statistics of features and the Frechet distance, in the published precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from generative_avatar import inputs

from avatarctl.metrics.fid import FeatureStats, fid


def check_metrics(
    words: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Both sets' statistics, their distance, and that of a set to itself."""
    found, stats = {}, []
    batch, most = map(int, inputs.told(words, r"batches of (\d+), max_items=(\d+)", 64, 300))
    for name in ("0", "1"):
        one = FeatureStats(most=most, precision="published")
        rows = arrays[f"feat{name}"]
        for first in range(0, len(rows), batch):
            one.add(rows[first : first + batch])
        found[f"mean{name}"], found[f"cov{name}"] = one.fitted()
        found[f"num{name}"] = np.array([one.count])
        stats.append(one)
    real, generated = stats
    exact = fid(*(_exact(arrays[f"feat{name}"][:most]) for name in ("0", "1")))
    published = fid(real, generated, "published")
    assert abs(exact - published) < 1e-3 * published, "float64 differs by about 1e-4"
    found["fid"] = np.array([published])
    found["fid_self"] = np.array([fid(real, real, "published")])
    return found


def _exact(rows: np.ndarray) -> FeatureStats:
    made = FeatureStats()
    made.add(rows)
    return made


KINDS = {"metrics": check_metrics}
INPUTS = {"metrics": ("feat?",)}
TOLERANCES = {
    "metrics": {
        "mean?": {"rtol": 1e-3, "atol": 1e-6},
        "cov?": {"rtol": 1e-3, "atol": 1e-6},
        "fid": {"rtol": 1e-3},
        "num?": {"rtol": 0.0, "atol": 0.0},
        "fid_self": {"rtol": 1e-3, "atol": 1e-5},
    }
}
