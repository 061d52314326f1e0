"""Files of a collection of photos, a zip or a folder, and the labels in its dataset.json (spec 2.3).

    FOLDER/imgNAME.png       a photo
    FOLDER/normalNAME.png    its normals
    dataset.json             {"labels": [[name, [camera 25, body 86]], ...]}

`img` stands anywhere in a photo's name, folders included; in that of its normals each is `normal`.
"""

from __future__ import annotations

import io
import json
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from avatarctl.errors import DataError
from avatarctl_generative_avatar.label import BODY, CAMERA, LARGEST, field_of

INDEX = "dataset.json"
PHOTO, NORMAL, IGNORED = "img", "normal", "_seg"
"""Parts of names."""
SHOWN = 5
"""Names of faulty files that a message lists."""
AGAIN = "copy it again, or make it again with avatarctl prepare fashion"
LAYOUT = "avatarctl prepare fashion makes one; its README says which files belong together"
STAMP = (1980, 1, 1, 0, 0, 0)
"""Time of files in zips: the same content gives the same bytes."""
UNREADABLE = (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError)


class PhotoFiles:
    """A zip or a folder; several threads may read at once."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(f"{path}: not found; expected a zip or a folder of photos", hint="check the path")
        self._lock = threading.Lock()
        self._zip = None if self.path.is_dir() else self._opened()
        self.names = frozenset(self._listed())
        """Names from the top, with forward slashes."""

    def _opened(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except UNREADABLE as error:
            raise DataError(f"{self.path}: is no readable zip: {error}", hint=AGAIN) from error

    def _listed(self) -> list[str]:
        if self._zip is None:
            every = self.path.rglob("*")
            names = [one.relative_to(self.path).as_posix() for one in every if one.is_file()]
        else:
            names = [one.filename for one in self._zip.infolist() if not one.is_dir()]
        return [name for name in names if not _is_hidden(name)]

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            DataError: It is not there or cannot be read.
        """
        if name not in self.names:
            raise DataError(f"{self.path}: no file {name}", hint=LAYOUT)
        try:
            if self._zip is None:
                return (self.path / name).read_bytes()
            with self._lock:
                return self._zip.read(name)
        except UNREADABLE as error:
            raise DataError(f"{self.path}: {name}: cannot be read: {error}", hint=AGAIN) from error

    def photos(self) -> list[str]:
        """Names of the photos in order; each has its normals.

        Raises:
            DataError: There are none, or normals are missing.
        """
        found = self.pictures()
        if lone := [name for name in found if normals_of(name) not in self.names]:
            raise DataError(
                f"{self.path}: {len(lone)} of {len(found)} photos lack their normals: "
                + listing([f"{name} ({normals_of(name)})" for name in lone]),
                hint=f"the normals' name is the photo's with each '{PHOTO}' as '{NORMAL}', folders included",
            )
        return found

    def pictures(self) -> list[str]:
        """Names of the photos in order, with normals or without.

        Raises:
            DataError: There are none.
        """
        endings = _endings()
        found = sorted(
            name
            for name in self.names
            if PHOTO in name and IGNORED not in name and PurePosixPath(name).suffix.lower() in endings
        )
        if not found:
            raise DataError(f"{self.path}: no photos; names of photos contain '{PHOTO}'", hint=LAYOUT)
        return found

    def index(self) -> dict[str, Any]:
        """The content of dataset.json.

        Raises:
            DataError: It is not there, or has no labels.
        """
        where = f"{self.path}: {INDEX}"
        if INDEX not in self.names:
            raise DataError(f"{self.path}: no {INDEX}; it holds the labels of the photos", hint=LAYOUT)
        try:
            content = json.loads(self.read(INDEX))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: is no JSON: {error}", hint=AGAIN) from error
        if not isinstance(content, dict) or not isinstance(content.get("labels"), list):
            raise DataError(
                f'{where}: labels: not found; expected {{"labels": [[name, [camera, body]], ...]}}',
                hint=LAYOUT,
            )
        return content

    def entries(self) -> dict[str, Any]:
        """Labels by the name of their photo, as dataset.json has them; some may lack their photo.

        Raises:
            DataError: There are none.
        """
        where, found = f"{self.path}: {INDEX}: labels", {}
        for number, entry in enumerate(self.index()["labels"]):
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
                raise DataError(f"{where}: entry {number}: expected [name, [camera, body]]", hint=LAYOUT)
            found[entry[0]] = entry[1]
        if not found:
            raise DataError(f"{where}: is empty", hint=LAYOUT)
        return found

    def labels(self, names: Sequence[str]) -> np.ndarray:
        """The labels of photos, float32 [M, 111].

        Raises:
            DataError: One has no label, or one of another length, or with numbers that no label has.
        """
        where, found = f"{self.path}: {INDEX}: labels", self.entries()
        if lone := [name for name in names if name not in found]:
            raise DataError(
                f"{where}: none for {len(lone)} of {len(names)} photos: {listing(lone)}",
                hint=f"add labels to {INDEX}, or remove these photos",
            )
        values = [_row(found[name], f"{where}: {name}") for name in names]
        pairs = zip(names, values, strict=True)
        if faults := [f"{name}: {fault}" for name, row in pairs if (fault := _fault(row))]:
            raise DataError(
                f"{where}: {len(faults)} of {len(names)} photos have impossible numbers: "
                + listing(faults, "; "),
                hint=f"repair them in {INDEX}, or remove these photos and their labels",
            )
        return np.array(values, np.float32)

    def lone(self, names: Sequence[str]) -> list[str]:
        """Labels that belong to none of these photos, by the name of theirs."""
        return sorted(set(self.entries()) - set(names))


