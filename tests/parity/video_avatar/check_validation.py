"""The golden case of validation and test pictures with their metrics (spec 6, 7.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from avatarctl_video_avatar import pictures, pipeline
from avatarctl_video_avatar.items import Items
from avatarctl_video_avatar.model.rendering import picture
from avatarctl_video_avatar.scores import scores
from avatarctl_video_avatar.settings_model import Rendering
from video_avatar import inputs, sequence

from avatarctl.device import Noise
from avatarctl.metrics.image import lpips_of

STEP = 70000


def validation(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """Pictures of sample 4 by the pipeline that commands use, with the stored jitter."""
    config, data = case["config"], sequence.prepared(folder)
    weights = inputs.official(inputs.manifest_of(case["weights"]), folder, STEP)
    rendering = Rendering(n_samples=config["n_samples"])
    person = pipeline.load(
        weights, data, rendering=rendering, body_models=inputs.body_models(folder), device="cpu"
    )
    items = Items(
        data, ["0", "1", "2"], slice(0, -1), person.rendering, person.body, res_level=config["res_level"]
    )
    sample = items.picture(4)
    draws = [arrays["t_rand_chunk0"], arrays["t_rand_chunk1"]]
    found = picture(person.scene(sample.pose), sample, Noise.replay(draws), chunk=config["chunk of rays"])
    predicted, truth = pictures.shown(found), pictures.truth(sample)
    cropped = [pixels[pictures.box_of(sample)] for pixels in (predicted, truth)]
    numbers = scores(found, sample, lpips_of(weights))
    made = {
        "cropped_images:pred_image": cropped[0],
        "cropped_images:GT_image": cropped[1],
        "validation_samples:pred_image": predicted,
        "validation_samples:GT_image": truth,
        "validation_samples:normal_map": pictures.published_normals(found, sample, is_test=False),
        "test_samples:pred_image": predicted,
        "test_samples:normal_map": pictures.published_normals(found, sample, is_test=True),
    }
    values = {name: pixels.numpy() for name, pixels in made.items()}
    return values | {f"metric_{name}": np.float64(value) for name, value in numbers.items()}


KINDS = {"validation": validation}
INPUTS = {"validation": ("t_rand_*",)}
TOLERANCES = {"validation": {"*_images:*": {"atol": 0.02}, "*_samples:*": {"atol": 0.02}}}
