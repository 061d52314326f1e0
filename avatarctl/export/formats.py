"""Which formats a motion can be written in: the core's own, and those that plugins declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.body import BodyModel
from avatarctl.errors import PluginError, SettingsError
from avatarctl.export import amass, bvh, gltf
from avatarctl.motion import Motion
from avatarctl.plugin.target import resolve

if TYPE_CHECKING:
    from avatarctl.api import Format

Writer = Callable[[Motion, BodyModel, Path], object]
OWN: dict[str, Writer] = {
    "glb": gltf.write,
    "bvh": bvh.write,
    "npz": amass.write_npz,
    "pkl": amass.write_pickle,
}


def names(formats: Iterable[Format] = ()) -> tuple[str, ...]:
    """The names that `write` takes: glb, bvh, npz (AMASS), pkl (published animation), and the plugins'."""
    return tuple(dict.fromkeys([*OWN, *(item.name for item in formats if item.kind == "motion")]))


def suffix(name: str, formats: Iterable[Format] = ()) -> str:
    """The file suffix of a format, with the dot."""
    declared = {
        item.name: item.suffixes for item in formats if item.kind == "motion" and item.name not in OWN
    }
    return declared[name][0] if declared.get(name) else f".{name}"


def write(
    motion: Motion, body: BodyModel, name: str, path: str | Path, formats: Iterable[Format] = ()
) -> Path:
    """Write a motion of a body, whole or not at all.

    Args:
        name: Format, one of `names(formats)`.
        formats: The plugins' declarations, whose `write` is called with motion, body and path.

    Raises:
        SettingsError: There is no such format.
        DataError: The motion has no frames or numbers that are not finite, or the file cannot be written.
    """
    path, formats = Path(path), list(formats)
    check_names([name], formats)
    motion = motion.checked("the motion", "nothing was written")
    declared = next((item for item in formats if item.kind == "motion" and item.name == name), None)
    writer = OWN[name] if name in OWN or declared is None else _writer(declared)
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


def _writer(declared: Format) -> Writer:
    try:
        writer: Writer = resolve(declared.write)
    except Exception as error:  # a third party's code
        raise PluginError(
            f"format '{declared.name}': {declared.write}: {type(error).__name__}: {error}",
            hint="avatarctl plugins lists the plugins; avatarctl plugins check NAME tests one",
        ) from error
    return writer
