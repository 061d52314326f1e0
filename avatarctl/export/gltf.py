"""glTF 2.0 binary files: a skinned body, or any mesh that follows its joints, with an animation.

For Blender, Unity, Unreal and browsers. Metres, y up, a body at rest with its shape, one node for each
joint under the joint's name. glTF cannot drive SMPL's pose correctives by joints, so they are left out; a
vertex follows its four strongest joints.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatarctl import __version__
from avatarctl.body import BodyModel, Shaped
from avatarctl.body.tables import NAMES, PARENTS
from avatarctl.files import atomic
from avatarctl.geometry.meshes import vertex_normals
from avatarctl.geometry.rotations import quaternion_from_axis_angle
from avatarctl.motion import Motion

MAGIC, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 0x4E4F534A, 0x004E4942
COMPONENTS = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTICES, INDICES = 34962, 34963
INFLUENCES = 4
COLOUR = (0.62, 0.66, 0.72, 1.0)
"""Base colour of the skin, linear RGB and opacity."""
WHITE = (1.0, 1.0, 1.0, 1.0)
"""Base colour where vertices have their own."""


@dataclass(frozen=True)
class Bones:
    """The joints of a family of bodies at rest, metres [J, 3]."""

    family: str
    joints: torch.Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Of the joints."""
        return tuple(NAMES[self.family])

    @property
    def parents(self) -> tuple[int, ...]:
        """Of the joints, -1 above the root."""
        return tuple(PARENTS[self.family])


