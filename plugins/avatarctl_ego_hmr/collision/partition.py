"""Bodies in 16 parts, as collision networks see them: whose faces, which box, which points of the surface.

Mihajlovic et al., "COAP: Compositional Articulated Occupancy of People" (CVPR 2022); spec 4.6. `K` counts
parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avatarctl.body import BodyModel, Posed
from avatarctl.device import Noise

MERGED = (23, 22, 15, 14, 13, 11, 10, 3)
"""Joints whose part is that of their parent, in the order in which they are merged."""
PADDING = 1.125
"""A box is so many times as wide as the vertices in it."""
SAMPLES = 1000
"""Published number of points on the surface of each part."""


@dataclass(frozen=True)
class Figure:
    """Posed bodies: `vertices` [B, V, 3] and `joints` [B, 24, 3], metres; world `rotations` [B, 24, 3, 3]."""

    vertices: Tensor
    joints: Tensor
    rotations: Tensor

    @staticmethod
    def of(posed: Posed) -> Figure:
        """The skinned bodies of a pose [B, 24, 3, 3].

        The published code goes from matrices to axis-angle and back (spec 4.1); its clamps do not show in
        values or gradients of rotations, so that way is not taken.
        """
        return Figure(posed.vertices(), posed.joints, posed.rotations)

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, rows: Tensor) -> Figure:
        return Figure(self.vertices[rows], self.joints[rows], self.rotations[rows])

    def detach(self) -> Figure:
        """The same without a history."""
        return Figure(self.vertices.detach(), self.joints.detach(), self.rotations.detach())

    def around(self, points: Tensor) -> Tensor:
        """Which points [B, N, 3] lie in the axis-aligned box of their body, bool [B, N]."""
        vertices = self.vertices.detach()
        least, most = vertices.amin(dim=1, keepdim=True), vertices.amax(dim=1, keepdim=True)
        return ((points >= least) & (points <= most)).all(dim=-1)


@dataclass(frozen=True)
class Boxes:
    """Axes and boxes of posed parts, metres.

    A point x is at rotations^T (x - origins) in a part's axes, where its box has a centre and a size; all
    [B, K, 3], the rotations [B, K, 3, 3].
    """

    rotations: Tensor
    origins: Tensor
    centres: Tensor
    sizes: Tensor

    def local(self, points: Tensor, group: Tensor) -> Tensor:
        """Points [P, 3] in the axes of the part `group` = body K + part of each [P]."""
        moved = points - self.origins.flatten(0, 1).index_select(0, group)
        turned = self.rotations.flatten(0, 1).index_select(0, group)
        return (moved[:, None] @ turned)[:, 0]

    @torch.no_grad()
    def holding(self, points: Tensor, considered: Tensor | None = None) -> Tensor:
        """Which points [B, N, 3] each part's box holds, bool [B, K, N].

        Args:
            considered: Those that may be held, bool [B, N]; left out: all.
        """
        held = torch.zeros(*self.origins.shape[:2], points.shape[1], dtype=torch.bool, device=points.device)
        for body, cloud in enumerate(points):
            rows = slice(None) if considered is None else considered[body].nonzero()[:, 0]
            local = (cloud[rows] - self.origins[body, :, None]) @ self.rotations[body]  # [K, N, 3]
            away = (local - self.centres[body, :, None]).abs()
            held[body][:, rows] = (away < self.sizes[body, :, None] / 2).all(dim=-1)
        return held


@dataclass(frozen=True)
class Draws:
    """Which points of the surface are taken: first of each part's own faces, then of its extended ones.

    `faces` are places in the part's list of faces, int64 [B, 2, K, S / 2]; `uv` says where in the face, 0 to
    1 [B, 2, K, S / 2, 2].
    """

    faces: Tensor
    uv: Tensor

    def __getitem__(self, rows: Tensor) -> Draws:
        return Draws(self.faces[rows], self.uv[rows])


class Partition(nn.Module):
    """What is the same for all bodies of a kind; nothing of it is stored with a network.

    `kept` are the joints of the parts [K]; `lists` are faces of the body [2, K, F], first each part's own,
    then those of its neighbours too, filled up with the number of faces; `owned` are its vertices [K, V1],
    filled up with the first.
    """

    kept: Tensor
    lists: Tensor
    owned: Tensor
    faces: Tensor

    def __init__(self, body: BodyModel) -> None:
        super().__init__()
        owner, parents = _merged(body.weights.argmax(dim=1), body.parents)
        kept = [joint for joint in range(len(parents)) if joint not in MERGED]
        owners = _most_frequent(owner[body.faces])
        own, extended = [], []
        for part in kept:
            near = [part, parents[part], *(other for other in kept if parents[other] == part)]
            own.append((owners == part).nonzero()[:, 0])
            extended.append(torch.isin(owners, torch.tensor(near)).nonzero()[:, 0])
        filled = _padded([*own, *extended], len(body.faces)).unflatten(0, (2, len(kept)))
        vertices = [(owner == part).nonzero()[:, 0] for part in kept]
        for name, table in {
            "kept": torch.tensor(kept),
            "lists": filled,
            "owned": torch.stack([_filled(one, max(map(len, vertices))) for one in vertices]),
            "faces": body.faces.long(),
        }.items():
            self.register_buffer(name, table, persistent=False)

    def __len__(self) -> int:
        return len(self.kept)

    def boxes(self, figure: Figure) -> Boxes:
        """Where the parts of posed bodies are."""
        rotations, origins = figure.rotations[:, self.kept], figure.joints[:, self.kept]
        own = figure.vertices[:, self.owned.flatten()].unflatten(1, self.owned.shape)  # [B, K, V1, 3]
        local = (own - origins[:, :, None]) @ rotations
        least, most = local.amin(dim=2), local.amax(dim=2)
        return Boxes(rotations, origins, (least + most) / 2, (most - least) * PADDING)

    @torch.no_grad()
    def draw(self, vertices: Tensor, noises: Sequence[Noise], count: int = SAMPLES) -> Draws:
        """Points of the surface by area, the same for a body whatever stands beside it.

        Args:
            vertices: Posed bodies, metres [B, V, 3].
            noises: A stream for each.
            count: Points of each part, even.
        """
        shape = (2, len(self), count // 2, 3)
        unit = torch.stack([noise.uniform(shape) for noise in noises]).to(vertices.device)
        corners = vertices[:, self.faces.flatten()].unflatten(1, self.faces.shape)
        areas = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
        areas = torch.cat([areas.norm(dim=-1), areas.new_zeros(len(areas), 1)], dim=1)
        # float64: a sum over thousands of faces must not stop growing before the last of them.
        sums = areas.double()[:, self.lists.flatten()].unflatten(1, self.lists.shape).cumsum(dim=-1)
        found = torch.searchsorted(sums, unit[..., 0] * sums[..., -1:], right=True)
        last = (self.lists < len(self.faces)).sum(dim=-1)[..., None] - 1
        return Draws(torch.minimum(found, last), unit[..., 1:])

    def surface(self, figure: Figure, boxes: Boxes, draws: Draws, groups: Tensor) -> Tensor:
        """Drawn points of some parts, each in its own axes, metres [G, S, 3].

        Args:
            groups: Body K + part of each [G].
        """
        body, part = groups // len(self), groups % len(self)
        place = draws.faces[body, :, part]  # [G, 2, S / 2]
        face = self.lists[:, part].transpose(0, 1).gather(-1, place)
        index = body[:, None, None, None] * figure.vertices.shape[1] + self.faces[face]
        corners = figure.vertices.flatten(0, 1).index_select(0, index.flatten()).unflatten(0, index.shape)
        u, v = draws.uv[body, :, part].to(corners).unbind(-1)
        weights = torch.stack([1 - u.sqrt(), u.sqrt() * (1 - v), u.sqrt() * v], dim=-1)
        points = (weights[..., None] * corners).sum(dim=-2).flatten(1, 2)
        moved = points - boxes.origins.flatten(0, 1)[groups][:, None]
        return moved @ boxes.rotations.flatten(0, 1)[groups]


Draw = Callable[[Partition, Tensor, Tensor], Draws]
"""From a partition, the vertices of some bodies [R, V, 3] and their rows [R], points of their surfaces."""


def seeded(noises: Sequence[Noise], count: int = SAMPLES) -> Draw:
    """Draws from a stream for each body; a body that is not asked for draws nothing."""

    def draw(partition: Partition, vertices: Tensor, rows: Tensor) -> Draws:
        return partition.draw(vertices, [noises[row] for row in rows.tolist()], count)

    return draw


def _merged(owner: Tensor, parents: Sequence[int]) -> tuple[Tensor, list[int]]:
    """The part of each vertex [V], and the parent of each joint, after merging."""
    owner, parents = owner.clone(), list(parents)
    for joint in MERGED:
        owner[owner == joint] = parents[joint]
        parents = [parents[joint] if parent == joint else parent for parent in parents]
    return owner, parents


def _most_frequent(labels: Tensor) -> Tensor:
    """The label that most of three have, of different ones the smallest [F]; labels [F, 3]."""
    a, b, c = labels.unbind(-1)
    return torch.where(a == b, a, torch.where(b == c, b, torch.where(a == c, a, labels.amin(dim=-1))))


def _padded(rows: Sequence[Tensor], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def _filled(row: Tensor, length: int) -> Tensor:
    return torch.cat([row, row[:1].expand(length - len(row))])
