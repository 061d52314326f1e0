"""The people of EgoBody as networks are given them, and what training compares with (spec 3.5).

Pictures and clouds are read when a batch asks for them, several at once, and not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.device.choose import cores
from avatarctl.errors import DataError
from avatarctl_ego_hmr.augment import Augmentation
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.changes import Changes
from avatarctl_ego_hmr.egobody.annotations import HINT, Annotations, annotation_file, statistics
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import moved
from avatarctl_ego_hmr.views import Truth, View
from avatarctl_ego_hmr.warp import normalised, warp

Source = Literal["front", "cube-gt", "cube-pred"]
READERS = 8
"""Pictures that are decoded at once, at most."""
OFF_CENTRE = 0.25
"""A principal point is not farther from the middle of its picture, in shares of the picture."""
RANGES = {"centre": (-1e5, 1e5), "scale": (0.005, 500), "fx": (1, 1e6), "fy": (1, 1e6)}
"""Annotated numbers that a crop can be made of: pixels, but for scales, which are sides / 200 pixels."""
PICTURES_HINT = "take pictures and annotations as published, in their sizes"


class Items:
    """The people of a split, and the scene points around them.

    Args:
        points: Prepared scene points: all in front of the camera, or a cube around the true or the predicted
            place of the body.
        augment: Change pictures at random.
        box_scale: Boxes around people are enlarged by this.

    Raises:
        DataError: A file is missing or wrong.
    """

    def __init__(
        self,
        data: EgoBody,
        split: str,
        people: People,
        *,
        points: Source,
        augment: bool = False,
        box_scale: float = 1.2,
    ) -> None:
        self.data, self.augment, self.box_scale = data, augment, box_scale
        self.people = data.annotations(split)
        _check_ranges(self.people, data.files.shown(annotation_file(data.files, split)))
        self.is_cube = points != "front"
        if points == "front":
            self.points = data.front_points(split)
        else:
            self.points = data.cube_points("gt" if points == "cube-gt" else "pred", split)
        self.transforms = data.transforms()
        self.pelvis = _Pelvis.of(people)
        self._sizes: dict[str, tuple[tuple[int, int], str]] = {}

    def __len__(self) -> int:
        return len(self.people)

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the poses, without changes, as 6D rotations, float32 [144] each."""
        return statistics(self.people.poses)

    def item(self, index: int, draws: Augmentation | None = None) -> tuple[View, Truth]:
        """One person, changed as told [1, ...]."""
        return self._batch([index], None if draws is None else [draws])

    def batch(self, indices: Sequence[int], noise: Noise | None = None) -> tuple[View, Truth]:
        """Some people [B, ...].

        Args:
            noise: Where the changes are drawn from; needed where there are any.
        """
        if not self.augment:
            return self._batch(indices, None)
        assert noise is not None, "augmentation needs noise"
        return self._batch(indices, [Augmentation.drawn(noise) for _ in indices])

    def _batch(self, indices: Sequence[int], draws: Sequence[Augmentation] | None) -> tuple[View, Truth]:
        rows, people = np.asarray(indices), self.people
        changes = Changes.of(people, indices, draws or [Augmentation()] * len(rows), self.box_scale)
        seen = self._seen(indices, changes)
        sizes = np.array([one.size for one in seen])
        keypoints, keypoints_full = changes.keypoints(people.keypoints[rows], sizes)
        joints, joints_full = changes.joints(people.joints[rows])
        transl = changes.transl
        if draws is not None:
            transl = joints_full[:, 0] - self.pelvis(people.betas[rows], people.gender[rows])
        principal = np.stack([people.cx, people.cy], axis=-1)[rows]
        view = View(
            image=torch.from_numpy(np.stack([one.crop for one in seen])),
            focal=_floats(people.fx[rows]),
            centre=_floats(changes.principal(principal, sizes[:, 0])),
            box_centre=_floats(changes.box_centre(sizes[:, 0])),
            box_size=_floats(changes.size),
            points=torch.from_numpy(np.stack([one.points for one in seen])),
            detected=torch.from_numpy(keypoints[..., 2] > 0),
        )
        truth = Truth(
            keypoints=_floats(keypoints),
            keypoints_full=_floats(keypoints_full),
            joints=_floats(joints),
            joints_full=_floats(joints_full),
            poses=_floats(changes.poses(people.poses[rows])),
            betas=_floats(people.betas[rows]),
            transl=_floats(transl),
            gender=torch.from_numpy(people.gender[rows]),
        )
        return view, truth

    def _seen(self, indices: Sequence[int], changes: Changes) -> list[_Seen]:
        """Crop and scene points of each person, read by several threads.

        Raises:
            DataError: A picture has another size than others of the recording, or a cloud has.
        """
        maps = changes.maps()[1] @ np.stack([self._camera(index) for index in indices])

        def read(row: int) -> _Seen:
            return self._read(indices[row], changes, row, maps[row])

        with ThreadPoolExecutor(min(READERS, cores(), len(indices))) as pool:
            seen = list(pool.map(read, range(len(indices))))
        for index, one in zip(indices, seen, strict=True):
            self._check_size(index, one.size)
            if len(one.points) != len(seen[0].points):
                raise DataError(
                    f"{self.people.key(index)}: {len(one.points)} scene points; "
                    f"{self.people.key(indices[0])} has {len(seen[0].points)}",
                    hint="prepare the points of both again",
                )
        return seen

    def _read(self, index: int, changes: Changes, row: int, camera: np.ndarray) -> _Seen:
        name, draws = self.people.names[index], changes.draws[row]
        picture = self.data.image(name)
        crop = warp(
            picture,
            changes.centre[row],
            changes.side[row],
            rotation_deg=draws.rotation_deg,
            scale=draws.scale,
            flip=draws.flip,
        )
        points = moved(self.points(name), camera)
        size = picture.shape[1], picture.shape[0]
        return _Seen(normalised(crop, draws.gains), points.astype(np.float32), size)

    def _camera(self, index: int) -> np.ndarray:
        """To camera axes from those of the scene points, float64 [4, 4]."""
        place = self.transforms.camera_from_scene if self.is_cube else self.transforms.camera_from_kinect
        return place(self.people.recording(index), self.people.timestamp(index))

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        key, middle = self.people.key(index), (self.people.cx[index], self.people.cy[index])
        known, other = self._sizes.setdefault(self.people.recording(index), (size, key))
        shown = self.data.files.shown(key)
        if known != size:
            raise DataError(
                f"{shown}: is {size[0]}x{size[1]}; {other} of the same recording is {known[0]}x{known[1]}",
                hint=PICTURES_HINT,
            )
        if any(abs(place / whole - 0.5) > OFF_CENTRE for place, whole in zip(middle, size, strict=True)):
            raise DataError(
                f"{shown}: is {size[0]}x{size[1]}; its annotated principal point is {middle[0]:.0f}, "
                f"{middle[1]:.0f}, far from the middle",
                hint=PICTURES_HINT,
            )


