"""The published scene preparations as plain references: every vertex moves for every frame (3.2 to 3.4)."""

from __future__ import annotations

import math

import numpy as np


def homogeneous(points, matrix):
    return (np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T)[:, :3]


def front(vertices, kinect_from_scene, holo_from_kinect, pv_from_holo, flip, count):
    """Points in front of the camera, in the master Kinect's axes [count, 3]."""
    points = vertices
    for matrix in (kinect_from_scene, holo_from_kinect, pv_from_holo, flip):
        points = homogeneous(points, matrix)
    points = points[points[:, 2] > 0]
    points = points[:: len(points) // count][:count]
    for matrix in (flip, pv_from_holo, holo_from_kinect):
        points = homogeneous(points, np.linalg.inv(matrix))
    return points


def turned(points, middle, angle):
    cos, sin = math.cos(angle), math.sin(angle)
    x, z = points[:, 0] - middle[0], points[:, 2] - middle[2]
    found = points.copy()
    found[:, 0] = x * cos - z * sin + middle[0]
    found[:, 2] = x * sin + z * cos + middle[2]
    return found


def cube(vertices, middle, angle, shift, size, count):
    """Points in a turned cube, in scene axes [count, 3]."""
    points = turned(vertices, middle, angle)
    for axis, moved in ((0, shift[0]), (2, shift[1])):
        low, high = middle[axis] - size / 2 + moved, middle[axis] + size / 2 + moved
        points = points[(points[:, axis] >= low) & (points[:, axis] <= high)]
    points = points[points[:, 1] <= points[:, 1].min() + size]
    points = points[:: len(points) // count][:count]
    return turned(points, middle, -angle)
