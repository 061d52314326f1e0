"""Training of codec and guide (spec 5.3, 5.4): each a loop to read from top to bottom."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avatarctl.checkpoints import Weights
from avatarctl.device import Noise
from avatarctl.engine import Loop, State, evaluating, make_optimizer
from avatarctl.errors import CheckpointError
from avatarctl.quantize import Quantized, perplexity
from avatarctl_audio2motion.model import build, load
from avatarctl_audio2motion.model.codec import Codec
from avatarctl_audio2motion.model.front_end import FrontEnd, num_features
from avatarctl_audio2motion.model.guide import Guide
from avatarctl_audio2motion.training import AudioNetworks, Setup

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings_train import TrainGuide, TrainTokens, TrainVqvae

CPU = torch.device("cpu")


def run_vqvae(settings: TrainVqvae, run: Run) -> None:
    """Codec of key poses (spec 5.3)."""
    setup = Setup.of(settings, run, "body")
    windows = setup.conversations.windows("train", "body", settings.frames, shortest=None, has_audio=False)
    per_epoch, batches = windows.shuffled(settings.batch_size, run.seed)
    codec: Codec = build("codec", settings.network.model_dump())
    if settings.start is not None:
        codec = load(run.weights(settings.start, stage="vqvae"), "codec", CPU).requires_grad_(True)
    codec.to(run.device).train()
    optimizer = make_optimizer(codec.parameters(), settings.optim)
    schedule = warmed_up(optimizer, settings, first=2)
    state = State(codec=codec, stats=setup.part, optimizer=optimizer, schedule=schedule)
    config = setup.config({"codec": asdict(codec.sizes)})
    steps = settings.loop.steps or per_epoch
    with Loop(run, settings.loop, state, steps=steps, steps_per_epoch=per_epoch, config=config) as loop:
        for keys in loop.over(lambda step: batches(step).keys):
            noise = Noise.seeded(run.seed, f"codes/{loop.step_number}")
            made, quantized = codec(keys, noise, settings.revive_below)
            loop.step(vqvae_losses(made, quantized, keys, settings))
            if setup.held_out and loop.due("validate"):
                with evaluating(loop.averaged("codec")) as (averaged,):
                    assert isinstance(averaged, Codec)
                    scores = vqvae_scores(averaged, setup, settings, run.device)
                loop.validated(scores, best="reconstruction" if settings.keep == "best" else "")


def vqvae_losses(made: Tensor, quantized: Quantized, keys: Tensor, settings: TrainVqvae) -> dict[str, Tensor]:
    """The terms of the codec's loss, and their weighted sum "total".

    Args:
        made, keys: Reconstructed and true key poses, normalised [B, K, C].
    """
    # parity: the published term takes differences along the numbers of a pose, not along time (spec 5.3).
    axis = {"time": 1, "channels": 2}[settings.velocity_along]
    terms = {"reconstruction": F.smooth_l1_loss(made, keys), "commitment": quantized.losses.mean()}
    total = terms["reconstruction"] + settings.commitment * terms["commitment"]
    if settings.velocity:
        terms["velocity"] = F.smooth_l1_loss(made.diff(dim=axis), keys.diff(dim=axis))
        total = total + settings.velocity * terms["velocity"]
    return {"total": total, **terms}


def vqvae_scores(codec: Codec, setup: Setup, settings: TrainVqvae, device: torch.device) -> dict[str, float]:
    """Error of held-out key poses, and how many codes of the last book a piece makes use of."""
    errors, uses = [], []
    for batch in setup.validation(settings.batch_size):
        keys = batch.keys.to(device)
        made, quantized = codec(keys)
        errors += [F.smooth_l1_loss(*pair) for pair in zip(made, keys, strict=True)]
        uses += [perplexity(codes[..., -1], codec.sizes.codes) for codes in quantized.codes]
    return {"reconstruction": mean(errors), "perplexity": mean(uses)}


def run_guide(settings: TrainGuide, run: Run) -> None:
    """Guide: codes of key poses from both voices (spec 5.4)."""
    setup = Setup.of(settings, run, "body")
    codec = codec_of(run.weights(settings.vqvae, stage="vqvae"), setup).to(run.device)
    windows = setup.conversations.windows("train", "body", settings.frames, shortest=None)
    per_epoch, batches = windows.shuffled(settings.batch_size, run.seed)
    guide = guide_of(settings, run, codec).to(run.device).train()
    optimizer = make_optimizer(guide.parameters(), settings.optim)
    schedule = warmed_up(optimizer, settings, first=1)
    state = State(guide=guide, codec=codec, stats=setup.part, optimizer=optimizer, schedule=schedule)

    def batch(step: int) -> dict[str, Tensor]:
        found = batches(step)
        heights = Noise.seeded(run.seed, f"told/{step}").uniform((settings.batch_size,))
        return {"keys": found.keys, "audio": found.audio, "keep": heights >= settings.condition_drop}

    config = setup.config({"guide": asdict(guide.sizes), "codec": asdict(codec.sizes)})
    steps = settings.loop.steps or per_epoch
    with Loop(run, settings.loop, state, steps=steps, steps_per_epoch=per_epoch, config=config) as loop:
        model = loop.parallel(guide)
        for found in loop.over(batch):
            codes = codec.encode(found["keys"])
            with run.autocast():
                logits = model(shifted(codes, guide.start), guide.features(found["audio"]), found["keep"])
            loop.step({"total": guide_loss(logits.float(), codes, settings.smoothing)})
            if setup.held_out and loop.due("validate"):
                with evaluating(loop.averaged("guide")) as (averaged,):
                    assert isinstance(averaged, Guide)
                    scores = guide_scores(averaged, codec, setup, settings, run.device)
                loop.validated(scores, best="cross_entropy" if settings.keep == "best" else "")


def codec_of(weights: Weights, setup: Setup) -> Codec:
    """The frozen codec of the store's person.

    Raises:
        CheckpointError: There is no codec, or it is another person's.
    """
    codec: Codec = load(weights, "codec", CPU)
    theirs, ours = weights.config.get("person"), setup.conversations.person
    if theirs and ours and theirs != ours:
        raise CheckpointError(
            f"{weights.path}: the codec is of person '{theirs}', the store of '{ours}'",
            hint="train one on this store (--stage vqvae), or take this person's: --vqvae FILE",
        )
    return codec


def guide_of(settings: TrainGuide, run: Run, codec: Codec) -> Guide:
    """The guide to train: fresh, or from the weights that the training starts from.

    Raises:
        CheckpointError: Those are a guide to another codec.
        SettingsError: The pieces are longer than it can take.
    """
    audio = None if settings.audio is None else AudioNetworks.of(run.weights(settings.audio))
    guide: Guide
    if settings.start is not None:
        source = run.weights(settings.start, stage="guide")
        guide = load(source, "guide", CPU)
        for name in ("codes", "depth"):
            theirs, ours = getattr(guide.sizes, name), getattr(codec.sizes, name)
            if theirs != ours:
                raise CheckpointError(
                    f"{source.path}: a guide to a codec of {name} {theirs}; this codec has {ours}",
                    hint="name the codec that it was trained with: --vqvae FILE",
                )
    else:
        sizes = settings.network.model_dump() | {"codes": codec.sizes.codes, "depth": codec.sizes.depth}
        if audio is not None:
            sizes |= {name: value for name, value in audio.sizes.items() if name in sizes}
        sizes["tokens"] = num_features(FrontEnd(sizes["audio"]), settings.frames)
        guide = build("guide", sizes)
    guide.requires_grad_(True).front_end.requires_grad_(False)
    if audio is not None:
        audio.give_to(guide)
    elif settings.start is None:
        run.log.warning("the audio networks are new and stay as they are drawn; --audio takes trained ones")
    return guide


def shifted(codes: Tensor, start: int) -> Tensor:
    """The token before each of the codes [B, K, depth]: the start token, then codes [B, K depth]."""
    return F.pad(codes.flatten(1)[:, :-1], (1, 0), value=start)


def guide_loss(logits: Tensor, codes: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy between logits [B, K depth, codes] and the codes [B, K, depth] that they should tell.

    Args:
        smoothing: Share of the target that is spread over all codes.
    """
    return F.cross_entropy(logits.mT, codes.flatten(1), label_smoothing=smoothing)


