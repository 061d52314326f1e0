"""Made-up recordings: somebody in the office, seen from a few steps away by a camera at head height.

Frames do not follow each other in time: each has its own pose, place and camera. What a recording has in
common is the person, the lens, the scene and the HoloLens' world.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise
from avatarctl.files import atomic
from avatarctl.geometry.cameras import Camera, look_at
from avatarctl.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle_smpl
from avatarctl_ego_hmr.synthetic import pictures
from avatarctl_ego_hmr.synthetic.office import LOW, SCENES, Office, office
from avatarctl_ego_hmr.synthetic.people import (
    DEEPEST,
    Person,
    Placed,
    Split,
    between,
    depth_inside,
    draw_heading,
    draw_person,
    draw_poses,
    stand,
)

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between a camera with y down that looks along z and one with y up that looks along -z (spec 2.1)."""
LENGTH = 16
"""Most frames of a recording."""
DAYS = {"train": "20240101", "val": "20240201", "test": "20240301"}
FIRST_STAMP, STAMP_STEP = 133485408000000000, 3333333
"""Time of a first frame and between frames, in units of 100 ns."""
LEAST_KEYPOINTS, NECK = 8, 1
"""Keypoints that are seen in every frame, and the one that is in every picture."""
NEAR, LEAST_POINTS = 0.4, 30
"""Scene points that there are at least so near to everybody on the floor plan, metres: a cube around the body
has some however it is turned and moved (spec 3.3)."""
QUALITY = 92
"""Of JPEG."""


@dataclass(frozen=True)
class Recording:
    """One recording to make: where, which, how many frames, rows and columns of its pictures."""

    store: str
    split: Split
    number: int
    frames: int
    size: tuple[int, int]
    seed: int

    @property
    def name(self) -> str:
        """As EgoBody calls its recordings: day, wearer, whom he looks at, take."""
        first = 2 * self.number + 1
        return f"recording_{DAYS[self.split]}_S{first:02d}_S{first + 1:02d}_01"

    @property
    def is_photo(self) -> bool:
        """Whether the real photo is behind the person."""
        return self.split == "test" and self.number % 2 == 1

    @property
    def scene(self) -> str:
        """Name of its scene; that of the photo is the scan as it is."""
        return SCENES[0] if self.is_photo else SCENES[self.number % 2]

    @property
    def part(self) -> Path:
        """What is kept of it until all are there."""
        return Path(self.store) / ".parts" / f"{self.name}.npz"

    def noise(self, *words: object) -> Noise:
        """A stream of its own for something in it."""
        return Noise.seeded(self.seed, " ".join([self.name, *map(str, words)]))

    def stamp(self, frame: int) -> int:
        """Time of a frame."""
        day = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4], "big")
        return FIRST_STAMP + 10_000_000 * day + STAMP_STEP * frame

    def image(self, frame: int) -> str:
        """Path of a frame below the store."""
        day = DAYS[self.split]
        clock = f"{day[:4]}-{day[4:6]}-{day[6:]}-{100000 + self.number:06d}"
        return (
            f"egocentric_color/{self.name}/{clock}/PV/{self.stamp(frame)}_frame_{1400 + 10 * frame:05d}.jpg"
        )

    def holo_from_kinect(self) -> np.ndarray:
        """The world of its HoloLens from the axes of the master Kinect, float64 [4, 4]."""
        noise, found = self.noise("world"), np.eye(4)
        turn = matrix_from_axis_angle_smpl(noise.normal((3,), torch.float64))
        found[:3, :3], found[:3, 3] = turn.numpy(), noise.normal((3,), torch.float64).numpy()
        return found


@dataclass(frozen=True)
class Frame:
    """A person in front of a camera, and the picture of it."""

    placed: Placed
    camera: Camera
    shot: pictures.Shot


def kinect_from_scene() -> np.ndarray:
    """The master Kinect is the real view of the office, float64 [4, 4]."""
    found: np.ndarray = np.linalg.inv(office().world_from_camera)
    return found


