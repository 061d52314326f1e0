"""Motion for recorded conversations, as the published generation makes it for the test split (spec 6.5)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from avatarctl_audio2motion.clip import Progress
from avatarctl_audio2motion.conversations.dataset import Batch
from avatarctl_audio2motion.conversations.stats import Kind
from avatarctl_audio2motion.pipeline import SEED, Draws, Pipeline
from avatarctl_audio2motion.results import Results
from avatarctl_audio2motion.settings import Sampling


def of_recorded(
    model: Pipeline,
    batch: Batch,
    kind: Kind,
    options: Sampling | None = None,
    *,
    repeats: int = 1,
    draws: Callable[[int, int], Draws] | None = None,
    has_true_keys: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Generated motion beside what was recorded; each recording is a sample.

    Args:
        batch: Recordings of the same length [B, T, C], normalised with the model's statistics.
        repeats: Repetitions of each; results are ordered by repetition, then sample.
        draws: Of a sample and a repetition; left out: from the seed.
        has_true_keys: The body is told the recorded key poses in place of the guide's.
        progress: Wraps the network's calls of each recording.
    """
    statistics, chosen = model.networks.statistics, (options or Sampling()).model_copy(update={"mode": kind})
    of = draws or (lambda sample, turn: Draws.seeded(SEED, sample, turn))
    audio = statistics.denormalise_audio(batch.audio)
    motions, keys = [], []
    is_told = has_true_keys and kind == "body"
    for sample, voices in enumerate(audio):
        told = statistics.denormalise("body", batch.keys[sample]).float() if is_told else None
        made = model(
            voices,
            chosen,
            repeats=repeats,
            draws=[of(sample, turn) for turn in range(repeats)],
            keys=told,
            progress=progress,
        )
        motion = made.face if kind == "face" else made.body
        assert motion is not None
        motions.append(motion)
        # parity: the face's key frames are the recorded motion, all of it, which no network looks at.
        true = statistics.denormalise(kind, batch.keys[sample]).float().expand(repeats, -1, -1)
        keys.append(true if made.keys is None else made.keys)
    return Results.of(
        torch.stack(motions, dim=1).flatten(0, 1),
        audio.repeat(repeats, 1, 1),
        truth=statistics.denormalise(kind, batch.motion).repeat(repeats, 1, 1),
        keyframes=torch.stack(keys, dim=1).flatten(0, 1),
        lengths=batch.lengths.repeat(repeats),
    )
