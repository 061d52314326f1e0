"""The training stages (spec 5): each a loop to read from top to bottom, with its network and draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from avatarctl.data import Split
from avatarctl.device import Noise, parallel
from avatarctl.engine import Loop, State, evaluating, make_optimizer, make_schedule
from avatarctl_sparse_tracking.data import Batch, held_out_clips, piece
from avatarctl_sparse_tracking.heading import turn_root
from avatarctl_sparse_tracking.losses import decoder_losses, refiner_losses, vqvae_losses
from avatarctl_sparse_tracking.model import WINDOW, LatentDiffusion, Refiner, Vqvae, build, frame_of, load
from avatarctl_sparse_tracking.model.denoiser import HIDDEN, ROWS
from avatarctl_sparse_tracking.model.vqvae import HALVES
from avatarctl_sparse_tracking.sampling import PROCESS, latents_of, sample
from avatarctl_sparse_tracking.training import (
    Sequence,
    Setup,
    chosen_by,
    decode_clip,
    distances,
    half,
    length,
    of_part,
    seen,
    tracked,
    validate_half,
    validate_whole,
)

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings_train import (
        TrainDecoder,
        TrainDiffusion,
        TrainRefiner,
        TrainVqvae,
    )


def run_vqvae(settings: TrainVqvae, run: Run) -> None:
    """Body-half VQ-VAE (spec 5.1)."""
    setup, part, name = Setup.of(settings, run, settings.repeat), settings.part, f"{settings.part}_vqvae"
    sizes = settings.network.model_dump()
    network = build(name, sizes).to(run.device)
    assert isinstance(network, Vqvae)
    optimizer = make_optimizer(network.parameters(), settings.optim)
    per_epoch, windows = setup.windows.shuffled(settings.batch_size, run.seed, settings.mirror)
    state = State(
        **{name: network},
        optimizer=optimizer,
        schedule=make_schedule(optimizer, settings.schedule, per_epoch),
    )
    joints = len(HALVES[part])

    def batch(step: int) -> dict[str, Tensor]:
        found = seen(windows(step), settings.frame)
        draw = Noise.seeded(run.seed, f"mask/{step}").uniform((settings.batch_size, joints))
        return {**found._asdict(), "draw": draw}

    def validate(model: nn.Module) -> dict[str, float]:
        def reconstruct(found: Batch) -> Tensor:
            made: Tensor = model(half(found.sixd, part), found.trackers)[0]
            return made

        return validate_half(setup, run, part, settings.frame, reconstruct)

    config = {"networks": {name: sizes}, "frame": settings.frame}
    with Loop(
        run, settings.loop, state, **length(settings.loop, settings.epochs, per_epoch), config=config
    ) as loop:
        for found in loop.over(batch):
            truth = half(found["sixd"], part)
            masked = hide(truth, found["draw"], settings.mask_ratio)
            is_plain = loop.step_number < settings.epochs_plain * per_epoch
            output, quantised = autoencode(network, masked, found["trackers"], run, is_plain)
            losses = vqvae_losses(
                output[:, -1],
                truth[:, -1],
                quantised,
                tracked(found["trackers"]),
                part,
                setup.rest,
                settings.losses,
            )
            loop.step(losses)
            if setup.clips and loop.due("validate"):
                with evaluating(loop.averaged(name)) as (model,):
                    loop.validated(validate(model), best=chosen_by(settings))


def hide(rotations: Tensor, draw: Tensor, ratio: float) -> Tensor:
    """Rotations [B, T, 6 J] of which some joints are hidden over the whole window; the root never is."""
    draw = draw.clone()
    draw[:, 0] = 1
    hidden = (draw < ratio)[:, None, :, None]
    return rotations.unflatten(-1, (-1, 6)).masked_fill(hidden, HIDDEN).flatten(-2)


def autoencode(
    network: Vqvae, rotations: Tensor, trackers: Tensor, run: Run, is_plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Reconstructed windows of this rank [B, T, 6 J], and the quantiser's loss over all ranks' tokens.

    The quantiser moves codes by what it sees, so every rank shows it the whole batch.

    Args:
        is_plain: Leave the quantiser out.
    """
    with run.autocast():
        latents = network.latents(rotations, trackers).float()
    losses = latents.new_zeros(())
    if not is_plain:
        quantized = network.codebook(parallel.all_rows(latents))
        latents = quantized.values[run.rank * len(latents) : (run.rank + 1) * len(latents)]
        losses = quantized.losses
    with run.autocast():
        output = network.decode(latents)
    return output.float(), losses


