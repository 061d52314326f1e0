"""As much of Blender as the animation script uses: it keeps what the script makes and poses it.

Attributes that the classes do not declare cannot be set, and operations check the mode, as in Blender.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np

BONE_PATH = re.compile(r'pose\.bones\["([^"]+)"\]\.rotation_quaternion')


class Named:
    """A collection with access by name, which gives a taken name a number, as Blender does."""

    def __init__(self, make=None):
        self.make, self.items = make, {}

    def new(self, name, *rest, **named):
        unique, number = name, 0
        while unique in self.items:
            number += 1
            unique = f"{name}.{number:03d}"
        self.items[unique] = self.make(unique, *rest, **named)
        return self.items[unique]

    def get(self, name):
        return self.items.get(name)

    def __getitem__(self, name):
        return self.items[name]

    def __iter__(self):
        return iter(self.items.values())

    def __len__(self):
        return len(self.items)


class EditBone:
    __slots__ = ("head", "name", "parent", "tail")

    def __init__(self, name):
        self.name, self.parent = name, None


class Bone:
    """`matrix_local` is the rest matrix in the axes of the armature."""

    __slots__ = ("matrix_local", "name", "parent")

    def __init__(self, name, parent, matrix):
        self.name, self.parent, self.matrix_local = name, parent, np.asarray(matrix, float)


class Armature:
    __slots__ = ("bones", "display_type", "edit_bones", "is_editing", "name")

    def __init__(self, name):
        self.name, self.is_editing, self.bones, self.edit_bones = name, False, Named(), Named(self._new)

    def _new(self, name):
        assert self.is_editing, "edit bones are there in edit mode only"
        return EditBone(name)

    def leave(self):
        for bone in self.edit_bones:
            matrix = np.eye(4)
            matrix[:3, :3] = along(np.subtract(bone.tail, bone.head))
            matrix[:3, 3] = bone.head
            parent = bone.parent and bone.parent.name
            self.bones.items[bone.name] = Bone(bone.name, parent, matrix)


class Mesh:
    __slots__ = ("faces", "name", "polygons", "vertices")

    def __init__(self, name):
        self.name, self.vertices, self.faces = name, [], []

    def from_pydata(self, vertices, edges, faces):
        self.vertices, self.faces = np.array(vertices), np.array(faces)
        self.polygons = SimpleNamespace(foreach_set=self._smooth)

    def _smooth(self, name, values):
        assert name == "use_smooth"
        assert len(values) == len(self.faces)

    def update(self):
        pass


class Group:
    def __init__(self, name):
        self.name, self.weights = name, {}

    def add(self, index, weight, kind):
        assert kind == "REPLACE"
        self.weights.update(dict.fromkeys(index, weight))


class Modifier:
    __slots__ = ("kind", "name", "object")

    def __init__(self, name, kind):
        self.name, self.kind = name, kind


class Points(list):
    def add(self, count):
        self.extend(SimpleNamespace(co=(0.0, 0.0), interpolation="BEZIER") for _ in range(count))

    def foreach_set(self, name, values):
        assert name == "co"
        assert len(values) == 2 * len(self)
        for point, co in zip(self, zip(values[::2], values[1::2], strict=True), strict=True):
            point.co = tuple(float(np.float32(part)) for part in co)


class Curve:
    def __init__(self, path, index, group):
        self.path, self.index, self.group, self.keyframe_points = path, index, group, Points()
        self.is_updated = False

    def update(self):
        self.is_updated = True

    def values(self):
        """The value at each frame from 0."""
        assert self.is_updated
        assert {point.interpolation for point in self.keyframe_points} == {"LINEAR"}
        frames = [point.co[0] for point in self.keyframe_points]
        assert frames == list(range(len(frames)))
        return np.array([point.co[1] for point in self.keyframe_points])


class Action:
    """Before 4.4 with curves of its own, since then with those of a data-block; 5.0 knows groups there."""

    def __init__(self, name, version):
        self.name, self.curves, self.owner = name, {}, None
        if version < (4, 4, 0):
            self.fcurves = SimpleNamespace(new=self._new)
        elif version < (5, 0, 0):
            self.fcurve_ensure_for_datablock = lambda owner, path, index=0: self._ensure(owner, path, index)
        else:
            self.fcurve_ensure_for_datablock = self._ensure

    def _new(self, path, index=0, action_group=""):
        assert (path, index) not in self.curves
        self.curves[path, index] = Curve(path, index, action_group)
        return self.curves[path, index]

    def _ensure(self, owner, path, index=0, group_name=""):
        assert owner.animation_data.action is self, "the action must be the owner's already"
        return self._new(path, index, group_name)

    def track(self, path, width, default):
        """The values of a path at each frame [T, width], or the default [width]."""
        found = [self.curves.get((path, index)) for index in range(width)]
        if not any(found):
            return np.array(default)
        return np.stack([curve.values() for curve in found], axis=-1)


class Thing:
    """An object of the scene."""

    __slots__ = (
        "animation_data", "data", "hidden", "hide_render", "location", "modifiers", "name", "parent", "pose",
        "rotation_euler", "rotation_mode", "show_in_front", "type", "vertex_groups",
    )  # fmt: skip

    def __init__(self, name, data):
        self.name, self.data = name, data
        self.type = {Armature: "ARMATURE", Mesh: "MESH"}.get(type(data), "EMPTY")
        self.location, self.rotation_euler, self.rotation_mode = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "XYZ"
        self.animation_data, self.parent, self.hidden, self.hide_render = None, None, False, False
        self.vertex_groups, self.modifiers, self.pose = Named(Group), Named(Modifier), Pose()

    def animation_data_create(self):
        self.animation_data = self.animation_data or SimpleNamespace(action=None)
        return self.animation_data

    def hide_set(self, hidden):
        self.hidden = hidden


class Pose:
    def __init__(self):
        self.bones = BoneModes()


class BoneModes(dict):
    def __missing__(self, name):
        self[name] = SimpleNamespace(rotation_mode="QUATERNION")
        return self[name]


class Blender:
    """The module `bpy` of a version, with the objects of Blender's first scene."""

    def __init__(self, version=(4, 2, 0), filepath=""):
        self.app = SimpleNamespace(version=version)
        self.data = SimpleNamespace(
            objects=Named(Thing),
            armatures=Named(Armature),
            meshes=Named(Mesh),
            actions=Named(lambda name: Action(name, version)),
            filepath=filepath,
        )
        objects = []
        self.scene = SimpleNamespace(
            objects=objects,
            collection=SimpleNamespace(objects=SimpleNamespace(link=objects.append)),
            render=SimpleNamespace(fps=24, fps_base=1.0),
            frame_start=1,
            frame_end=250,
            frame_set=lambda frame: None,
        )
        self.context = SimpleNamespace(
            scene=self.scene, mode="OBJECT", view_layer=SimpleNamespace(objects=SimpleNamespace(active=None))
        )
        self.ops = SimpleNamespace(object=SimpleNamespace(mode_set=self._mode_set))
        self.add("Cube", Mesh("Cube"))

    def add(self, name, data):
        """Put an object into the scene."""
        thing = self.data.objects.new(name, data)
        self.scene.objects.append(thing)
        return thing

    def _mode_set(self, mode):
        armature = self.context.view_layer.objects.active.data
        if armature.is_editing:
            armature.leave()
        armature.is_editing = mode == "EDIT"
        self.context.mode = "EDIT_ARMATURE" if armature.is_editing else mode

    def armatures(self):
        return [thing for thing in self.scene.objects if thing.type == "ARMATURE"]


