"""People as infer goes through them, a window at a time: of the user's own pictures, or of recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from avatarctl_ego_hmr.room import filled
from avatarctl_ego_hmr.views import View


@dataclass(frozen=True)
class Window:
    """B people: what networks are given, with the points in front of the camera, and where it stood."""

    view: View
    names: list[str]
    """The picture of each, or its name in annotations."""
    keys: list[str]
    """What tells people apart."""
    rooms: list[str]
    sizes: np.ndarray
    """Columns and rows of the pictures, int64 [B, 2]."""
    camera_from_scene: np.ndarray  # float64 [B, 4, 4]
    true_transl: np.ndarray
    """What annotations say, metres, NaN where there are none, float32 [B, 3]."""
    known_transl: np.ndarray
    """What stage 1 said before, metres, NaN where it is asked for, float32 [B, 3]."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: list[int]) -> Window:
        view = self.view[torch.tensor(rows, dtype=torch.int64)]
        found: dict[str, Any] = {name: [getattr(self, name)[row] for row in rows] for name in LISTS}
        found |= {name: getattr(self, name)[rows] for name in ARRAYS}
        return replace(self, view=view, **found)

    def with_points(self, points: list[np.ndarray]) -> View:
        """The view with other points, in scene axes, of each person [N, 3]."""
        return replace(self.view, points=in_camera(points, self.camera_from_scene))


LISTS, ARRAYS = ("names", "keys", "rooms"), ("sizes", "camera_from_scene", "true_transl", "known_transl")


def joined(parts: Sequence[Window]) -> Window:
    """Windows one after the other."""
    views = [part.view for part in parts]
    view = View(**{name: torch.cat([getattr(one, name) for one in views]) for name in vars(views[0])})
    found: dict[str, Any] = {name: [one for part in parts for one in getattr(part, name)] for name in LISTS}
    found |= {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Window(view, **found)


class Sightings(Protocol):
    """People, a window at a time."""

    count: int
    """Pictures."""

    def windows(self, size: int) -> Iterator[Window]:
        """The people in windows of so many at most."""
        ...

    def around(self, window: Window, row: int, transl: np.ndarray) -> np.ndarray:
        """Points of the room around a person, in scene axes, metres [N, 3]; none where it has none there.

        Args:
            transl: Where the body is, in camera axes [3].
        """
        ...


def in_camera(points: list[np.ndarray], camera_from_scene: np.ndarray) -> Tensor:
    """Points of several rooms in the axes of their cameras, float32 [B, N, 3]; fewer are repeated.

    Args:
        points: In scene axes, metres [N, 3] each.
        camera_from_scene: Float64 [B, 4, 4].
    """
    moved = [
        filled(cloud) @ matrix[:3, :3].T + matrix[:3, 3]
        for cloud, matrix in zip(points, camera_from_scene, strict=True)
    ]
    return torch.from_numpy(np.stack(moved).astype(np.float32))


def in_scene(place: np.ndarray, camera_from_scene: np.ndarray) -> np.ndarray:
    """A place of camera axes [3] in scene axes, float64 [3]."""
    return np.linalg.inv(camera_from_scene)[:3] @ np.append(place.astype(np.float64), 1.0)
