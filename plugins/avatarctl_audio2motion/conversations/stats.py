"""A person's statistics: what the networks' numbers are centred and scaled by (spec 2.3, 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError, DataError

Kind = Literal["face", "body"]
FILE = "data_stats.pth"
POSE, CODE = 104, 256
"""Body parameters and face codes of a frame."""
WIDTHS: dict[Kind, int] = {"face": CODE, "body": POSE}
_SHAPES = {
    "pose_mean": (POSE,), "pose_std": (POSE,), "code_mean": (CODE,), "code_std": (CODE,),
    "audio_mean": (2,), "audio_std_flat": (1,),
}  # fmt: skip
"""The entries of the published file that are used; it holds more."""


@dataclass(frozen=True)
class Statistics:
    """Means and standard deviations of one person's recordings.

    Motion is computed in float64, as published; audio in float32.
    """

    pose_mean: Tensor  # float64 [104]
    pose_std: Tensor  # float64 [104]
    code_mean: Tensor  # float64 [256]
    code_std: Tensor  # float64 [256]
    audio_mean: Tensor  # float32 [2]
    audio_std: float
    """One number for both channels."""

    def normalise(self, kind: Kind, values: Tensor) -> Tensor:
        """Raw face codes or body poses [..., C] as the networks take them, float32."""
        mean, std = self._of(kind, values)
        return ((values.double() - mean) / std).float()

    def denormalise(self, kind: Kind, values: Tensor) -> Tensor:
        """What the networks give [..., C] as raw face codes or body poses, float64."""
        mean, std = self._of(kind, values)
        return values.double() * std + mean

    def normalise_audio(self, audio: Tensor) -> Tensor:
        """Samples of both voices [..., 2] as the networks take them, float32."""
        return (audio.float() - self.audio_mean.to(audio.device)) / self.audio_std

    def denormalise_audio(self, audio: Tensor) -> Tensor:
        """The networks' samples [..., 2] as samples of -1..1, float32."""
        return audio.float() * self.audio_std + self.audio_mean.to(audio.device)

    def to_tensors(self) -> dict[str, Tensor]:
        """The part "stats" of native weights."""
        return asdict(self) | {"audio_std": torch.tensor([self.audio_std], dtype=torch.float32)}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], where: str | Path) -> Statistics:
        """The statistics in the part "stats" of native weights.

        Args:
            where: The file, for messages.

        Raises:
            CheckpointError: An entry is missing, of another shape, or no statistics.
        """
        named = {"audio_std_flat": tensors["audio_std"]} if "audio_std" in tensors else {}
        try:
            return _checked({**tensors, **named}, where)
        except DataError as error:
            raise CheckpointError(error.message, hint="avatarctl inspect FILE says what a file is") from error

    def to_plain(self) -> dict[str, list[float]]:
        """Plain numbers, which JSON keeps to the last digit: the attribute "statistics" of a store."""
        return {name: tensor.double().tolist() for name, tensor in self.to_tensors().items()}

    @staticmethod
    def from_plain(numbers: object, where: str | Path) -> Statistics:
        """The statistics of a store's attributes.

        Raises:
            DataError: They are none.
        """
        try:
            tensors = {name: torch.tensor(one, dtype=torch.float64) for name, one in dict(numbers).items()}  # type: ignore[call-overload]
            tensors["audio_std_flat"] = tensors.pop("audio_std")
        except (TypeError, ValueError, KeyError) as error:
            raise DataError(f"{where}: statistics: are missing or broken", hint="prepare it again") from error
        return _checked(tensors, where)

    def _of(self, kind: Kind, values: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (self.code_mean, self.code_std) if kind == "face" else (self.pose_mean, self.pose_std)
        return mean.to(values.device), std.to(values.device)


def read_statistics(path: str | Path) -> Statistics:
    """The statistics in a published `data_stats.pth`, or in the folder of a person that holds one.

    Raises:
        DataError: There is none, it is broken, or an entry is not what it should be.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
        if not path.is_file():
            raise DataError(
                f"{path}: not found; a person's recordings come with it",
                hint="copy it from the person's download, beside the scenes",
            )
    try:
        content = load_torch(path)
    except CheckpointError as error:
        raise DataError(error.message, hint=error.hint) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected statistics", hint=_HINT)
    return _checked(content, path)


_HINT = "copy it again from the person's download"


def _checked(content: Mapping[str, object], where: str | Path) -> Statistics:
    """The statistics of named arrays, when these are whole."""
    missing = [name for name in _SHAPES if name not in content]
    if missing:
        raise DataError(f"{where}: statistics: no {', '.join(missing)}", hint=_HINT)
    found: dict[str, Tensor] = {}
    for name, shape in _SHAPES.items():
        try:
            tensor = torch.as_tensor(np.asarray(content[name], np.float64))
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: statistics: {name}: holds no numbers", hint=_HINT) from error
        if tuple(tensor.shape) != shape:
            raise DataError(
                f"{where}: statistics: {name}: found shape {list(tensor.shape)}, expected {list(shape)}",
                hint=_HINT,
            )
        is_scale = "std" in name
        if not torch.isfinite(tensor).all() or (is_scale and (tensor <= 0).any()):
            wanted = "numbers above 0" if is_scale else "finite numbers"
            raise DataError(f"{where}: statistics: {name}: expected {wanted}", hint=_HINT)
        found[name] = tensor
    scale = found.pop("audio_std_flat")
    audio_mean = found.pop("audio_mean").float()
    return Statistics(**found, audio_mean=audio_mean, audio_std=float(scale.float()))
