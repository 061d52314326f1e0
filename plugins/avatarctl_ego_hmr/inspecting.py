"""What `avatarctl inspect` says of EgoBody's files, and of recovered bodies."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from avatarctl.errors import DataError
from avatarctl_ego_hmr.bodies import FEMALE, MALE
from avatarctl_ego_hmr.checkup import COMPLETE, ITEMS, STEPS, missing_of, next_command, points_of
from avatarctl_ego_hmr.egobody.annotations import (
    FOLDERS,
    annotations_in,
    find_annotations,
    key_of,
    read_names,
)
from avatarctl_ego_hmr.egobody.files import FPS, EgoBody
from avatarctl_ego_hmr.recovered import read_recovered

PERSON = re.compile(r"S\d+")
"""A person in the name of a recording: recording_DATE_WEARER_SEEN_NUMBER."""


def dataset(root: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a folder of EgoBody, unpacked or as its zips, and the commands to go on with.

    Of annotations only the names of pictures are read; `avatarctl doctor ego-hmr` looks at everything.

    Raises:
        DataError: A file of them is broken.
    """
    data = EgoBody(root)
    splits = [split for split in COMPLETE if find_annotations(data.files, split)]
    keys = {split: [key_of(name) for name in read_names(data.files, split)] for split in splits}
    recordings = sorted({key.split("/")[1] for each in keys.values() for key in each})
    people = sorted({person for name in recordings for person in PERSON.findall(name)})
    facts: dict[str, Any] = {f"split {split}": _split(each) for split, each in keys.items()}
    facts["recordings"] = _counted(recordings)
    facts["people"] = _counted(people)
    with suppress(DataError):  # the table of scenes is not there, or lacks a recording
        facts["scenes"] = _counted(sorted({data.scene_of(name) for name in recordings}))
    prepared = [(step, split) for split in keys for step in STEPS if points_of(data, step, split)]
    facts["prepared points"] = [f"{step} of {split}" for step, split in prepared] or "none"
    commands = [next_command(data, keys)] if keys else []
    doctor = f"avatarctl doctor ego-hmr --data {shlex.quote(str(root))}"
    if missing := _missing(data, keys):
        facts["missing"] = missing
        return facts, [doctor, *commands]
    return facts, [*commands, doctor]


def _split(keys: list[str]) -> str:
    recordings = len({key.split("/")[1] for key in keys})
    return f"{len(keys):,} pictures, {len(keys) / FPS:,.1f} s; recordings: {recordings}"


def _missing(data: EgoBody, keys: dict[str, list[str]]) -> list[str]:
    """Items of the site, splits and pictures that are not there."""
    found = [
        item
        for item in ITEMS
        if not any(data.files.has_item(name) for name in (FOLDERS if item in FOLDERS else (item,)))
    ]
    if FOLDERS[0] not in found:
        found += [f"annotations of split {split}" for split in COMPLETE if split not in keys]
    if "egocentric_color" not in found:
        lacking = {split: len(missing_of(data, each)) for split, each in keys.items()}
        found += [
            f"pictures of split {split}: {count:,} of {len(keys[split]):,}"
            for split, count in lacking.items()
            if count
        ]
    return found


def annotation(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about an annotation file, and the commands that take its data set.

    Raises:
        DataError: It is broken.
    """
    found = annotations_in(path, str(path))
    recordings = {found.recording(index) for index in range(len(found))}
    genders = ((MALE, "male"), (FEMALE, "female"))
    seen = (found.keypoints[..., 2] > 0).sum(axis=1)
    facts = {
        "people": f"{len(found):,}, one a picture",
        "recordings": _counted(sorted(recordings)),
        "bodies": ", ".join(f"{int((found.gender == number).sum()):,} {word}" for number, word in genders),
        "keypoints": f"{seen.mean():.1f} of {found.keypoints.shape[1]} detected on average",
    }
    return facts, _commands(path)


def _counted(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)}: {', '.join(names[:3])}{more}" if names else "none"


def _commands(path: Path) -> list[str]:
    """The commands for the folder of the data set, where the file lies in one."""
    folder = path.absolute().parent
    if folder.name not in FOLDERS:
        return []
    place = shlex.quote(str(path.parent.parent if len(path.parts) > 2 else folder.parent))
    data = [f"avatarctl {verb} ego-hmr --data {place}" for verb in ("infer", "eval")]
    stages = [f"avatarctl train ego-hmr --stage {stage} --data {place}" for stage in ("scene", "diffusion")]
    return [f"avatarctl prepare egobody {place}", *stages, *data]


def recovered(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Facts about a recovered.npz, and the commands that take it.

    Raises:
        DataError: It is broken.
    """
    found = read_recovered(path)
    facts: dict[str, Any] = {
        "people": len(found),
        "bodies of each": found.num_samples,
        "pictures": _counted(sorted({*found.names.tolist()})),
        "rooms": _counted(sorted({*found.rooms.tolist()} - {""})),
        "recordings": found.data or "none: pictures of one's own",
    }
    commands = [f"avatarctl export ego-hmr {shlex.quote(str(path))}"]
    if found.data:
        words = f"--data {shlex.quote(found.data)} --results {shlex.quote(str(path))}"
        commands.append(f"avatarctl eval ego-hmr {words}")
    return facts, commands
