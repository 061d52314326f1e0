"""EgoBody for the rest of the plugin: frames, pictures, rooms, transforms, prepared points (spec 2.1)."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from avatarctl.errors import DataError
from avatarctl.geometry.cameras import Camera
from avatarctl_ego_hmr.bodies import Kind
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import Annotations, key_of, read_annotations
from avatarctl_ego_hmr.egobody.folder import Folder
from avatarctl_ego_hmr.egobody.meshes import UNREADABLE, Order, SceneMesh, read_mesh
from avatarctl_ego_hmr.egobody.transforms import Transforms

INFO = "data_info_release.csv"
SYNTHETIC = "synthetic.json"
"""In recordings that were made up: whose bodies they show."""
KINECT = "kinect_cam_params/kinect_master/Color.json"
FPS = 30.0
"""Rate of EgoBody's recordings (spec 2.1)."""
WIDEST = 200.0
"""Side of a scan, metres, from which on it is none of a room in metres."""
LOOKED_AT = 100
"""Frames by whose cameras the way up is told."""


class EgoBody:
    """The folder of EgoBody, unpacked or as its zips.

    Raises:
        DataError: There is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.files = Folder(self.root)
        self._transforms: Transforms | None = None
        self._scene: tuple[str, Order, SceneMesh] | None = None

    @cached_property
    def kind(self) -> Kind:
        """Whose bodies the annotations describe."""
        if SYNTHETIC not in self.files:
            return "smpl"
        content = _json(self.files, SYNTHETIC)
        body = content.get("body") if isinstance(content, dict) else None
        if body not in ("smpl", "open"):
            raise DataError(
                f"{self.files.shown(SYNTHETIC)}: body: found {str(body)[:20]!r}; expected smpl or open",
                hint="make the recordings again",
            )
        return "open" if body == "open" else "smpl"

    def annotations(self, split: str) -> Annotations:
        """The frames of a split."""
        return read_annotations(self.files, split)

    def image(self, name: str) -> np.ndarray:
        """The picture of a frame as it is stored, whatever its EXIF says, RGB uint8 [H, W, 3].

        Raises:
            DataError: It is not there, or cannot be read.
        """
        key = key_of(name)
        content = self.files.read(key)
        try:
            with Image.open(io.BytesIO(content)) as image:
                return np.asarray(image.convert("RGB"))
        except UNREADABLE as error:
            reason = str(error).partition("<")[0].strip() or type(error).__name__
            raise DataError(
                f"{self.files.shown(key)}: cannot be read as a picture: {reason}",
                hint="copy or download it again",
            ) from error

    def picture_size(self, name: str) -> tuple[int, int]:
        """Width and height of the picture of a frame, pixels; raises as `image`."""
        rows, columns = self.image(name).shape[:2]
        return columns, rows

    @cached_property
    def _scenes(self) -> dict[str, str]:
        """The scene of each recording."""
        text = self.files.read(INFO).decode("utf-8-sig", "replace")
        try:
            rows = list(csv.DictReader(io.StringIO(text)))
            return {row["recording_name"].strip(): row["scene_name"].strip() for row in rows}
        except (KeyError, AttributeError, csv.Error) as error:
            raise DataError(
                f"{self.files.shown(INFO)}: no columns recording_name and scene_name",
                hint="download it again",
            ) from error

    def scene_of(self, recording: str) -> str:
        """The name of the scene that a recording was made in.

        Raises:
            DataError: The table of recordings does not know it.
        """
        if recording not in self._scenes:
            raise DataError(
                f"{self.files.shown(INFO)}: no scene for {recording}; it has {len(self._scenes)} recordings",
                hint=f"download {INFO} again",
            )
        return self._scenes[recording]

    def scene_file(self, name: str) -> str:
        """Where the scan of a scene lies."""
        return f"scene_mesh/{name}/{name}.obj"

    def scene(self, name: str, order: Order = "assimp") -> SceneMesh:
        """The scan of a scene, in its own axes (y up, metres); the last one is kept.

        Raises:
            DataError: It is not there, cannot be read, or is not in metres.
        """
        if self._scene is None or self._scene[:2] != (name, order):
            with self.files.local(self.scene_file(name), beside=True) as path:
                mesh = read_mesh(path, order)
            widest = float(np.ptp(mesh.vertices, axis=0).max())
            if widest > WIDEST:
                raise DataError(
                    f"{self.files.shown(self.scene_file(name))}: is {widest:.0f} across; expected a room in "
                    "metres",
                    hint="write the scan in metres, as its calibrations are",
                )
            self._scene = (name, order, mesh)
        return self._scene[2]

    def check_upright(self, frames: Annotations) -> None:
        """Look at how cameras are held in the scans, whose y has to point up.

        Raises:
            DataError: Another axis does.
        """
        ups = []
        for index in np.unique(np.linspace(0, len(frames) - 1, LOOKED_AT).round().astype(int)):
            moment = frames.recording(index), frames.timestamp(index)
            with suppress(DataError):  # which is told where the frame is used
                ups.append(-self.transforms().camera_from_scene(*moment)[1, :3])
        up = np.mean(ups, axis=0) if ups else np.array([0.0, 1.0, 0.0])
        if up[1] < 0.5 and np.abs(up).max() > 0.7:  # heads bow, but not that far on average
            words = ", ".join(f"{value:.2f}" for value in up)
            raise DataError(
                f"{self.root}: the cameras' way up in the scans is ({words}); expected y",
                hint="turn the scans and calibrations/*/cal_trans/kinect12_to_world so that y points up",
            )

    def transforms(self) -> Transforms:
        """Where the cameras stand."""
        if self._transforms is None:
            self._transforms = Transforms(self.files, self.scene_of)
        return self._transforms

    def kinect_camera(self) -> Camera:
        """The master Kinect's colour camera in its own axes."""
        content = _json(self.files, KINECT)
        try:
            numbers = [float(number) for name in ("f", "c") for number in content[name]]
            fx, fy, cx, cy = numbers
            intrinsics = torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
            return Camera(intrinsics, torch.eye(3), torch.zeros(3))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.files.shown(KINECT)}: no focal lengths 'f' and centre 'c' of two numbers each",
                hint="download it again",
            ) from error

    def front_points(self, split: str) -> prepared.Points:
        """Of an image by its name: points in front of it, the master Kinect's axes, float64 [N, 3]."""
        return prepared.front_points(self.files, split)

    def cube_points(self, kind: Literal["gt", "pred"], split: str) -> prepared.Points:
        """Of an image by its name: points around the body, scene axes, float64 [N, 3]."""
        points = prepared.cube_points(self.files, "cube-gt" if kind == "gt" else "cube-predicted", split)
        return lambda name: points(key_of(name))


def _json(files: Folder, name: str) -> Any:
    try:
        return json.loads(files.read(name))
    except ValueError as error:
        raise DataError(
            f"{files.shown(name)}: not readable as JSON: {error}", hint="copy it again"
        ) from error
