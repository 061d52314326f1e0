"""What `avatarctl inspect` says of any file or folder: its kind by content, then its own reader's word."""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Callable, Collection
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarctl.body import BodyModel
from avatarctl.body import files as bodies
from avatarctl.checkpoints import pickle_reader
from avatarctl.checkpoints.arrays import archive_names, npz_headers
from avatarctl.checkpoints.describe import Description, describe_weights
from avatarctl.checkpoints.official import SUFFIXES, is_safetensors, module_state
from avatarctl.cli.inspecting_media import describe_media
from avatarctl.data import Store
from avatarctl.data import store as stores
from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.motion import Motion, files
from avatarctl.motion.clips import LISTED, clips
from avatarctl.motion.headset import read_log
from avatarctl.plugin.registry import did_you_mean
from avatarctl.runs.folder import MANIFEST, is_run
from avatarctl.runs.index import find as find_run
from avatarctl.runs.index import read as read_run
from avatarctl.runs.index import weights_file

if TYPE_CHECKING:
    from avatarctl.plugin.registry import Plugin, Registry
    from avatarctl.plugin.target import Layout, Target

KNOWN = (
    "run folder, store, data of a plugin, weights, motion (npz, bvh, pkl), body model, headset log, mesh, "
    "picture, film, sound, Blender script"
)
AGAIN = "copy or download the file again"
POSES, MOVES = (*files.POSES, "pose_body"), (*files.TRANS, *files.RATES)
"""Arrays of which one of each makes an archive or pickle a motion."""
CLIPS = "clips"
"""The word that stands for all embedded clips."""
MOTIONS = (".npz", ".bvh", ".pkl")
FEATURES = {"sparse", "fps"}
"""Arrays of prepared tracker features."""
TRACKED = 54
"""Their numbers a frame."""
USERS = ("infer", "eval")
"""Verbs that read weights."""


def describe(path: str | Path, registry: Registry) -> Description:
    """What a file or folder is.

    Raises:
        DataError: It is broken, or nothing that is known.
        CheckpointError: It holds weights, and is broken.
    """
    path = Path(path)
    if str(path).startswith("run:") or not (path.exists() or path.suffix or len(path.parts) > 1):
        return _named(str(path), registry)
    if path.is_dir():
        return _folder(path, registry)
    check_input_file(path, f"a file to inspect ({KNOWN})")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"glTF"):
        return _glb(path)
    if start.startswith(b"PK") or path.suffix == ".npz":
        return _archive(path, registry)
    if start.startswith(b"\x89HDF"):
        return _shard(path)
    if (
        start.startswith(b"\x1f\x8b")
        or start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"HIERARCHY")
        or path.suffix == ".bvh"
    ):
        return _motion(path, "BVH motion")
    if path.name == MANIFEST:
        return _folder(path.parent, registry)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"FPS"):
        return _headset(path)
    if found := describe_media(path, start):
        return found
    if path.suffix in (".pkl", ".pickle"):
        return _pickle(path, registry)
    if is_safetensors(path) or path.suffix in SUFFIXES or start.startswith(b"\x80"):
        return _torch(path, registry)
    raise DataError(f"{path}: is nothing that is known: expected a {KNOWN}", hint="check the path")


def _named(words: str, registry: Registry) -> Description:
    """What has a name and is no file: a run, embedded weights, an embedded clip, or all clips."""
    if words.startswith("run:"):
        return _folder(find_run(words), registry)
    takers = tuple(_with_example(registry, lambda word: word in clips()))
    if words == CLIPS:
        actions: dict[str, list[str]] = {}
        for clip in clips().values():
            actions.setdefault(clip.action, []).append(clip.name)
        what = f"{len(clips())} embedded clips, by action"
        return Description(Path(words), "motion", what, actions, commands=takers)
    if words in clips():
        clip = clips()[words]
        facts = {"action": clip.action, "take": clip.take} | _facts(clip.motion())
        return Description(Path(words), "motion", "embedded clip", facts, commands=takers)
    weights = {item.name: item for item in registry.weights() if item.path}
    if words in weights:
        item = weights[words]
        found = describe_weights(item.path, registry.weights())
        facts = {"embedded": item.summary, **found.facts, "file": item.path}
        named = [
            f"{command} {words}" if command.endswith("--weights") else command
            for command in readers(found, registry)
        ]
        return replace(found, path=Path(words), facts=facts, commands=tuple(named))
    raise DataError(
        f"'{words}': found no such file, embedded clip or weights{did_you_mean(words, [*weights, *clips()])}",
        hint=f"check the path; {LISTED}; embedded weights: {', '.join(weights)}",
    )


