"""Lip errors in millimetres: face codes through a person's face decoder, at vertices that a list names.

Ours: the published lip evaluation was not released (spec 8.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.arrays import read_npy
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.metrics import Column
from avatarctl_audio2motion.avatar.assets import read_files
from avatarctl_audio2motion.avatar.face import FaceDecoder

COLUMNS = (Column("lip_mean", "lips, mean", "mm"), Column("lip_max", "lips, worst vertex", "mm"))


@dataclass(frozen=True)
class Lips:
    """A person's face decoder, and the numbers of the lip vertices [L]."""

    decoder: FaceDecoder
    vertices: Tensor

    @staticmethod
    def read(person: Path, numbers: Path) -> Lips:
        """The lips of a person.

        Args:
            person: The folder of the published renderer.
            numbers: Vertex numbers, as text or .npy.

        Raises:
            AvatarError: A file is missing or broken, or there is no vertex of a number.
        """
        files = read_files(person)
        decoder = FaceDecoder(files.tensors.inside("face_decoder"), files.frontal_view()).eval()
        vertices = _numbers(numbers)
        count = decoder.geometry.weight.shape[0] // 3
        if vertices.min() < 0 or vertices.max() >= count:
            raise DataError(
                f"{numbers}: names vertices {vertices.min()} to {vertices.max()}; "
                f"the face has 0 to {count - 1}",
                hint="list vertices of the face decoder's mesh",
            )
        return Lips(decoder, torch.from_numpy(vertices))

    @torch.no_grad()
    def errors(self, codes: Tensor, truth: Tensor) -> dict[str, float]:
        """Distance from the recorded lips, mean over frames, of all vertices' mean and of the worst vertex.

        Args:
            codes: Raw face codes [T, 256]; truth: the same, recorded.
        """
        ours, theirs = (self.decoder.vertices(some.float())[:, self.vertices] for some in (codes, truth))
        away = (ours - theirs).norm(dim=-1)  # [T, L]
        return {"lip_mean": float(away.mean()), "lip_max": float(away.amax(1).mean())}


def _numbers(path: Path) -> np.ndarray:
    """Whole numbers int64 [L] of a text or .npy file."""
    what = "numbers of lip vertices"
    check_input_file(path, what)
    try:
        array = read_npy(path, what) if path.suffix == ".npy" else np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: holds no {what}: {error}", hint="one whole number a line") from error
    if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
        raise DataError(
            f"{path}: found {array.dtype} {list(array.shape)}; expected {what}",
            hint="one whole number a line",
        )
    return array.astype(np.int64)
