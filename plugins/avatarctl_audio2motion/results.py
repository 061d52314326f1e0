"""results.npy: what the published generation writes, a pickled dictionary of arrays (spec 6.5)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from avatarctl.audio.wave import FRAME
from avatarctl.checkpoints.arrays import npy_header
from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import atomic, check_input_file
from avatarctl_audio2motion.conversations.stats import WIDTHS, Kind

WANTED = "a results.npy of the generation"
_HINT = "name a results.npy that was written by --results, or by the published generation"


@dataclass(frozen=True)
class Results:
    """N = repetitions x samples motions of face or body, raw; number repetition x samples + sample.

    None stands for what a file lacks: the recorded truth of a sound without one, and so on.
    """

    motions: np.ndarray  # float64 [N, C, 1, T]
    lengths: np.ndarray  # int64 [N]
    truth: np.ndarray | None = None  # float64 [N, C, 1, T]; unseen faces are the mean code
    audio: np.ndarray | None = None  # float32 [N, 1600 T, 2]
    keyframes: np.ndarray | None = None  # [N, K, C]

    @staticmethod
    def of(
        motions: Tensor,
        audio: Tensor | None = None,
        *,
        truth: Tensor | None = None,
        keyframes: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Results:
        """Results of tensors.

        Args:
            motions: Raw face codes or body poses [N, T, C].
            audio: Both voices, -1..1 [N, 1600 T, 2], or [1600 T, 2] where all have the same.
            truth: What was recorded [N, T, C].
            keyframes: Raw key poses [N, K, C].
            lengths: Frames before the padding [N]; left out: all.
        """
        count, frames, _ = motions.shape
        voices = None if audio is None else audio.float().cpu().numpy()
        return Results(
            motions=_published(motions),
            lengths=np.full(count, frames) if lengths is None else lengths.cpu().numpy(),
            truth=None if truth is None else _published(truth),
            audio=None if voices is None else np.broadcast_to(voices, (count, *voices.shape[-2:])),
            keyframes=None if keyframes is None else keyframes.cpu().numpy(),
        )

    @property
    def kind(self) -> Kind:
        """What moves."""
        return "face" if self.motions.shape[1] == WIDTHS["face"] else "body"

    def write(self, path: str | Path) -> Path:
        """Write the file, atomically."""
        arrays = {
            "motions": self.motions, "gt": self.truth, "audio": self.audio, "lengths": self.lengths,
            "keyframes": self.keyframes,
        }  # fmt: skip
        content = {name: array for name, array in arrays.items() if array is not None}
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.array(content, dtype=object), allow_pickle=True)
        return Path(path)


def read_results(path: str | Path) -> Results:
    """The content of a results.npy; nothing of its pickle is run.

    Raises:
        DataError: It is none, or an array is missing or has another shape.
    """
    path = check_input_file(path, WANTED)
    try:
        with path.open("rb") as file:
            npy_header(file)
            start = file.tell()
    except ValueError as error:
        raise DataError(f"{path}: is no .npy file; expected {WANTED}", hint=_HINT) from error
    content = load_pickle(path, start)
    if isinstance(content, np.ndarray) and content.shape == () and content.dtype.hasobject:
        content = content.item()
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no dictionary; expected {WANTED}", hint=_HINT)
    # parity: the published evaluation reads "motion", the generation writes "motions" (spec 8.1).
    motions = _array(path, content, "motions" if "motions" in content else "motion", "N C 1 T")
    count, width, _, frames = motions.shape
    if width not in WIDTHS.values():
        raise DataError(
            f"{path}: motions: {width} numbers a frame; expected 104 (body) or 256 (face)", hint=_HINT
        )
    shapes = {
        "gt": f"{count} {width} 1 {frames}", "audio": f"{count} {frames * FRAME} 2",
        "keyframes": f"{count} K {width}", "lengths": f"{count}",
    }  # fmt: skip
    found = {name: _array(path, content, name, shape) for name, shape in shapes.items() if name in content}
    lengths = found.get("lengths", np.full(count, frames)).astype(np.int64)
    if ((lengths < 1) | (lengths > frames)).any():
        raise DataError(f"{path}: lengths: expected 1 to {frames} frames", hint=_HINT)
    return Results(motions, lengths, found.get("gt"), found.get("audio"), found.get("keyframes"))


def _published(motions: Tensor) -> np.ndarray:
    """Motions [N, T, C] as [N, C, 1, T], float64."""
    array: np.ndarray = motions.detach().cpu().double().mT[:, :, None].numpy()
    return array


def _array(path: Path, content: dict[str, object], name: str, shape: str) -> np.ndarray:
    """A finite array of a shape; letters stand for any number.

    Raises:
        DataError: There is none.
    """
    array = content.get(name)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        found = f"found {', '.join(map(str, content))}" if name not in content else "holds no numbers"
        raise DataError(f"{path}: {name}: {found}", hint=_HINT)
    sizes = shape.split()
    is_right = array.ndim == len(sizes) and all(
        size.isalpha() or int(size) == found for size, found in zip(sizes, array.shape, strict=True)
    )
    if not is_right or not array.size:
        raise DataError(
            f"{path}: {name}: found {list(array.shape)}, expected [{', '.join(sizes)}]", hint=_HINT
        )
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise DataError(f"{path}: {name}: numbers that are not finite", hint=_HINT)
    return array
