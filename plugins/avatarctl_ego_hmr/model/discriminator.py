"""Judges whether poses and shapes are a person's: each joint, the shape, and all joints (spec 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

JOINTS = 23
"""Joints that are judged; not the root."""
CHANNELS = 32


class Discriminator(nn.Module):
    """Scores that training brings to 1 for recorded bodies and to 0 for predicted ones."""

    def __init__(self, hidden: int = 1024) -> None:
        super().__init__()
        self.D_conv1 = nn.Conv2d(9, CHANNELS, 1)
        self.D_conv2 = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.pose_out = nn.ModuleList(nn.Linear(CHANNELS, 1) for _ in range(JOINTS))
        self.betas_fc1, self.betas_fc2, self.betas_out = nn.Linear(10, 10), nn.Linear(10, 5), nn.Linear(5, 1)
        self.D_alljoints_fc1 = nn.Linear(CHANNELS * JOINTS, hidden)
        self.D_alljoints_fc2 = nn.Linear(hidden, hidden)
        self.D_alljoints_out = nn.Linear(hidden, 1)

    def forward(self, matrices: Tensor, betas: Tensor) -> Tensor:
        """Scores [B, 25]: 23 joints, the shape, all joints together.

        Args:
            matrices: Local rotations but the root's [B, 23, 3, 3].
            betas: Shape [B, 10].
        """
        x = matrices.flatten(-2).mT[..., None]  # [B, 9, 23, 1]
        x = functional.relu(self.D_conv1(x))
        x = functional.relu(self.D_conv2(x))[..., 0]  # [B, 32, 23]
        joints = [out(x[:, :, joint]) for joint, out in enumerate(self.pose_out)]
        shape = functional.relu(self.betas_fc2(functional.relu(self.betas_fc1(betas))))
        together = functional.relu(self.D_alljoints_fc1(x.flatten(1)))
        together = functional.relu(self.D_alljoints_fc2(together))
        return torch.cat([*joints, self.betas_out(shape), self.D_alljoints_out(together)], dim=1)

    def judged(self, matrices: Tensor, betas: Tensor) -> Tensor:
        """The same scores, whose gradients reach the bodies and not the discriminator."""
        fixed = {name: parameter.detach() for name, parameter in self.named_parameters()}
        scores: Tensor = functional_call(self, fixed, (matrices, betas))
        return scores
