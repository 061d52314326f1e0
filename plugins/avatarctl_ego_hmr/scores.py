"""The metrics of spec 7: errors of joints and vertices, diversity, contact.

Errors are kept for each frame and joint, metres, so that windows of a long recording are joined and every
mean is taken at the end. `published` numbers follow the published code; `corrected` ones mend its errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatarctl.metrics.align import aligned, similarity

JOINTS = 24
PUBLISHED_CONTACT = 0.02**0.5
"""Metres: the published code compares squared metres with 0.02 (Q7)."""
CONTACT = 0.02
"""Metres that were probably meant."""


@dataclass(frozen=True)
class Errors:
    """Errors of n frames, S samples of each, metres."""

    joints_global: Tensor
    """Of places in the camera [n, S, 24]."""
    joints: Tensor
    """Of places from the pelvis [n, S, 24]."""
    joints_aligned: Tensor
    """After the published alignment to the visible joints [n, S, 24]."""
    joints_corrected: Tensor
    """After an alignment to the visible joints alone [n, S, 24]."""
    vertices_visible: Tensor
    """Sum over the visible vertices, from the pelvis [n, S]."""
    vertices_hidden: Tensor
    """Sum over the others [n, S]."""
    visible: Tensor
    """Which true joints lie in the picture, bool [n, 24]."""
    num_visible: Tensor
    """Visible vertices [n]."""
    num_hidden: Tensor
    """The others [n]."""
    spread: Tensor
    """Standard deviation over the samples: of all, visible, hidden joints [n, 3]."""
    pairwise: Tensor
    """Mean distance of two samples, likewise [n, 3]."""

    def __len__(self) -> int:
        return len(self.joints)

    @staticmethod
    def joined(parts: Sequence[Errors]) -> Errors:
        """The errors of several windows."""
        every = ((item.name, [getattr(part, item.name) for part in parts]) for item in fields(Errors))
        return Errors(**{name: torch.cat(found) for name, found in every})


def measure(
    joints: Tensor,
    vertices: Tensor,
    true_joints: Tensor,
    true_vertices: Tensor,
    visible: Tensor,
    visible_vertices: Tensor,
    *,
    mask_alignment: bool = True,
) -> Errors:
    """Errors of predicted bodies.

    Args:
        joints: In the camera, metres [n, S, 24, 3].
        vertices: The same of the vertices [n, S, V, 3].
        true_joints: [n, 24, 3].
        true_vertices: [n, V, 3].
        visible: Which true joints lie in the picture [n, 24].
        visible_vertices: Which true vertices do [n, V].
        mask_alignment: Align to the visible joints, as published by default; else to all.
    """
    truth = true_joints[:, None]
    local, true_local = joints - joints[..., :1, :], truth - truth[..., :1, :]
    distances = (vertices - joints[..., :1, :] - (true_vertices - true_joints[:, :1])[:, None]).norm(dim=-1)
    seen = visible_vertices[:, None]
    return Errors(
        joints_global=(joints - truth).norm(dim=-1),
        joints=(local - true_local).norm(dim=-1),
        joints_aligned=published_alignment(local, true_local, visible[:, None] if mask_alignment else None),
        joints_corrected=visible_alignment(local, true_local, visible[:, None]),
        vertices_visible=(distances * seen).sum(-1),
        vertices_hidden=(distances * ~seen).sum(-1),
        visible=visible,
        num_visible=visible_vertices.sum(-1),
        num_hidden=(~visible_vertices).sum(-1),
        **_diversity(local, visible),
    )


def published_alignment(predicted: Tensor, truth: Tensor, visible: Tensor | None = None) -> Tensor:
    """Errors after a similarity alignment as published [..., J].

    Args:
        predicted: [..., J, 3].
        truth: [..., J, 3].
        visible: Joints that the alignment is fitted to [..., J]; left out: all.
    """
    truth = truth.expand_as(predicted)
    fitted = None
    if visible is not None:
        # parity: hidden joints enter as points at the origin of both sets (spec 7.2, Q10).
        fitted = (predicted * visible.unsqueeze(-1), truth * visible.unsqueeze(-1))
    return (aligned(predicted, truth, fitted) - truth).norm(dim=-1)


def visible_alignment(predicted: Tensor, truth: Tensor, visible: Tensor) -> Tensor:
    """Errors after a similarity alignment to the visible joints alone [..., J].

    With fewer than three visible joints there is no such alignment: NaN.
    """
    truth = truth.expand_as(predicted)
    weights = visible.to(predicted).expand(predicted.shape[:-1])
    few = weights.sum(-1) < 3
    scale, rotation, shift = similarity(predicted, truth, torch.where(few[..., None], 1.0, weights))
    moved = scale[..., None, None] * (predicted @ rotation.mT) + shift[..., None, :]
    errors: Tensor = (moved - truth).norm(dim=-1)
    return errors.masked_fill(few[..., None], torch.nan)


def _diversity(local: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """Deviation and pairwise distance of the samples [n, 3] each; NaN for one sample (spec 7.2)."""
    samples = local.shape[1]
    masks = torch.stack([torch.ones_like(visible), visible, ~visible], dim=1).to(local)  # [n, 3, J]
    counts = masks.sum(-1)
    if samples < 2:
        nothing = torch.full_like(counts, torch.nan)
        return {"spread": nothing, "pairwise": nothing}
    deviation = local.std(dim=1).mean(-1)  # [n, J]
    apart = torch.zeros_like(deviation)
    for sample in range(samples):
        apart += (local - local[:, sample : sample + 1]).norm(dim=-1).sum(1)
    apart /= samples * (samples - 1)
    return {
        "spread": (masks @ deviation[..., None])[..., 0] / counts,
        "pairwise": (masks @ apart[..., None])[..., 0] / counts,
    }


def summary(errors: Errors) -> dict[str, float]:
    """The published numbers of stage 2, metres; keys METRIC.all, METRIC.visible, METRIC.hidden.

    Numbers that the published code gets wrong have a second value under METRIC_corrected.
    """
    found: dict[str, float] = {}
    seen = errors.visible[:, None]
    for name, each in (
        ("g_mpjpe", errors.joints_global), ("mpjpe", errors.joints), ("pa_mpjpe", errors.joints_aligned),
    ):  # fmt: skip
        found |= _by_visibility(name, each, seen)
    known = errors.joints_corrected.isfinite()
    found |= _by_visibility("pa_mpjpe_corrected", errors.joints_corrected, seen, known)
    samples = errors.joints.shape[1]
    sums = [errors.vertices_visible.double().sum(), errors.vertices_hidden.double().sum()]
    counts = [samples * errors.num_visible.sum(), samples * errors.num_hidden.sum()]
    found["v2v.all"] = _ratio(sums[0] + sums[1], counts[0] + counts[1])
    found["v2v.visible"], found["v2v.hidden"] = map(_ratio, sums, counts)
    hidden = (errors.joints * ~seen).double().sum(-1)  # [n, S]
    found["mpjpe_best.hidden"] = _ratio(hidden.amin(dim=1).sum(), (~errors.visible).sum())
    for column, which in enumerate(("all", "visible", "hidden")):
        found[f"std.{which}"] = float(errors.spread[:, column].double().nanmean())
        apart = float(errors.pairwise[:, column].double().nanmean())
        found[f"apd.{which}"], found[f"apd_corrected.{which}"] = apart / 2, apart  # parity: halved (Q8)
    return found


def _by_visibility(
    name: str, errors: Tensor, visible: Tensor, known: Tensor | None = None
) -> dict[str, float]:
    """Means over all joints [n, S, J], the visible and the hidden ones of all frames and samples."""
    known = torch.ones_like(errors, dtype=torch.bool) if known is None else known
    masks = {"all": known, "visible": known & visible, "hidden": known & ~visible}
    found = {}
    for which, mask in masks.items():
        found[f"{name}.{which}"] = _ratio(torch.where(mask, errors, 0.0).double().sum(), mask.sum())
    return found


def _ratio(total: Tensor, count: Tensor) -> float:
    return float(total / count) if count else float("nan")


def place_errors(
    joints: Tensor, vertices: Tensor, true_joints: Tensor, true_vertices: Tensor
) -> dict[str, Tensor]:
    """The numbers of stage 1 for each frame, metres [n] (spec 7.1).

    Args:
        joints: In the camera [n, 24, 3].
        vertices: [n, V, 3].
        true_joints: [n, 24, 3].
        true_vertices: [n, V, 3].
    """
    found = {}
    for name, points, truth in (("mpjpe", joints, true_joints), ("v2v", vertices, true_vertices)):
        found[f"g_{name}"] = (points - truth).norm(dim=-1).mean(-1)
        local, true_local = points - joints[:, :1], truth - true_joints[:, :1]
        found[name] = (local - true_local).norm(dim=-1).mean(-1)
        found[f"pa_{name}"] = published_alignment(points, truth).mean(-1)
    return found


def nearest(vertices: np.ndarray, points: np.ndarray, most: float = PUBLISHED_CONTACT) -> np.ndarray:
    """The smallest distance between each body and the room, metres [S]; infinite beyond `most`.

    Args:
        vertices: Of the bodies [S, V, 3].
        points: Of the room [N, 3].
    """
    found = np.full(len(vertices), np.inf)
    for index, body in enumerate(vertices):
        low, high = body.min(axis=0) - most, body.max(axis=0) + most
        near = points[((points >= low) & (points <= high)).all(axis=1)]
        if len(near):
            found[index] = cKDTree(body).query(near, distance_upper_bound=most * 1.001)[0].min()
    return found
