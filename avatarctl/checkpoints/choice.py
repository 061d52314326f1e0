"""Which file of a folder each network part is taken from: by content, since published names say little."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

STEP = re.compile(r"(.*?)(\d{5,})")
"""A file name that ends in the step of its training (model000155000); fewer digits may be a version."""


@dataclass(frozen=True)
class Held:
    """A weight file, and the names of the network parts in it."""

    path: Path
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The file of each part; and for each part that several files hold with equal right, those files."""

    taken: dict[str, Path]
    unclear: dict[str, tuple[Path, ...]]

    def line(self, folder: Path, files: Iterable[Held]) -> str:
        """What is taken from which file, where some are left out; else nothing."""
        used = {*self.taken.values(), *(path for paths in self.unclear.values() for path in paths)}
        left = [str(held.path.relative_to(folder)) for held in files if held.parts and held.path not in used]
        if not left or not self.taken:
            return ""
        parts: dict[Path, list[str]] = {}
        for part, path in self.taken.items():
            parts.setdefault(path, []).append(part)
        words = [f"{', '.join(names)} from {path.relative_to(folder)}" for path, names in parts.items()]
        return "; ".join([*words, f"not used: {', '.join(left)}"])


def choose(files: Iterable[Held]) -> Choice:
    """The file that each part is taken from.

    Of several, the one with the most parts (it was trained later); of several in one folder with as many, the
    one called best, else that of the highest step in its name. Files in different folders have equal right.
    """
    holders: dict[str, list[Held]] = {}
    for held in files:
        for part in held.parts:
            holders.setdefault(part, []).append(held)
    choice = Choice({}, {})
    for part, every in holders.items():
        most = max(len(held.parts) for held in every)
        folders: dict[Path, list[Path]] = {}
        for held in every:
            if len(held.parts) == most:
                folders.setdefault(held.path.parent, []).append(held.path)
        paths = [path for inside in folders.values() for path in _best(inside)]
        if len(paths) == 1:
            choice.taken[part] = paths[0]
        else:
            choice.unclear[part] = tuple(paths)
    return choice


def _best(paths: list[Path]) -> list[Path]:
    """Of files in one folder the one called best, else the one of the highest step; all where neither is."""
    best = [path for path in paths if path.name.startswith("best")]
    if len(best) == 1:
        return best
    steps = {path: found for path in paths if (found := STEP.fullmatch(path.stem))}
    if len({found[1] for found in steps.values()}) == 1:
        return [max(steps, key=lambda path: int(steps[path][2]))]
    return paths