def _folder(path: Path, registry: Registry) -> Description:
    if is_run(path):
        return _run(path, registry)
    if (path / stores.MANIFEST).is_file():
        return _store(path)
    if known := _laid_out(path, registry):
        return _data(path, *known)
    inside = [found.parent for found in sorted([*path.glob(f"*/{MANIFEST}"), *path.glob(f"*/*/{MANIFEST}")])]
    if runs := [folder for folder in inside if is_run(folder)]:
        facts = {str(folder.relative_to(path)): read_run(folder).status for folder in runs}
        return Description(path, "run", "folder of runs", facts, commands=("avatarctl runs",))
    inner = [(child, _laid_out(child, registry)) for child in sorted(path.iterdir()) if child.is_dir()]
    if held := [(child, known) for child, known in inner if known]:
        kinds = {child.name: layout.summary for child, (_, layout) in held}
        first, known = held[0]  # only one is read: there may be hundreds
        return Description(path, "data", "folder of data", kinds, commands=_data(first, *known).commands)
    if any(file.suffix in SUFFIXES for file in path.rglob("*")):
        return describe_weights(path, registry.weights())
    raise DataError(
        f"{path}: is a folder; expected a run, a store, data of a plugin, or weight files in it",
        hint="name a file inside it",
    )


def _laid_out(path: Path, registry: Registry) -> tuple[Plugin, Layout] | None:
    """The first declared layout of data that a folder has."""
    for plugin, layout in registry.layouts():
        if layout.files and all(_is_below(path, name) for name in layout.files):
            return plugin, layout
    return None


def _data(path: Path, plugin: Plugin, layout: Layout, arrays: dict[str, str] | None = None) -> Description:
    """Data in a layout that a plugin declares, in its words."""
    facts, commands = plugin.resolve(layout.describe)(path)
    return Description(path, "data", layout.summary, facts, arrays or {}, commands=tuple(commands))


def _run(path: Path, registry: Registry) -> Description:
    about = read_run(path)
    facts: dict[str, Any] = {
        "what": about.kind,
        "status": about.status,
        "started": about.started,
        "outputs": [str(item["path"]) for item in about.outputs],
    }
    commands = ["avatarctl runs show"]
    if about.outputs:
        commands += _with_example(registry, lambda word: word.startswith(f"runs/{about.kind}/"))
    if any(item.get("kind") == "weights" for item in about.outputs):
        weights = describe_weights(weights_file(path), registry.weights())
        facts["weights"] = weights.what
        commands += readers(weights, registry)
    return Description(path, "run", "run folder", facts, commands=tuple(commands))


def _store(path: Path) -> Description:
    store = Store(path)
    facts: dict[str, Any] = {}
    for name in store.splits:
        split = store.split(name)
        longest = max(split.lengths, default=0)  # reads the shards, so that their digests are looked at
        facts[f"split {name}"] = f"{len(split)} clips, {split.frames:,} frames, longest clip {longest:,}"
    facts |= {key: value for key, value in store.attributes.items() if not isinstance(value, dict | list)}
    fields = {
        name: f"{np.dtype(about['dtype'])} [frames, {about['width']}]" for name, about in store.fields.items()
    }
    return Description(path, "store", "prepared store", facts, fields)


def _shard(path: Path) -> Description:
    """An HDF5 file: a shard of the store in its folder, or another program's."""
    if (path.parent / stores.MANIFEST).is_file():
        inside = _store(path.parent)
        return Description(
            path, "store", f"shard of the prepared store {path.parent}", inside.facts, inside.arrays
        )
    import h5py

    arrays: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = f"{item.dtype} {list(item.shape)}"

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: not a readable HDF5 file: {error}", hint=AGAIN) from error
    return Description(path, "arrays", "HDF5 file of another program", {}, arrays)