def run_diffusion(settings: TrainDiffusion, run: Run) -> None:
    """Latent diffusion of one body half (spec 5.2, 5.3)."""
    setup, part = Setup.of(settings, run, settings.repeat), settings.part
    sources = [run.weights(settings.vqvae, stage="vqvae", accept=of_part(part))]
    vqvae: Vqvae = load(sources[0], f"{part}_vqvae", run.device)
    upper: LatentDiffusion | None = None
    if part == "lower":
        sources.append(run.weights(settings.upper, stage="diffusion", accept=of_part("upper")))
        upper = load(sources[1], "upper", run.device)
    frame = frame_of(*sources)
    latent = int(vqvae.to_latent.out_features)
    sizes = {**settings.network.model_dump(), "latent": latent}
    network = build(part, sizes).to(run.device)
    assert isinstance(network, LatentDiffusion)
    optimizer = make_optimizer(network.parameters(), settings.optim)
    per_epoch, windows = setup.windows.shuffled(settings.batch_size, run.seed, settings.mirror)
    state = State(
        **{part: network},
        optimizer=optimizer,
        schedule=make_schedule(optimizer, settings.schedule, per_epoch),
    )
    shape = (settings.batch_size, network.tokens, latent)

    def batch(step: int) -> dict[str, Tensor]:
        found, noise = seen(windows(step), frame), Noise.seeded(run.seed, f"diffusion/{step}")
        draws = {
            "rows": noise.integers(0, ROWS, (settings.batch_size, settings.mask_rows)),
            "noise": noise.normal(shape),
            "steps": noise.integers(0, len(PROCESS), (settings.batch_size,)),
            "start": noise.normal(shape),
        }
        return {**found._asdict(), **draws}

    def validate(model: Any) -> dict[str, float]:
        def reconstruct(found: Batch) -> Tensor:
            zeros = found.trackers.new_zeros(len(found.trackers), *shape[1:])
            given = None if upper is None else sample(upper, found.trackers, zeros)
            return vqvae.decode(sample(model, found.trackers, zeros, given))

        return validate_half(setup, run, part, frame, reconstruct)

    config = {"networks": {part: sizes}, "frame": frame}
    with Loop(
        run, settings.loop, state, **length(settings.loop, settings.epochs, per_epoch), config=config
    ) as loop:
        model = loop.parallel(network)
        for found in loop.over(batch):
            with torch.no_grad():
                clean = vqvae.encode(half(found["sixd"], part), found["trackers"]).values
                given = None if upper is None else sample(upper, found["trackers"], found["start"])
            with run.autocast():
                made = diffuse(model, clean, found, given)
            loop.step({"total": smooth_l1_loss(made.float(), clean)})
            if setup.clips and loop.due("validate"):
                with evaluating(loop.averaged(part)) as (averaged,):
                    loop.validated(validate(averaged), best=chosen_by(settings))


def diffuse(model: nn.Module, clean: Tensor, found: Mapping[str, Tensor], given: Tensor | None) -> Tensor:
    """Clean latents [B, L, D] that a diffusion model makes of noisy ones, some rows of its condition hidden.

    Args:
        found: trackers [B, T, 3, 18], rows to hide [B, n], noise [B, L, D] and steps [B].
    """
    hidden = torch.zeros(len(clean), ROWS, dtype=torch.bool, device=clean.device)
    hidden = hidden.scatter(1, found["rows"], True)
    noisy = PROCESS.add_noise(clean, found["noise"], found["steps"])
    made: Tensor = model(noisy, found["steps"], found["trackers"], given, hidden)
    return made


