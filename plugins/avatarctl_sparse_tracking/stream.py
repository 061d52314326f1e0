"""Frame by frame inference: one frame of trackers in, one frame of the body out, as the frames come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from avatarctl.geometry.rotations import matrix_from_sixd
from avatarctl.geometry.shapes import expect
from avatarctl.motion import Tracking
from avatarctl.motion.tracking import FPS
from avatarctl_sparse_tracking.features import HEAD_PLACE
from avatarctl_sparse_tracking.model import WINDOW

if TYPE_CHECKING:
    from avatarctl_sparse_tracking.model.inference import State
    from avatarctl_sparse_tracking.pipeline import Pipeline
    from avatarctl_sparse_tracking.sampling import Starts


@dataclass(frozen=True)
class Frame:
    """The body at one moment, in world axes with z up."""

    sixd: Tensor
    """Local 6D rotations of the 22 joints, root first, as the networks give them [132]."""
    rotations: Tensor
    """The same as matrices [22, 3, 3]."""
    poses: Tensor
    """The same as axis-angle [22, 3]."""
    root: Tensor
    """Translation of the SMPL body, as `Motion.root`, metres [3]."""


class Stream:
    """The motion of a recording as its frames come, 60 a second: equal to `Pipeline.sixd` and `place`.

    Args:
        model: The networks.
        starts: Where the sampling of each frame starts, from `Pipeline.seeded`; zeros when left out.
        refine: Run the temporal refiner where there is one.
    """

    def __init__(self, model: Pipeline, starts: Starts | None = None, *, refine: bool = True) -> None:
        self.model, self.starts, self.refine = model, starts, refine
        self.reset()

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a recording."""
        self.count = 0
        """Frames since the start, missed ones too."""
        self._window: Tensor | None = None
        self._before: Tracking | None = None
        self._state: State | None = None

    @overload
    def push(self, frame: Tensor) -> Frame: ...
    @overload
    def push(self, frame: Tracking, *, missed: int = 0) -> Frame | None: ...

    def push(self, frame: Tensor | Tracking, *, missed: int = 0) -> Frame | None:
        """The body at the frame that came.

        Args:
            frame: Features [54] as `Tracking.features` has them, or a Tracking of one frame; the very first
                of these only gives the steps of the second, and None comes back.
            missed: Frames that did not come since the last one. They are taken to lie between, and only the
                refiner does not see them; after a whole window of them the frame starts anew, as the first.

        Raises:
            CheckpointError: The networks give numbers that are not finite.
        """
        if isinstance(frame, Tensor):
            return self._features(frame[None])
        before, self._before = self._before, frame
        if missed >= WINDOW:
            self.reset()
            self._before, before = frame, None
        if before is None:
            return None
        parts = [before, frame]
        if missed:
            parts[1:1] = [_joined(parts).resampled(FPS * (missed + 1))[1:-1]]
        return self._features(_joined(parts).features())

    @torch.no_grad()
    def _features(self, rows: Tensor) -> Frame:
        """The body at the last of rows that follow the ones before [F, 54]."""
        expect(rows, "F 54", "features")
        sparse = rows.float()
        frames = sparse.to(self.model.device).unflatten(-1, (3, 18))
        # The first frame stands for those before it, its steps included (spec 6.3).
        window = frames[:1].expand(WINDOW, 3, 18) if self._window is None else self._window
        self._window = torch.cat([window, frames])[-WINDOW:]
        self.count += len(rows)
        sixd, self._state = self.model.advance(
            self._window[None], self.count - 1, self.starts, self._state, refine=self.refine
        )
        motion = self.model.place(sixd, sparse[-1:, HEAD_PLACE])
        rotations = matrix_from_sixd(sixd[0].unflatten(-1, (-1, 6)))
        return Frame(sixd[0], rotations, motion.poses[0], motion.root[0])


def _joined(parts: list[Tracking]) -> Tracking:
    rotations, positions = ([getattr(part, name) for part in parts] for name in ("rotations", "positions"))
    return Tracking(torch.cat(rotations), torch.cat(positions), FPS)
