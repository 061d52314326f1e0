"""The published prepared layout of a person's recording, read and written (spec 2.9).

Beside the published files stands `subject.json`, ours: which bodies the recording was fitted with, and how it
was prepared. Where it is absent, they are SMPL's.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avatarctl.checkpoints.pickle_reader import load_pickle
from avatarctl.errors import DataError
from avatarctl.files import atomic, check_input_file
from avatarctl_video_avatar.settings_model import Kind as Kind
from avatarctl_video_avatar.settings_model import Sex as Sex

MESHES, CANONICAL, VOLUME, CAMERAS, SUBJECT = (
    "mesh_infos.pkl", "canonical_joints.pkl", "smpl_sdf.npy", "cameras.pkl", "subject.json",
)  # fmt: skip
JOINTS = 24
MARK = "synthetic.json"
"""Says how a made-up recording was made."""
HINT = "prepare the recording again: avatarctl prepare zju-mocap RAW (or another data set)"


@dataclass(frozen=True)
class Camera:
    """An OpenCV camera: x right, y down, z forward; integer coordinates are pixel centres."""

    intrinsics: np.ndarray
    """[3, 3] float32, pixels."""
    extrinsics: np.ndarray
    """[4, 4], from world to camera, metres."""
    distortions: np.ndarray
    """k1, k2, p1, p2, k3 [5]."""


@dataclass(frozen=True)
class Fit:
    """The body model's parameters in one frame.

    A vertex stands in the world at R(Rh) x + Th, where x comes from `poses` without a root rotation.
    """

    poses: np.ndarray
    """Axis-angle [72] float32; the first three are zero."""
    Rh: np.ndarray
    """Global axis-angle [3] float32."""
    Th: np.ndarray
    """Global translation, metres [3] float32."""
    betas: np.ndarray
    """Shape [10] float32."""


@dataclass(frozen=True)
class FrameBody(Fit):
    """The body in one frame, in its own frame (Rh and Th not applied), metres."""

    posed_vertices: np.ndarray
    """[6890, 3] float64."""
    joints: np.ndarray
    """Posed [24, 3] float64."""
    dilated_vertices: np.ndarray
    """Of the mesh that surrounds body and clothes [n, 3] float64."""
    dilated_triangles: np.ndarray
    """[m, 3] int64."""


@dataclass(frozen=True)
class Volume:
    """Signed distances to the body in star pose on a cube: [N, N, N] float32 in units of half its side.

    `grid[i, j, k]` is given for x, y, z, negative inside; `bbmin` and `bbmax` are the ends of each axis.
    """

    grid: np.ndarray
    bbmin: float
    bbmax: float


@dataclass(frozen=True)
class About:
    """How a recording was prepared."""

    body: Kind = "smpl"
    """Bodies that it was fitted with."""
    dataset: str = "zju-mocap"
    """Where it comes from."""
    pad: float = 0.05
    """Free room around bodies in cubes of signed distances, metres (spec 3.1)."""
    delta: float = 0.03
    """How far dilated meshes lie outside, in halves of their cube's side."""
    name: str = ""
    """The person's name; empty: that of the folder."""


