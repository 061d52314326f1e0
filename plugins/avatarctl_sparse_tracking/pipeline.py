"""The whole body's motion from three trackers, as users of the Python API want it (spec 6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from avatarctl.body import Bodies, BodyModel
from avatarctl.body.tables import BODY_PARENTS, HEAD, NUM_BODY
from avatarctl.checkpoints import Weights
from avatarctl.device import choose
from avatarctl.device.memory import chunked
from avatarctl.diffusion import leading_steps
from avatarctl.errors import CheckpointError, DeviceError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle_smpl, matrix_from_sixd
from avatarctl.geometry.shapes import expect
from avatarctl.motion import Motion, Tracking
from avatarctl.motion.tracking import FPS
from avatarctl.runs.inputs import opened
from avatarctl_sparse_tracking.features import HEAD_PLACE
from avatarctl_sparse_tracking.heading import heading, to_heading, turn_root
from avatarctl_sparse_tracking.inspecting import require_chain
from avatarctl_sparse_tracking.model import WINDOW, Decoder, LatentDiffusion, Refiner, frame_of
from avatarctl_sparse_tracking.model import load as load_network
from avatarctl_sparse_tracking.model.inference import Fast, State
from avatarctl_sparse_tracking.model.products import NumberFormat, has_int8
from avatarctl_sparse_tracking.plugin import avatarctl_weights
from avatarctl_sparse_tracking.sampling import PROCESS, STEPS, Starts, latents_of, seeded_starts
from avatarctl_sparse_tracking.stream import Frame, Stream

__all__ = ["Frame", "Pipeline", "Stream", "load"]


@dataclass(frozen=True)
class Pipeline:
    """The networks of one set of weights, and the body whose skeleton is placed.

    `frame` says whether windows are seen in world axes (published) or from the head; `rest` [22, 3] are the
    body's joints at rest, metres; `source` is the weights file, for messages. Fewer `steps` than the
    published 5, of which the last is not computed, and a smaller `number_format` of the denoisers' blocks are
    faster and less exact.
    """

    upper: LatentDiffusion
    lower: LatentDiffusion
    decoder: Decoder
    refiner: Refiner | None
    frame: str
    rest: Tensor
    device: torch.device
    source: str = ""
    steps: int = len(STEPS)
    number_format: NumberFormat = "float32"

    def __call__(
        self, tracking: Tracking, starts: Starts | None = None, *, refine: bool = True, batch_size: int = 1024
    ) -> Motion:
        """The motion of frames 1 and later, at 60 frames a second and with z up.

        Args:
            tracking: Head and hands; other rates are brought to 60.
            starts: Where the sampling of each frame starts, from `seeded`; zeros when left out, which moves
                the result by millimetres.
            refine: Run the temporal refiner where there is one.
            batch_size: Windows computed at once.
        """
        features = tracking.resampled(FPS).features().float()
        return self.place(
            self.sixd(features, starts, refine=refine, batch_size=batch_size), features[:, HEAD_PLACE]
        )

    def seeded(self, seed: int) -> Starts:
        """Normal starts for these networks, each frame's from the seed and its number (published: normal)."""
        return seeded_starts(seed, self.upper.tokens, self.upper.latent)

    @torch.no_grad()
    def sixd(
        self, features: Tensor, starts: Starts | None = None, *, refine: bool = True, batch_size: int = 1024
    ) -> Tensor:
        """Local 6D rotations of the 22 joints [N, 132] of features [N, 54]; frame i sees frames up to i."""
        expect(features, "N 54", "features")
        frames = features.to(self.device, torch.float32).unflatten(-1, (3, 18))
        windows = windows_of(frames)  # [N, T, 3, 18]
        pieces, state = [], None
        for first in range(0, len(windows), batch_size):
            some = windows[first : first + batch_size]
            piece, state = self.advance(some, first, starts, state, refine=refine)
            pieces.append(piece)
        return torch.cat(pieces)

    def advance(
        self,
        windows: Tensor,
        first: int,
        starts: Starts | None,
        state: State | None,
        *,
        refine: bool = True,
    ) -> tuple[Tensor, State | None]:
        """Local 6D rotations of windows' last frames [B, 132], and the refiner's state after them.

        Args:
            windows: Consecutive ones [B, T, 3, 18].
            first: The recording's frame that the first window ends with.
            state: After the frames before; None at the start.
        """
        pieces = self._decode(windows, first, starts)
        sixd, turns = (torch.cat(part) for part in zip(*pieces, strict=True))
        if refine and self._fast.refiner is not None:
            change, state = self._fast.refiner(sixd, state)
            sixd = sixd + change
        return turn_root(finite(sixd, self.source), turns.mT).cpu(), state

    @cached_property
    def _fast(self) -> Fast:
        """The networks as they are computed, packed at the first use."""
        return Fast.of(self.upper, self.lower, self.decoder, self.refiner, self.number_format)

    def _decode(self, windows: Tensor, first: int, starts: Starts | None) -> list[tuple[Tensor, Tensor]]:
        """Last frames of windows in the networks' axes [B, 132], and the turns to those axes [B, 3, 3].

        In pieces where memory is short.

        Args:
            first: The recording's frame that the first window ends with.
        """
        shape = (len(windows), self.upper.tokens, self.upper.latent)
        noises = (windows.new_zeros(shape),) * 2 if starts is None else starts(first, first + len(windows))
        noises = noises[0].to(self.device), noises[1].to(self.device)
        fast, steps = self._fast, leading_steps(len(PROCESS), self.steps)

        def decode(rows: slice) -> tuple[Tensor, Tensor]:
            seen = windows[rows]
            turn = torch.eye(3, device=self.device).expand(len(seen), 3, 3)
            if self.frame == "heading":
                turn, origin = heading(seen)
                seen = to_heading(seen, turn, origin)
            start_upper, start_lower = noises[0][rows], noises[1][rows]
            latents = latents_of(fast.upper, fast.lower, seen, start_upper, start_lower, steps)
            return fast.decoder(*latents, seen), turn

        return chunked(decode, len(windows), len(windows))

    def place(self, sixd: Tensor, head: Tensor) -> Motion:
        """The body placed so that its head joint meets the tracked head (spec 6.4).

        Args:
            sixd: Local 6D rotations [N, 132].
            head: Tracked places of the head, metres [N, 3].
        """
        return place(sixd, head, self.rest)


