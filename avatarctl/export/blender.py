"""A script that builds the animation inside Blender: data and code in one file, with no path to edit.

The script animates a figure of the SMPL add-ons where the scene has one, else it builds a skinned body. What
runs inside Blender is `templates/blender.py.txt`, in Python 3.7 (Blender 2.83) and without numpy; the packed
numbers follow it. Pose correctives are left out, and a vertex follows its four strongest joints, as in glTF.
"""

from __future__ import annotations

import base64
import shlex
import zlib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from avatarctl import __version__
from avatarctl.body import BodyModel, Shaped
from avatarctl.body.tables import NAMES
from avatarctl.export.gltf import strongest
from avatarctl.files import write_text
from avatarctl.motion import Motion
from avatarctl.motion.motion import Z_FROM_Y

HEADER = """\
# {name}: {frames} frames at {fps:g} a second, by avatarctl {version}.
#
#     blender --python {file}
#
# or open this file in Blender's text editor and run it. The first armature that has SMPL's joints by name and
# is not animated yet takes the motion; where there is none, a skinned body is built. Metres, z up.

"""
TIP = 0.5
"""Length of a bone whose end no single joint marks (hands, toes, head), as a share of the bone before it."""
PELVIS_M = 0.1
"""Length of the root bone."""
WIDTH = 110
"""Columns of the packed numbers."""


def write(motion: Motion, body: BodyModel, path: str | Path) -> Path:
    """Write the script, with a body of the motion's shape and all joints of its family."""
    path, shaped = Path(path), body.shape(motion.betas)
    motion = motion.to_skeleton(body.family).to_up("z", shaped.joints[0])  # type: ignore[arg-type]
    name = " ".join(path.stem.split())  # in one line
    about = {"name": name, "fps": float(motion.fps), "frames": len(motion)}
    code = (resources.files(__package__) / "templates" / "blender.py.txt").read_text(encoding="utf-8")
    entries = {**about, **_skeleton(shaped), **_skin(shaped), **_keys(motion)}
    lines = ["", "", "DATA = {}"]
    for key, value in entries.items():
        lines.append(f"DATA[{key!r}] = {_packed(value) if isinstance(value, np.ndarray) else repr(value)}")
    header = HEADER.format(**about, file=shlex.quote(f"{name}.py"), version=__version__)
    return write_text(path, header + code + "\n".join([*lines, "", "main(DATA)", ""]))


def is_script(start: bytes) -> bool:
    """Whether a file that starts with these bytes (512 or more) was made by `write`."""
    return start.startswith(b"# ") and b"\n#     blender --python " in start


def bone_names(family: str) -> list[str]:
    """The joints as the SMPL add-on names its bones: left_hip is L_Hip."""
    words = [name.replace("left_", "l_").replace("right_", "r_") for name in NAMES[family]]
    return ["_".join(word.capitalize() for word in name.split("_")) for name in words]


def _skeleton(shaped: Shaped) -> dict[str, Any]:
    """Bones at rest in Blender's axes, standing along z and looking along -y."""
    model, heads = shaped.model, shaped.joints.double().numpy()
    tails = np.empty_like(heads)
    for joint, parent in enumerate(model.parents):
        children = [child for child, above in enumerate(model.parents) if child and above == joint]
        if joint == 0:
            tails[joint] = heads[joint] + [0.0, PELVIS_M, 0.0]
        elif len(children) == 1:
            tails[joint] = heads[children[0]]
        else:
            tails[joint] = heads[joint] + TIP * (heads[joint] - heads[parent])
    return {
        "bones": bone_names(model.family),
        "parents": [-1, *model.parents[1:]],
        "heads": _standing(heads),
        "tails": _standing(tails),
    }


def _skin(shaped: Shaped) -> dict[str, np.ndarray]:
    """The mesh at rest, its faces, and the joints and weights of its vertices."""
    joints, weights = strongest(shaped.model.weights)
    return {
        "vertices": _standing(shaped.vertices.double().numpy()),
        "faces": shaped.model.faces.numpy().astype("<i4"),
        "joints": joints,
        "weights": weights,
    }


def _keys(motion: Motion) -> dict[str, Any]:
    """The motion as in the published pickle: axis-angle in SMPL's axes, and the root's path."""
    return {
        "num_joints": motion.poses.shape[1],
        "poses": motion.poses.float().numpy(),
        "trans": motion.root.float().numpy(),
    }


def _standing(places: np.ndarray) -> np.ndarray:
    turned: np.ndarray = (places @ np.array(Z_FROM_Y).T).astype(np.float32)
    return turned


def _packed(values: np.ndarray) -> str:
    """A text literal that the script's `numbers` reads."""
    text = base64.b64encode(zlib.compress(values.tobytes())).decode()
    lines = [text[first : first + WIDTH] for first in range(0, len(text), WIDTH)]
    return "\n".join(['"""', *lines, '"""'])