class Prepared:
    """One person's prepared recording.

    Raises:
        DataError: The folder, or a file that is asked of it, is missing or broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / MESHES).is_file():
            there = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
            made_up = f"its preparation did not end: avatarctl prepare synthetic-video --into {self.folder}"
            raise DataError(
                f"{self.folder}: no {MESHES} in it ({', '.join(there[:6]) or 'nothing there'})",
                hint=made_up if MARK in there else HINT if there else "name a prepared recording",
            )

    @property
    def name(self) -> str:
        """The person's name in the data set."""
        return self.about.name or self.folder.resolve().name

    @cached_property
    def about(self) -> About:
        """How it was prepared."""
        path = self.folder / SUBJECT
        if not path.is_file():
            return About()
        try:
            about = About(**json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError, OSError) as error:
            raise DataError(f"{path}: not what a preparation writes ({error})", hint=HINT) from error
        numbers = (about.pad, about.delta)
        if (
            about.body not in ("smpl", "open")
            or not isinstance(about.name, str)
            or not all(isinstance(number, int | float) and 0 <= number < 10 for number in numbers)
        ):
            raise DataError(
                f"{path}: body is {about.body!r}, pad {about.pad!r}, delta {about.delta!r}; expected smpl or "
                "open, and two numbers from 0 to 10",
                hint=HINT,
            )
        return about

    @property
    def kind(self) -> Kind:
        """Bodies that the recording was fitted with."""
        return self.about.body

    @cached_property
    def views(self) -> list[str]:
        """Names of the cameras that there are, numbers in their order."""
        found = [path.parent.name for path in self.folder.glob(f"*/{CAMERAS}")]
        return sorted(found, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))

    def frames(self, view: str) -> list[str]:
        """Names of the frames with a picture, in order."""
        names = sorted(path.stem for path in (self.view(view) / "images").glob("*.png"))
        if not names:
            raise DataError(f"{self.folder / view / 'images'}: no .png picture in it", hint=HINT)
        return names

    def view(self, name: str) -> Path:
        """The folder of a view."""
        if name not in self.views:
            raise DataError(
                f"{self.folder}: no view '{name}'; there are {', '.join(self.views) or 'none'}",
                hint="--views takes names of these folders",
            )
        return self.folder / name

    def cameras(self, view: str) -> dict[str, Camera]:
        """Cameras of a view by frame name."""
        if view not in self._cameras:
            path = self.view(view) / CAMERAS
            self._cameras[view] = {
                name: Camera(
                    _array(path, name, entry, "intrinsics", (3, 3)).astype(np.float32),
                    _array(path, name, entry, "extrinsics", (4, 4)).astype(np.float64),
                    _array(path, name, entry, "distortions", (-1,)),
                )
                for name, entry in _dict(path).items()
            }
        return self._cameras[view]

    @cached_property
    def _cameras(self) -> dict[str, dict[str, Camera]]:
        return {}

    def camera(self, view: str, frame: str) -> Camera:
        """The camera of one picture."""
        return self._of_frame(self.cameras(view), frame, self.view(view) / CAMERAS)

    @cached_property
    def bodies(self) -> dict[str, FrameBody]:
        """Bodies by frame name."""
        path = self.folder / MESHES
        shapes: dict[str, tuple[int, ...]] = {
            "poses": (72,), "Rh": (3,), "Th": (3,), "posed_vertices": (-1, 3), "joints": (JOINTS, 3),
            "dilated_vertices": (-1, 3), "dilated_triangles": (-1, 3),
        }  # fmt: skip
        bodies = {}
        for name, entry in _dict(path).items():
            arrays = {key: _array(path, name, entry, key, shape) for key, shape in shapes.items()}
            # parity: the published name of the shape is misspelt (spec 9, Q2)
            key = "betas" if isinstance(entry, dict) and "betas" in entry else "beats"
            betas = _array(path, name, entry, key, (10,))
            arrays["dilated_triangles"] = arrays["dilated_triangles"].astype(np.int64)
            bodies[name] = FrameBody(betas=betas, **arrays)
        return bodies

    def body(self, frame: str) -> FrameBody:
        """The body in a frame."""
        return self._of_frame(self.bodies, frame, self.folder / MESHES)

    @cached_property
    def canonical(self) -> tuple[np.ndarray, np.ndarray]:
        """Joints [24, 3] and vertices [6890, 3] of the mean shape in T-pose, metres, float64."""
        path = self.folder / CANONICAL
        content = _dict(path)
        joints = _array(path, "", content, "joints", (JOINTS, 3))
        return joints, _array(path, "", content, "vertices", (-1, 3))

    @cached_property
    def volume(self) -> Volume:
        """Signed distances to the body in star pose."""
        path = check_input_file(self.folder / VOLUME, "signed distances to the body in star pose")
        content = load_pickle(path, _header(path))
        content = content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content
        if isinstance(content, np.ndarray) and content.shape == (1,):
            content = content[0]
        grid = _array(path, "", content, "sdf_grid", (-1, -1, -1)).astype(np.float32)
        low, high = (float(_array(path, "", content, name, ())) for name in ("bbmin", "bbmax"))
        if len(set(grid.shape)) != 1 or not high > low:
            raise DataError(
                f"{path}: a grid of {grid.shape} from {low:g} to {high:g}, expected a cube", hint=HINT
            )
        return Volume(grid, low, high)

    def image(self, view: str, frame: str) -> np.ndarray:
        """A picture as it was recorded, RGB uint8 [H, W, 3]."""
        return _picture(self.view(view) / "images" / f"{frame}.png", "RGB")

    def mask(self, view: str, frame: str) -> np.ndarray:
        """Where the person is in it, uint8 [H, W], 0 or 255."""
        return _picture(self.view(view) / "masks" / f"{frame}.png", "RGB")[..., 0]

    def _of_frame(self, entries: Mapping[str, Any], frame: str, path: Path) -> Any:
        if frame not in entries:
            shown = ", ".join(list(entries)[:3]) or "none"
            raise DataError(
                f"{path}: nothing for frame '{frame}'; {len(entries)} frames there ({shown}, ...)", hint=HINT
            )
        return entries[frame]