def normals_of(name: str) -> str:
    """The name of a photo's normals."""
    return name.replace(PHOTO, NORMAL)


def pixels(content: bytes, where: str) -> np.ndarray:
    """A picture file as uint8 [H, W, 3], or [H, W, 4] where it has an alpha channel.

    Raises:
        DataError: It is no picture of 8 bits a channel, or not square.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.mode[0] in "IF":
                raise DataError(f"{where}: has pixels of type {picture.mode}; expected 8 bits a channel")
            found = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: is no readable picture: {error}", hint=AGAIN) from error
    if found.shape[0] != found.shape[1]:
        raise DataError(
            f"{where}: is {found.shape[1]} x {found.shape[0]} pixels; expected a square",
            hint="avatarctl prepare fashion pads photos to squares",
        )
    return found


def png(picture: np.ndarray) -> bytes:
    """A picture, uint8 [H, W, 3], as the bytes of a file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def add(archive: zipfile.ZipFile, name: str, content: bytes, packing: int = zipfile.ZIP_STORED) -> None:
    """Add a file to a zip."""
    archive.writestr(zipfile.ZipInfo(name, STAMP), content, packing)


def add_photo(
    archive: zipfile.ZipFile, number: int, image: bytes, normals: bytes, label: Sequence[float]
) -> list[Any]:
    """Add a photo with its normals to a zip; returns the entry of its label [111] in dataset.json."""
    name = f"img/{number:07d}.png"
    add(archive, name, image)
    add(archive, normals_of(name), normals)
    return [name, [label[:CAMERA], label[CAMERA:]]]


def listing(names: Sequence[str], between: str = ", ") -> str:
    """The first few of some names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return between.join(names[:SHOWN]) + more


def _row(value: Any, where: str) -> list[float]:
    """Camera and body of a label as one list."""
    sizes = [len(part) if isinstance(part, list) else -1 for part in value] if isinstance(value, list) else []
    if sizes != [CAMERA, BODY]:
        raise DataError(
            f"{where}: found {_words(value, sizes)}; expected [camera, body] of {CAMERA} and {BODY} numbers",
            hint=LAYOUT,
        )
    row = [*value[0], *value[1]]
    if not all(isinstance(number, int | float) for number in row):
        raise DataError(f"{where}: expected numbers", hint=LAYOUT)
    return row


def _fault(row: Sequence[float]) -> str:
    """The first number that no label has; nothing where there is none."""
    wrong = (index for index, number in enumerate(row) if not abs(number) <= LARGEST)  # nan is wrong, too
    index = next(wrong, None)
    return "" if index is None else f"{field_of(index)}: found {str(row[index])[:20]}"


def _words(value: Any, sizes: Sequence[int]) -> str:
    if not isinstance(value, list) or len(sizes) > 2 or -1 in sizes:
        return f"{len(value)} values" if isinstance(value, list) else repr(value)[:40]
    return f"lists of {sizes}"


def _is_hidden(name: str) -> bool:
    """Whether it is a file that systems leave behind, as .DS_Store or __MACOSX/._img.png."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _endings() -> frozenset[str]:
    from PIL import Image

    Image.init()
    return frozenset(Image.EXTENSION)
