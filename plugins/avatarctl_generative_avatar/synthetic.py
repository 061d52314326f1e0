"""The prepare target of made-up photos: the zip that trainings read, without anybody's photo in it.

Parts are drawn by several processes into a folder beside the zip; a part that is there is not drawn again. In
`dataset.json`, beside the labels, stands how the photos were made.
"""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarctl.device.choose import cores
from avatarctl.device.workers import results
from avatarctl.errors import DataError
from avatarctl.files import atomic, sweep
from avatarctl_generative_avatar.photo_files import INDEX, add, add_photo, png
from avatarctl_generative_avatar.synthetic_people import Studio, photo

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_synthetic import PrepareSynthetic

VERSION = 1
"""Changes with what is made."""
PART = 50
"""Photos of a part."""
MADE = "made"
WORTH_IT = 300
"""From so many photos on, several processes are faster than one."""


@dataclass(frozen=True)
class Part:
    """Some photos and the file that they go to."""

    path: str
    numbers: range
    seed: int
    resolution: int


def run(settings: PrepareSynthetic, run: Run) -> None:
    """Make up the photos, and write them."""
    write(settings, run)
    run.output(settings.into, "photos")
    run.report([{"photos": settings.number, "resolution": settings.resolution, "file": str(settings.into)}])
    into = shlex.quote(str(settings.into))
    run.log.info("next: avatarctl train generative-avatar -c toy --data %s", into)


def write(settings: PrepareSynthetic, run: Run) -> None:
    """Write the zip of the settings, unless it is there.

    Raises:
        DataError: The zip holds something else, or cannot be written.
    """
    into, about = settings.into, options_of(settings, run.seed)
    if is_there(into, about, replace=settings.replace):
        run.log.info("%s: is up to date", into)
        return
    words = "-".join(str(value) for value in about.values())
    folder = into.with_name(f"{into.name}.parts") / words
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    parts = [
        Part(
            str(folder / f"{first:07d}.zip"),
            range(first, min(first + PART, settings.number)),
            run.seed,
            settings.resolution,
        )
        for first in range(0, settings.number, PART)
    ]
    processes = settings.processes or (cores() if settings.number >= WORTH_IT else 1)
    for _ in run.progress(draw_all(parts, processes), "drawing photos", settings.number):
        pass
    join(into, parts, about)
    shutil.rmtree(folder.parent)


def options_of(settings: PrepareSynthetic, seed: int) -> dict[str, int]:
    """All that the bytes depend on."""
    return {
        "version": VERSION,
        "number": settings.number,
        "resolution": settings.resolution,
        "seed": seed,
    }


def is_there(into: Path, about: dict[str, int], *, replace: bool) -> bool:
    """Whether the zip holds the photos of these options.

    Raises:
        DataError: It holds something else, and is not to be replaced.
    """
    if into.is_dir():
        raise DataError(f"{into}: is a folder", hint="name a zip with --into")
    if not into.is_file():
        return False
    try:
        with zipfile.ZipFile(into) as archive:
            found = json.loads(archive.read(INDEX)).get(MADE)
    except (OSError, KeyError, ValueError, AttributeError, zipfile.BadZipFile):
        found = None
    if found == about:
        return True
    if not replace:
        what = "something else" if found is None else "photos of other options (" + _words(found) + ")"
        raise DataError(
            f"{into}: holds {what}", hint="name another file with --into, or overwrite it with --replace"
        )
    return False


def draw_all(parts: list[Part], processes: int) -> Iterator[int]:
    """Draw the parts; numbers of photos come back as their parts are there.

    Raises:
        DataError: They cannot be written, or a process was killed.
    """
    again = "type the same command again, with --processes 1 if it recurs; drawn photos are kept"
    drawn = results(draw, parts, min(processes, len(parts)), again=again)
    return (number for part, _ in zip(parts, drawn, strict=True) for number in part.numbers)


def draw(part: Part) -> None:
    """Draw and write one part, unless it is there."""
    if Path(part.path).is_file():
        return
    labels: list[Any] = []
    with atomic(part.path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number in part.numbers:
            shot = studio().shot(part.seed, number)
            picture, normals = map(png, photo(shot, part.resolution))
            labels.append(add_photo(archive, number, picture, normals, shot.label.tolist()))
        add(archive, INDEX, json.dumps(labels).encode())


@cache
def studio() -> Studio:
    """This process's."""
    return Studio()


def join(into: Path, parts: list[Part], about: dict[str, int]) -> None:
    """Write the zip from its parts."""
    labels: list[Any] = []
    with atomic(into) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for part in parts:
            with zipfile.ZipFile(part.path) as source:
                for name in source.namelist():
                    if name == INDEX:
                        labels += json.loads(source.read(name))
                    else:
                        add(archive, name, source.read(name))
        index = {"labels": labels, "body": "open", MADE: about}
        add(archive, INDEX, json.dumps(index).encode(), zipfile.ZIP_DEFLATED)


def _words(options: object) -> str:
    return json.dumps(options).translate(str.maketrans("", "", '"{}'))
