"""How head and hands stand to each other, by which miswritten recordings give themselves away.

The head is upright and above the hands, the left hand is on the left, and a hand is at the far end of the
forearm that turns it. Thresholds lie between the embedded clips as they are and the same clips miswritten.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl.motion.headset import HeadsetLog
from avatarctl.motion.lost import facing, rotations_of

UPRIGHT = 0.3
"""Least mean height of the crown over the head, 1 when upright; 0.6 in true clips."""
ABOVE = 0.15
"""Least mean height of the head over the hands, as a share of their distance; 0.19 in true clips."""
CROSSED = 0.5
"""Share of frames with the left hand on the right from which hands are swapped; 0.2 at most in true clips."""


@dataclass(frozen=True)
class Stance:
    """How the devices stand to each other, in a log in Unity's axes; means over its frames.

    `crown` is the height of the crown over the head, 1 when upright; `above` that of the head over the middle
    of the hands, as a share of their distance; `ahead` how far the hands are ahead of the head, metres;
    `crossed` the share of frames with the left hand on the right; `lever` how far ahead of the point that it
    turns about a hand is, metres; `reach` the median distance of the hands from the head.
    """

    crown: float
    above: float
    ahead: float
    crossed: float
    lever: float
    reach: float

    @staticmethod
    def of(log: HeadsetLog) -> Stance:
        """The stance in a log; frames without tracking are left out."""
        seen = ~log.lost.any(-1)
        seen = seen if int(seen.sum()) > 2 else torch.ones_like(seen)
        turned = rotations_of(log.quaternions)
        reach = (log.positions[:, 1:] - log.positions[:, :1])[seen]
        middle = reach.mean(1)
        ahead = facing(turned[seen, 0])
        right = torch.stack([ahead[:, 2], torch.zeros_like(ahead[:, 0]), -ahead[:, 0]], dim=-1)
        aside = ((reach[:, 1] - reach[:, 0]) * right).sum(-1)
        return Stance(
            crown=float(turned[seen, 0, 1, 1].mean()),
            above=float(-normalize(middle, dim=-1)[:, 1].mean()),
            ahead=float((middle * ahead).sum(-1).mean()),
            crossed=float((aside < 0).double().mean()),
            lever=lever(turned[:, 1:], log.positions[:, 1:] - log.positions[:, :1], seen),
            reach=float(reach.norm(dim=-1).median()),
        )

    @property
    def is_upright(self) -> bool:
        """Whether the head is upright and above the hands."""
        return self.crown > UPRIGHT and self.above > ABOVE

    @property
    def is_backward(self) -> bool:
        """Whether hands are behind the head and point at the body."""
        return self.lever < -0.08 and self.ahead < 0.03

    @property
    def is_usual(self) -> bool:
        """Whether nothing is unlike people."""
        return self.is_upright and self.lever > 0 and self.crossed < CROSSED / 2

    @property
    def is_swapped(self) -> bool:
        """Whether the left hand is mostly on the right."""
        return self.crossed > CROSSED


def lever(turned: Tensor, places: Tensor, seen: Tensor) -> float:
    """How far ahead of the points that they turn about two controllers are, metres; 0 if they hardly turn.

    In the least-squares sense there is a point, fixed in the controller's axes, that moves least; it lies
    towards the elbow, behind the controller.

    Args:
        turned: Rotations of the controllers [N, 2, 3, 3].
        places: Places relative to the head, metres [N, 2, 3].
        seen: Frames with tracking [N].
    """
    step = 3
    if len(seen) <= 3 * step:
        return 0.0
    both = seen[step:] & seen[:-step]
    found = []
    for hand in range(2):
        turns = (turned[step:, hand] - turned[:-step, hand])[both].reshape(-1, 3)
        moves = (places[step:, hand] - places[:-step, hand])[both].reshape(-1, 1)
        normal = turns.T @ turns
        if float(normal.diagonal().sum()) < 1e-3:
            return 0.0
        normal = normal + 1e-6 * torch.eye(3, dtype=normal.dtype)
        found.append(float(torch.linalg.solve(normal, turns.T @ moves)[2]))
    return sum(found) / 2
