"""The whole body's motion from three trackers, as users of the Python API want it (spec 6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avatarctl.body import Bodies, BodyModel
from avatarctl.body.tables import BODY_PARENTS, HEAD, NUM_BODY
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.device import Noise, choose
from avatarctl.device.memory import chunked
from avatarctl.errors import CheckpointError
from avatarctl.geometry.kinematics import forward_kinematics
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle_smpl, matrix_from_sixd
from avatarctl.geometry.shapes import expect
from avatarctl.motion import Motion, Tracking
from avatarctl.motion.tracking import FPS
from avatarctl.runs.inputs import embedded_weights
from avatarctl_sparse_tracking.features import HEAD_PLACE
from avatarctl_sparse_tracking.heading import heading, to_heading, turn_root
from avatarctl_sparse_tracking.model import WINDOW, Decoder, LatentDiffusion, Refiner, frame_of
from avatarctl_sparse_tracking.model import load as load_network
from avatarctl_sparse_tracking.plugin import avatarctl_weights
from avatarctl_sparse_tracking.sampling import latents_of


@dataclass(frozen=True)
class Pipeline:
    """The networks of one set of weights, and the body whose skeleton is placed.

    `frame` says whether windows are seen in world axes (published) or from the head; `rest` [22, 3] are the
    body's joints at rest, metres; `source` is the weights file, for messages.
    """

    upper: LatentDiffusion
    lower: LatentDiffusion
    decoder: Decoder
    refiner: Refiner | None
    frame: str
    rest: Tensor
    device: torch.device
    source: str = ""

    def __call__(
        self, tracking: Tracking, noise: Noise | None = None, *, refine: bool = True, batch_size: int = 1024
    ) -> Motion:
        """The motion of frames 1 and later, at 60 frames a second and with z up.

        Args:
            tracking: Head and hands; other rates are brought to 60.
            noise: Where sampling starts; zeros when left out, which moves the result by millimetres.
            refine: Run the temporal refiner where there is one.
            batch_size: Windows computed at once.
        """
        features = tracking.resampled(FPS).features().float()
        return self.place(
            self.sixd(features, noise, refine=refine, batch_size=batch_size), features[:, HEAD_PLACE]
        )

    @torch.no_grad()
    def sixd(
        self, features: Tensor, noise: Noise | None = None, *, refine: bool = True, batch_size: int = 1024
    ) -> Tensor:
        """Local 6D rotations of the 22 joints [N, 132] of features [N, 54]; frame i sees frames up to i."""
        expect(features, "N 54", "features")
        frames = features.to(self.device, torch.float32).unflatten(-1, (3, 18))
        # The first frame stands for those before it, its steps included (spec 6.3).
        padded = torch.cat([frames[:1].expand(WINDOW - 1, 3, 18), frames])
        windows = padded.unfold(0, WINDOW, 1).movedim(-1, 1)  # [N, T, 3, 18], a view
        pieces = [piece for part in windows.split(batch_size) for piece in self._decode(part, noise)]
        sixd, turns = (torch.cat(part) for part in zip(*pieces, strict=True))
        if refine and self.refiner is not None:
            sixd = sixd + self.refiner(sixd[None])[0][0]
        if not torch.isfinite(sixd).all():
            raise CheckpointError(
                f"{self.source or 'the weights'}: the networks give numbers that are not finite",
                hint="take other weights, or --precision fp32",
            )
        return turn_root(sixd, turns.mT).cpu()

    def _decode(self, windows: Tensor, noise: Noise | None) -> list[tuple[Tensor, Tensor]]:
        """Last frames of windows in the networks' axes [B, 132], and the turns to those axes [B, 3, 3].

        In pieces where memory is short; the noise is drawn for all windows at once, so it stays the same.
        """
        shape = (len(windows), self.upper.tokens, self.upper.latent)
        starts = [
            windows.new_zeros(shape) if noise is None else noise.normal(shape, device=self.device)
            for _ in range(2)
        ]

        def decode(rows: slice) -> tuple[Tensor, Tensor]:
            seen = windows[rows]
            turn = torch.eye(3, device=self.device).expand(len(seen), 3, 3)
            if self.frame == "heading":
                turn, origin = heading(seen)
                seen = to_heading(seen, turn, origin)
            latents = latents_of(self.upper, self.lower, seen, *(start[rows] for start in starts))
            return self.decoder(*latents, seen)[:, -1], turn

        return chunked(decode, len(windows), len(windows))

    def place(self, sixd: Tensor, head: Tensor) -> Motion:
        """The body placed so that its head joint meets the tracked head (spec 6.4).

        Args:
            sixd: Local 6D rotations [N, 132].
            head: Tracked places of the head, metres [N, 3].
        """
        poses = axis_angle_from_matrix(matrix_from_sixd(sixd.unflatten(-1, (NUM_BODY, 6))))
        posed = forward_kinematics(matrix_from_axis_angle_smpl(poses), self.rest, BODY_PARENTS)[1]
        return Motion(poses=poses, root=head.float().cpu() - posed[:, HEAD], fps=FPS, gender="male")


def load(
    weights: Weights | str | Path, device: str | torch.device = "auto", body: BodyModel | None = None
) -> Pipeline:
    """The pipeline of trained weights.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones; the
            decoder stage's three networks are needed, the refiner is used where there is one.
        body: Whose skeleton is placed; the male body of the added assets when left out, else the open body.

    Raises:
        CheckpointError: A network is missing or does not fit.
    """
    if not isinstance(weights, Weights):
        declared = list(avatarctl_weights())
        path = embedded_weights(declared).get(str(weights), weights)
        weights = open_weights(path, [one for one in declared if one.read])
    where = torch.device(device) if not isinstance(device, str) else choose(device)[0]
    parts = {part: load_network(weights, part, where) for part in ("upper", "lower", "decoder")}
    refiner = load_network(weights, "refiner", where) if "refiner" in weights.parts else None
    body = body or Bodies().load("smplh", "male")
    return Pipeline(
        **parts,
        refiner=refiner,
        frame=frame_of(weights),
        rest=body.rest_joints[:NUM_BODY].cpu(),
        device=where,
        source=str(weights.path),
    )