def make(recording: Recording) -> None:
    """Draw a recording's pictures, and keep the rest of it in its part; what is there is not made again."""
    if recording.part.exists():
        return
    scene = office(recording.scene)
    person = draw_person(recording.noise("person"), "m" if recording.number % 4 < 2 else "f")
    rows = []
    for index in range(recording.frames):
        frame = draw_frame(recording, scene, person, recording.noise("frame", index))
        buffer = io.BytesIO()
        Image.fromarray(frame.shot.picture).save(buffer, "jpeg", quality=QUALITY)
        with atomic(Path(recording.store) / recording.image(index)) as temporary:
            temporary.write_bytes(buffer.getbuffer())
        rows.append(annotation(recording, index, frame))
    write_arrays(recording.part, {key: np.stack([row[key] for row in rows]) for key in rows[0]})


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An .npz, atomically and with the same bytes every time."""
    with atomic(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its option for one


def draw_frame(recording: Recording, scene: Office, person: Person, noise: Noise) -> Frame:
    """The first of random frames in which enough of the person is seen and nothing is in the way."""
    furniture = scene.vertices[scene.vertices[:, 1] > LOW]
    lens = draw_lens(recording)
    for placed, camera, top in _tries(recording, person, lens, noise):
        if not is_possible(placed, camera, recording.size, scene, furniture):
            continue
        if recording.is_photo:
            backdrop = pictures.photo_backdrop(scene, recording.size, top)
        else:
            backdrop = pictures.scan_backdrop(scene, camera, recording.size, recording.noise("look"))
        shot = pictures.shoot(backdrop, placed)
        if (shot.keypoints[:, 2] > 0).sum() >= LEAST_KEYPOINTS:
            return Frame(placed, camera, shot)
    raise AssertionError  # the tries never end


def is_possible(
    placed: Placed, camera: Camera, size: tuple[int, int], scene: Office, furniture: Tensor
) -> bool:
    """Whether a person is in the picture, stands in no furniture, and has points of the scene around."""
    pixels, depth = camera.project(placed.body.keypoints[0])
    is_inside = ((pixels > 0) & (pixels < torch.tensor([size[1], size[0]]))).all(-1) & (depth > 0.3)
    if is_inside.sum() < LEAST_KEYPOINTS or not is_inside[NECK]:
        return False
    away = scene.vertices[:, [0, 2]] - placed.body.joints[0, 0, [0, 2]]
    if (away.norm(dim=-1) < NEAR).sum() < LEAST_POINTS:
        return False
    return depth_inside(placed, furniture) <= DEEPEST


def _tries(
    recording: Recording, person: Person, lens: Tensor, noise: Noise
) -> Iterator[tuple[Placed, Camera, int]]:
    """Random people before random cameras, and the first row of the enlarged photo, without end."""
    height, width = recording.size
    for _ in count():
        eye = torch.tensor(
            [0.25 * float(noise.normal(())), between(noise, 1.5, 1.85), between(noise, 0, 0.9)]
        )
        top = int(noise.integers(0, max(1, round(0.75 * width) - height + 1), ()))
        camera = pictures.photo_camera(office(), width, top)
        if recording.is_photo:
            eye = camera.centre
        angle, away = math.radians(between(noise, -27, 27)), between(noise, 1.2, 3.5)
        place = (float(eye[0]) + away * math.sin(angle), float(eye[2]) - away * math.cos(angle))
        towards = math.atan2(float(eye[0]) - place[0], float(eye[2]) - place[1])
        placed = stand(person, draw_poses(noise, recording.split), draw_heading(noise, towards), place)
        if not recording.is_photo:
            target = torch.tensor([place[0], between(noise, 0.7, 1.3), place[1]]) + 0.15 * noise.normal((3,))
            camera = Camera(lens, *look_at(eye, target, _up(noise)))
        yield placed, camera, top


def _up(noise: Noise) -> Tensor:
    """Up for a head that is held a little aslant [3]."""
    return torch.tensor([math.sin(math.radians(3 * float(noise.normal(())))), 1.0, 0.0])


def draw_lens(recording: Recording) -> Tensor:
    """Intrinsics of a recording [3, 3]: EgoBody's angle of view or so, the axis not quite in the middle."""
    (height, width), noise = recording.size, recording.noise("lens")
    focal = width * between(noise, 0.72, 0.84)
    x, y = width * (0.5 + between(noise, -0.02, 0.02)), height * (0.5 + between(noise, -0.17, 0.17))
    return torch.tensor([[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]])


def annotation(recording: Recording, index: int, frame: Frame) -> dict[str, np.ndarray]:
    """A frame's row of EgoBody's arrays (spec 2.1), and its `world2pv`."""
    camera, placed = frame.camera, frame.placed
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = camera.rotation.double().numpy(), camera.translation.double().numpy()
    pelvis = open_body("smpl").shape(placed.person.betas).joints[0]
    turned = camera.rotation @ matrix_from_axis_angle_smpl(placed.poses[0])
    transl = camera.rotation @ (placed.transl + pelvis) + camera.translation - pelvis
    joints = placed.body.joints[0] @ camera.rotation.mT + camera.translation
    found = frame.shot.keypoints[frame.shot.keypoints[:, 2] > 0, :2]
    low, high = found.min(axis=0), found.max(axis=0)
    lens = camera.intrinsics.double().numpy()
    holo_from_scene = recording.holo_from_kinect() @ kinect_from_scene()
    return {
        "imgname": np.array(recording.image(index)),
        "center": (low + high) / 2,
        "scale": (high - low).max() / 200,
        "pose": placed.poses[1:].reshape(69).double().numpy(),
        "shape": placed.person.betas.double().numpy(),
        "global_orient_pv": axis_angle_from_matrix(turned[None])[0].double().numpy(),
        "transl_pv": transl.double().numpy(),
        # Pixels count from the centre of the first one here, from its corner in `Camera`.
        "cx": lens[0, 2] - 0.5,
        "cy": lens[1, 2] - 0.5,
        "fx": lens[0, 0],
        "fy": lens[1, 1],
        "valid_keypoints": frame.shot.keypoints,
        "3d_joints_pv": joints.double().numpy(),
        "gender": np.array(placed.person.gender),
        "world2pv": FLIP @ view @ np.linalg.inv(holo_from_scene),
    }
