"""People as files: what infer (people.npz) and export (people/NNNNN.npz) write of each, to show them again.

Styles are stored as the generator's layers take them, after truncation.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.errors import DataError, SettingsError
from avatarctl.runs.index import find as find_run
from avatarctl_generative_avatar import label

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings import Chosen

FILE, FOLDER = "people.npz", "people"
"""In the folder of a run of infer, and of one of export."""
SINGLE = "[0-9]" * 5 + "*.npz"
EXPECTED = "expected ws and labels of people, as infer and export of generative-avatar write them"
HINT = "avatarctl infer generative-avatar writes people.npz"
AGAIN = "copy the file again"
GIVEN = {
    "number": "all people of --people are shown; --pick chooses some",
    "poses": "the people of --people have their poses",
    "truncation": "the styles of --people are already truncated",
}
"""Why settings of new people do nothing for those of a file."""


@dataclass(frozen=True)
class Origin:
    """What drew people; None and no words where their file does not say."""

    seed: int | None = None
    truncation: float | None = None
    weights: str = ""
    generator: str = ""
    """Digest of the generator's tensors, from `digest_of`."""


@dataclass(frozen=True, eq=False)
class Kept:
    """People of a file: styles `ws` [N, num_ws, w_dim], `labels` [N, 111], and the number of each."""

    path: Path
    ws: Tensor
    labels: Tensor
    numbers: tuple[int, ...]
    origin: Origin = Origin()

    def only(self, numbers: Iterable[int]) -> Kept:
        """The people of these numbers, in this order."""
        places = {number: row for row, number in enumerate(self.numbers)}
        rows = [places[number] for number in numbers]
        return replace(
            self,
            ws=self.ws[rows],
            labels=self.labels[rows],
            numbers=tuple(self.numbers[row] for row in rows),
        )


def arrays(ws: Tensor, labels: Tensor, numbers: Sequence[int], origin: Origin) -> dict[str, Any]:
    """People as `read` takes them: styles [N, num_ws, w_dim] and labels [N, 111]."""
    return {"ws": ws, "labels": labels, "numbers": np.asarray(numbers, np.int64), "about": _words(origin)}


def arrays_of_one(ws: Tensor, one: Tensor, number: int, origin: Origin) -> dict[str, Any]:
    """One person as `read` takes it: styles [num_ws, w_dim] and label [111]."""
    return {"ws": ws, "label": one, "number": np.asarray(number, np.int64), "about": _words(origin)}


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """The content of a generator in a word."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {list(tensor.shape)} {tensor.dtype}\0".encode())
        total.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{total.hexdigest()[:32]}"


def found(path: str | Path) -> Path:
    """The file that is meant, or the folder of files with one person each.

    Args:
        path: Such a file or folder, a run folder that holds one, or run:NAME/N.

    Raises:
        DataError: There is none.
    """
    words = str(path)
    path = find_run(words) if words.startswith("run:") else Path(path).expanduser()
    if not path.is_dir():
        return path
    if (path / FILE).is_file():
        return path / FILE
    for folder in (path, path / FOLDER):
        if any(folder.glob(SINGLE)):
            return folder
    raise DataError(f"{path}: has neither {FILE} nor {FOLDER}/NNNNN.npz", hint=HINT)


def read(path: str | Path) -> Kept:
    """The people of a file, or of the files of a folder, by their numbers.

    Args:
        path: As for `found`.

    Raises:
        DataError: There are none, or the file is broken, foreign, or has numbers that are not finite.
    """
    path = found(path)
    if not path.is_dir():
        return _of_file(path)
    every = [_of_file(file) for file in sorted(path.glob(SINGLE))]
    for one in every[1:]:
        if one.ws.shape[1:] != every[0].ws.shape[1:] or one.origin != every[0].origin:
            raise DataError(
                f"{one.path}: its people were drawn otherwise than those of {every[0].path.name}",
                hint="name one of the files",
            )
    numbers = tuple(number for one in every for number in one.numbers)
    _check_numbers(path, numbers)
    ws, labels = torch.cat([one.ws for one in every]), torch.cat([one.labels for one in every])
    return Kept(path, ws, labels, numbers, every[0].origin)


def chosen(settings: Chosen, run: Run) -> Kept | None:
    """The people of the file that a command's settings name, those that are picked; None for new people.

    Raises:
        SettingsError: A setting of new people is given too, or one is picked that is not there.
        DataError: The file cannot be read.
    """
    if settings.people is None:
        picked(settings.pick, range(settings.number), "--number")
        return None
    for name in ("number", "poses", "truncation"):
        if run.manifest.origin.get(name, "default") != "default":
            raise SettingsError(f"{name}: {GIVEN[name]}", hint=f"leave out --{name}, or --people")
    if run.seed or any(word.partition("=")[0] == "--seed" for word in run.manifest.argv):
        raise SettingsError(
            "seed: the people of --people are drawn already", hint="leave out --seed, or --people"
        )
    path = found(settings.people)
    kept = read(run.input(path, "people"))
    return kept.only(picked(settings.pick, kept.numbers, str(path)))


def picked(pick: Sequence[int], numbers: Sequence[int], where: str) -> list[int]:
    """The numbers of the people that are shown.

    Raises:
        SettingsError: One that is picked is not there.
    """
    for number in pick:
        if number not in numbers:
            there = ", ".join(map(str, numbers[:12])) + (f", ... {numbers[-1]}" if len(numbers) > 12 else "")
            raise SettingsError(
                f"pick: found {number}, expected one of {there} ({where})", hint=f"--pick {numbers[0]}"
            )
    return list(pick or numbers)


def describe(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a file of people, and the commands that take it.

    Raises:
        DataError: It is broken.
    """
    kept = read(path)
    origin, (count, num_ws, w_dim) = kept.origin, kept.ws.shape
    facts: dict[str, Any] = {
        "people": count,
        "numbers": ", ".join(map(str, kept.numbers[:12])) + (", ..." if count > 12 else ""),
        "styles": f"{num_ws} x {w_dim}, after truncation",
        "weights": origin.weights or "not said",
        "generator": origin.generator or "not said",
        "seed": "not said" if origin.seed is None else origin.seed,
        "truncation": "not said" if origin.truncation is None else origin.truncation,
    }
    given = f"--people {shlex.quote(str(path))}"
    if origin.weights:
        given += f" --weights {shlex.quote(origin.weights)}"
    return facts, [f"avatarctl {verb} generative-avatar {given}" for verb in ("infer", "export")]


