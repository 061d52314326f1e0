"""The prepare target of photos with fitted bodies: to the zip that trainings read (spec 2.3, 3)."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.device.choose import cores
from avatarctl.device.workers import results
from avatarctl.errors import DataError, SettingsError
from avatarctl.files import atomic
from avatarctl_generative_avatar.body import load_body, scaled_body
from avatarctl_generative_avatar.dataset import Photos
from avatarctl_generative_avatar.fits import Fits, check_camera
from avatarctl_generative_avatar.fitted import overlay
from avatarctl_generative_avatar.packing import Packed, Task, pack, size_of
from avatarctl_generative_avatar.photo_files import INDEX, add, add_photo, listing, pixels
from avatarctl_generative_avatar.pictures import grid
from avatarctl_generative_avatar.poses import pattern
from avatarctl_generative_avatar.settings_model import Rendering

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_prepare import PrepareFashion

AT_A_TIME = 32
"""Photos whose bodies are posed together."""
WORTH_IT = 64
"""From so many photos on, several processes are faster than one."""
SHOWN, COLUMNS = 16, 4
"""Photos of the sheet that shows fits, and of its rows."""
CHECK = "check.png"
FACES, SMALLEST = 128, 32
"""Sides of pictures, pixels: from which on faces have discriminators, and the least that is trained."""


@dataclass(frozen=True)
class Source:
    """A photo, its normals if there are any, and its label [111]."""

    photo: Path
    normals: Path | None
    label: Tensor


@dataclass
class Findings:
    """What is told about a collection when it was looked through; counts of photos."""

    photos: int = 0
    outside: int = 0
    deep: int = 0
    small: int = 0
    coloured: int = 0
    left_out: list[str] = field(default_factory=list)
    pictures: list[tuple[np.ndarray, Tensor]] = field(default_factory=list)
    """Some photos and their labels."""


def run(settings: PrepareFashion, run: Run) -> None:
    """Make the zip, or only look through what it is made of."""
    if settings.check and (settings.images.is_file() or (settings.images / INDEX).is_file()):
        _check_collection(settings, run)
        return
    if not settings.check and settings.into.exists() and not settings.replace:
        raise DataError(
            f"{settings.into}: is there", hint="name another file with --into, or overwrite it with --replace"
        )
    findings = Findings()
    sources = sources_of(settings, run, findings)
    body = body_of(settings, settings.body, run)
    if settings.check:
        for _ in _packed(sources, settings, body, run, findings):
            pass
    else:
        _write(sources, settings, body, run, findings)
        run.output(settings.into, "photos")
    _tell(findings, torch.stack([one.label for one in sources]), body, run)
    run.report(
        photos=findings.photos,
        left_out=len(findings.left_out),
        drawn_normals=sum(one.normals is None for one in sources),
        resolution=settings.resolution,
    )
    if not settings.check:
        run.log.info("next: %s", next_command(settings))


def next_command(settings: PrepareFashion) -> str:
    """The command that trains with the zip, at the largest pictures that it has."""
    resolution, has_faces = settings.resolution, settings.resolution >= FACES
    preset, kind, side = ("deepfashion", "smpl", 512) if has_faces else ("toy", "open", 64)
    words = ["avatarctl", "train", "generative-avatar", "-c", preset, "--data", str(settings.into)]
    if settings.body != kind:
        words += ["--body", settings.body]
    if settings.body == "smpl" and settings.body_models is not None:
        words += ["--body-models", str(settings.body_models)]
    if resolution < side:
        words += ["--set", f"network.img_resolution={max(1 << resolution.bit_length() - 1, SMALLEST)}"]
    return shlex.join(words)


def body_of(settings: PrepareFashion, kind: Any, run: Run) -> BodyModel:
    """The body that labels are of."""
    return load_body(run.bodies, kind, str(settings.body_models or ""))


def sources_of(settings: PrepareFashion, run: Run, findings: Findings) -> list[Source]:
    """The photos of the folder with their fits, in order of their names.

    Raises:
        DataError: There are none, or some cannot be used; all that cannot are told together.
    """
    photos = photos_below(settings.images, "images")
    if settings.smpl is None:
        raise SettingsError("smpl: missing; it names the fitted bodies", hint="--smpl fits.json")
    fits = Fits(run.input(settings.smpl, "smpl"))
    maps = None if settings.normals is None else _by_stem(photos_below(settings.normals, "normals"))
    found, faults = [], []
    for name, path in photos.items():
        try:
            one = Source(path, None if maps is None else _map_of(name, maps, settings), fits.label(name))
            _compare_sizes(one)
        except DataError as error:
            faults.append(error.message)
            findings.left_out.append(name)
        else:
            found.append(one)
    if faults and (not settings.skip or not found):
        raise unusable(settings.images, faults, len(photos))
    return found


def unusable(images: Path, faults: Sequence[str], count: int) -> DataError:
    """The failure for photos that are not what they should be."""
    return DataError(
        f"{images}: {len(faults)} of {count} photos cannot be used: {listing(faults, '; ')}",
        hint="repair them, or leave them out with --skip",
    )


def photos_below(folder: Path, setting: str) -> dict[str, Path]:
    """Pictures below a folder by their names in it, in order.

    Raises:
        DataError: There are none.
    """
    from PIL import Image

    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "not found"
        raise DataError(f"{folder}: {what}; expected a folder of pictures", hint=f"check --{setting}")
    Image.init()
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in Image.EXTENSION and not path.name.startswith(".") and path.is_file()
    }
    if not found:
        raise DataError(f"{folder}: no pictures in it", hint=f"check --{setting}")
    return found


def _by_stem(paths: dict[str, Path]) -> dict[str, Path]:
    """Pictures by their names without endings."""
    return {str(Path(name).with_suffix("")): path for name, path in paths.items()}


def _map_of(name: str, maps: dict[str, Path], settings: PrepareFashion) -> Path:
    stem = str(Path(name).with_suffix(""))
    if stem not in maps:
        raise DataError(f"{settings.normals}: no normals of {name}")
    return maps[stem]


def _compare_sizes(one: Source) -> None:
    """Refuse normals of another shape than their photo."""
    width, height = size_of(one.photo)
    if one.normals is None:
        return
    wide, high = size_of(one.normals)
    if abs(wide * height - high * width) > max(wide, high, width, height):
        raise DataError(
            f"{one.normals}: is {wide} x {high} pixels, its photo {width} x {height}; expected the same shape"
        )


def _write(
    sources: Sequence[Source], settings: PrepareFashion, body: BodyModel, run: Run, findings: Findings
) -> None:
    """Write the zip: photos, normals, and dataset.json."""
    labels, origins = [], {}
    with atomic(settings.into) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, (one, made) in enumerate(_packed(sources, settings, body, run, findings)):
            labels.append(add_photo(archive, number, made.image, made.normals, one.label.tolist()))
            origins[labels[-1][0]] = one.photo.relative_to(settings.images).as_posix()
        if not labels:
            raise unusable(settings.images, findings.left_out, len(sources))
        index = {"labels": labels, "body": settings.body, "photos": origins}
        add(archive, INDEX, json.dumps(index).encode(), zipfile.ZIP_DEFLATED)


def _packed(
    sources: Sequence[Source], settings: PrepareFashion, body: BodyModel, run: Run, findings: Findings
) -> Iterator[tuple[Source, Packed]]:
    """The pictures of the photos, one after the other; what is to be told about them is noted.

    Raises:
        DataError: A photo cannot be used, or a process was killed.
    """
    shown = set(chosen(len(sources)))
    processes = (settings.processes or cores()) if len(sources) >= WORTH_IT else 1
    tasks = _tasks(sources, settings, body, findings)
    made_in_order = results(attempt, tasks, processes, again="type the same command with --processes 1")
    shared = zip(sources, run.progress(made_in_order, "photos", len(sources)), strict=True)
    for number, (one, made) in enumerate(shared):
        if isinstance(made, DataError):
            if not settings.skip:
                raise made
            findings.left_out.append(one.photo.name)
            continue
        findings.photos += 1
        findings.small += made.side < settings.resolution
        findings.coloured += not made.is_white
        if number in shown:
            findings.pictures.append((pixels(made.image, str(one.photo)), one.label))
        yield one, made


def _tasks(
    sources: Sequence[Source], settings: PrepareFashion, body: BodyModel, findings: Findings
) -> Iterator[Task]:
    for first in range(0, len(sources), AT_A_TIME):
        part = sources[first : first + AT_A_TIME]
        vertices = scaled_body(body, torch.stack([one.label for one in part])).vertices
        note_reach(vertices, findings)
        for one, at in zip(part, vertices.numpy(), strict=True):
            faces = body.faces.numpy()
            yield Task(one.photo, one.normals, one.label.numpy(), at, faces, settings.resolution)


def attempt(task: Task) -> Packed | DataError:
    """The pictures of a photo, or what is wrong with it."""
    try:
        return pack(task)
    except DataError as error:
        return error


def note_reach(vertices: Tensor, findings: Findings) -> None:
    """Count bodies [N, V, 3] that leave the picture, or the depths at which rays are sampled."""
    rendering = Rendering()
    far, depth = vertices[..., :2].abs().amax(dim=(1, 2)), vertices[..., 2]
    findings.outside += int((far > 1).sum())
    is_deep = (depth.amin(dim=1) < rendering.ray_start) | (depth.amax(dim=1) > rendering.ray_end)
    findings.deep += int(is_deep.sum())


def chosen(count: int) -> list[int]:
    """Indices of some of `count` photos, spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, SHOWN)).round().astype(int)).tolist()