def _archive(path: Path, registry: Registry) -> Description:
    names = archive_names(path)
    if path.suffix != ".npz" and not any(name.endswith(".npy") for name in names):
        return _zip(path, names, registry)
    headers = npz_headers(path)
    arrays = {name: f"{dtype} {list(shape)}" for name, (shape, dtype) in headers.items()}
    if "v_template" in headers:
        return _body(path, arrays)
    for plugin, layout in registry.layouts():
        if layout.arrays and headers.keys() >= set(layout.arrays):
            return _data(path, plugin, layout, arrays)
    if _moves(headers):
        return _motion(path, "motion archive", arrays)
    if headers.keys() == FEATURES and headers["sparse"][0][1:] == (TRACKED,):
        return _features(path, headers["sparse"][0][0], arrays, registry)
    if "eigvec" in headers:
        return Description(path, "body", "DMPL soft tissue", {}, arrays)
    return Description(path, "arrays", "archive of arrays", {"holds": f"{len(arrays)} arrays"}, arrays)


def _zip(path: Path, names: list[str], registry: Registry) -> Description:
    """Data of a plugin packed whole, or a torch file, which is a zip too."""
    for plugin, layout in registry.layouts():
        if layout.files and all(_is_among(names, wanted) for wanted in layout.files):
            return _data(path, plugin, layout)
    if not names or any(name.endswith("data.pkl") for name in names):
        return _torch(path, registry)
    held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise DataError(
        f"{path}: is a zip of {len(names)} files that is nothing known ({held})",
        hint="unpack it, and inspect a file or folder of it",
    )


def _is_below(folder: Path, wanted: str) -> bool:
    """Whether a folder holds a path of a layout; a pattern may match at any depth."""
    return any(folder.rglob(wanted)) if "*" in wanted else (folder / wanted).exists()


def _is_among(names: list[str], wanted: str) -> bool:
    """Whether a zip holds a path of a layout, a file or a folder."""
    return any(fnmatchcase(name, wanted) or name.startswith(f"{wanted}/") for name in names)


def _features(path: Path, frames: int, arrays: dict[str, str], registry: Registry) -> Description:
    """What a headset log is prepared to; the targets that infer from logs take it too."""
    takers = _with_example(registry, lambda word: word.endswith(".txt"))
    return Description(
        path,
        "headset",
        "tracker features: head and two hands",
        {"frames": frames},
        arrays,
        commands=tuple(command for command in takers if command.split()[1] == "infer"),
    )


def _torch(path: Path, registry: Registry) -> Description:
    """Weights, or features that were prepared in the published layout: one tensor and nothing else."""
    found = describe_weights(path, registry.weights())
    shape = found.arrays.get("", "")
    if found.reader or not shape.endswith(f", {TRACKED}]"):
        return found
    return _features(path, int(shape[1:].partition(",")[0]), {"features": shape}, registry)


def _pickle(path: Path, registry: Registry) -> Description:
    content = pickle_reader.load_pickle(path, has_calls=True)
    if content == pickle_reader.LEGACY_MAGIC:
        return describe_weights(path, registry.weights())
    if isinstance(content, dict) and any(module_state(value) is not None for value in content.values()):
        return describe_weights(path, registry.weights())  # networks pickled whole
    entries = {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}
    arrays = {name: _entry(value) for name, value in entries.items()}
    if "v_template" in entries:
        return _body(path, arrays)
    if _moves(entries):
        return _motion(path, "animation pickle", arrays)
    return Description(path, "arrays", "pickle", {"holds": f"a {type(content).__name__}"}, arrays)


def _moves(names: Collection[str]) -> bool:
    """Whether arrays of these names make a motion: poses alone may be of people in pictures."""
    return any(name in names for name in POSES) and any(name in names for name in MOVES)