def write_view(folder: Path, cameras: Mapping[str, Camera]) -> Path:
    """Write the cameras of a view by frame name; the last of its files."""
    return write_pickle(
        folder / CAMERAS,
        {
            name: {
                "intrinsics": camera.intrinsics,
                "extrinsics": camera.extrinsics,
                "distortions": camera.distortions,
            }
            for name, camera in cameras.items()
        },
    )


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture [H, W, 3], or a mask [H, W] as three equal channels, uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, "png")
    return path


def write_bodies(
    folder: Path,
    bodies: Mapping[str, FrameBody],
    canonical: tuple[np.ndarray, np.ndarray],
    volume: Volume,
    about: About,
) -> list[Path]:
    """Write what a recording has besides its views; `mesh_infos.pkl` comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    joints, vertices = canonical
    boxed = np.array(
        {"sdf_grid": volume.grid, "bbmin": np.float64(volume.bbmin), "bbmax": np.float64(volume.bbmax)},
        dtype=object,
    )
    with atomic(folder / VOLUME) as temporary, temporary.open("wb") as file:
        np.save(file, boxed)
    with atomic(folder / SUBJECT) as temporary:
        temporary.write_text(json.dumps(asdict(about)) + "\n", "utf-8")
    return [
        folder / VOLUME,
        folder / SUBJECT,
        write_pickle(folder / CANONICAL, {"joints": joints, "vertices": vertices}),
        write_pickle(
            folder / MESHES,
            {
                name: {
                    "Rh": body.Rh,
                    "Th": body.Th,
                    "poses": body.poses,
                    "beats": body.betas,  # parity: published name (spec 9, Q2)
                    "posed_vertices": body.posed_vertices,
                    "joints": body.joints,
                    "dilated_vertices": body.dilated_vertices,
                    "dilated_triangles": body.dilated_triangles.astype(np.uint64),
                }
                for name, body in bodies.items()
            },
        ),
    ]


def write_pickle(path: Path, content: Any) -> Path:
    """Write plain values and arrays as a pickle that old programs read too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=4)
    return path


def _header(path: Path) -> int:
    """Where the pickle inside an object array of numpy begins, bytes."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return 0
        file.seek(0)
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        )
        reader(file)
        return file.tell()


def _dict(path: Path) -> dict[str, Any]:
    content = load_pickle(check_input_file(path, "a prepared recording's file"))
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: holds {type(content).__name__}, expected entries by name", hint=HINT)
    return content


def _array(path: Path, name: str, entry: Any, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A numeric field; -1 in `shape` takes any length."""
    field = f"'{key}'" + (f" of '{name}'" if name else "")
    if not isinstance(entry, dict) or key not in entry:
        raise DataError(f"{path}: {field} is missing", hint=HINT)
    array = np.asarray(entry[key])
    fits = array.ndim == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype.kind not in "iuf" or not fits or not np.isfinite(array).all():
        raise DataError(
            f"{path}: {field} is {array.dtype} {list(array.shape)}, expected finite numbers {list(shape)}",
            hint=HINT,
        )
    return array


def _picture(path: Path, mode: str) -> np.ndarray:
    check_input_file(path, "a picture")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: not a readable picture ({error})", hint=HINT) from error
