"""Where a person's files lie in the published folder layout (spec 1.1), seen from the weights."""

from __future__ import annotations

from pathlib import Path

from avatarctl.errors import AssetError
from avatarctl_audio2motion.avatar.assets import find_folder
from avatarctl_audio2motion.conversations.stats import FILE

OPEN = "open"
"""The person that needs no files."""
ABOVE = 4
"""Folders above the weights that are searched."""


def name_of(person: str, said: str) -> str:
    """The person's name: of the setting (a name, or a folder with one person), else what the weights say."""
    path = Path(person)
    if not person or not path.is_dir():
        return path.name or said
    try:
        return find_folder(path).resolve().name
    except AssetError:  # who reads the folder tells what is wrong with it
        return path.resolve().name


def statistics_file(weights: Path, person: str) -> Path | None:
    """The data_stats.pth of a person by name, below `dataset` beside or above the weights."""
    return _first(weights, [Path("dataset") / person / FILE, Path(person) / FILE] if person else [])


def avatar_folder(weights: Path, person: str) -> Path | None:
    """The folder of a person's avatar: the person itself where it is one, else found by its name."""
    if person and Path(person).is_dir():
        return Path(person)
    inside = Path("ca_body") / "data" / person
    return _first(weights, [Path("checkpoints") / inside, inside] if person not in ("", OPEN) else [])


def _first(weights: Path, wanted: list[Path]) -> Path | None:
    whole = weights.absolute()
    roots = [Path.cwd(), whole, *list(whole.parents)[:ABOVE]]
    return next((root / path for root in roots for path in wanted if (root / path).exists()), None)