def along(direction):
    """The axes of a bone without roll: the shortest turn that takes y into its direction [3, 3]."""
    x, y, z = np.asarray(direction, float) / np.linalg.norm(direction)
    assert y > -0.999, "Blender has a rule of its own here"
    cross = np.array([[0, -x, 0], [x, 0, z], [0, -z, 0]])  # of (z, 0, -x), which is y times the direction
    return np.eye(3) + cross + cross @ cross / (1 + y)


def quaternion_matrix(wxyz):
    """Rotation matrices of quaternions, which Blender makes unit first [..., 3, 3]."""
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def world(figure, frames):
    """World matrices of the bones at each frame by name [T, 4, 4], by Blender's rule.

    pose matrix = parent's pose matrix @ parent's rest matrix inverse @ rest matrix @ key
    """
    action, bones = figure.animation_data.action, figure.data.bones
    base = np.tile(np.eye(4), (frames, 1, 1))
    x, y, z = figure.rotation_euler
    assert (y, z, figure.rotation_mode) == (0, 0, "XYZ")
    base[:, :3, :3] = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    base[:, :3, 3] = action.track("location", 3, figure.location)
    known = {"location"} | {path for path, _ in action.curves if BONE_PATH.fullmatch(path)}
    assert known == {path for path, _ in action.curves}
    found = {}
    for bone in bones:  # parents come first
        basis = np.tile(np.eye(4), (frames, 1, 1))
        assert figure.pose.bones[bone.name].rotation_mode == "QUATERNION"
        keys = action.track(f'pose.bones["{bone.name}"].rotation_quaternion', 4, (1.0, 0, 0, 0))
        basis[:, :3, :3] = quaternion_matrix(keys)
        above = found[bone.parent] if bone.parent else base
        rest = np.linalg.inv(bones[bone.parent].matrix_local) if bone.parent else np.eye(4)
        found[bone.name] = above @ rest @ bone.matrix_local @ basis
    return found


def deformed(body, frames):
    """The vertices of a skinned object at each frame [T, V, 3]: each bone carries what it has at rest."""
    figure = body.parent
    (modifier,) = body.modifiers
    assert (modifier.kind, modifier.object) == ("ARMATURE", figure)
    places = np.concatenate([body.data.vertices, np.ones((len(body.data.vertices), 1))], axis=1)
    result = np.zeros((frames, len(places), 3))
    for name, matrices in world(figure, frames).items():
        weights = body.vertex_groups[name].weights
        if weights:
            index, share = np.array(list(weights)), np.array(list(weights.values()))
            moved = matrices @ np.linalg.inv(figure.data.bones[name].matrix_local)
            result[:, index] += share[:, None] * (places[index] @ moved[:, :3].transpose(0, 2, 1))
    return result
