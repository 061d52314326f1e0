"""Generation for recorded conversations, from the official folders to results.npy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio2motion.check_data import FORMATS, found, value_in, write_person
from audio2motion.inputs import stats_file, write_official
from avatarctl_audio2motion import pipeline
from avatarctl_audio2motion.conversations.dataset import KEY_STEP, Conversations, open_conversations
from avatarctl_audio2motion.conversations.prepare import run as prepare
from avatarctl_audio2motion.conversations.stats import WIDTHS
from avatarctl_audio2motion.generating import of_recorded
from avatarctl_audio2motion.infer import published_folder, weights_of
from avatarctl_audio2motion.pipeline import Draws
from avatarctl_audio2motion.plugin import avatarctl_weights
from avatarctl_audio2motion.results import read_results
from avatarctl_audio2motion.settings import Infer
from avatarctl_audio2motion.settings_prepare import PrepareConversations
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.runs.run import Run

Arrays = dict[str, np.ndarray]
PARTS = {"face": "face", "pose": "body"}
"""The case's formats, and the parts that make them."""


def generate_end_to_end(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Face, then body, for the first chunks of the test split."""
    person = case["dataset_recipe"]["person"]
    made: Arrays = {}
    with tempfile.TemporaryDirectory() as name, working_in(Path(name)):
        raw = write_person(Path("dataset") / person, case, stats_file(folder, person))
        prepared = PrepareConversations(folder=raw, store=Path("store"))
        prepare(prepared, Run.standalone("prepared", settings=prepared))
        data = open_conversations(Path("store"))
        for form in FORMATS:
            place = Path(form)
            write_checkpoints(place / "checkpoints", form, case, folder)
            made |= {
                f"{form}_{what}": array for what, array in generated(case, arrays, data, form, place).items()
            }
    return made


def generated(case: dict[str, Any], arrays: Arrays, data: Conversations, form: str, place: Path) -> Arrays:
    """What one generation makes of the checkpoints below a folder."""
    inputs, kind = case["inputs"], FORMATS[form]
    samples, repeats = map(int, found(r"(\d+) samples x (\d+) repetitions", case["call"]))
    settings = Infer(
        sound=Path("unused"),
        weights=str(place / "checkpoints"),
        mode=PARTS[form],
        steps=found(r"(ddim\d+)", case["call"])[0],
        guidance=inputs["guidance"]["face"],
        body_guidance=inputs["guidance"]["pose"],
        top_p=inputs["top_p"],
        log_compression=inputs["log_compression"],
    )
    run = Run.standalone(place / "run", seed=int(found(r"numpy seed (\d+)", case["call"])[0]))
    run.declared_weights = tuple(avatarctl_weights())
    weights = weights_of(settings, run)
    model = pipeline.load(weights, "cpu", mode=settings.mode, log_compression=settings.log_compression)
    chunks = data.chunks("test", kind, inputs["curr_seq_length"], key_step=KEY_STEP if kind == "body" else 1)
    batch = chunks.batch(chunks.order(run.seed)[:samples].tolist())
    ranks = torch.from_numpy(arrays["pose_ranks"])
    noises = [
        torch.from_numpy(value_in(case, inputs["initial_noise"], FMT=form, C=WIDTHS[kind], **{"{r}": turn}))[
            :, :, 0
        ].mT  # [samples, T, C]
        for turn in range(repeats)
    ]

    def draws(sample: int, turn: int) -> Draws:
        noise = Noise.replay([noises[turn][sample]])
        return Draws(noise, noise, replayed(ranks.unflatten(0, (repeats, -1))[turn, :, sample]))

    results = of_recorded(model, batch, kind, settings, repeats=repeats, draws=draws)
    results = read_results(results.write(place / "results.npy"))
    name = np.array(published_folder(weights, settings.mode, run.seed))
    return of_results(case, arrays, form, results) | (
        {"dirname": name} if f"{form}_dirname" in arrays else {}
    )


def of_results(case: dict[str, Any], arrays: Arrays, form: str, results: Any) -> Arrays:
    """What the case keeps of a results file."""
    words = case["outputs"]
    steps = dict(
        zip(("face", "pose"), found(r"::(\d+) face, ::(\d+) pose", words["FMT_motions"]), strict=True)
    )
    every = int(found(r"every (\d+)th channel", words["FMT_gt"])[0])
    head = int(found(r"first (\d+) samples", words["FMT_audio_head"])[0])
    made = {
        "motions": results.motions[:, :: int(steps[form])].astype(np.float32),
        "gt": results.truth[: len(arrays[f"{form}_gt"]), ::every].astype(np.float32),
        "lengths": results.lengths,
        "audio_head": results.audio[:, :head],
        "audio_dtype": np.array(str(results.audio.dtype)),
        "motions_dtype": np.array(str(results.motions.dtype)),
    }
    if form == "face":
        return made | {"keyframes_shape": np.array(results.keyframes.shape)}
    return made | {"keyframes": results.keyframes}


def replayed(ranks: Tensor) -> Callable[[Tensor], Tensor]:
    """Draws that give stored ranks in their order, each of which must be one that can be drawn."""
    left: Iterator[Tensor] = iter(ranks)

    def draw(probabilities: Tensor) -> Tensor:
        rank = next(left)
        assert bool(probabilities[0, rank] > 0), f"rank {int(rank)} is outside the nucleus"
        return rank[None]

    return draw


def write_checkpoints(place: Path, form: str, case: dict[str, Any], folder: Path) -> None:
    """The official checkpoints that a format needs."""
    inputs = case["inputs"]
    for manifest in case["manifests"]:
        is_face = manifest.endswith("face")
        if is_face == (form == "face"):
            args = inputs.get(f"args_json_{form}") if manifest.startswith("diffusion") else None
            write_official(place, manifest, folder, case["weights_seed"], args)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, as a user of the published layout does."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


KINDS = {"generate_end_to_end": generate_end_to_end}
INPUTS = {"generate_end_to_end": ("pose_ranks",)}
