"""What was generated for one conversation, and its file: arrays without pickles, and words about them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.arrays import npz_headers, read_npz
from avatarctl.errors import DataError
from avatarctl.files import atomic

FPS = 30.0
WIDTHS = {"face": 256, "body": 104, "keys": 104}
REST = "rest"
Words = dict[str, str | int | float]


@dataclass(frozen=True)
class Generated:
    """Results of one conversation, N of them: number repetition x samples + sample.

    Raw values: face codes `face` [N, T, 256], body poses `body` [N, T, 104] at 30 frames a second, key poses
    `keys` [N, K, 104], one a second; None for what was not generated. `about` says person, steps, and so on.
    `rest` is what a part that was not generated stays at, the person's mean [256] or [104]; None where that
    is not known.
    """

    face: Tensor | None
    body: Tensor | None
    keys: Tensor | None = None
    samples: int = 1
    about: Words = field(default_factory=dict)
    rest: Tensor | None = None

    def __len__(self) -> int:
        return len(self._any)

    @property
    def frames(self) -> int:
        """Length of each result."""
        return self._any.shape[1]

    @property
    def _any(self) -> Tensor:
        found = self.face if self.body is None else self.body
        assert found is not None
        return found

    def stem(self, word: str, index: int) -> str:
        """What the files of a result are called: the first one has the plain word."""
        repetition, sample = divmod(index, self.samples)
        return f"{word}_sample{sample:02d}_rep{repetition:02d}" if index else word

    def write(self, path: str | Path) -> Path:
        """Write an .npz, atomically and with the same bytes every time."""
        held = {name: getattr(self, name) for name in (*WIDTHS, REST)}
        arrays = {name: value.float().cpu().numpy() for name, value in held.items() if value is not None}
        about = {**self.about, "fps": FPS, "samples": self.samples}
        arrays["about"] = np.array(json.dumps(about, sort_keys=True))
        with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
        return Path(path)

    @staticmethod
    def read(path: str | Path) -> Generated:
        """What `write` wrote.

        Raises:
            DataError: It is no such file, or an array has another shape or numbers that are not finite.
        """
        headers = npz_headers(path)
        arrays = read_npz(path, [*WIDTHS, REST, "about"])
        if not {"face", "body"} & arrays.keys():
            raise DataError(
                f"{path}: holds {', '.join(headers) or 'nothing'}; expected face or body",
                hint="name a generated.npz that avatarctl infer audio2motion wrote",
            )
        found = {
            name: _checked(path, name, arrays[name], ["N", "T", width])
            for name, width in WIDTHS.items()
            if name in arrays
        }
        if REST in arrays:
            other = "body" if "face" in found else "face"
            found[REST] = _checked(path, REST, arrays[REST], [WIDTHS[other]])
        about = _about(path, arrays.get("about"))
        samples = about.pop("samples", 1)
        about.pop("fps", None)
        return Generated(**{"face": None, "body": None, **found}, samples=max(1, int(samples)), about=about)


def _checked(path: str | Path, name: str, array: np.ndarray, form: list[str | int]) -> Tensor:
    if array.ndim != len(form) or array.shape[-1] != form[-1] or not array.size:
        raise DataError(
            f"{path}: {name}: found {list(array.shape)}, expected [{', '.join(map(str, form))}]",
            hint="generate it again",
        )
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise DataError(f"{path}: {name}: numbers that are not finite", hint="generate it again")
    return torch.from_numpy(array).float()


def _about(path: str | Path, array: np.ndarray | None) -> Words:
    try:
        about = json.loads(str(array)) if array is not None else {}
    except ValueError as error:
        raise DataError(f"{path}: about: no JSON: {error}", hint="generate it again") from error
    words = about if isinstance(about, dict) else {}
    return {str(name): value for name, value in words.items() if isinstance(value, str | int | float)}