def _check_collection(settings: PrepareFashion, run: Run) -> None:
    """Read every photo of a finished collection."""
    photos = Photos(run.input(settings.images, "images"), settings.resolution, memory=0)
    body = body_of(settings, "open" if "open" in (photos.body, settings.body) else "smpl", run)
    if body.is_open and photos.body != "open":
        run.log.warning("%s: looked at with the open body, its labels may be of another", settings.images)
    shown, findings, faults = set(chosen(len(photos))), Findings(), []
    for number in run.progress(range(len(photos)), "photos", len(photos)):
        try:
            check_camera(photos.labels[number], f"{settings.images}: {photos.names[number]}: camera")
            image = photos[number].image
        except DataError as error:
            faults.append(error.message)
            continue
        if number in shown:
            findings.pictures.append((image.permute(1, 2, 0).numpy(), photos.labels[number]))
    for rows in photos.labels.split(AT_A_TIME):
        note_reach(scaled_body(body, rows).vertices, findings)
    if faults:
        raise unusable(settings.images, faults, len(photos))
    _tell(findings, photos.labels, body, run)
    if lone := photos.files.lone(photos.names):
        run.log.warning("labels without a photo: %s", listing(lone))
    else:
        run.log.info("%s: nothing is missing", settings.images)
    run.report(photos=len(photos))


def _tell(findings: Findings, labels: Tensor, body: BodyModel, run: Run) -> None:
    """Warn of what will make a training fail, and draw the bodies over some photos."""
    count = len(labels)
    for number, words in (
        (findings.outside, "bodies reach out of the picture: fits are for the photo padded to a square"),
        (findings.deep, "bodies reach farther than 0.3 m from the plane z = 0, where rays are sampled"),
        (findings.coloured, "photos have no white edge: remove backgrounds, by an alpha channel"),
        (findings.small, "photos were enlarged: choose a lower --resolution"),
    ):
        if number:
            run.log.warning("%d of %d %s", number, count, words)
    for warning in pattern(labels).warnings:
        run.log.warning("%s", warning)
    if findings.left_out:
        run.log.warning("left out: %s", listing(findings.left_out))
    pictures = [overlay(photo, body, one) for photo, one in findings.pictures]
    if pictures:
        path = run.save(CHECK, grid(pictures, min(COLUMNS, len(pictures))))
        run.log.info("bodies over some photos: %s", path)
