"""Which formats a motion can be written in: the core's own, and those that plugins declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.body import BodyModel
from avatarctl.errors import PluginError, SettingsError
from avatarctl.export import amass, blender, bvh, gltf
from avatarctl.motion import Motion
from avatarctl.plugin.target import resolve
from avatarctl.render import Render

if TYPE_CHECKING:
    from avatarctl.api import Format

Writer = Callable[[Motion, BodyModel, Path], object]
OWN: dict[str, Writer] = {
    "glb": gltf.write,
    "bvh": bvh.write,
    "npz": amass.write_npz,
    "pkl": amass.write_pickle,
    "blender": blender.write,
}
FILM = "mp4"


def names(formats: Iterable[Format] = ()) -> tuple[str, ...]:
    """The names that `write` takes: `OWN`, mp4, and the plugins'."""
    return tuple(dict.fromkeys([*OWN, FILM, *(item.name for item in formats if item.kind == "motion")]))


def suffix(name: str, formats: Iterable[Format] = ()) -> str:
    """The file suffix of a format, with the dot."""
    if name == "blender":
        return ".py"
    suffixes = {item.name: item.suffixes for item in formats if item.kind == "motion"}
    return f".{name}" if name in (*OWN, FILM) or not suffixes.get(name) else suffixes[name][0]


def stem(source: Path) -> str:
    """What the exports of a motion file are called: walk for walk.npz and for walk.bvh.gz."""
    return Path(source.name.removesuffix(".gz")).stem


def write(
    motion: Motion,
    body: BodyModel,
    name: str,
    path: str | Path,
    formats: Iterable[Format] = (),
    *,
    render: Render | None = None,
) -> Path:
    """Write a motion of a body, whole or not at all.

    Args:
        name: Format, one of `names(formats)`.
        formats: The plugins' declarations, whose `write` is called with motion, body and path.
        render: Makes the film of mp4.

    Raises:
        SettingsError: There is no such format.
        DataError: The motion has no frames or numbers that are not finite, or the file cannot be written.
    """
    path, formats = Path(path), list(formats)
    check_names([name], formats)
    motion = motion.checked("the motion", "nothing was written")
    if name == FILM:
        (render or Render()).motion(motion, body).write(path)
    else:
        writer = OWN.get(name) or _declared(name, formats)
        writer(motion, body, path)
    return path


def check_names(wanted: Iterable[str], formats: Iterable[Format] = ()) -> None:
    """Refuse words that name no format.

    Raises:
        SettingsError: The first such word, with the nearest name.
    """
    known = names(formats)
    for name in wanted:
        if name not in known:
            near = next(iter(get_close_matches(name, known, n=1)), known[0])
            raise SettingsError(
                f"to: '{name}' is no format; choose from {', '.join(known)}", hint=f"--to {near}"
            )


def _declared(name: str, formats: Iterable[Format]) -> Writer:
    declared = next(item for item in formats if item.kind == "motion" and item.name == name)
    try:
        writer: Writer = resolve(declared.write)
    except Exception as error:  # a third party's code
        raise PluginError(
            f"format '{name}': {declared.write}: {type(error).__name__}: {error}",
            hint="avatarctl plugins lists the plugins; avatarctl plugins check NAME tests one",
        ) from error
    return writer