def _entry(value: Any) -> str:
    if hasattr(value, "toarray"):
        value = value.toarray()
    value = getattr(value, "array", value)
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def _body(path: Path, arrays: dict[str, str]) -> Description:
    model: BodyModel = bodies.read(path)
    facts = {
        "family": model.family,
        "gender": model.gender,
        "joints": len(model.parents),
        "vertices": len(model.template),
        "faces": len(model.faces),
    }
    return Description(path, "body", "body model", facts, arrays)


def _motion(path: Path, what: str, arrays: dict[str, str] | None = None) -> Description:
    return Description(path, "motion", what, _facts(Motion.read(path)), arrays or {})


def _facts(motion: Motion) -> dict[str, Any]:
    return {
        "skeleton": motion.skeleton,
        "frames": len(motion),
        "fps": round(motion.fps, 3),
        "seconds": round(motion.seconds, 2),
        "joints": motion.poses.shape[1],
        "gender": motion.gender,
        "up": motion.up,
    }


def _headset(path: Path) -> Description:
    log = read_log(path)
    seconds = float(log.times[-1] - log.times[0])
    facts = {
        "frames": len(log),
        "seconds": round(seconds, 2),
        "fps": f"{float(log.fps.min()):.1f} to {float(log.fps.max()):.1f}, as logged",
    }
    return Description(path, "headset", "headset log: head and two controllers", facts)


def _glb(path: Path) -> Description:
    """A binary glTF file, from its header and JSON chunk."""
    content = path.read_bytes()
    try:
        _, version, length, size, word = struct.unpack_from("<4sIII4s", content)
        if version != 2 or length != len(content) or word != b"JSON":
            raise ValueError(f"version {version}, {len(content)} of {length} bytes")
        scene = json.loads(content[20 : 20 + size])
        counts = {
            name: len(scene.get(name, [])) for name in ("meshes", "nodes", "skins", "animations", "materials")
        }
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not a whole glb file: {error}", hint=AGAIN) from error
    facts: dict[str, Any] = {name: count for name, count in counts.items() if count}
    joints = [len(skin.get("joints", [])) for skin in scene.get("skins", [])]
    return Description(
        path,
        "mesh",
        "binary glTF" + (", skinned and animated" if facts.get("animations") and joints else ""),
        facts | ({"joints": joints[0]} if joints else {}),
    )


def readers(found: Description, registry: Registry) -> list[str]:
    """The commands that take what was found.

    Weights: those of the plugin whose reader knows the layout, or of the target that was trained. Anything
    else: the targets that have an example with such a file.
    """
    if found.commands is not None:
        return list(found.commands)
    if found.kind == "weights":
        return _weights_readers(found, registry)
    if found.kind == "body":
        return ["avatarctl assets add"]
    if found.kind == "store":
        return _with_example(registry, lambda word: word == "--store")
    suffixes = {"headset": (".txt",), "motion": MOTIONS, "sound": (".wav",)}.get(found.kind)
    return _with_example(registry, lambda word: word.endswith(suffixes)) if suffixes else []


def _weights_readers(found: Description, registry: Registry) -> list[str]:
    name = found.reader or str(found.facts.get("kind", ""))
    reader = next((item for item in registry.weights() if item.name == name), None)
    targets: list[Target] = []
    if reader is not None:
        package = (reader.read or reader.sniff).partition(".")[0]
        owners = [item for item in registry.plugins if item.ref.partition(".")[0] == package]
        targets = [target for plugin in owners for target in plugin.targets]
    else:  # our own files are called after the training that made them: train-TARGET-STAGE
        trained = {
            target.name
            for _, target in registry.targets("train")
            if f"{name}-".startswith(f"train-{target.name}-")
        }
        targets = [target for _, target in registry.targets() if target.name in trained]
    return [f"avatarctl {target.verb} {target.name}" for target in targets if target.verb in USERS]


def _with_example(registry: Registry, is_meant: Callable[[str], bool]) -> list[str]:
    return [
        f"avatarctl {target.verb} {target.name}"
        for _, target in registry.targets()
        if any(is_meant(word) for example in target.examples for word in shlex.split(example))
    ]