def finite(sixd: Tensor, source: str) -> Tensor:
    """The networks' rotations, once they are known to be numbers.

    Args:
        source: The weights, for the message.
    """
    if not torch.isfinite(sixd).all():
        raise CheckpointError(
            f"{source or 'the weights'}: the networks give numbers that are not finite",
            hint="take other weights, or --precision fp32",
        )
    return sixd


def windows_of(frames: Tensor) -> Tensor:
    """For each of frames [N, ...] the window that ends with it [N, T, ...], a view.

    The first frame stands for those before it, its steps included (spec 6.3).
    """
    padded = torch.cat([frames[:1].expand(WINDOW - 1, *frames.shape[1:]), frames])
    return padded.unfold(0, WINDOW, 1).movedim(-1, 1)


def place(sixd: Tensor, head: Tensor, rest: Tensor) -> Motion:
    """The body placed so that its head joint meets the tracked head; arguments as `Pipeline.place`.

    Args:
        rest: The body's joints at rest, metres [22, 3].
    """
    poses = axis_angle_from_matrix(matrix_from_sixd(sixd.unflatten(-1, (NUM_BODY, 6))))
    posed = forward_kinematics(matrix_from_axis_angle_smpl(poses), rest, BODY_PARENTS)[1]
    return Motion(poses=poses, root=head.float().cpu() - posed[:, HEAD], fps=FPS, gender="male")


def load(
    weights: Weights | str | Path,
    device: str | torch.device = "auto",
    body: BodyModel | None = None,
    *,
    steps: int = len(STEPS),
    number_format: NumberFormat = "float32",
) -> Pipeline:
    """The pipeline of trained weights.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones; the
            decoder stage's three networks are needed, the refiner is used where there is one.
        body: Whose skeleton is placed; the male body of the added assets when left out, else the open body.
        steps, number_format: As Pipeline has them.

    Raises:
        DeviceError: There are no products of 8-bit integers.
        CheckpointError: A network is missing or does not fit.
    """
    weights = opened(weights, avatarctl_weights())
    require_chain(weights)
    where = torch.device(device) if not isinstance(device, str) else choose(device)[0]
    if number_format == "int8" and not has_int8(where):
        raise DeviceError(
            f"no products of 8-bit integers on {where}",
            hint="take --device cpu, or leave out --weights-format",
        )
    parts = {part: load_network(weights, part, where) for part in ("upper", "lower", "decoder")}
    refiner = load_network(weights, "refiner", where) if weights.holds("refiner") else None
    body = body or Bodies().load("smplh", "male")
    return Pipeline(
        **parts,
        refiner=refiner,
        frame=frame_of(weights),
        rest=body.rest_joints[:NUM_BODY].cpu(),
        device=where,
        source=str(weights.path),
        steps=steps,
        number_format=number_format,
    )
