"""Pictures of a prepared recording, or of any pose and camera, as samples to train on or render (spec 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from avatarctl.body import BodyModel
from avatarctl.body.tables import PARENTS as PARENTS_BY_FAMILY
from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError
from avatarctl_video_avatar.body_fit import star_transforms
from avatarctl_video_avatar.patches import PatchSettings, draw, pixels_of
from avatarctl_video_avatar.prepared import Camera, Fit, FrameBody, Prepared
from avatarctl_video_avatar.rays import rotation_of
from avatarctl_video_avatar.recorded import Recorded
from avatarctl_video_avatar.sample import Patches, Pose, Sample, Shot, Subject
from avatarctl_video_avatar.settings_model import Rendering
from avatarctl_video_avatar.sight import Mesh, Sight, check_camera, float32, sight_of

Dataset = Literal[
    "zju-mocap", "h36m", "monocap", "people-snapshot", "selfrecon", "synthetic-human", "synthetic-video"
]
Offset = Literal["exact", "published"]
ABOUT_ROOT = ("people-snapshot", "selfrecon")
"""Data sets whose bodies turn about their root joint, not about the origin."""
PUBLISHED_OFFSET = (0.0, -0.4, 0.0)
"""What the published code adds to their Th, metres (spec 9, Q7)."""
POSE_SHIFT = 0.01
"""Added to the numbers that the pose decoder is told (spec 9, Q28)."""
PARENTS = PARENTS_BY_FAMILY["smpl"]


class Items:
    """The pictures of a recording: all frames of the first view, then of the next.

    Args:
        data: The recording.
        views: Names of its views.
        frames: Which of each view's frames.
        rendering: How rays are sampled.
        body: The neutral body that skinning weights and faces are taken from.
        dataset: Where the recording is from: People-Snapshot's and SelfRecon's bodies turn about their root,
            and SelfRecon's box is drawn around the dilated mesh. Left out: what its preparation wrote down.
        offset: How those bodies are moved: so that they lie where they were fitted, or as published.
        background: Colour 0 to 1.
        patches: What a training sample holds.
        res_level: Of whole pictures, every so many rows and columns.
    """

    def __init__(
        self,
        data: Prepared,
        views: Sequence[str],
        frames: slice,
        rendering: Rendering,
        body: BodyModel,
        *,
        dataset: str | None = None,
        offset: Offset = "exact",
        background: Sequence[float] = (0.0, 0.0, 0.0),
        patches: PatchSettings | None = None,
        res_level: int = 1,
    ) -> None:
        self.data, self.rendering, self.body = data, rendering, body
        self.dataset, self.offset = data.about.dataset if dataset is None else dataset, offset
        self.background, self.patches, self.res_level = background, patches, res_level
        self.places = [
            (view, frame, index) for view in views for index, frame in enumerate(_frames(data, view, frames))
        ]
        for view, frame, _ in self.places:
            check_camera(data.camera(view, frame), f"{data.folder / view / 'cameras.pkl'}, {frame}")
        for frame in dict.fromkeys(frame for _, frame, _ in self.places):
            self._check_body(frame)

    def __len__(self) -> int:
        return len(self.places)

    def place(self, index: int) -> tuple[str, str]:
        """View and frame of a picture."""
        return self.places[index][:2]

    @cached_property
    def subject(self) -> Subject:
        """What stays the same for the person."""
        return subject_of(self.data, self.body)

    def picture(self, index: int) -> Sample:
        """A whole picture."""
        view, frame, number = self.places[index]
        fit, pose = self._fit(frame), self._pose(frame)
        image, mask = self.data.image(view, frame), self.data.mask(view, frame)
        return sample_of(
            pose,
            self.data.camera(view, frame),
            fit,
            (image.shape[0], image.shape[1]),
            self.rendering,
            self._mesh(frame),
            image=image,
            mask=mask,
            res_level=self.res_level,
            background=self.background,
            boxed=self._boxed(frame),
            view=view,
            frame=frame,
            index=number,
            name=self._name(view, frame),
        )

    def training(self, index: int, noise: Noise) -> Sample:
        """Patches of a picture."""
        assert self.patches is not None, "training needs patches"
        view, frame, number = self.places[index]
        camera, fit, pose = self.data.camera(view, frame), self._fit(frame), self._pose(frame)
        image, mask, name = self.data.image(view, frame), self.data.mask(view, frame), self._name(view, frame)
        recorded = Recorded.of(image, mask, camera, self.background, name)
        sight = sight_of(pose, camera, fit, self.rendering, self._mesh(frame), boxed=self._boxed(frame))
        crossings = sight.crossings(recorded.size, name)
        corners = draw(recorded.mask > 0, crossings.meets, self.patches, noise, name)
        rows, columns = pixels_of(corners, self.patches.patch_size)
        colours, alpha = recorded.colours(rows, columns)
        has_ray = crossings.meets[rows, columns]
        pixels = rows[has_ray], columns[has_ray]
        near, far = crossings.near[pixels], crossings.far[pixels]
        rays = sight.rays(pixels, (near, far), colours[has_ray], alpha[has_ray])
        bounds = np.cumsum([0, *has_ray.sum(axis=(1, 2))])
        return Sample(
            _shot(camera, fit, sight, recorded.size, view, frame, number),
            pose,
            rays,
            torch.tensor(self.background, dtype=torch.float32),
            Patches(*(torch.from_numpy(part) for part in (colours, has_ray, bounds))),
        )

    def _name(self, view: str, frame: str) -> str:
        return str(self.data.folder / view / "images" / f"{frame}.png")

    def _fit(self, frame: str) -> Fit:
        return placed(self.data.body(frame), self.data.canonical[0], self.dataset, self.offset)

    def _pose(self, frame: str) -> Pose:
        return pose_of(self.data.body(frame), self.data.canonical[0])

    def _mesh(self, frame: str) -> Mesh | None:
        body = self.data.body(frame)
        if not self.rendering.inner_sampling:
            return None
        if self.rendering.use_dilated:
            return body.dilated_vertices, body.dilated_triangles
        return body.posed_vertices, self.body.faces.numpy()

    def _boxed(self, frame: str) -> np.ndarray:
        body = self.data.body(frame)
        return body.dilated_vertices if self.dataset == "selfrecon" else body.posed_vertices

    def _check_body(self, frame: str) -> None:
        body, name = self.data.body(frame), f"{self.data.folder / 'mesh_infos.pkl'}, {frame}"
        if len(body.posed_vertices) != len(self.body.weights):
            raise DataError(
                f"{name}: {len(body.posed_vertices)} vertices, the body model has {len(self.body.weights)}",
                hint="subject.json says which body the recording was fitted with: smpl or open",
            )
        triangles = body.dilated_triangles
        if not len(triangles) or triangles.min() < 0 or triangles.max() >= len(body.dilated_vertices):
            raise DataError(
                f"{name}: dilated_triangles do not fit the {len(body.dilated_vertices)} dilated_vertices",
                hint="prepare the recording again",
            )


def subject_of(data: Prepared, body: BodyModel) -> Subject:
    """What stays the same for a person.

    Args:
        data: The person's recording.
        body: The neutral body.
    """
    volume = data.volume
    low, high = (torch.tensor(bound, dtype=torch.float32) for bound in (volume.bbmin, volume.bbmax))
    # parity: skinning weights are the neutral body's, whatever the person's sex (spec 9, Q6).
    return Subject(body.weights.float(), torch.from_numpy(volume.grid), low, high)


def pose_of(body: FrameBody, joints: np.ndarray) -> Pose:
    """A body's pose as networks and bones need it.

    Args:
        body: Posed, in its own frame.
        joints: Canonical ones in T-pose, metres [24, 3].
    """
    poses = np.asarray(body.poses, np.float64)
    parts = (
        joints, star_transforms(joints), _rotations(poses.reshape(-1, 3)), _offsets(joints),
        poses[3:] + POSE_SHIFT, body.posed_vertices,
    )  # fmt: skip
    return Pose(*(float32(part) for part in parts))


def placed(fit: Fit, joints: np.ndarray, dataset: str, offset: Offset) -> Fit:
    """A fit whose body turns about the origin, as all of this system does (spec 9, Q7).

    Args:
        fit: As it was recorded.
        joints: Canonical ones, metres [24, 3].
        dataset: Only bodies of People-Snapshot and SelfRecon turn about their root.
        offset: Move them to where they were fitted, or as published.
    """
    if dataset not in ABOUT_ROOT:
        return fit
    moved = np.array(PUBLISHED_OFFSET)
    if offset == "exact":
        moved = joints[0] - rotation_of(fit.Rh) @ joints[0]
    return replace(fit, Th=np.asarray(fit.Th, np.float64) + moved)


def sample_of(
    pose: Pose,
    camera: Camera,
    fit: Fit,
    size: tuple[int, int],
    rendering: Rendering,
    mesh: Mesh | None,
    *,
    image: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    res_level: int = 1,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    boxed: np.ndarray | None = None,
    view: str = "",
    frame: str = "",
    index: int = 0,
    name: str = "",
) -> Sample:
    """A whole picture of any pose and camera.

    A ray is rendered where it goes through the mesh or the mask shows the person; without mesh and mask,
    where it meets the body's box. Where nothing was recorded, the body may be out of view: then none is.

    Args:
        pose, fit: Of the body.
        camera: Distortions matter for the recorded picture only.
        size: Rows and columns of the whole picture.
        rendering: How rays are sampled.
        mesh: Rays are sampled inside of it; left out, from near to far.
        image, mask: What was recorded, uint8 [H, W, 3] and [H, W]; both or none.
        res_level: Every so many rows and columns.
        background: Colour 0 to 1 [3].
        boxed: Points that the box is drawn around, metres [n, 3]; left out, the posed vertices.
        view, frame, index: Names, and the frame's place in its view.
        name: Of the picture, for messages; left out, view and frame.
    """
    name = name or "/".join(filter(None, (view, frame))) or "picture"
    check_camera(camera, name)
    recorded = None
    if image is not None and mask is not None:
        recorded = Recorded.of(image, mask, camera, background, name)
    sight = sight_of(pose, camera, fit, rendering, mesh, boxed=boxed)
    crossings = sight.crossings(size, name, is_needed=recorded is not None)
    rows, columns = (
        grid.ravel()
        for grid in np.meshgrid(*(np.arange(0, length, res_level) for length in size), indexing="ij")
    )
    colours, alpha = np.zeros((len(rows), 3), np.float32), np.zeros(len(rows), np.float32)
    if recorded is not None:
        colours, alpha = recorded.colours(rows, columns)
    meets = crossings.meets[rows, columns]
    near, far = (
        _filled(depths, crossings.meets)[rows, columns] for depths in (crossings.near, crossings.far)
    )
    rays = sight.rays((rows, columns), (near, far), colours, alpha)
    if not crossings.meets.any():
        rays = replace(rays, hits=torch.zeros_like(rays.hits))
    elif recorded is None and sight.mesh is None:
        rays = replace(rays, hits=torch.from_numpy(meets))
    shot = _shot(camera, fit, sight, size, view, frame, index, res_level)
    return Sample(
        shot,
        pose,
        rays,
        torch.tensor(background, dtype=torch.float32),
        box=torch.from_numpy(meets).view(shot.height, shot.width),
    )


def _filled(depths: np.ndarray, meets: np.ndarray) -> np.ndarray:
    """Depths of rays that miss the box become the mean of the others [H, W]."""
    return np.where(meets, depths, depths[meets].mean() if meets.any() else 0.0)


def _shot(
    camera: Camera,
    fit: Fit,
    sight: Sight,
    size: tuple[int, int],
    view: str,
    frame: str,
    index: int,
    step: int = 1,
) -> Shot:
    height, width = (-(-length // step) for length in size)
    return Shot(
        float32(camera.intrinsics),
        float32(sight.extrinsics),
        float32(camera.extrinsics),
        float32(rotation_of(fit.Rh).T),
        float32(fit.Th),
        width,
        height,
        view,
        frame,
        index,
    )


def _frames(data: Prepared, view: str, frames: slice) -> list[str]:
    """Names of the frames of a view that a slice takes."""
    there = data.frames(view)
    taken = there[frames]
    if not taken:
        words = ":".join("" if part is None else str(part) for part in (frames.start, frames.stop))
        words += "" if frames.step is None else f":{frames.step}"
        raise SettingsError(
            f"frames {words} are none of the {len(there)} of view '{view}' in {data.folder}",
            hint=f"START:END:STEP with a start below {len(there)}; an END of -1 leaves out the last",
        )
    return taken


def _rotations(axis_angles: np.ndarray) -> np.ndarray:
    """Rotations [J, 3, 3] of axis-angle vectors [J, 3]."""
    angle = np.linalg.norm(axis_angles, axis=1)[:, None, None]
    # parity: the axis is a little short, and so the matrix not quite orthonormal (spec 4.3).
    x, y, z = (axis_angles / (angle[:, 0] + 1e-5)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    axis = np.stack([x, y, z], axis=1)
    outer = axis[:, :, None] * axis[:, None, :]
    rotations: np.ndarray = np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * outer + np.sin(angle) * cross
    return rotations


def _offsets(joints: np.ndarray) -> np.ndarray:
    """Joints from their parents [24, 3]; the root from the origin."""
    offsets = np.array(joints, np.float64)
    offsets[1:] -= joints[list(PARENTS[1:])]
    return offsets
