"""The octree against the dense grid, on fields with known surfaces."""

from __future__ import annotations

import numpy as np
import pytest
from avatarctl_video_avatar import extract
from avatarctl_video_avatar.extract import FAR, extract_dense, grid_around

from avatarctl.errors import CheckpointError
from avatarctl.geometry import isosurface
from avatarctl.geometry.meshes import component_sizes, largest

LIMBS = np.array(
    [[[0, 0, 0], [0, 0.6, 0]], [[0, 0.5, 0], [0.4, 0.6, 0.1]], [[0, 0, 0], [0.2, -0.5, 0]]], float
)
RADIUS = 0.06


def distance(places: np.ndarray) -> np.ndarray:
    """To the nearest of three limbs [N]."""
    found = []
    for start, end in LIMBS:
        along = np.clip((places - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
        found.append(np.linalg.norm(places - start - along[:, None] * (end - start), axis=-1))
    return np.min(found, axis=0)


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """Vertices on the limbs' skin [V, 3]."""
    draw = np.random.default_rng(0)
    share, around = draw.uniform(size=(4000, 1)), draw.normal(size=(4000, 3))
    limb = LIMBS[draw.integers(0, 3, 4000)]
    middle = limb[:, 0] * (1 - share) + limb[:, 1] * share
    return middle + 0.9 * RADIUS * around / np.linalg.norm(around, axis=1, keepdims=True)


class Counting:
    """A field that counts how many places it is asked for."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, places):
        self.count += len(places)
        assert places.dtype == np.float32
        return self.function(places.astype(np.float64)).astype(np.float32)


def limbs(places):
    return distance(places) - RADIUS


def wrinkled(places):
    return limbs(places) + 0.015 * np.sin(90 * places).prod(axis=1)


def steep(places):
    return 3 * limbs(places) + 0.02 * np.sin(40 * places[:, 1])


def floating(places):
    return np.minimum(limbs(places), np.linalg.norm(places - [0.3, 0.55, 0.13], axis=1) - 0.02)


@pytest.mark.parametrize("function", [limbs, wrinkled, steep, floating], ids=lambda one: one.__name__)
@pytest.mark.parametrize("n", [40, 65])
def test_the_octree_finds_the_mesh_of_the_dense_grid(function, n, body):
    ours, theirs = Counting(function), Counting(function)
    mesh, dense = extract.extract(ours, body, n), extract_dense(theirs, body, n)
    np.testing.assert_array_equal(mesh.faces, dense.faces)
    np.testing.assert_array_equal(mesh.vertices, dense.vertices)
    assert ours.count <= theirs.count


def test_a_fine_grid_asks_for_few_of_the_samples_near_the_body(body):
    counting = Counting(limbs)
    mesh = largest(extract.extract(counting, body, 128))
    grid = grid_around(body, 128)
    lengths = np.linalg.norm(LIMBS[:, 1] - LIMBS[:, 0], axis=1)
    near = (
        np.pi * (FAR + RADIUS) ** 2 * lengths.sum() / grid.step.prod()
    )  # samples that the published rule asks
    assert counting.count < 0.5 * near
    assert np.abs(limbs(mesh.vertices)).max() < 0.3 * grid.step.max()


def test_samples_far_from_the_body_are_outside_whatever_the_field_says(body):
    samples = extract.samples_of(Counting(lambda places: np.full(len(places), -1.0)), body, 24)
    volume = isosurface.whole(samples)
    places = samples.grid.places(np.stack(np.indices(volume.shape), axis=-1))
    nearest = np.sort(np.linalg.norm(places[::5, ::5, ::5, None] - body, axis=-1), axis=-1)[..., :3].mean(
        axis=-1
    )
    np.testing.assert_array_equal(volume[::5, ::5, ::5], np.where(nearest > FAR, 1.0, -1.0))


def test_a_surface_is_followed_out_of_the_cells_that_were_expected(body, monkeypatch):
    monkeypatch.setattr(isosurface, "STEEPER", 0.05)  # margins that give up far too early
    mesh, dense = extract.extract(Counting(limbs), body, 65), extract_dense(Counting(limbs), body, 65)
    np.testing.assert_array_equal(mesh.faces, dense.faces)


def test_parts_of_one_size_all_stay_and_smaller_ones_go():
    centres = np.array([[0, 0, 0], [0.5, 0, 0], [0.25, 0.3, 0]])
    radii = np.array([0.08, 0.08, 0.05])

    def balls(places):
        return (np.linalg.norm(places[:, None] - centres, axis=2) - radii).min(axis=1)

    draw = np.random.default_rng(1).normal(size=(3, 400, 3))
    skin = centres[:, None] + radii[:, None, None] * draw / np.linalg.norm(draw, axis=2, keepdims=True)
    # Both large balls meet the grid alike: the box is symmetric about their middle.
    box = np.array([[-0.1, -0.1, -0.1], [0.6, 0.4, 0.1]])
    mesh = extract.extract(Counting(balls), np.concatenate([skin.reshape(-1, 3), box]), 71)
    sizes, _ = component_sizes(mesh)
    assert len(sizes) == 3
    assert len(largest(mesh).faces) == sizes[sizes == sizes.max()].sum() == 2 * sizes.max()


def test_a_field_without_a_surface_says_what_to_check(body):
    with pytest.raises(CheckpointError, match=r"no surface near the body.*is 0\.05\d* to") as caught:
        extract.extract(Counting(lambda places: 0.05 + distance(places)), body, 32)
    assert "--data are of the same person" in caught.value.hint


def test_rounds_of_blocks_are_shown_as_progress(body):
    told = []

    def progress(items, what, total):
        for item in items:
            told.append((what, total))
            yield item

    extract.extract(Counting(limbs), body, 40, progress=progress)
    assert told == [("surface", len(told))] * len(told)
    assert told
