"""The published evaluation's numbers of generated motion (spec 8.1), and sound ones where they are flawed.

Letters: R repetitions, N samples, C dimensions, T frames. Everything is computed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.metrics import Column
from avatarctl.metrics.frechet import frechet_distance
from avatarctl_audio2motion.conversations.stats import POSE
from avatarctl_audio2motion.results import Results

PAIRS = 10_000
"""Random pairs of frames for Div_g."""
TURNS = slice(3, 6)
"""Columns of a body pose that are angles of the root, which may jump by a whole turn."""
COLUMNS = (
    Column("fd_g", "FD_g", decimals=3),
    Column("fd_k", "FD_k", decimals=4),
    Column("div_g", "Div_g", decimals=3),
    Column("div_k", "Div_k", decimals=4),
    Column("cross_var", "Div_sample", decimals=4),
)
"""The columns of the paper's tables, in squares of the raw parameters' units; Div_g in these units."""
OURS = (
    Column("error", "error", decimals=3),
    Column("error_best", "best of R", decimals=3),
)
"""Distance from the recorded motion, a frame; ours, not published."""


@dataclass(frozen=True)
class Motions:
    """What is scored, raw: `predicted` and the recorded `truth` [R, N, C, T], and true `lengths` [R, N]."""

    predicted: Tensor
    truth: Tensor
    lengths: Tensor

    @staticmethod
    def of(results: Results, repeats: int) -> Motions:
        """The motions of a results file, whose repetitions follow each other.

        Raises:
            DataError: There is no recorded truth, or their number is no multiple of the repetitions.
        """
        if results.truth is None:
            raise DataError(
                "the results have no recorded motion (gt) to compare with",
                hint="generate them for recorded scenes: avatarctl eval audio2motion --store STORE",
            )
        count = len(results.motions)
        if count % repeats:
            raise DataError(
                f"{count} motions cannot be {repeats} repetitions of some samples",
                hint="say how many repetitions there are with --repeats",
            )
        shape = (repeats, count // repeats)
        predicted, truth = (
            # One order in memory, which sums follow: a file's arrays score as those that were written to it.
            torch.from_numpy(values)[:, :, 0].double().contiguous().unflatten(0, shape)
            for values in (results.motions, results.truth)
        )
        return Motions(predicted, truth, torch.from_numpy(results.lengths).unflatten(0, shape))


def published(motions: Motions, noise: Noise, pairs: int = PAIRS) -> dict[str, float]:
    """The five numbers as the published script computes them: all T frames, the truth in each repetition.

    Args:
        noise: Two permutations of all predicted frames.
        pairs: Pairs of frames for Div_g; as many as there are frames where these are fewer.
    """
    predicted, truth = motions.predicted, motions.truth
    return {
        **diversity(predicted, noise, pairs),
        "cross_var": cross_variance(predicted),
        "fd_g": frechet_distance(rows(predicted), rows(truth)),
        "fd_k": frechet_distance(rows(predicted.diff(dim=-1)), rows(truth.diff(dim=-1))),
    }


def diversity(motion: Tensor, noise: Noise, pairs: int = PAIRS) -> dict[str, float]:
    """Div_g and Div_k of motion [R, N, C, T]; arguments as `published`."""
    div_k = float(motion.var(-1, correction=0).mean())
    return {"div_g": pair_distance(rows(motion), noise, pairs), "div_k": div_k}


def corrected(motions: Motions, noise: Noise, pairs: int = PAIRS) -> dict[str, float]:
    """The same without the flaws: frames inside the lengths only, the truth once, the root's turn unwrapped.

    Arguments as `published`.
    """
    lengths = motions.lengths
    predicted, truth = _inside(motions.predicted, lengths), _inside(motions.truth[:1], lengths[:1])
    count = len(truth)
    same = [torch.stack(predicted[sample::count]).var(0, correction=0) for sample in range(count)]
    moves, true_moves = ([motion.diff() for motion in some] for some in (predicted, truth))
    return {
        "cross_var": float(torch.cat(same, 1).mean()) if len(lengths) > 1 else math.nan,
        "div_g": pair_distance(torch.cat(predicted, 1).T, noise, pairs),
        "div_k": float(torch.stack([motion.var(-1, correction=0).mean() for motion in predicted]).mean()),
        "fd_g": frechet_distance(torch.cat(predicted, 1).T, torch.cat(truth, 1).T),
        "fd_k": frechet_distance(torch.cat(moves, 1).T, torch.cat(true_moves, 1).T),
    }


def _inside(motion: Tensor, lengths: Tensor) -> list[Tensor]:
    """The motions of [R, N, C, T] without what follows their ends, and without whole turns: [C, T'] each."""
    found = [one[:, :length] for one, length in zip(motion.flatten(0, 1), lengths.flatten(), strict=True)]
    return [unwrapped(one) for one in found] if motion.shape[2] == POSE else found


def unwrapped(pose: Tensor) -> Tensor:
    """A body's motion [104, T] whose root angles do not jump by whole turns from frame to frame."""
    turns = torch.round(pose[TURNS].diff() / (2 * math.pi)).cumsum(1)
    smooth = pose.clone()
    smooth[TURNS, 1:] -= 2 * math.pi * turns
    return smooth


def errors(motions: Motions) -> dict[str, float]:
    """Mean distance of a frame from the recorded one, over all repetitions and by the best of each sample."""
    away = (motions.predicted - motions.truth).norm(dim=2)  # [R, N, T]
    inside = torch.arange(away.shape[-1]) < motions.lengths[..., None]
    means = (away * inside).sum(-1) / inside.sum(-1)  # [R, N]
    return {"error": float(means.mean()), "error_best": float(means.amin(0).mean())}


def cross_variance(predicted: Tensor) -> float:
    """Population variance over the repetitions of each number, mean over all; NaN for one repetition."""
    return float(predicted.var(0, correction=0).mean()) if len(predicted) > 1 else math.nan


def pair_distance(frames: Tensor, noise: Noise, pairs: int = PAIRS) -> float:
    """Mean distance of random pairs of frames [F, C]; each is drawn at most twice, once on each side."""
    first, second = (noise.permutation(len(frames))[:pairs] for _ in range(2))
    return float((frames[first] - frames[second]).norm(dim=-1).mean())


def rows(motion: Tensor) -> Tensor:
    """The frames of [R, N, C, T], sample by sample: [R N T, C]."""
    return motion.movedim(2, -1).flatten(0, -2)