def _of_file(path: Path) -> Kept:
    entries = read_npz(path)
    is_one = "label" in entries and "labels" not in entries
    name = "label" if is_one else "labels"
    if not {"ws", name} <= entries.keys():
        raise DataError(f"{path}: holds {', '.join(sorted(entries)[:6]) or 'nothing'}; {EXPECTED}", hint=HINT)
    ws, labels = (_numbers(path, key, entries[key], is_one) for key in ("ws", name))
    if ws.ndim != 3 or labels.ndim != 2 or labels.shape[1] != label.SIZE or not 0 < len(ws) == len(labels):
        shapes = f"ws {list(entries['ws'].shape)} and {name} {list(entries[name].shape)}"
        wanted = f"ws [num_ws, w_dim] and label [{label.SIZE}]"
        if not is_one:
            wanted = f"ws [N, num_ws, w_dim] and labels [N, {label.SIZE}]"
        raise DataError(f"{path}: holds {shapes}; expected {wanted}", hint=HINT)
    numbers = _own_numbers(path, entries.get("number" if is_one else "numbers"), len(ws), is_one)
    return Kept(path, ws, labels, numbers, _origin(path, entries.get("about")))


def _numbers(path: Path, name: str, array: np.ndarray, is_one: bool) -> Tensor:
    if array.dtype.kind != "f":
        raise DataError(f"{path}: {name}: holds {array.dtype}; {EXPECTED}", hint=HINT)
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    if bad := int((~np.isfinite(rows)).sum()):
        raise DataError(f"{path}: {name}: {bad} of {rows.size} numbers are not finite", hint=AGAIN)
    return torch.from_numpy(rows[None] if is_one else rows)


def _own_numbers(path: Path, array: np.ndarray | None, count: int, is_one: bool) -> tuple[int, ...]:
    """The people's numbers; files of earlier versions say them by their order, or by their name."""
    if array is None:
        is_named = is_one and len(path.stem) >= 5 and path.stem.isdecimal()
        return (int(path.stem),) if is_named else tuple(range(count))
    if array.dtype.kind not in "iu" or array.shape != (() if is_one else (count,)) or (array < 0).any():
        raise DataError(
            f"{path}: {'number' if is_one else 'numbers'}: found {array.dtype} {list(array.shape)}, "
            f"expected a whole number from 0 for each of {count}",
            hint=AGAIN,
        )
    numbers = tuple(map(int, np.atleast_1d(array)))
    _check_numbers(path, numbers)
    return numbers


def _check_numbers(path: Path, numbers: Sequence[int]) -> None:
    if len(set(numbers)) < len(numbers):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise DataError(f"{path}: person {twice} is in it twice", hint="name one file")


def _words(origin: Origin) -> np.ndarray:
    return np.asarray(json.dumps(asdict(origin)))


def _origin(path: Path, array: np.ndarray | None) -> Origin:
    if array is None:
        return Origin()
    kinds = {"seed": int | None, "truncation": float | int | None, "weights": str, "generator": str}
    try:
        words = json.loads(str(array)) if array.dtype.kind == "U" and array.size == 1 else None
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict) or not all(
        isinstance(words.get(item.name, item.default), kinds[item.name]) for item in fields(Origin)
    ):
        raise DataError(f"{path}: about: does not say what drew the people", hint=AGAIN)
    return Origin(**{name: words[name] for name in kinds if name in words})
