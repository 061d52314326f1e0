"""What the phases of a step minimise (spec 5.2 to 5.4). Each adds its gradients and returns what it measured.

The generator's pictures go through the same discriminators as real ones; all logits are summed to one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from avatarctl.body import BodyModel
from avatarctl.device import Noise
from avatarctl_generative_avatar.augment import Augment
from avatarctl_generative_avatar.body import FACE_SHARE, crops, face_centres
from avatarctl_generative_avatar.dataset import Photo
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.discriminator import Discriminator
from avatarctl_generative_avatar.model.generator import Generator
from avatarctl_generative_avatar.model.generator import Pictures as Made
from avatarctl_generative_avatar.model.layers import blur, resize

if TYPE_CHECKING:
    from avatarctl_generative_avatar.settings_model import Rendering
    from avatarctl_generative_avatar.settings_train import Losses

Pictures = dict[str, Tensor]
"""What discriminators see: "image", "image_raw", "normal", "face", "normal_face"."""
Terms = dict[str, Tensor]
"""Means over a batch, scalars without graph."""
POINTS, PAIRS = 1000, 2000
"""Places whose densities a smoothness term compares; pairs along the view."""
STEPS = 256
"""Side of the cube over the distance of such pairs."""
MONOTONIC_WEIGHT = 10.0


@dataclass(frozen=True)
class Drawn:
    """People that a phase makes: z [N, Z] and labels [N, 111]."""

    z: Tensor
    labels: Tensor

    def __getitem__(self, rows: slice) -> Drawn:
        return Drawn(self.z[rows], self.labels[rows])


@dataclass(frozen=True)
class Real:
    """Photos: images and normals in [-1, 1] [N, 3, H, H], labels [N, 111]."""

    images: Tensor
    normals: Tensor
    labels: Tensor

    def __getitem__(self, rows: slice) -> Real:
        return Real(self.images[rows], self.normals[rows], self.labels[rows])


def real_of(photos: Photo, device: torch.device) -> Real:
    """Photos as networks take them, on a device."""
    images, normals = (one.to(device).float() / 127.5 - 1 for one in (photos.image, photos.normals))
    return Real(images, normals, photos.label.to(device))


@dataclass(frozen=True)
class Moment:
    """What changes in the course of a training.

    Blur in pixels, share of augmented pictures, and how often the generator is told another label; None tells
    it none.
    """

    sigma: float = 0.0
    augmented: float = 0.0
    swapped: float | None = None


def moment_of(settings: Losses, images: int, batch: int, *, is_told: bool, augmented: float = 0.0) -> Moment:
    """The moment after so many pictures.

    Args:
        is_told: Whether the generator is told labels.
    """
    fade = settings.blur_fade_kimg * 1000 * batch / 32
    alpha = min(images / (settings.gpc_reg_fade_kimg * 1000), 1.0)
    swapped = (1 - alpha) + alpha * settings.gpc_reg_prob
    sigma = settings.blur_init_sigma * max(1 - images / fade, 0.0)
    return Moment(sigma, augmented, swapped if is_told else None)


@dataclass(frozen=True)
class Pair:
    """Generator and discriminators, and what both see bodies with."""

    generator: Generator
    discriminator: Discriminator
    template: Template
    body: BodyModel
    rendering: Rendering
    settings: Losses
    augment: Augment | None = None

    def styles(
        self, drawn: Drawn, moment: Moment, noise: Noise, *, per_person: bool = True, update: bool = False
    ) -> Tensor:
        """Styles of people [N, L, W].

        Args:
            per_person: Whether to draw for each, or for all at once, if another's label is told.
            update: Whether they count in the mean style.
        """
        labels, settings = drawn.labels, self.settings
        if moment.swapped is not None:
            shape = (len(labels), 1) if per_person else ()
            draws = noise.uniform(shape, device=labels.device)
            labels = torch.where(draws < moment.swapped, labels.roll(1, 0), labels)
        ws: Tensor = self.generator.mapping(drawn.z, labels, rendering=self.rendering, update_w_avg=update)
        if settings.style_mixing_prob:
            cutoff = int(noise.integers(1, ws.shape[1], ()))
            is_mixed = float(noise.uniform(())) < settings.style_mixing_prob
            z = noise.normal(drawn.z.shape, device=drawn.z.device)
            if is_mixed:
                others = self.generator.mapping(z, labels, rendering=self.rendering)
                ws = torch.cat([ws[:, :cutoff], others[:, cutoff:]], dim=1)
        return ws

    def made(self, drawn: Drawn, moment: Moment, noise: Noise, *, update: bool = False) -> Made:
        """The generator's pictures of people, with its noise and jittered depths."""
        ws = self.styles(drawn, moment, noise, update=update)
        return self.generator.synthesis(
            ws, drawn.labels, self.template, self.rendering, noise_mode="random", noise=noise
        )

    def seen(self, image: Tensor, raw: Tensor, normal: Tensor | None, labels: Tensor) -> Pictures:
        """What the discriminators see of pictures.

        Args:
            image: [N, 3, H, H].
            raw: [N, 3, R, R].
            normal: [N, 3, R, R]; None where no discriminator looks at normals.
        """
        found = {"image": image, "image_raw": raw}
        if self.settings.normal_gan and normal is not None:
            found["normal"] = normal
        if self.settings.face_gan:
            centres = face_centres(self.body, labels)
            found["face"] = crops(image, centres, image.shape[-1] // FACE_SHARE)
            if "normal" in found:
                found["normal_face"] = crops(found["normal"], centres, raw.shape[-1] // FACE_SHARE)
        return found

    def fake(self, made: Made, labels: Tensor) -> Pictures:
        """What they see of the generator's pictures."""
        return self.seen(made.image, made.image_raw, made.image_normal, labels)

    def real(self, photos: Real) -> Pictures:
        """What they see of photos."""
        side = photos.images.shape[-1] // 2
        raw, normal = (resize(one, side, antialias=True) for one in (photos.images, photos.normals))
        return self.seen(photos.images, raw, normal, photos.labels)

    def prepared(self, pictures: Pictures, moment: Moment, noise: Noise) -> Pictures:
        """The same with the picture blurred and augmented.

        Crops and normals are of the picture before, unless normals are to be blurred.
        """
        image = blur(pictures["image"], moment.sigma)
        if self.settings.blur_normals and "normal" in pictures:
            pictures = pictures | {"normal": blur(pictures["normal"], moment.sigma)}
        if self.augment is None:
            return pictures | {"image": image}
        raw = pictures["image_raw"]
        both = torch.cat([image, resize(raw, image.shape[-1], antialias=True)], dim=1)
        image, enlarged = self.augment(both, moment.augmented, noise).split(3, dim=1)
        # The published code drops the augmented small picture, so that the two disagree (spec 9.2).
        return pictures | {"image": image, "image_raw": resize(enlarged, raw.shape[-1], antialias=True)}

    def logits(self, pictures: Pictures, labels: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Each discriminator's logits [N, 1], weighted; larger for what looks real."""
        found: dict[str, Tensor] = self.discriminator(pictures, labels, noise)
        weight = self.settings.lambda_normal
        return {name: one * weight if "normal" in name else one for name, one in found.items()}


def generator_main(
    pair: Pair, drawn: Drawn, moment: Moment, noise: Noise, *, share: float = 1.0
) -> tuple[Terms, Pictures]:
    """The generator's pictures should look real, its distances should have slope 1.

    Args:
        share: Of the batch that these are.
    """
    made = pair.made(drawn, moment, noise)
    pictures = pair.fake(made, drawn.labels)
    logits = pair.logits(pair.prepared(pictures, moment, noise), drawn.labels, noise)
    loss = softplus(-total(logits)).mean()
    assert made.samples is not None
    eikonal = made.samples.eikonal
    torch.autograd.backward((loss + pair.settings.lambda_eikonal * eikonal) * share)
    terms = {"generator": loss, "eikonal": eikonal, **judged(logits, "fake")}
    return detached(terms), pictures


def generator_regulariser(
    pair: Pair, drawn: Drawn, moment: Moment, noise: Noise, gain: float, *, share: float = 1.0
) -> Terms:
    """Densities of canonical places should change smoothly."""
    settings, count = pair.settings, len(drawn.z)
    width = pair.rendering.box_warp / STEPS
    terms: Terms = {}
    distance = settings.density_reg_p_dist
    if settings.reg_type != "l1":
        ws = pair.styles(drawn, moment, noise, per_person=False)
        places = 2 * noise.uniform((count, PAIRS, 3), device=ws.device) - 1
        behind = places + places.new_tensor([0.0, 0.0, -width])
        first, second = densities(pair, ws, places, behind, noise)
        first = first.detach() if settings.reg_type == "monotonic-detach" else first
        terms["monotonic"] = MONOTONIC_WEIGHT * (first - second).relu().mean()
        torch.autograd.backward(terms["monotonic"] * gain * share)
        distance = width
    ws = pair.styles(drawn, moment, noise, per_person=False)
    places = 2 * noise.uniform((count, POINTS, 3), device=ws.device) - 1
    near = places + noise.normal(places.shape, device=ws.device) * distance
    first, second = densities(pair, ws, places, near, noise)
    terms["density"] = settings.density_reg * (first - second).abs().mean()
    torch.autograd.backward(terms["density"] * gain * share)
    return detached(terms)


def densities(pair: Pair, ws: Tensor, places: Tensor, others: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Densities at two sets of canonical places, each [N, P, 3] metres -> [N, P]."""
    both = torch.cat([places, others], dim=1)
    # parity: view directions are drawn, and never used (spec 5.4).
    noise.normal(both.shape)
    planes = pair.generator.planes(ws, noise_mode="random", noise=noise)
    field = pair.generator.field(planes, pair.template, pair.rendering.box_warp)
    found = pair.generator.renderer.density(field.values(both))
    first, second = found.split(places.shape[1], dim=1)
    return first, second


def discriminator_main(
    pair: Pair, drawn: Drawn, photos: Real, moment: Moment, noise: Noise, *, share: float = 1.0
) -> Terms:
    """Discriminators should tell the generator's pictures from photos."""
    with torch.no_grad():
        made = pair.made(drawn, moment, noise, update=True)
        pictures = pair.prepared(pair.fake(made, drawn.labels), moment, noise)
    fake = pair.logits(pictures, drawn.labels, noise)
    told = softplus(total(fake)).mean()
    torch.autograd.backward(told * share)
    real = pair.logits(pair.prepared(pair.real(photos), moment, noise), photos.labels, noise)
    missed = softplus(-total(real)).mean()
    torch.autograd.backward(missed * share)
    return detached({"discriminator": told + missed, **judged(fake, "fake"), **judged(real, "real")})


def discriminator_regulariser(
    pair: Pair, photos: Real, moment: Moment, noise: Noise, gain: float, *, share: float = 1.0
) -> Terms:
    """R1: at photos the discriminators should be flat."""
    with torch.no_grad():
        prepared = pair.prepared(pair.real(photos), moment, noise)
    # parity: slopes are by the blurred picture (spec 5.4).
    leaves = {name: one.detach().requires_grad_() for name, one in prepared.items()}
    logits = pair.logits(leaves, photos.labels, noise)
    slopes = torch.autograd.grad(total(logits).sum(), list(leaves.values()), create_graph=True)
    penalty = torch.stack([slope.square().sum(dim=(1, 2, 3)) for slope in slopes]).sum(dim=0).mean()
    torch.autograd.backward(penalty * (pair.settings.gamma / 2 * gain * share))
    return detached({"r1": penalty, **judged(logits, "real")})


def total(logits: Mapping[str, Tensor]) -> Tensor:
    """The sum of all discriminators' logits [N, 1]."""
    return torch.stack(list(logits.values())).sum(dim=0)


def judged(logits: Mapping[str, Tensor], what: str) -> Terms:
    """Mean logits and their mean signs."""
    means = {f"scores.{what}.{name}": one.mean() for name, one in logits.items()}
    return means | {f"signs.{what}.{name}": one.sign().mean() for name, one in logits.items()}


def detached(terms: Terms) -> Terms:
    """The numbers without their graphs."""
    return {name: one.detach() for name, one in terms.items()}
