"""EgoBody's folder as users have it: unpacked, as the zips of its site, or some of both."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath

from avatarctl.checkpoints.arrays import BROKEN
from avatarctl.errors import DataError

SITE = "https://sanweiliti.github.io/egobody/egobody.html"
ITEMS = (
    "data_info_release.csv", "kinect_cam_params", "calibrations", "egocentric_color", "scene_mesh",
    "annotation_egocentric_smpl_npz", "smpl_spin_npz", "transf_matrices_all_seqs.pkl",
    "Egohmr_scene_preprocess_s1_release", "Egohmr_scene_preprocess_s1",
    "Egohmr_scene_preprocess_cube_s2_from_gt_release", "Egohmr_scene_preprocess_cube_s2_from_gt",
    "Egohmr_scene_preprocess_cube_s2_from_pred_release", "Egohmr_scene_preprocess_cube_s2_from_pred",
)  # fmt: skip
"""What lies in the folder; the site has each as a zip of its own (spec 2.1)."""


class Folder:
    """Files below a folder by their names in the unpacked layout; zips in it are read without unpacking.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(
                f"{root}: no such folder; expected EgoBody, unpacked or as its zips", hint=f"see {SITE}"
            )
        self.root = root
        self.broken: list[Path] = []
        """Zips that cannot be read."""
        self._opened: dict[tuple[int, Path], zipfile.ZipFile] = {}

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file() or name in self.members

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_opened": {}}

    @cached_property
    def members(self) -> dict[str, tuple[Path, str]]:
        """Of each file in the zips, by its name in the unpacked layout: the zip, and its name in there."""
        found: dict[str, tuple[Path, str]] = {}
        for path in sorted(self.root.glob("*.zip")):
            try:
                names = [info.filename for info in self._archive(path).infolist() if not info.is_dir()]
            except BROKEN:
                self.broken.append(path)
                continue
            for name in names:
                found.setdefault(_place(name, path.stem), (path, name))
        return found

    def has_item(self, item: str) -> bool:
        """Whether something of an item of the site is there."""
        return (self.root / item).exists() or any(name.split("/", 1)[0] == item for name in self.members)

    def shown(self, name: str) -> str:
        """Where a file is, for messages."""
        if not (self.root / name).exists() and name in self.members:
            return f"{self.members[name][0]}: {self.members[name][1]}"
        return str(self.root / name)

    def source(self, name: str) -> Path:
        """The file itself, or the zip that has it."""
        is_zipped = not (self.root / name).exists() and name in self.members
        return self.members[name][0] if is_zipped else self.root / name

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            DataError: It is not there, or cannot be read.
        """
        try:
            if (self.root / name).is_file():
                return (self.root / name).read_bytes()
            if name in self.members:
                path, member = self.members[name]
                return self._archive(path).read(member)
        except BROKEN as error:
            raise DataError(
                f"{self.shown(name)}: cannot be read: {error}", hint="copy or download it again"
            ) from error
        raise self.missing(name)

    def missing(self, name: str) -> DataError:
        """The failure for a file that is not there; it says which zip has it."""
        broken = f" ({', '.join(path.name for path in self.broken)} cannot be read)" if self.broken else ""
        item = name.split("/", 1)[0]
        what = item if item.endswith((".csv", ".pkl")) else f"{item}.zip"
        return DataError(f"{self.root / name}: not found{broken}", hint=f"{what} of {SITE} has it")

    def below(self, folder: str, pattern: str) -> list[str]:
        """Names of the files below a folder whose rest of the name matches a pattern, in their order."""
        own = {
            path.relative_to(self.root).as_posix()
            for path in (self.root / folder).glob(pattern)
            if path.is_file()
        }
        depth = pattern.count("/")
        zipped = {
            name
            for name in self.members
            if name.startswith(f"{folder}/")
            and name.count("/") == folder.count("/") + 1 + depth
            and fnmatchcase(name[len(folder) + 1 :], pattern)
        }
        return sorted(own | zipped)

    @contextmanager
    def local(self, name: str, *, beside: bool = False) -> Iterator[Path]:
        """A file as one on the disk, while the block lasts; what is said of it names the zip.

        Args:
            beside: Files of the same folder have to lie beside it.

        Raises:
            DataError: It is not there, or cannot be read.
        """
        if (self.root / name).is_file():
            yield self.root / name
            return
        if name not in self.members:
            raise self.missing(name)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / PurePosixPath(name).name
            parent = str(PurePosixPath(name).parent)
            for one in self.below(parent, "*") if beside else [name]:
                (Path(place) / PurePosixPath(one).name).write_bytes(self.read(one))
            try:
                yield path
            except DataError as error:
                raise DataError(error.message.replace(str(path), self.shown(name)), error.hint) from error

    def _archive(self, path: Path) -> zipfile.ZipFile:
        # Every process opens its own: a file that is open in two of them has one place to read from.
        key = (os.getpid(), path)
        if key not in self._opened:
            self._opened[key] = zipfile.ZipFile(path)
        return self._opened[key]


def _place(member: str, stem: str) -> str:
    """The name of a zip's member in the unpacked layout, whether or not the zip has the item's own folder."""
    parts = PurePosixPath(member).parts
    for index, part in enumerate(parts):
        if part in ITEMS:
            return "/".join(parts[index:])
    item = next((item for item in ITEMS if stem.startswith(item)), stem)
    return f"{item}/{member}"
