"""Training of the diffusion networks of face and body (spec 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.diffusion import Process
from avatarctl.engine import Loop, State, evaluating, make_optimizer
from avatarctl.errors import SettingsError
from avatarctl_audio2motion.conversations.stats import Kind
from avatarctl_audio2motion.losses import diffusion_losses, variational_bound
from avatarctl_audio2motion.model import Denoiser, build, load
from avatarctl_audio2motion.model.denoiser import KEY_STEP
from avatarctl_audio2motion.model.front_end import FrontEnd, num_features
from avatarctl_audio2motion.sampling import STEPS, process_of
from avatarctl_audio2motion.training import AudioNetworks, Setup, falling

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings_train import TrainBody, TrainFace


def run_face(settings: TrainFace, run: Run) -> None:
    """Diffusion of face codes, given voices and lips."""
    _train(settings, run, "face", lip_dropout=settings.lip_dropout)


def run_body(settings: TrainBody, run: Run) -> None:
    """Diffusion of body poses, given voices and true key poses."""
    _train(settings, run, "body")


def _train(settings: TrainFace | TrainBody, run: Run, part: Kind, *, lip_dropout: bool = False) -> None:
    """One of the two networks; they differ in their sizes and in what they are given."""
    setup, process = Setup.of(settings, run, part), process_of(settings.schedule)
    shortest = settings.shortest if 0 < settings.shortest < settings.frames else None
    windows = setup.conversations.windows("train", part, settings.frames, shortest=shortest)
    network = network_of(settings, run, part).to(run.device).train()
    if lip_dropout and network.lip is not None:
        network.lip.train()  # parity: the published training leaves it on (quirk 6)
    optimizer = make_optimizer(network.parameters(), settings.optim)
    per_epoch, pieces = windows.shuffled(settings.batch_size, run.seed)
    state = State(
        **{part: network},
        stats=setup.part,
        optimizer=optimizer,
        schedule=falling(optimizer, settings.anneal_steps),
    )

    def batch(step: int) -> dict[str, Tensor]:
        found, noise = pieces(step), Noise.seeded(run.seed, f"diffusion/{step}")
        return {
            **found._asdict(),
            "inside": found.mask,
            **draws(noise, found.motion.shape, settings.condition_drop),
        }

    config = setup.config({part: asdict(network.sizes)}) | {"schedules": {part: settings.schedule}}
    with Loop(run, settings.loop, state, steps_per_epoch=per_epoch, config=config) as loop:
        for found in loop.over(batch):
            noisy = process.add_noise(found["motion"], found["noise"], found["steps"])
            with run.autocast():
                made = denoise(network, noisy, found)
            terms = losses_of(made.float(), found, settings.velocity)
            losses = {name: term.mean() for name, term in terms.items()}
            if settings.log_vb:
                losses["vb"] = bound(network, process, noisy, found, run)
            loop.step(losses)
            if setup.held_out and loop.due("validate"):
                with evaluating(loop.averaged(part)) as (model,):
                    assert isinstance(model, Denoiser)
                    loop.validated(score(model, process, setup, settings, run))


def network_of(settings: TrainFace | TrainBody, run: Run, part: Kind) -> Denoiser:
    """The network to train: fresh, or from the weights that the training starts from."""
    audio = None if settings.audio is None else AudioNetworks.of(run.weights(settings.audio))
    network: Denoiser
    if settings.start is not None:
        weights = run.weights(settings.start, stage=part)
        network = load(weights, part, torch.device("cpu"))
        schedule = weights.config.get("schedules", {}).get(part, settings.schedule)
        if schedule != settings.schedule:
            raise SettingsError(
                f"schedule {settings.schedule}: {weights.path} was trained with {schedule}",
                hint=f"--schedule {schedule}",
            )
    else:
        sizes = settings.network.model_dump()
        if audio is not None:
            sizes |= {name: value for name, value in audio.sizes.items() if sizes.get(name) is not None}
        sizes["tokens"] = num_features(FrontEnd(sizes["audio"]), settings.frames)
        network = build(part, sizes | ({"key_frames": settings.frames // KEY_STEP} if part == "body" else {}))
    if audio is not None:
        audio.give_to(network)
    elif settings.start is None:
        run.log.warning("the audio networks are new and stay as they are drawn; --audio takes trained ones")
    return trainable(network)


def trainable(network: Denoiser) -> Denoiser:
    """The network, of which everything but the audio networks is trained."""
    network.requires_grad_(True)
    for frozen in (network.front_end, network.lip):
        if frozen is not None:
            frozen.requires_grad_(False)
    return network


def draws(noise: Noise, shape: Sequence[int], drop: float) -> dict[str, Tensor]:
    """What a step draws for pieces [B, T, C]: noise, a step of each, and whether its conditions are kept.

    The second pair of the latter is for the logged bound.

    Args:
        drop: Share of the pieces from which a condition is withheld.
    """
    count = shape[0]
    kept = {
        name: noise.uniform((count,)) >= drop
        for name in ("keep_audio", "keep_keys", "keep_audio_again", "keep_keys_again")
    }
    return {
        "noise": noise.normal(shape),
        "steps": noise.integers(0, STEPS, (count,)),
        **kept,
    }


def denoise(network: Denoiser, noisy: Tensor, found: Mapping[str, Tensor], again: str = "") -> Tensor:
    """Clean motion [B, T, C] that the network makes of noisy motion when some conditions are withheld.

    Args:
        found: audio [B, S, 2], keys [B, K, C], lengths, steps, keep_audio and keep_keys [B].
        again: "_again" for the second draw of what is withheld.
    """
    condition = network.condition(found["audio"], found["keys"], lengths=found["lengths"])
    condition = condition.dropped(found[f"keep_audio{again}"], found[f"keep_keys{again}"])
    made: Tensor = network(noisy, found["steps"], condition)
    return made


def losses_of(made: Tensor, found: Mapping[str, Tensor], velocity: float) -> dict[str, Tensor]:
    """The loss terms of each piece [B]."""
    return diffusion_losses(made, found["motion"], found["inside"], found["seen"] > 0, velocity)


@torch.no_grad()
def bound(
    network: Denoiser, process: Process, noisy: Tensor, found: Mapping[str, Tensor], run: Run
) -> Tensor:
    """The logged variational bound, from a second forward pass with its own draws (spec 5.1)."""
    with run.autocast():
        made = denoise(network, noisy, found, "_again").float()
    return variational_bound(process, made, found["motion"], noisy, found["steps"]).mean()


def score(
    network: Denoiser, process: Process, setup: Setup, settings: TrainFace | TrainBody, run: Run
) -> dict[str, float]:
    """Mean loss terms of the held-out pieces, always with the same noise, at steps of all strengths."""
    noise, sums, count = Noise.seeded(run.seed, "validation"), dict[str, float](), 0
    for found in setup.validation(settings.batch_size):
        drawn = {**found._asdict(), "inside": found.mask, **draws(noise, found.motion.shape, drop=0.0)}
        drawn = {name: tensor.to(run.device) for name, tensor in drawn.items()}
        noisy = process.add_noise(drawn["motion"], drawn["noise"], drawn["steps"])
        with run.autocast():
            made = denoise(network, noisy, drawn).float()
        for name, term in losses_of(made, drawn, settings.velocity).items():
            sums[name] = sums.get(name, 0.0) + float(term.sum())
        count += len(made)
    return {name: value / count for name, value in sums.items()}
