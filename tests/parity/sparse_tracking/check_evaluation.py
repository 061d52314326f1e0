"""One prepared sequence through the published evaluations, by the run functions of eval and its stages."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import golden
import numpy as np
import torch
from avatarctl_sparse_tracking import evaluate_stages, features, pipeline
from avatarctl_sparse_tracking.evaluate import Clip, Data, Method
from avatarctl_sparse_tracking.plugin import avatarctl_weights
from avatarctl_sparse_tracking.sampling import Starts
from avatarctl_sparse_tracking.settings import EvaluateDiffusion, EvaluateVqvae, EvaluateWhole
from avatarctl_sparse_tracking.training import half
from torch import Tensor

from avatarctl.body import Bodies
from avatarctl.data import StoreWriter
from avatarctl.data.writer import write_part
from avatarctl.runs.run import Run

Arrays = dict[str, np.ndarray]
STAGES: dict[str, tuple[Callable[..., None], Callable[..., Any], dict[str, str]]] = {
    "refiner": (evaluate_stages.run_refiner, EvaluateWhole, {}),
    "decoder": (evaluate_stages.run_decoder, EvaluateWhole, {}),
    "second": (evaluate_stages.run_diffusion, EvaluateDiffusion, {"part": "lower"}),
    "first": (evaluate_stages.run_diffusion, EvaluateDiffusion, {"part": "upper"}),
    "vqvae_upper": (evaluate_stages.run_vqvae, EvaluateVqvae, {"part": "upper"}),
    "vqvae_lower": (evaluate_stages.run_vqvae, EvaluateVqvae, {"part": "lower"}),
}
"""Words before the dot of a case's arrays: the run function, its settings, and which half."""


def check(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Rotations and metrics of every evaluation that the case has arrays of."""
    found: Arrays = {}
    frames = len(arrays["sparse"])
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        bodies = golden.recipes(folder).write_body_model(temporary / "bodies")
        common = {
            "weights": str(_weights(case, folder, temporary / "outputs")),
            "store": _store(arrays, bodies, temporary / "store"),
            "body_models": bodies,
        }
        for stage in sorted({key.partition(".")[0] for key in arrays if "." in key}):
            function, kind, more = STAGES[stage]
            settings = kind(**common, **more)
            run = Run.standalone(temporary / stage, settings=settings)
            run.declared_weights = tuple(avatarctl_weights())
            with (
                patch.object(pipeline, "seeded_starts", lambda *_: _starts(case, folder, frames)),
                patch.object(evaluate_stages, "seeded_starts", lambda *_: _starts(case, folder, frames)),
            ):
                output = _watched(function, settings, run)
            (row,) = csv.DictReader((run.folder / "scores.csv").open(encoding="utf-8"))
            is_half = stage.startswith("vqvae")
            order = case["vqvae_metric_order" if is_half else "metric_order"]
            found[f"{stage}.output"] = (half(output, more["part"]) if is_half else output).numpy()
            found[f"{stage}.metrics"] = np.array([float(row[key]) for key in order])
    return {key: value for key, value in found.items() if key in arrays}


def _watched(function: Callable[..., None], settings: Any, run: Run) -> Tensor:
    """Run an evaluation; gives the rotations of its one clip [N, 132], before they are posed."""
    made: list[Tensor] = []
    score = evaluate_stages.score

    def scored(run: Run, data: Data, method: Method, weights: str) -> None:
        def sixd(clip: Clip) -> Tensor:
            made.append(method.sixd(clip))
            return made[-1]

        score(run, data, replace(method, sixd=sixd), weights)

    with patch.object(evaluate_stages, "score", scored):
        function(settings, run)
    (output,) = made
    return output


def _weights(case: dict[str, Any], folder: Path, outputs: Path) -> Path:
    """The published folder of weights, with the case's numbers in it."""
    made = golden.recipes(folder)
    for name, manifest in case["weights"].items():
        if not str(manifest).endswith(".json"):
            continue
        words = folder / "manifests" / manifest
        path = outputs / name / "best.pth.tar"
        path.parent.mkdir(parents=True)
        tensors = made.fill(words, case["weights"]["seed"])
        torch.save(made.nest(json.loads(words.read_text(encoding="utf-8")), tensors), path)
    return outputs


def _store(arrays: Arrays, bodies: Path, place: Path) -> Path:
    """A store that holds the case's prepared sequence: the last N of N + 1 frames."""
    rest = Bodies().load("smplh", "male", bodies).rest_joints
    body = {"family": "smplh", "gender": "male", "open": False, "rest": features.rest_digest(rest)}
    fields = {
        "sparse": arrays["sparse"].reshape(len(arrays["sparse"]), -1),
        "sixd": arrays["rotation_local_full_gt_list"],
        "head": arrays["head_global_trans_list"][:, :3, 3],
        "poses": np.concatenate([arrays["root_orient"], arrays["pose_body"]], axis=1)[1:],
        "trans": arrays["trans"][1:],
    }
    with StoreWriter(place, features.FIELDS, {"body": body, "protocol": "golden", "note": ""}) as writer:
        about = {"names": "golden", "subset": "CMU_test", "fps": 60.0}
        write_part(writer.part("golden"), fields, about)
        writer.finish({"test": ["golden"]}, "golden")
    return place


def _starts(case: dict[str, Any], folder: Path, frames: int) -> Starts:
    """The draws that the case's note names: row i belongs to frame i."""
    drawn = golden.module(Path(__file__).with_name("check_networks.py")).drawn
    upper, lower = (drawn(case, folder, f"e2e.{part}", frames) for part in ("upper", "lower"))
    return lambda first, last: (upper[first:last], lower[first:last])


KINDS = {"evaluation_end_to_end": check}
INPUTS = {
    "evaluation_end_to_end": (
        "root_orient",
        "pose_body",
        "trans",
        "rotation_local_full_gt_list",
        "sparse",
        "head_global_trans_list",
    )
}
