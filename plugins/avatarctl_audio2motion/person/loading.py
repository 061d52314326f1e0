"""Finding a person: the open one, or one of published static assets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import AssetError, DataError
from avatarctl.motion.rigs import TABLE
from avatarctl_audio2motion.avatar.assets import ASSETS, find_folder
from avatarctl_audio2motion.avatar.fields import HINT, Fields
from avatarctl_audio2motion.avatar.skeleton import read_skeleton
from avatarctl_audio2motion.person.face import Face
from avatarctl_audio2motion.person.names import rig_of
from avatarctl_audio2motion.person.open import open_assets
from avatarctl_audio2motion.person.person import Person

OPEN = "open"
"""The name of the open person."""


def load(person: Path | str | None = None, rig: Path | None = None) -> Person:
    """A person's skeleton and what its bones are.

    Args:
        person: A folder with static_assets.pt (or one that holds it further inside), or that file; nothing,
            or `open`, is the open person.
        rig: A table of bones for a skeleton whose names say too little; left out: `skeleton.csv` beside the
            assets, where it is there.

    Raises:
        AssetError: There is no such file.
        DataError: It is broken, or bones were not recognised.
    """
    if person is None or str(person) == OPEN:
        return _open()
    path = Path(person)
    if not path.exists():
        raise AssetError(
            f"{path}: not found; expected the folder of a person's {ASSETS}",
            hint="unpack PERSON.tar.gz of the published renderer, and name the folder",
        )
    path = path if path.is_file() else find_folder(path) / ASSETS
    if not path.is_file():
        raise AssetError(
            f"{path}: missing; it holds the skeleton that the 104 body parameters move",
            hint="unpack PERSON.tar.gz of the published renderer again",
        )
    content = load_torch(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: found {type(content).__name__}, expected a dictionary", hint=HINT)
    skeleton = read_skeleton(Fields(content, str(path)))
    table = rig or path.parent / TABLE
    return Person(
        path.parent.name, skeleton, rig_of(skeleton, path, table if table.is_file() or rig else None)
    )


@cache
def _open() -> Person:
    assets = open_assets()
    skeleton = read_skeleton(Fields(assets, "the open person"))
    jaw = assets["model_param_names"].index("jaw_open")
    return Person(OPEN, skeleton, rig_of(skeleton, "the open person"), Face(), jaw)
