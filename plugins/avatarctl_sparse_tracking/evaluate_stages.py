"""Single stages scored as published (spec 7.2): VQ-VAE, diffusion, decoder, refiner."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avatarctl.body.tables import NUM_BODY
from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.official import joined
from avatarctl_sparse_tracking import baselines, pipeline
from avatarctl_sparse_tracking.data import Batch
from avatarctl_sparse_tracking.evaluate import Clip, Data, Method, score
from avatarctl_sparse_tracking.heading import heading, turn_root
from avatarctl_sparse_tracking.inspecting import require
from avatarctl_sparse_tracking.model import Vqvae, frame_of, load
from avatarctl_sparse_tracking.model.inference import FastDiffusion
from avatarctl_sparse_tracking.model.vqvae import HALVES
from avatarctl_sparse_tracking.sampling import sample, seeded_starts
from avatarctl_sparse_tracking.scores import AUTOENCODED, UPPER_HALF, WHOLE
from avatarctl_sparse_tracking.training import half, of_part, seen

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings import EvaluateDiffusion, EvaluateVqvae, EvaluateWhole

PARTS = {"upper": ("upper", "upper_vqvae"), "lower": ("lower", "upper", "lower_vqvae", "upper_vqvae")}
"""Networks that the diffusion's evaluation of a half needs."""
HINT = (
    "name the published folder (upper_vqvae/best.pth.tar and so on), or files joined by commas; own ones "
    "come from train sparse --stage vqvae and --stage diffusion"
)
REST = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""6D of a joint at rest."""


def run_refiner(settings: EvaluateWhole, run: Run) -> None:
    """The whole chain, which must have a refiner."""
    _whole(settings, run, "refiner")


def run_decoder(settings: EvaluateWhole, run: Run) -> None:
    """The chain without its refiner."""
    _whole(settings, run, "decoder")


def _whole(settings: EvaluateWhole, run: Run, stage: str) -> None:
    data = Data.of(settings, run)
    weights = run.weights(settings.weights, stage=stage)
    is_refined = stage == "refiner"
    if is_refined:
        require(weights, ("refiner",), "add its file (published: refiner/best.pth.tar): --weights A,B")
    model = pipeline.load(weights, run.device, data.body)
    method = Method.by(
        model,
        baselines.mean_pose(data.store),
        data.body,
        model.seeded(run.seed),
        refine=is_refined,
        batch_size=settings.batch_size,
        what=f"{stage}: the whole chain" + ("" if is_refined else " without refiner"),
    )
    score(run, data, method, settings.weights)


def run_vqvae(settings: EvaluateVqvae, run: Run) -> None:
    """One half's VQ-VAE: the truth in, its reconstruction out."""
    data, part = Data.of(settings, run), settings.part
    weights = run.weights(settings.weights, stage="vqvae", accept=of_part(part))
    require(weights, (f"{part}_vqvae",), HINT)
    network: Vqvae = load(weights, f"{part}_vqvae", run.device)

    def reconstruct(windows: Batch, frames: slice) -> Tensor:
        return spread(network(half(windows.sixd, part), windows.trackers)[0][:, -1], part)

    method = Method(
        by_windows(reconstruct, weights, run.device, settings.batch_size),
        baselines.mean_pose(data.store),
        data.body,
        AUTOENCODED[part],
        f"vqvae: the {part} half's true rotations, reconstructed",
    )
    score(run, data, method, settings.weights)


def run_diffusion(settings: EvaluateDiffusion, run: Run) -> None:
    """Sampled latents through the VQ-VAEs' decoders: both halves, or the upper alone."""
    data, parts = Data.of(settings, run), PARTS[settings.part]
    weights = _diffusion_weights(settings, run, parts)
    require(weights, parts, HINT)
    nets: dict[str, Any] = {part: load(weights, part, run.device) for part in parts}
    starts = seeded_starts(run.seed, nets["upper"].tokens, nets["upper"].latent)
    samplers = {part: FastDiffusion(nets[part]) for part in parts if not part.endswith("_vqvae")}
    is_whole = settings.part == "lower"

    def decode(windows: Batch, frames: slice) -> Tensor:
        noises = [noise.to(run.device) for noise in starts(frames.start, frames.stop)]
        latents = sample(samplers["upper"], windows.trackers, noises[0])
        made = spread(nets["upper_vqvae"].decode(latents)[:, -1], "upper")
        if is_whole:
            lower = sample(samplers["lower"], windows.trackers, noises[1], latents)
            # parity: the lower half is written last, so the root is its (spec 7.2).
            made = spread(nets["lower_vqvae"].decode(lower)[:, -1], "lower", made)
        return made

    method = Method(
        by_windows(decode, weights, run.device, settings.batch_size),
        baselines.mean_pose(data.store),
        data.body,
        WHOLE if is_whole else UPPER_HALF,
        f"diffusion: sampled latents of {'both halves' if is_whole else 'the upper half'}, VQ-VAE decoders",
    )
    score(run, data, method, settings.weights)


def _diffusion_weights(settings: EvaluateDiffusion, run: Run, parts: tuple[str, ...]) -> Weights:
    """What the user named; for `latest`, the newest run of each network's stage."""
    if settings.weights != "latest":
        return run.weights(settings.weights)
    return joined(
        [
            run.weights(
                "latest",
                stage="vqvae" if part.endswith("_vqvae") else "diffusion",
                accept=of_part(part.removesuffix("_vqvae")),
            )
            for part in parts
        ]
    )


def by_windows(
    decode: Callable[[Batch, slice], Tensor], weights: Weights, device: torch.device, batch_size: int
) -> Callable[[Clip], Tensor]:
    """Local 6D rotations [N, 132] of a clip, frame by frame from the window that ends with it (spec 6.3).

    Args:
        decode: From windows in the networks' axes and the frames that they end with, to rotations of
            these frames in the same axes [B, 132].
        weights: What the networks are from.
    """
    frame = frame_of(weights)

    @torch.no_grad()
    def estimate(clip: Clip) -> Tensor:
        trackers, truth = (
            pipeline.windows_of(frames.to(device))
            for frames in (clip.sparse.unflatten(-1, (3, 18)), clip.sixd)
        )
        made = []
        for first in range(0, len(truth), batch_size):
            frames = slice(first, min(first + batch_size, len(truth)))
            windows = Batch(trackers[frames], truth[frames])
            sixd = decode(seen(windows, frame), frames)
            if frame == "heading":
                sixd = turn_root(sixd, heading(windows.trackers)[0].mT)
            made.append(sixd.cpu())
        return pipeline.finite(torch.cat(made), str(weights.path))

    return estimate


def spread(rotations: Tensor, part: str, others: Tensor | None = None) -> Tensor:
    """The whole body's 6D rotations [B, 132] of one half's [B, 6 J].

    Args:
        others: The other joints' rotations [B, 132]; at rest when left out.
    """
    if others is None:
        others = rotations.new_tensor(REST).repeat(len(rotations), NUM_BODY)
    whole = others.unflatten(-1, (-1, 6)).clone()
    whole[:, list(HALVES[part])] = rotations.unflatten(-1, (-1, 6))
    return whole.flatten(1)
