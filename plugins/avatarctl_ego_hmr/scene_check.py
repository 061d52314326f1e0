"""A picture that shows whether room and camera belong together: the room's points over the photo."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avatarctl_ego_hmr.lens import Lens
from avatarctl_ego_hmr.room import Scan, evenly

FILE = "scene_check.png"
MOST = 60_000
"""Points that are drawn."""
NEAR = 0.05
"""Metres from the camera on which things are drawn."""
REACH, STEP, FINE = 6, 1.0, 0.01
"""Squares of the floor's grid to each side, their side and the distance of its dots, metres."""
OPACITY = 0.65
LOW, HIGH = np.array([40.0, 90.0, 255.0]), np.array([255.0, 70.0, 40.0])
"""Colours of the lowest and the highest points."""
FLOOR = (255.0, 255.0, 255.0)
WORDS = (
    "Left: the room's points over the photo, blue low, red high. Right: the room. Squares on the floor: 1 m"
)


def in_picture(points: np.ndarray, lens: Lens, size: tuple[int, int]) -> np.ndarray:
    """Which points of the scene [N, 3] a camera sees, walls or not, bool [N].

    Args:
        size: Rows and columns.
    """
    pixels, depth = _projected(points, lens)
    is_inside = ((pixels >= -0.5) & (pixels <= np.array(size[::-1]) - 0.5)).all(axis=1)
    return is_inside & (depth > NEAR)


def drawn(photo: np.ndarray, lens: Lens, scan: Scan) -> np.ndarray:
    """The photo with the room's points and the floor's grid over it, and the room; uint8 [H, 2 W, 3]."""
    beside = np.zeros(photo.shape)
    over = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2) * 0.8
    points, unit = scan.points, max(1, photo.shape[1] // 640)
    colours = scan.mesh.colours
    paint = _by_height(points) if colours is None or points is not scan.mesh.vertices else 255.0 * colours
    _dots(beside, points, paint, lens, 4 * unit, 1.0)
    some = evenly(np.arange(len(points)), MOST)
    _dots(over, points[some], _by_height(points)[some], lens, 2 * unit, OPACITY)
    for made in (over, beside):
        _dots(made, _grid(scan), np.array(FLOOR), lens, unit, OPACITY)
    image = Image.fromarray(np.concatenate([over, beside], axis=1).astype(np.uint8))
    _write(image)
    return np.asarray(image)


def _by_height(points: np.ndarray) -> np.ndarray:
    low, high = np.percentile(points[:, 1], [1, 99])
    share = np.clip((points[:, 1] - low) / max(high - low, 1e-9), 0, 1)[:, None]
    return LOW + share * (HIGH - LOW)


def _projected(points: np.ndarray, lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 2] and depths [N] of points in the scene."""
    matrix = lens.camera_from_world
    seen = points @ matrix[:3, :3].T + matrix[:3, 3]
    depth = seen[:, 2]
    plane = seen[:, :2] / np.where(depth > NEAR, depth, 1.0)[:, None]
    return plane * [lens.fx, lens.fy] + [lens.cx, lens.cy], depth


def _dots(
    made: np.ndarray, points: np.ndarray, colours: np.ndarray, lens: Lens, side: int, opacity: float
) -> None:
    """Draw points as squares in place, the farthest first; colours [N, 3] or [3]."""
    rows, columns = made.shape[:2]
    pixels, depth = _projected(points, lens)
    found = np.flatnonzero(in_picture(points, lens, (rows, columns)))
    found = found[np.argsort(-depth[found], kind="stable")]
    column, row = pixels[found].round().astype(np.int64).T
    paint = np.broadcast_to(colours, points.shape)[found]
    layer = np.zeros_like(made)
    nearest = np.full((rows, columns), -1)
    for down in range(side):
        for right in range(side):
            y, x = np.minimum(row + down, rows - 1), np.minimum(column + right, columns - 1)
            np.maximum.at(nearest, (y, x), np.arange(len(found)))
    is_drawn = nearest >= 0
    layer[is_drawn] = paint[nearest[is_drawn]]
    made[is_drawn] = (1 - opacity) * made[is_drawn] + opacity * layer[is_drawn]


def _grid(scan: Scan) -> np.ndarray:
    """Dots along the lines of squares on the floor around the room's middle, metres [N, 3]."""
    middle = np.round(np.median(scan.points, axis=0)[[0, 2]] / STEP) * STEP
    along = np.arange(-REACH * STEP, REACH * STEP + FINE, FINE)
    lines = np.arange(-REACH, REACH + 1) * STEP
    one, other = (axis.ravel() for axis in np.meshgrid(along, lines))
    flat = np.concatenate([np.stack([one, other], axis=1), np.stack([other, one], axis=1)]) + middle
    return np.stack([flat[:, 0], np.full(len(flat), scan.floor), flat[:, 1]], axis=1)


def _write(image: Image.Image) -> None:
    height = max(11, image.height // 45)
    font = ImageFont.load_default(size=height)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height - round(1.7 * height), image.width, image.height), fill=(0, 0, 0))
    draw.text((height // 2, image.height - round(1.5 * height)), WORDS, fill=(255, 255, 255), font=font)
