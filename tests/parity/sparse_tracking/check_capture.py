"""From a headset's log to the animation pickle, by the run functions of prepare, infer and export."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import golden
import numpy as np
import torch
from avatarctl_sparse_tracking import infer, pipeline, prepare_headset
from avatarctl_sparse_tracking.plugin import avatarctl_weights
from avatarctl_sparse_tracking.sampling import Starts
from avatarctl_sparse_tracking.settings import Infer
from avatarctl_sparse_tracking.settings_prepare import PrepareHeadset

from avatarctl.body import Bodies
from avatarctl.checkpoints.pickle_reader import load_pickle, load_torch
from avatarctl.export import formats
from avatarctl.motion import Motion
from avatarctl.runs.run import Run


def check_capture(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Features of the published file, 6D rotations, and what the pickle holds."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        prepared = PrepareHeadset(recording=[_log(case)], rate="native", layout=["official"])
        prepare_headset.run(prepared, Run.standalone(temporary / "headset", settings=prepared))
        (features,) = (load_torch(path) for path in (temporary / "headset").glob("*.pt"))

        weights = _weights(case, folder, temporary / "outputs")
        bodies = golden.recipes(folder).write_body_model(temporary / "bodies")
        body = Bodies().load("smplh", "male", bodies)
        sixd = pipeline.load(weights, body=body).sixd(features, _starts(case, folder, len(features)))

        settings = Infer(recording=_log(case), weights=str(weights), body_models=bodies, rate="native")
        run = Run.standalone(temporary / "infer", settings=settings)
        run.declared_weights = tuple(avatarctl_weights())
        stored = _starts(case, folder, len(features))
        with patch.object(pipeline.Pipeline, "seeded", lambda model, seed: stored):
            infer.run(settings, run)
        motion = Motion.read(temporary / "infer" / "motion.npz")
        animation = load_pickle(formats.write(motion, body, "pkl", temporary / "animation.pkl"))
    assert {key: value.dtype for key, value in animation.items()} == {
        "poses": np.float32,
        "trans": np.float32,
    }
    return {"features": features.numpy(), "output_6d": sixd.numpy(), **animation}


def _log(case: dict[str, Any]) -> Path:
    """The log beside the case: of its own name, else the one its words name."""
    path = Path(case["path"]).with_suffix(".txt")
    named = re.search(r"\S+\.txt", case["calls"])
    return path if path.is_file() or not named else path.with_name(named[0])


def _weights(case: dict[str, Any], folder: Path, outputs: Path) -> Path:
    """The published folder of weights, with the case's numbers in it."""
    made = golden.recipes(folder)
    for name, key in (("decoder", "diffusion_and_decoder"), ("refiner", "refiner")):
        manifest = folder / "manifests" / case["weights"][key]
        tensors = made.fill(manifest, case["weights"]["seed"])
        path = outputs / name / "best.pth.tar"
        path.parent.mkdir(parents=True)
        torch.save(made.nest(json.loads(manifest.read_text(encoding="utf-8")), tensors), path)
    return outputs


def _starts(case: dict[str, Any], folder: Path, frames: int) -> Starts:
    """The draws that the case's note names: for all windows, upper and then lower."""
    seed = re.search(r'value\("real\.upper".*?"embedding",(\d+)\)', case["note"])
    assert seed is not None, "the note names no draws"
    words = ((frames, 10, 384), "float32", "embedding", int(seed[1]))
    draws = [
        torch.from_numpy(golden.recipes(folder).value(f"real.{part}", *words)) for part in ("upper", "lower")
    ]
    return lambda first, last: (draws[0][first:last], draws[1][first:last])


KINDS = {"real_capture": check_capture}
INPUTS: dict[str, tuple[str, ...]] = {"real_capture": ()}