@dataclass(frozen=True)
class _Seen:
    """One person's crop, float32 [3, 224, 224], scene points, float32 [N, 3], and the picture's size."""

    crop: np.ndarray
    points: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class _Pelvis:
    """Where the pelvis is at a translation of zero, whatever the pose.

    `mean` is that of the mean shape [2, 3], `slopes` what each of the betas adds [2, 10, 3]; men first.
    """

    mean: np.ndarray
    slopes: np.ndarray

    @staticmethod
    def of(people: People) -> _Pelvis:
        betas = torch.cat([torch.zeros(1, 10), torch.eye(10)])
        bodies = people.to("cpu")
        places = [body.shape(betas).joints[:, 0].double().numpy() for body in (bodies.male, bodies.female)]
        mean, slopes = np.stack([one[0] for one in places]), np.stack([one[1:] - one[0] for one in places])
        return _Pelvis(mean, slopes)

    def __call__(self, betas: np.ndarray, gender: np.ndarray) -> np.ndarray:
        """Metres [B, 3], of shapes [B, 10] of bodies of a gender [B]."""
        found: np.ndarray = self.mean[gender] + (betas[:, None] @ self.slopes[gender])[:, 0]
        return found


def _floats(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _check_ranges(people: Annotations, shown: str) -> None:
    """
    Raises:
        DataError: A box or a focal length is none.
    """
    for name, (low, high) in RANGES.items():
        values = getattr(people, name).reshape(len(people), -1)
        is_wrong = ((values < low) | (values > high)).any(axis=1)
        if is_wrong.any():
            row = int(np.argmax(is_wrong))
            raise DataError(
                f"{shown}: {name}: row {row} ({people.key(row)}): "
                f"found {', '.join(f'{value:g}' for value in values[row])}; expected {low:g} to {high:g}",
                hint=HINT,
            )
