"""Signed distances on a cube, and dilated meshes."""

import itertools

import igl
import numpy as np
import pytest
import trimesh
from avatarctl_video_avatar import sweeps
from avatarctl_video_avatar.cube import cube_sdf, dilated

from avatarctl.errors import DataError

N = 24
VOXEL = 2 / N


def mesh_of(shape, *, moved=(0.0, 0.0, 0.0)):
    return np.asarray(shape.vertices) + moved, np.asarray(shape.faces)


def ball(radius=0.6):
    return mesh_of(trimesh.creation.icosphere(subdivisions=3, radius=radius), moved=(0.1, -0.05, 0.2))


def places(n=N):
    """Where samples lie, in halves of the cube's side [n^3, 3]."""
    return -1 + 2 * np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) / n


def exact(vertices, faces, half):
    """Signed distances of the samples by libigl, in halves of the side."""
    points = places() * half
    squares = igl.point_mesh_squared_distance(points, vertices, faces)[0]
    inside = igl.fast_winding_number(vertices, faces, points) > 0.5
    return (np.sqrt(squares) * np.where(inside, -1, 1) / half).reshape(N, N, N)


@pytest.mark.parametrize(
    "mesh",
    [ball(), mesh_of(trimesh.creation.box((0.9, 0.5, 1.3))), mesh_of(trimesh.creation.torus(0.6, 0.25))],
    ids=["ball", "box", "torus"],
)
def test_distances_are_exact_near_the_surface_and_within_a_voxel_far_away(mesh):
    volume = cube_sdf(*mesh, N, 0.2)
    assert volume.bbmax == pytest.approx(np.abs(mesh[0]).max() + 0.2)
    assert volume.bbmin == -volume.bbmax
    wanted = exact(*mesh, volume.bbmax)
    near = np.abs(wanted) < VOXEL
    np.testing.assert_allclose(volume.grid[near], wanted[near], rtol=0, atol=1e-5)
    assert np.abs(volume.grid - wanted).max() < VOXEL
    clear = np.abs(wanted) > 1e-6  # samples on a face of the box have either sign
    np.testing.assert_array_equal((volume.grid < 0)[clear], (wanted < 0)[clear])


def test_axes_of_the_grid_are_x_y_z():
    volume = cube_sdf(*mesh_of(trimesh.creation.icosphere(2, 0.2), moved=(0.5, 0.0, -0.3)), N, 0.1)
    lowest = np.array(np.unravel_index(volume.grid.argmin(), volume.grid.shape))
    np.testing.assert_allclose(
        (-1 + 2 * lowest / N) * volume.bbmax, (0.5, 0.0, -0.3), atol=volume.bbmax * VOXEL
    )


def test_where_two_parts_overlap_is_outside_as_published():
    one, two = (
        mesh_of(trimesh.creation.box((0.8, 0.8, 0.8)), moved=(side, 0.013, 0.017)) for side in (-0.2, 0.2)
    )
    volume = cube_sdf(np.concatenate([one[0], two[0]]), np.concatenate([one[1], two[1] + 8]), N, 0.3)
    at = {x: round((x / volume.bbmax + 1) * N / 2) for x in (-0.4, 0.0, 0.4)}
    middle = volume.grid[:, N // 2, N // 2]
    assert [bool(middle[at[x]] < 0) for x in (-0.4, 0.0, 0.4)] == [True, False, True]


def handed_on(triangles, n):
    """Distances by sweeps that leave no sample out, one sample and one neighbour after the other."""
    axis = np.arange(n).astype(np.float32) * np.float32(2 / n) + np.float32(-1)
    found, nearest = sweeps._band(triangles, n, np.float32(2 / n), axis)
    places = [part.ravel() for part in np.meshgrid(axis, axis, axis, indexing="ij")]
    away = np.stack([sweeps.distance(places, np.repeat(one[None], n**3, 0)) for one in triangles], axis=1)
    away = away.reshape(n, n, n, -1)
    for di, dj, dk in sweeps.SWEEPS * sweeps.ROUNDS:
        i, j, k = (range(1, n) if sign > 0 else range(n - 2, -1, -1) for sign in (di, dj, dk))
        for at in itertools.product(i, j, k):
            for bits in range(1, 8):
                back = (di * (bits & 1), dj * (bits >> 1 & 1), dk * (bits >> 2))
                theirs = nearest[tuple(np.subtract(at, back))]
                if theirs >= 0 and away[at][theirs] < found[at]:
                    found[at], nearest[at] = away[at][theirs], theirs
    return found


def jumble():
    """Small triangles in a few places, far from one another: fronts of distances meet everywhere."""
    noise = np.random.default_rng(3)
    middles, corners = noise.uniform(-0.9, 0.9, (40, 1, 3)), noise.normal(0, 0.05, (40, 3, 3))
    return (middles + corners).astype(np.float32)


def sphere():
    vertices, faces = mesh_of(trimesh.creation.icosphere(subdivisions=1, radius=0.4), moved=(0.3, 0.2, -0.1))
    return vertices.astype(np.float32)[faces]


@pytest.mark.parametrize("triangles", [jumble(), sphere()], ids=["jumble", "sphere"])
def test_samples_that_are_left_out_change_no_bit(triangles):
    wanted = handed_on(triangles, 14)
    np.testing.assert_array_equal(sweeps.distances(triangles, 14), wanted)
    pytest.importorskip("numba")
    from avatarctl_video_avatar import sweeps_compiled

    np.testing.assert_array_equal(sweeps_compiled.distances(triangles, 14), wanted)


@pytest.mark.parametrize("triangles", [jumble(), sphere()], ids=["jumble", "sphere"])
def test_compiled_sweeps_give_the_numbers_of_plain_ones(triangles):
    pytest.importorskip("numba")
    from avatarctl_video_avatar import sweeps_compiled

    np.testing.assert_array_equal(sweeps_compiled.distances(triangles, N), sweeps.distances(triangles, N))


def test_a_dilated_ball_is_a_larger_ball():
    vertices, faces = ball(0.6)
    surface, triangles = dilated(vertices, faces, 0.1, 0.06)
    half = np.abs(vertices).max() + 0.1
    distance = np.linalg.norm(surface - (0.1, -0.05, 0.2), axis=1)
    np.testing.assert_allclose(distance, 0.6 + 0.06 * half, atol=0.006)  # facets are 4 mm inside the ball
    mesh = trimesh.Trimesh(surface, triangles, process=False)
    assert mesh.is_watertight
    assert mesh.volume < 0  # counter-clockwise from inside
    assert triangles.dtype == np.int64


def test_a_mesh_without_extent_or_that_is_not_finite_is_refused():
    vertices, faces = ball()
    broken = vertices.copy()
    broken[3, 1] = np.nan
    for wrong in (broken, np.zeros_like(vertices)):
        with pytest.raises(DataError, match="no extent or is not finite"):
            cube_sdf(wrong, faces, 8, 0.1)
