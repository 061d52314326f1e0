"""The canonical body: its box, skinning weights and signed distances on grids, lookups (spec 4.8).

Canonical is the T-pose of the mean shape, moved by (0, 0.3, 0). Normalised places lie in [-1, 1] in a box
around it that is a quarter as deep as it is wide.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from avatarctl.body import BodyModel
from avatarctl.geometry.shapes import expect
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.body import scaled_body
from avatarctl_generative_avatar.deform import grids, volumes
from avatarctl_generative_avatar.deform.grids import Box
from avatarctl_generative_avatar.deform.volumes import DISTANCES, SKINNING

TRANSL = (0.0, 0.3, 0.0)
SHELL, FAR = 0.1, -1e8
"""Where signed distances are beyond the first, metres, they become the second."""

BLUE, CYAN, RED = (31, 120, 180), (51, 160, 44), (227, 26, 28)
PAINTED = {BLUE: (1, 8, 13, 17, 20), CYAN: (2, 7, 14, 16, 21), RED: (3, 9, 15)}


@dataclass(frozen=True, eq=False)
class Template:
    """What all poses share.

    `vertices` [6890, 3] metres, `inverse` of the joints' motions into the T-pose [24, 4, 4]; on grids in the
    `box` skinning `weights` [24, 16, 64, 64] and signed distances `sdf`, metres, positive inside, -1e8 beyond
    a shell [1, 1, D, H, W].
    """

    body: BodyModel
    vertices: Tensor
    inverse: Tensor
    box: Box
    weights: Tensor
    sdf: Tensor

    @classmethod
    def of(cls, body: BodyModel, sdf: Tensor | None = None) -> Template:
        """The template of a body.

        Args:
            sdf: Signed distances on the box, metres, positive inside [1, 1, D, H, W]; left out: those of the
                body, kept with the weights in the user's cache.
        """
        pose = label.made(
            body.template.new_zeros(1, label.JOINTS, 3), transl=body.template.new_tensor(TRANSL)
        )
        scaled = scaled_body(body, pose)
        vertices = scaled.vertices[0]
        box = Box.around(vertices)
        weights = volumes.kept(volumes.skinning, body, vertices, box.nodes(SKINNING))
        if sdf is None:
            sdf = volumes.kept(volumes.distances, body, vertices, box.nodes(DISTANCES))
        sdf = sdf.to(vertices)
        return cls(
            body=body,
            vertices=vertices,
            inverse=torch.linalg.inv(scaled.transforms[0]),
            box=box,
            weights=weights.to(vertices),
            sdf=torch.where(sdf.abs() > SHELL, sdf.new_tensor(FAR), sdf),
        )

    def to(self, device: torch.device | str) -> Template:
        """The same template on another device."""
        return Template(**{one.name: getattr(self, one.name).to(device) for one in fields(self)})

    @property
    def faces(self) -> Tensor:
        """Triangles of the vertices, int64 [F, 3]."""
        return self.body.faces

    @property
    def offset(self) -> Tensor:
        """Centre of the box, metres [3]."""
        return self.box.offset

    @property
    def scale(self) -> Tensor:
        """Half the box's side, metres []."""
        return self.box.scale

    def normalise(self, places: Tensor) -> Tensor:
        """Canonical places, metres, in the box's [-1, 1] [..., 3]."""
        return self.box.normalise(places)

    def denormalise(self, places: Tensor) -> Tensor:
        """The inverse of `normalise` [..., 3]."""
        return self.box.denormalise(places)

    @torch.no_grad()
    def weights_at(self, places: Tensor) -> Tensor:
        """Skinning weights [..., 24] at canonical places, metres [..., 3]."""
        expect(places, "... 3", "places")
        flat = grids.bordered(self.normalise(places).reshape(-1, 3), SKINNING)
        return grids.mixed(self._weight_rows, flat, SKINNING).view(*places.shape[:-1], label.JOINTS)

    def sdf_at(self, places: Tensor) -> Tensor:
        """Signed distances [...] at canonical places, metres [..., 3]."""
        return self.sdf_gradient_at(places)[0]

    @torch.no_grad()
    def sdf_gradient_at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances [...] and their gradients [..., 3] at canonical places, metres [..., 3]."""
        expect(places, "... 3", "places")
        value, gradient = volumes.interpolated(self.sdf[0, 0], self.normalise(places).reshape(-1, 3))
        return value.view(places.shape[:-1]), (gradient * self.box.kernel).view(places.shape)

    @cached_property
    def palette(self) -> Tensor:
        """Colours of joints, in [0, 1] [24, 3] (spec 6.1)."""
        made = self.offset.new_ones(label.JOINTS, 3)
        for colour, joints in PAINTED.items():
            made[list(joints)] = made.new_tensor(colour) / 255
        return made

    @cached_property
    def _weight_rows(self) -> Tensor:
        """Weights by node [65536, 24]."""
        return self.weights.flatten(1).T.contiguous()

    @cached_property
    def padded_rows(self) -> Tensor:
        """The same with a margin of one node of zeros [18 x 66 x 66, 24]."""
        return functional.pad(self.weights, (1,) * 6).flatten(1).T.contiguous()