@dataclass(frozen=True)
class Figure:
    """Any mesh: `vertices` metres [V, 3], `faces` counter-clockwise from outside [F, 3].

    `colours` are as pictures have them, 0 to 1 [V, 3]. With `bones` it follows joints by `weights` [V, J];
    `binds` [J, 4, 4] lead from the mesh as it is given into each joint's axes, and none from one at rest.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    colours: torch.Tensor | None = None
    bones: Bones | None = None
    weights: torch.Tensor | None = None
    binds: torch.Tensor | None = None


def write(motion: Motion, body: BodyModel, path: str | Path) -> Path:
    """Write a body of the motion's shape moving, with all joints of the body's family."""
    shaped, buffer = body.shape(motion.betas), _Buffer()
    bones = Bones(body.family, shaped.joints)
    document = _document(_mesh(buffer, shaped), COLOUR) | _rigged(buffer, bones, None, motion)
    return _finished(path, buffer, document)


def write_figure(figure: Figure, path: str | Path, motion: Motion | None = None) -> Path:
    """Write a mesh; one with bones at rest, or moving.

    Args:
        motion: Of the joints; its shape does not count.
    """
    buffer = _Buffer()
    attributes = {
        "POSITION": figure.vertices.float().numpy(),
        "NORMAL": _unit_normals(figure.vertices, figure.faces),
    }
    if figure.colours is not None:
        attributes["COLOR_0"] = linear(figure.colours.float().numpy())
    if figure.bones is not None:
        assert figure.weights is not None, "a figure with bones has weights"
        attributes["JOINTS_0"], attributes["WEIGHTS_0"] = strongest(figure.weights)
    primitive = _primitive(buffer, attributes, figure.faces.numpy())
    document = _document(primitive, COLOUR if figure.colours is None else WHITE)
    if figure.bones is not None:
        document |= _rigged(buffer, figure.bones, figure.binds, motion)
    return _finished(path, buffer, document)


def linear(colours: np.ndarray) -> np.ndarray:
    """Linear light, as glTF has it, of colours as pictures have them (sRGB), both 0 to 1; float32."""
    colours = colours.clip(0, 1)
    light = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _document(primitive: dict[str, Any], colour: tuple[float, ...]) -> dict[str, Any]:
    """A scene of one mesh that follows nothing."""
    surface = {"baseColorFactor": colour, "metallicFactor": 0.0, "roughnessFactor": 0.7}
    return {
        "asset": {"version": "2.0", "generator": f"avatarctl {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "body", "mesh": 0}],
        "meshes": [{"name": "body", "primitives": [primitive]}],
        "materials": [{"name": "skin", "pbrMetallicRoughness": surface}],
    }


def _rigged(
    buffer: _Buffer, bones: Bones, binds: torch.Tensor | None, motion: Motion | None
) -> dict[str, Any]:
    """What joints, and a motion of them, change in a document."""
    changes = {
        "scenes": [{"nodes": [len(bones.names), 0]}],
        "nodes": _nodes(bones),
        "skins": [_skin(buffer, bones, binds)],
    }
    if motion is None:
        return changes
    motion = motion.to_skeleton(bones.family).to_up("y", bones.joints[0])  # type: ignore[arg-type]
    about = {"version": "2.0", "generator": f"avatarctl {__version__}", "extras": {"fps": motion.fps}}
    return changes | {"asset": about, "animations": [_animation(buffer, motion, bones)]}


def _finished(path: str | Path, buffer: _Buffer, document: dict[str, Any]) -> Path:
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.raw)}],
    }
    with atomic(path) as temporary:
        temporary.write_bytes(_container(document, bytes(buffer.raw)))
    return Path(path)


@dataclass
class _Buffer:
    """The binary part as it grows; `accessors` and `views` describe it."""

    raw: bytearray = field(default_factory=bytearray)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)

    def add(self, values: np.ndarray, *, target: int = 0, bounds: bool = False) -> int:
        """Append an array [N] or [N, C]; the index of its accessor."""
        values = np.ascontiguousarray(values)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.raw), "byteLength": values.nbytes}
        if target:
            view["target"] = target
        self.views.append(view)
        self.raw += values.tobytes()
        self.raw += b"\0" * (-len(self.raw) % 4)
        table = values.reshape(len(values), -1)
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": KINDS[table.shape[1]],
        }
        if bounds:
            accessor |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _nodes(bones: Bones) -> list[dict[str, Any]]:
    """The joints at rest in the family's order, then the mesh."""
    rest = bones.joints.double().numpy()
    nodes: list[dict[str, Any]] = []
    for joint, (name, parent) in enumerate(zip(bones.names, bones.parents, strict=True)):
        step = rest[joint] - rest[parent] if joint else rest[0]
        node: dict[str, Any] = {"name": name, "translation": step.tolist()}
        children = [child for child, above in enumerate(bones.parents) if child and above == joint]
        nodes.append(node | ({"children": children} if children else {}))
    return [*nodes, {"name": "body", "mesh": 0, "skin": 0}]


def _mesh(buffer: _Buffer, shaped: Shaped) -> dict[str, Any]:
    """The primitive: the body at rest, its weights, and texture coordinates where the body file has them."""
    model = shaped.model
    faces = model.faces.numpy()
    joints, weights = strongest(model.weights)
    attributes = {
        "POSITION": shaped.vertices.float().numpy(),
        "NORMAL": _unit_normals(shaped.vertices, model.faces),
        "JOINTS_0": joints,
        "WEIGHTS_0": weights,
    }
    if {"vt", "ft"} <= model.extras.keys():
        # A vertex at a seam has several texture coordinates, which glTF wants as several vertices.
        corners = np.stack([faces.reshape(-1), model.extras["ft"].numpy().reshape(-1)], axis=1)
        pairs, which = np.unique(corners, axis=0, return_inverse=True)
        attributes = {name: values[pairs[:, 0]] for name, values in attributes.items()}
        uv = model.extras["vt"].numpy()[pairs[:, 1]]
        attributes["TEXCOORD_0"] = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1).astype(np.float32)
        faces = which.reshape(-1, 3)
    return _primitive(buffer, attributes, faces)


