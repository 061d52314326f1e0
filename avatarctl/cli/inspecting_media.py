"""What `avatarctl inspect` says of meshes without a scene, pictures, films, sounds and Blender scripts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from avatarctl.audio.wave import decode_sound, flaws
from avatarctl.checkpoints.describe import Description
from avatarctl.errors import DataError
from avatarctl.export import blender
from avatarctl.files import media_kind

AGAIN = "copy or download the file again"
MESHES = (".ply", ".obj")
FILMS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aac")


def describe_media(path: Path, start: bytes) -> Description | None:
    """What a mesh, picture, film, sound or Blender script is; None for other files.

    Args:
        start: First bytes of the file.

    Raises:
        DataError: It is broken.
    """
    if path.suffix.lower() in MESHES:
        return _mesh(path)
    kind = media_kind(start)
    if kind == "picture":
        return _picture(path)
    if kind == "sound" or path.suffix.lower() in SOUNDS:
        return _sound(path)
    if kind == "film" or path.suffix.lower() in FILMS:
        return _film(path)
    if blender.is_script(start):
        about = start.decode("utf-8", "replace").partition("\n")[0].lstrip("# ")
        facts = {"motion": about, "run it with": f"blender --python {shlex.quote(str(path))}"}
        return Description(path, "script", "script that builds the animation inside Blender", facts)
    return None


def _mesh(path: Path) -> Description:
    import trimesh

    try:
        mesh: Any = trimesh.load(path, process=False, force="mesh")
        colours = {"vertex": "of vertices", "face": "of faces", "texture": "a texture"}
        facts = {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "colours": colours.get(str(mesh.visual.kind), "none"),
        }
    except Exception as error:  # trimesh's readers raise whatever they stumble over
        raise DataError(
            f"{path}: not a readable mesh: {error or type(error).__name__}", hint=AGAIN
        ) from error
    if not facts["vertices"]:
        raise DataError(f"{path}: not a readable mesh: it has no vertices", hint=AGAIN)
    return Description(path, "mesh", f"{path.suffix.lower()[1:]} mesh", facts)


def _picture(path: Path) -> Description:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()  # decoded whole, so that damage is seen
            facts = {"size": f"{picture.width} x {picture.height} pixels", "pixels": picture.mode}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable picture: {error}", hint=AGAIN) from error
    return Description(path, "picture", "picture", facts)


def _film(path: Path) -> Description:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                return _sound(path)
            stream = container.streams.video[0]
            facts: dict[str, Any] = {
                "size": f"{stream.width} x {stream.height} pixels",
                "frames": stream.frames or "not stated",
                "fps": round(float(stream.average_rate), 3) if stream.average_rate else "not stated",
                "sound": "yes" if container.streams.audio else "no",
            }
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable film: {error}", hint=AGAIN) from error
    return Description(path, "film", "film", facts)


def _sound(path: Path) -> Description:
    sound = decode_sound(path)  # decoded whole, so that damage is seen
    facts: dict[str, Any] = {
        "seconds": round(sound.seconds, 2),
        "channels": sound.channels,
        "rate": f"{sound.rate:,} Hz",
    }
    if odd := flaws(sound):
        facts["odd"] = odd
    return Description(path, "sound", "sound", facts)
