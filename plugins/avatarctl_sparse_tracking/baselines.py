"""Estimates that know only where the head is and which way it faces: the floor that the networks must beat.

Both keep one pose of the body, turn it about the vertical with the head, and are placed by the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatarctl.body.tables import NUM_BODY
from avatarctl.data.store import Store
from avatarctl.geometry.rotations import matrix_from_sixd, sixd_from_matrix
from avatarctl.motion.motion import Z_FROM_Y
from avatarctl_sparse_tracking.heading import turn_of, turn_root

MOST = 200_000
"""Frames that the mean pose is made of; more change nothing."""
CHUNK = 16384
"""Frames averaged at once."""


@dataclass(frozen=True)
class KeptPose:
    """A pose of the body whose head looks along -y: local rotations [22, 3, 3]; `source` says whose it is."""

    local: Tensor
    source: str

    def follow(self, head: Tensor) -> Tensor:
        """Local 6D rotations [N, 132] of the pose turned with the head's world rotations [N, 3, 3]."""
        local = self.local.expand(len(head), -1, -1, -1).clone()
        local[:, 0] = turn_of(head).mT @ self.local[0]
        return sixd_from_matrix(local).flatten(1)


def last_known(sixd: Tensor, head: Tensor) -> KeptPose:
    """The true pose of a sequence's first frame: local 6D [N, 132], the head's world rotations [N, 3, 3]."""
    local = matrix_from_sixd(sixd[0].reshape(NUM_BODY, 6))
    local[0] = turn_of(head[0]) @ local[0]
    return KeptPose(local, "the true pose of the first frame")


def mean_of(sixd: Tensor, head: Tensor, source: str) -> KeptPose:
    """The mean of poses that face the same way: local 6D [M, 132], the heads' world rotations [M, 3, 3]."""
    total = turn_root(sixd, turn_of(head)).mean(0)
    return KeptPose(matrix_from_sixd(total.reshape(NUM_BODY, 6)), source)


def mean_pose(store: Store) -> KeptPose:
    """The mean pose of a store's train split, evenly thinned; the T-pose where it has no such clips."""
    if "train" not in store.splits or not store.split("train").frames:
        return t_pose()
    split = store.split("train")
    rows = np.arange(0, split.frames, math.ceil(split.frames / MOST))
    total = torch.zeros(6 * NUM_BODY, dtype=torch.float64)
    for start in range(0, len(rows), CHUNK):
        sixd, sparse = (
            torch.from_numpy(split.gather(field, rows[start : start + CHUNK])) for field in ("sixd", "sparse")
        )
        total += turn_root(sixd, turn_of(head_of(sparse))).double().sum(0)
    return KeptPose(
        matrix_from_sixd(total.float().reshape(NUM_BODY, 6)), f"the mean of {len(rows)} training frames"
    )


def t_pose() -> KeptPose:
    """The rest pose, upright."""
    local = torch.eye(3).repeat(NUM_BODY, 1, 1)
    local[0] = torch.tensor(Z_FROM_Y)
    return KeptPose(local, "the T-pose (the store has no training clips)")


def head_of(sparse: Tensor) -> Tensor:
    """World rotations of the head [N, 3, 3] from tracker features [N, 54]."""
    return matrix_from_sixd(sparse[:, :6].float())
