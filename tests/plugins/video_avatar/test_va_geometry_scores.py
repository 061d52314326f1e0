"""Meshes and their scores against shapes whose numbers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from avatarctl_video_avatar import geometry_scores
from avatarctl_video_avatar.geometry_scores import Ground
from avatarctl_video_avatar.meshes import cut, outward, read_mesh

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.geometry.meshes import Mesh, component_sizes, kept, largest


def ball(radius: float = 1.0, middle=(0.0, 0.0, 0.0), subdivisions: int = 3) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, radius)
    return Mesh(np.asarray(made.vertices) + middle, np.asarray(made.faces, np.int64))


def both(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def area(mesh: Mesh) -> float:
    return trimesh.Trimesh(*mesh, process=False).area


def test_a_cut_ball_keeps_the_cap_above_the_plane():
    cap = cut(ball(subdivisions=5), np.array([0.0, 0.0, 0.3]), np.array([0.0, 0.0, 2.0]))
    assert cap.vertices[:, 2].min() == pytest.approx(0.3, abs=1e-12)
    assert area(cap) == pytest.approx(2 * np.pi * 0.7, rel=2e-3)  # of a cap: 2 pi r h
    shell = trimesh.Trimesh(*cap, process=False)
    assert shell.is_winding_consistent
    edges = np.sort(cap.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(edges, axis=0)[uses == 1]
    np.testing.assert_allclose(cap.vertices[rim][..., 2], 0.3)  # open along the plane and nowhere else


def test_both_sides_of_a_cut_have_the_area_of_the_whole():
    mesh, origin, normal = ball(), np.array([0.1, 0.0, 0.0]), np.array([0.3, -0.2, 1.0])
    assert area(cut(mesh, origin, normal)) + area(cut(mesh, origin, -normal)) == pytest.approx(area(mesh))


def test_a_plane_beside_a_mesh_leaves_all_or_nothing():
    mesh = ball()
    up = np.array([0.0, 0.0, 1.0])
    np.testing.assert_array_equal(cut(mesh, -2 * up, up).faces, mesh.faces)
    assert not len(cut(mesh, 2 * up, up).faces)


def test_the_largest_part_stays():
    mesh = both(ball(subdivisions=2), ball(0.5, (3, 0, 0), 3))
    assert sorted(component_sizes(mesh)[0]) == [320, 1280]
    np.testing.assert_allclose(largest(mesh).vertices.mean(0), [3, 0, 0], atol=1e-9)


@pytest.mark.parametrize("broken", ["inside out", "mixed"])
def test_faces_are_turned_outwards(broken):
    mesh = ball()
    faces = mesh.faces.copy()
    chosen = slice(None) if broken == "inside out" else np.random.default_rng(0).random(len(faces)) < 0.4
    faces[chosen] = faces[chosen][:, [0, 2, 1]]
    fixed = outward(Mesh(mesh.vertices, faces))
    assert fixed.volume() == pytest.approx(mesh.volume())
    np.testing.assert_allclose(fixed.normals(), mesh.normals(), atol=1e-12)


def test_a_moved_ball_has_the_chamfer_distance_of_its_vertices_in_square_centimetres():
    square = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]]), np.array([[0, 1, 2], [1, 3, 2]]))
    moved = square._replace(vertices=square.vertices + np.array([0, 0, 0.02]))
    scores = geometry_scores.arah(moved, square)
    assert scores["chamfer_cm2"] == pytest.approx(4.0)  # 2 cm squared, the same in both directions
    assert scores["normal_consistency"] == pytest.approx(1.0)


def test_normals_against_each_other_score_below_zero():
    mesh = ball()
    opposite = mesh.turned()
    assert geometry_scores.normal_consistency(opposite, mesh) == pytest.approx(-1.0)


def test_what_is_below_the_ground_does_not_count():
    mesh = ball(subdivisions=4)
    dirty = both(mesh, ball(0.3, (0, 0, 5), 2))  # a smaller part elsewhere
    ground = Ground(0.0, 0.0, -0.2, is_upright=True)
    assert geometry_scores.arah(dirty, cut(mesh, np.array([0, 0, -0.2]), np.array([0, 0, 1.0])), ground)[
        "chamfer_cm2"
    ] == pytest.approx(0, abs=1e-18)


def test_nothing_above_the_ground_is_said():
    with pytest.raises(DataError, match="nothing of a mesh"):
        geometry_scores.arah(ball(), ball(), Ground(0.0, 0.0, -9.0))


def test_samples_of_concentric_balls_are_apart_by_the_difference_of_radii():
    scores = geometry_scores.sampled(ball(1.0), ball(1.1), Noise.seeded(0, "test"), samples=40_000)
    assert scores["chamfer_m2"] == pytest.approx(2 * 0.01, rel=0.05)  # 40000 samples are 2 cm apart


def test_samples_lie_evenly_on_the_faces():
    wide = Mesh(
        np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1.0]]),
        np.array([[0, 1, 2], [3, 4, 5]]),
    )
    points = geometry_scores.on_surface(wide, 20_000, Noise.seeded(1, "test"))
    on_first = points[:, 2] == 0
    assert on_first.mean() == pytest.approx(0.75, abs=0.01)  # areas 1.5 and 0.5
    np.testing.assert_allclose(points[on_first].mean(0), [1, 1 / 3, 0], atol=0.02)
    assert (points[on_first] @ [1 / 3, 1, 0]).max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("content", "upright"),
    [
        ({"377": [0.1, 0.2, -0.3]}, False),
        ([0.1, 0.2, -0.3], False),
        ({"CoreView_313": [0.1, 0.2, -0.3]}, True),
    ],
)
def test_ground_planes_are_read_by_subject(content, upright, tmp_path):
    path = tmp_path / "ground.json"
    path.write_text(json.dumps(content))
    name = "CoreView_313" if upright else "CoreView_377"
    assert geometry_scores.read_ground(path, name) == Ground(0.1, 0.2, -0.3, upright)


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"386": [0, 0, 0]}', "no plane for subject"), ("[1, 2]", "three numbers"), ("{", "not a readable")],
)
def test_broken_ground_planes_are_refused(content, said, tmp_path):
    path = tmp_path / "ground.json"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        geometry_scores.read_ground(path, "CoreView_377")


def test_the_truth_of_a_frame_has_the_next_number(tmp_path):
    (tmp_path / "mesh_031.ply").touch()
    assert geometry_scores.truth_of(tmp_path, 30).name == "mesh_031.ply"
    with pytest.raises(DataError, match="no mesh number 32, which frame 31 is stored under; there are 31"):
        geometry_scores.truth_of(tmp_path, 31)


@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_a_mesh_is_read_as_it_was_written(suffix, tmp_path):
    mesh, path = ball(), tmp_path / f"mesh{suffix}"
    if suffix == ".obj":
        mesh.write(path)
    else:
        trimesh.Trimesh(*mesh, process=False).export(path)
    found = read_mesh(path)
    np.testing.assert_allclose(found.vertices, mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(found.faces, mesh.faces)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "v 0 0 0\n", "is no mesh"),
        ("a.obj", "v 0 0 0\n", "no triangles"),
        ("a.obj", "v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("a.ply", "ply\nformat ascii 1.0\nelement ver", "not a readable mesh|no triangles"),
    ],
)
def test_files_that_are_no_mesh_are_refused(name, content, said, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        read_mesh(path)


def test_kept_faces_bring_only_their_vertices():
    mesh = ball()
    part = kept(mesh, np.arange(len(mesh.faces)) < 3)
    np.testing.assert_array_equal(part.vertices[part.faces], mesh.vertices[mesh.faces[:3]])
    assert len(part.vertices) == len(np.unique(mesh.faces[:3]))
