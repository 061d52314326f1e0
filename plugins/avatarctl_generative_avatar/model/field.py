"""People as fields: signed values, colours and normals at points, posed or canonical (spec 4.8, 4.9, 4.11).

Points without a canonical place are empty and never reach the decoder. What is found is a list, from which
colours and normals are asked for as many points as count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.model.decoder import Corners, Decoder, Planes

EMPTY = -100.0
"""Signed value where there is nothing."""
FILLED = -1e4
"""Signed distances below this are the template's filling, whatever the decoder adds."""


@dataclass(frozen=True)
class Found:
    """What is at K of N times P points.

    `point` is the number of each among all N x P, in order, and `sample` its person [K]; `places` are
    canonical, metres [K, 3], `value` is positive inside [K], `steep` the template's gradient [K, 3], and
    `corners` and `hidden` [K, 64] what planes and decoder make of the place.
    """

    shape: tuple[int, int]
    point: Tensor
    sample: Tensor
    places: Tensor
    value: Tensor
    steep: Tensor
    corners: Corners
    hidden: Tensor

    def __getitem__(self, rows: Tensor) -> Found:
        return Found(
            self.shape,
            self.point[rows],
            self.sample[rows],
            self.places[rows],
            self.value[rows],
            self.steep[rows],
            self.corners[rows],
            self.hidden[rows],
        )

    def dense(self, values: Tensor, empty: float = 0.0) -> Tensor:
        """Values [K, ...] of what is found among all points [N, P, ...]."""
        made = values.new_full((self.shape[0] * self.shape[1], *values.shape[1:]), empty)
        return made.index_put((self.point,), values).unflatten(0, self.shape)


class Field:
    """People in a space.

    Args:
        planes: Those of each person, or of one for all.
        space: Poses; or the template, for canonical space.
    """

    def __init__(self, decoder: Decoder, planes: Planes, space: Posing | Template) -> None:
        self.decoder, self.planes, self.space = decoder, planes, space
        self.template = space if isinstance(space, Template) else space.template

    @property
    def is_canonical(self) -> bool:
        """Whether points are canonical."""
        return self.space is self.template

    def find(self, points: Tensor) -> Found:
        """What is at points, metres [N, P, 3]; of several canonical places of one, the innermost."""
        shape = (points.shape[0], points.shape[1])
        if isinstance(self.space, Posing):
            roots = self.space.roots(points)
            value, steep = self.template.sdf_gradient_at(roots.places)
            rows = (value > FILLED).nonzero().squeeze(1)
            point, sample, places = (part[rows] for part in (roots.point, roots.sample, roots.places))
            found = self._found(shape, point, sample, places, value[rows], steep[rows])
            return found[_best(found.point, found.value.detach())]
        places = points.reshape(-1, 3)
        point = torch.arange(len(places), device=points.device)
        sample = torch.div(point, shape[1], rounding_mode="floor")
        return self._found(shape, point, sample, places, *self.template.sdf_gradient_at(places))

    def _found(
        self,
        shape: tuple[int, int],
        point: Tensor,
        sample: Tensor,
        places: Tensor,
        sdf: Tensor,
        steep: Tensor,
    ) -> Found:
        owner = sample if len(self.planes.planes) > 1 else torch.zeros_like(sample)
        corners = self.planes.corners(places, owner)
        hidden = self.decoder.hidden(self.planes.features(corners))
        value = self.decoder.value(hidden) + sdf
        return Found(shape, point, sample, places, value, steep, corners, hidden)

    def colours(self, found: Found) -> Tensor:
        """[K, 32], about 0 to 1."""
        return self.decoder.colours(found.hidden)

    def gradient(self, found: Found) -> Tensor:
        """Canonical gradients as losses see them [K, 3]: in canonical space with the template's."""
        made = self.planes.gradient(found.corners, self.decoder.slope(found.hidden))
        return made + found.steep if self.is_canonical else made

    def normals(self, found: Found, gradient: Tensor) -> Tensor:
        """Unit normals as pictures show them [K, 3], x negated, of gradients [K, 3]."""
        if isinstance(self.space, Posing):
            gradient = self.space.posed_normals(gradient + found.steep, found.places, found.sample)
        # parity: the value is positive inside, so these point inwards but for x (spec 4.9).
        return normalize(gradient * gradient.new_tensor([-1.0, 1.0, 1.0]), dim=-1)

    def values(self, points: Tensor) -> Tensor:
        """Signed values [N, P] at points [N, P, 3]."""
        found = self.find(points)
        return found.dense(found.value, EMPTY)


def _best(point: Tensor, value: Tensor) -> Tensor:
    """Rows of the largest value of each point [M], the first of equals; none below that of empty space.

    Args:
        point: In order [K].
        value: [K].
    """
    is_next = torch.ones_like(point, dtype=torch.bool)
    is_next[1:] = point[1:] != point[:-1]
    group = is_next.cumsum(0) - 1
    most = value.new_full((int(group[-1]) + 1 if len(group) else 0,), EMPTY)
    most.scatter_reduce_(0, group, value, "amax")
    rows = ((value == most[group]) & (value > EMPTY)).nonzero().squeeze(1)
    group = group[rows]
    is_first = torch.ones_like(rows, dtype=torch.bool)
    is_first[1:] = group[1:] != group[:-1]
    return rows[is_first]