def run_decoder(settings: TrainDecoder, run: Run) -> None:
    """Full-body decoder, then decoder and both diffusion models together (spec 5.4)."""
    setup = Setup.of(settings, run, settings.repeat)
    sources = {
        part: run.weights(words, stage="diffusion", accept=of_part(part))
        for part, words in (("upper", settings.upper), ("lower", settings.lower))
    }
    frame = frame_of(*sources.values())
    nets: dict[str, Any] = {
        part: load(found, part, run.device).requires_grad_(True) for part, found in sources.items()
    }
    sizes = {part: found.config["networks"][part] for part, found in sources.items()}
    sizes["decoder"] = {**settings.network.model_dump(), "latent": nets["upper"].latent}
    nets["decoder"] = build("decoder", sizes["decoder"]).to(run.device)
    alone = make_optimizer(nets["decoder"].parameters(), settings.optim)
    joint = make_optimizer(
        [p for net in nets.values() for p in net.parameters()],
        settings.optim.model_copy(update={"lr": settings.lr_joint}),
    )
    per_epoch, windows = setup.windows.shuffled(settings.batch_size, run.seed, settings.mirror)
    state = State(
        **nets, alone=alone, joint=joint, schedule=make_schedule(joint, settings.schedule, per_epoch)
    )
    shape = (settings.batch_size, nets["upper"].tokens, nets["upper"].latent)

    def batch(step: int) -> dict[str, Tensor]:
        noise = Noise.seeded(run.seed, f"decoder/{step}")
        found = seen(windows(step), frame)
        return {**found._asdict(), "upper": noise.normal(shape), "lower": noise.normal(shape)}

    with Loop(
        run,
        settings.loop,
        state,
        **length(settings.loop, settings.epochs, per_epoch),
        config={"networks": sizes, "frame": frame},
    ) as loop:
        for found in loop.over(batch):
            is_joint = loop.step_number >= settings.epochs_decoder * per_epoch
            with torch.set_grad_enabled(is_joint):
                latents = latents_of(
                    nets["upper"], nets["lower"], found["trackers"], found["upper"], found["lower"]
                )
            with run.autocast():
                made = nets["decoder"](*latents, found["trackers"])
            loop.step(
                decoder_losses(made[:, -1].float(), found["sixd"][:, -1], setup.rest, settings.losses),
                joint if is_joint else alone,
            )
            if setup.clips and loop.due("validate"):
                with evaluating(*(loop.averaged(part) for part in nets)) as models:
                    loop.validated(validate_whole(setup, run, frame, models), best=chosen_by(settings))


def run_refiner(settings: TrainRefiner, run: Run) -> None:
    """Temporal refiner over the decoder's frames (spec 5.5); its file holds the other networks too."""
    setup = Setup.of(settings, run)
    source = run.weights(settings.decoder, stage="decoder")
    frame = frame_of(source)
    frozen: dict[str, Any] = {part: load(source, part, run.device) for part in ("upper", "lower", "decoder")}
    sizes = settings.network.model_dump()
    network = build("refiner", sizes).to(run.device)
    assert isinstance(network, Refiner)
    optimizer = make_optimizer(network.parameters(), settings.optim)
    per_epoch = len(setup.windows.clips)
    schedule = make_schedule(optimizer, settings.schedule, per_epoch)
    state = State(**frozen, refiner=network, optimizer=optimizer, schedule=schedule)
    networks = {**{part: source.config["networks"][part] for part in frozen}, "refiner": sizes}
    config = {"networks": networks, "frame": frame}
    known: dict[tuple[str, int], Sequence] = {}

    def sequence(split: Split, clip: int) -> Sequence:
        """A whole clip, computed once: the networks before are frozen, and the noise hardly matters."""
        key = (split.name, clip)
        if key not in known:
            known[key] = decode_clip(split, clip, frozen, frame, run.device)
        return known[key]

    def draw(step: int) -> Sequence:
        epoch, place = divmod(step, per_epoch)
        order = Noise.seeded(run.seed, f"order/{epoch}").permutation(per_epoch)
        whole = sequence(setup.windows.split, int(setup.windows.clips[order[place]]))
        frames = len(whole.made) + WINDOW - 1
        chosen = piece(frames, settings.frames, Noise.seeded(run.seed, f"piece/{step}"))
        return whole[chosen.start : chosen.stop - WINDOW + 1]

    def refined(model: nn.Module, found: Sequence) -> Tensor:
        return turn_root(found.made + model(found.made[None])[0][0], found.turn.mT)

    with Loop(
        run, settings.loop, state, **length(settings.loop, settings.epochs, per_epoch), config=config
    ) as loop:
        for found in loop.over(draw):
            losses = refiner_losses(
                refined(network, found), found.truth, found.tracked, setup.rest, settings.losses
            )
            loop.step(losses)
            if setup.clips and loop.due("validate"):
                with evaluating(loop.averaged("refiner")) as (model,):
                    clips = held_out_clips(setup.valid, setup.clips)
                    errors = [
                        distances(refined(model, one), one.truth, setup.rest)
                        for one in (sequence(setup.valid, c) for c in clips)
                    ]
                    loop.validated({"mpjpe": float(torch.cat(errors).mean())}, best=chosen_by(settings))
