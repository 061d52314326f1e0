"""The generator: from draws to people, and from people to pictures (spec 4, 5.2, 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.sizes import network, sizes_in
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.backbone import Backbone
from avatarctl_generative_avatar.model.decoder import FEATURES, PLANES, Decoder, Planes
from avatarctl_generative_avatar.model.field import Field
from avatarctl_generative_avatar.model.layers import initialise
from avatarctl_generative_avatar.model.rays import rays as rays_of
from avatarctl_generative_avatar.model.renderer import Draws, Renderer, Samples, render
from avatarctl_generative_avatar.model.sizes import GENERATOR, LIMITS, GeneratorSizes
from avatarctl_generative_avatar.model.superresolution import SuperResolution
from avatarctl_generative_avatar.settings_model import NoiseMode, Rendering

STD = "dataset_label_std"
"""A tensor that trained networks carry along: the labels' spread in their data."""
BOX_WARP = Rendering().box_warp
"""Side of the cube that published planes cover, metres."""
ALIGNED = 64
"""Bytes by whose multiples torch places tensors of its own."""


@dataclass(frozen=True)
class Pictures:
    """N pictures, colours and normals -1 to 1 and not clamped, depth in metres.

    `image` [N, 3, 2 R', 2 R'] at the trained resolution, `image_raw` and `image_normal` [N, 3, R, R] and
    `image_depth` [N, 1, R, R] with as many rays as asked for; `samples` for losses.
    """

    image: Tensor
    image_raw: Tensor
    image_normal: Tensor | None
    image_depth: Tensor
    samples: Samples | None


class Generator(nn.Module):
    """Mapping, planes, decoder, rendering and super-resolution."""

    def __init__(self, sizes: GeneratorSizes, has_label_std: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        self.renderer = Renderer()
        self.backbone = Backbone(sizes)
        self.decoder = Decoder(sizes.decoder_lr_mul)
        self.superresolution = SuperResolution(sizes)
        if has_label_std:
            self.register_buffer(STD, torch.zeros(label.SIZE))

    def mapping(
        self,
        z: Tensor,
        labels: Tensor,
        psi: float = 1.0,
        cutoff: int | None = None,
        *,
        rendering: Rendering,
        update_w_avg: bool = False,
    ) -> Tensor:
        """Styles [N, num_ws, w_dim].

        Args:
            z: Draws [N, z_dim].
            labels: What the generator is told, if it is told any [N, 111].
            psi: Truncation: 1 for none, 0 for the mean person.
            cutoff: How many styles are truncated; None for all.
            update_w_avg: Move the mean style towards that of these.
        """
        told = torch.zeros_like(labels) if rendering.c_gen_conditioning_zero else labels
        ws: Tensor = self.backbone.mapping(z, told * rendering.c_scale, psi, cutoff, update_w_avg)
        return ws

    def planes(self, ws: Tensor, noise_mode: NoiseMode = "const", noise: Noise | None = None) -> Tensor:
        """What people are made of [N, 3, 32, P, P]; the same in every pose and view."""
        made: Tensor = self.backbone.synthesis(ws, noise_mode, noise)
        return made.unflatten(1, (PLANES, FEATURES))

    def field(self, planes: Tensor, space: Posing | Template, box_warp: float) -> Field:
        """People in poses, or in canonical space.

        Args:
            planes: Of each person, or of one for all [N or 1, 3, 32, P, P].
            space: Poses; or the template, for canonical space.
            box_warp: Side of the cube that the planes cover, metres.
        """
        return Field(self.decoder, Planes(planes, box_warp), space)

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        labels: Tensor,
        space: Posing | Template,
        rendering: Rendering,
        *,
        rays: int | None = None,
        noise: Noise | None = None,
        wants_normals: bool | None = None,
        keeps_samples: bool | None = None,
    ) -> Pictures:
        """Pictures by the labels' cameras.

        Args:
            planes: Of each picture's person, or of one person for all [N or 1, 3, 32, P, P].
            ws: Their styles [N or 1, num_ws, w_dim].
            labels: [N, 111].
            space: The labels' poses; or the template, for canonical space.
            rays: Along a side; left out or 0: half of the picture's.
            noise: For the depths of samples; left out: evenly spread.
            wants_normals: Left out: as `rendering` says.
            keeps_samples: Whether losses will ask for the samples; left out: if gradients are enabled.
        """
        side = rays or self.sizes.rays
        found = render(
            self.renderer,
            self.field(planes, space, rendering.box_warp),
            rays_of(labels, side),
            Draws.of(noise, (len(labels), side * side), rendering, labels),
            rendering,
            wants_normals=rendering.is_normal if wants_normals is None else wants_normals,
            keeps_samples=torch.is_grad_enabled() if keeps_samples is None else keeps_samples,
        )
        features = _picture(found.features, side)
        image = self.superresolution(
            features[:, :3],
            features,
            ws.expand(len(labels), -1, -1),
            antialias=rendering.sr_antialias,
            noise_mode=rendering.superresolution_noise_mode,
            noise=noise,
        )
        return Pictures(
            image=image,
            image_raw=features[:, :3],
            image_normal=None if found.normals is None else _picture(found.normals, side),
            image_depth=_picture(found.depth[..., None], side),
            samples=found.samples,
        )

    def synthesis(
        self,
        ws: Tensor,
        labels: Tensor,
        template: Template,
        rendering: Rendering,
        noise_mode: NoiseMode = "const",
        noise: Noise | None = None,
        *,
        rays: int | None = None,
        is_canonical: bool = False,
        wants_normals: bool | None = None,
        keeps_samples: bool | None = None,
    ) -> Pictures:
        """Pictures of people in poses; draws in the published order.

        Args:
            ws: Styles [N, num_ws, w_dim].
            labels: [N, 111].
            noise: For the planes if `noise_mode` is random, then for the depths of samples; left out: none.
            is_canonical: Show canonical space in place of the poses.
        """
        planes = self.planes(ws, noise_mode, noise)
        return self.render(
            planes,
            ws,
            labels,
            template if is_canonical else Posing(template, labels),
            rendering,
            rays=rays,
            noise=noise,
            wants_normals=wants_normals,
            keeps_samples=keeps_samples,
        )


def build(sizes: GeneratorSizes, noise: Noise) -> Generator:
    """A generator with the published initial values."""
    made = Generator(sizes)
    initialise(made, noise)
    return made


def load(weights: Weights, part: str = GENERATOR) -> Generator:
    """The generator of a weights file, for use: in evaluation mode and without gradients.

    Raises:
        CheckpointError: It has none, or its tensors are not those of its sizes.
    """
    sizes = sizes_in(weights, part, GeneratorSizes(), limits=LIMITS)
    if sizes.c_dim != label.SIZE:
        raise CheckpointError(
            f"{weights.path}: {part}: labels of {sizes.c_dim} numbers, expected {label.SIZE}",
            hint="networks of another system; avatarctl inspect FILE says what a file is",
        )
    has_std = STD in weights.part(part)
    made = network(weights, part, lambda given: Generator(given, has_std), sizes)
    assert isinstance(made, Generator)
    for tensor in (*made.parameters(), *made.buffers()):
        if tensor.data_ptr() % ALIGNED:  # a mapped file's; sums are rounded by how numbers lie in memory
            tensor.data = tensor.data.clone()
    return made


def _picture(values: Tensor, side: int) -> Tensor:
    """[N, side x side, C] as pictures [N, C, side, side]."""
    return values.mT.unflatten(-1, (side, side))