def _primitive(buffer: _Buffer, attributes: dict[str, np.ndarray], faces: np.ndarray) -> dict[str, Any]:
    """Triangles of vertices with these attributes."""
    index_type = np.uint16 if len(attributes["POSITION"]) < 65535 else np.uint32
    return {
        "attributes": {
            name: buffer.add(values, target=VERTICES, bounds=name == "POSITION")
            for name, values in attributes.items()
        },
        "indices": buffer.add(faces.reshape(-1).astype(index_type), target=INDICES),
        "material": 0,
    }


def strongest(weights: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The four strongest joints of each vertex, uint8 [V, 4], and their weights, which sum to 1 [V, 4].

    Args:
        weights: Of all joints [V, J].
    """
    values, joints = weights.double().sort(dim=1, descending=True, stable=True)
    values, joints = values[:, :INFLUENCES].clamp(min=0), joints[:, :INFLUENCES]
    values = values / values.sum(dim=1, keepdim=True)
    joints = torch.where(values > 0, joints, torch.zeros_like(joints))  # an unused slot names joint 0
    return joints.numpy().astype(np.uint8), values.numpy().astype(np.float32)


def _unit_normals(vertices: torch.Tensor, faces: torch.Tensor) -> np.ndarray:
    """Unit normals of the vertices [V, 3]; up for one that no face with an area has."""
    normals = vertex_normals(vertices.double(), faces).numpy()
    is_unit = np.linalg.norm(normals, axis=1, keepdims=True) > 0.5
    return np.where(is_unit, normals, [0.0, 1.0, 0.0]).astype(np.float32)


def _skin(buffer: _Buffer, bones: Bones, binds: torch.Tensor | None) -> dict[str, Any]:
    """The joints and the matrices that take the mesh into each joint's axes (columns first)."""
    matrices = np.tile(np.eye(4), (len(bones.names), 1, 1))
    matrices[:, :3, 3] = -bones.joints.double().numpy()
    matrices = matrices if binds is None else binds.double().numpy()
    columns = matrices.transpose(0, 2, 1).reshape(-1, 16).astype(np.float32)
    return {
        "name": "body",
        "joints": list(range(len(bones.names))),
        "inverseBindMatrices": buffer.add(columns),
        "skeleton": 0,
    }


def _animation(buffer: _Buffer, motion: Motion, bones: Bones) -> dict[str, Any]:
    """Keys at every frame: the root's path, and the rotation of each joint that leaves its rest pose."""
    times = (np.arange(len(motion)) / motion.fps).astype(np.float32)
    given = buffer.add(times, bounds=True)
    path = (motion.root + bones.joints[0]).float().numpy()
    tracks = [(0, "translation", path)]
    for joint in range(motion.poses.shape[1]):
        if joint == 0 or motion.poses[:, joint].any():
            tracks.append((joint, "rotation", _keys(motion.poses[:, joint])))
    return {
        "name": "motion",
        "samplers": [
            {"input": given, "output": buffer.add(values), "interpolation": "LINEAR"}
            for _, _, values in tracks
        ],
        "channels": [
            {"sampler": sampler, "target": {"node": joint, "path": what}}
            for sampler, (joint, what, _) in enumerate(tracks)
        ],
    }


def _keys(axis_angle: torch.Tensor) -> np.ndarray:
    """Quaternions xyzw [T, 4], each in the half-space of the one before: players turn the short way."""
    wxyz: np.ndarray = quaternion_from_axis_angle(axis_angle.double()).numpy()
    jumps = np.where((wxyz[1:] * wxyz[:-1]).sum(axis=1) < 0, -1.0, 1.0)
    signs = np.concatenate([[1.0], np.cumprod(jumps)])
    xyzw: np.ndarray = (wxyz * signs[:, None])[:, [1, 2, 3, 0]].astype(np.float32)
    return xyzw


def _container(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    parts = (
        struct.pack("<II", len(text), JSON_CHUNK)
        + text
        + struct.pack("<II", len(binary), BINARY_CHUNK)
        + binary
    )
    return struct.pack("<III", MAGIC, 2, 12 + len(parts)) + parts