def guide_scores(
    guide: Guide, codec: Codec, setup: Setup, settings: TrainGuide, device: torch.device
) -> dict[str, float]:
    """How well each held-out code is told from those before it.

    `perplexity` is the exponential of the cross entropy; `accuracy` the share of codes that are the most
    probable ones, and `pose_error` the mean square by which key poses of those miss the true ones.
    """
    entropies, hits, errors = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in setup.validation(settings.batch_size):
        keys = batch.keys.to(device)
        codes = codec.encode(keys)
        logits = guide(shifted(codes, guide.start), guide.features(batch.audio.to(device)))
        told = logits.argmax(dim=-1).unflatten(1, codes.shape[1:])
        entropies += [guide_loss(one[None], true[None]) for one, true in zip(logits, codes, strict=True)]
        # Over codes; the published accuracy divides by key poses, which gives up to 400 % (spec 9, quirk 16).
        hits += (told == codes).float().mean(dim=(1, 2)).unbind()
        errors += (codec.decode(told) - keys).square().mean(dim=(1, 2)).unbind()
    entropy = mean(entropies)
    return {
        "cross_entropy": entropy,
        "perplexity": float(torch.tensor(entropy).exp()),
        "accuracy": mean(hits),
        "pose_error": mean(errors),
    }


def mean(numbers: list[Tensor]) -> float:
    """The mean of numbers that all weigh the same."""
    return float(torch.stack(numbers).mean())


def warmed_up(optimizer: Optimizer, settings: TrainTokens, first: int) -> LambdaLR:
    """The learning rate rising over the first steps, then multiplied at each milestone.

    Args:
        first: Of the `warm_up` + 1 parts of the peak, those that the first step has.
    """
    parts, milestones, gamma = settings.warm_up, settings.milestones, settings.gamma

    def factor(step: int) -> float:
        # parity: the rate stays one part below its peak for ever (spec 9, quirk 15).
        risen = min(step + first, parts) / (parts + 1) if parts else 1.0
        return float(risen * gamma ** sum(milestone <= step for milestone in milestones))

    return LambdaLR(optimizer, factor)
