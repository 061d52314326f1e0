"""Scans of rooms: the published vertex order, the file's own, colours, other formats, and broken files."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from avatarctl_ego_hmr.egobody.meshes import read_mesh
from PIL import Image

from avatarctl.errors import DataError

SQUARES = """
mtllib room.mtl
v 9 9 9
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 2 0 0
v 2 1 0
v 1 0 0
vt 0 0
vt 0.5 0
vt 0.5 1
vt 0 1
vt 1 0
vt 1 1
vn 0 0 1
vn 0 0 1.0
usemtl room
f 4/3/1 2/1/1 3/2/1
f 2/1/1 4/3/2 5/4/1
f 8/2/1 6/5/1 7/6/1 4/1/1
"""


def one_by_one(text):
    """Corners in the order of use, joined where all their numbers are equal: a plain twin."""
    tables = {"v": [], "vt": [], "vn": []}
    seen, vertices, faces = {}, [], []
    for line in text.splitlines():
        kind, *words = line.split() or [""]
        if kind in tables:
            tables[kind].append(tuple(np.float32(word) for word in words))
        if kind == "f":
            corners = []
            for word in words:
                indices = [*word.split("/"), "", ""][:3]
                key = tuple(
                    tables[name][int(i) - 1] if i else None for name, i in zip(tables, indices, strict=True)
                )
                if key not in seen:
                    seen[key] = len(vertices)
                    vertices.append(key[0])
                corners.append(seen[key])
            faces += [(corners[0], *corners[i : i + 2]) for i in range(1, len(corners) - 1)]
    return np.array(vertices, np.float64), np.array(faces)


def write(path, text):
    path.write_text(text)
    return path


def test_published_order_is_that_of_use_with_equal_corners_joined(tmp_path):
    mesh = read_mesh(write(tmp_path / "room.obj", SQUARES), "assimp")
    vertices, faces = one_by_one(SQUARES)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, faces)
    assert len(vertices) == 7, "the seam doubles vertex 4, vertices 3 and 8 are one, vertex 1 is not used"


@pytest.mark.parametrize("corner", ["{0}", "{0}/{0}", "{0}//{0}", "{0}/{0}/{0}"])
def test_published_order_of_random_meshes(tmp_path, corner):
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 3, (40, 3)) / 3
    lines = [f"{kind} {' '.join(f'{x:.5f}' for x in row)}" for kind in ("v", "vt", "vn") for row in rows]
    for _ in range(60):
        lines.append(
            "f " + " ".join(corner.format(index) for index in rng.integers(1, 41, rng.integers(3, 6)))
        )
    text = "\n".join(lines)
    mesh = read_mesh(write(tmp_path / "room.obj", text), "assimp")
    vertices, faces = one_by_one(text)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, faces)


def test_file_order_keeps_every_vertex(tmp_path):
    mesh = read_mesh(write(tmp_path / "room.obj", SQUARES))
    assert mesh.vertices.shape == (8, 3)
    assert mesh.vertices.dtype == np.float64
    np.testing.assert_array_equal(mesh.faces[-2:], [[7, 5, 6], [7, 6, 3]])


@pytest.mark.parametrize("order", ["assimp", "file"])
def test_colours_come_from_the_texture(tmp_path, order):
    write(tmp_path / "room.mtl", "newmtl room\nmap_Kd room.png\n")
    Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)).save(tmp_path / "room.png")
    mesh = read_mesh(write(tmp_path / "room.obj", SQUARES), order)
    at = {tuple(vertex): tuple(colour) for vertex, colour in zip(mesh.vertices, mesh.colours, strict=True)}
    assert at[(0.0, 0.0, 0.0)] == (1.0, 0.0, 0.0)
    assert at[(1.0, 0.0, 0.0)] == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("scale", [1, 255])
def test_colours_beside_the_vertices_are_kept(tmp_path, scale):
    text = f"v 0 0 0 {scale} 0 0\nv 1 0 0 0 {scale} 0\nv 0 1 0 0 0 {scale}\nf 3 2 1\n"
    mesh = read_mesh(write(tmp_path / "room.obj", text), "assimp")
    np.testing.assert_array_equal(mesh.colours, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".off"])
def test_other_formats_keep_their_vertices_in_order(tmp_path, suffix):
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(9, 3)).astype(np.float32)
    vertices[4] = vertices[2]  # nothing is merged
    faces = rng.permutation(9).reshape(3, 3)
    made = trimesh.Trimesh(vertices, faces, process=False)
    if suffix != ".off":
        made.visual.vertex_colors = np.full((9, 4), (51, 102, 255, 255), np.uint8)
    made.export(tmp_path / f"room{suffix}")
    mesh = read_mesh(tmp_path / f"room{suffix}")
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, faces)
    if suffix != ".off":
        np.testing.assert_allclose(mesh.colours, np.tile([0.2, 0.4, 1.0], (9, 1)), atol=1e-6)


def test_points_without_faces_are_read(tmp_path):
    points = np.arange(12.0).reshape(4, 3)
    trimesh.PointCloud(points).export(tmp_path / "room.ply")
    mesh = read_mesh(tmp_path / "room.ply")
    np.testing.assert_array_equal(mesh.vertices, points)
    assert mesh.faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "text", "order", "complaint"),
    [
        ("room.obj", "# nothing\n", "file", "no vertices in it"),
        ("room.obj", "v 0 0 0\nv 1 0 0\n", "assimp", "no faces, or no vertices that they use"),
        ("room.obj", "v 0 0 zero\nf 1 1 1\n", "file", "not a readable .obj"),
        ("room.obj", "v 0 0 0\nv 1 1\n", "file", "'v' lines of different lengths"),
        ("room.obj", "v 0 0 0\nf 1 2 1\n", "file", "a face names v 2; there are 1"),
        ("room.obj", "v 0 0 0\nf 0 1 1\n", "file", "vertex 0"),
        ("room.obj", "v 0 0 0\nf -1 -1 -1\n", "file", "count backwards"),
        ("room.obj", "v 0 0 0\nf 1 1\n", "file", "fewer than three corners"),
        ("room.obj", "v 0 nan 0\nf 1 1 1\n", "file", "not finite"),
        ("room.ply", "ply\nformat", "file", "not a readable mesh"),
        ("room.txt", "v 0 0 0\n", "file", "'.txt' is no mesh"),
    ],
)
def test_a_broken_mesh_is_one_line(tmp_path, name, text, order, complaint):
    with pytest.raises(DataError) as failure:
        read_mesh(write(tmp_path / name, text), order)
    assert complaint in failure.value.message
    assert str(tmp_path / name) in failure.value.message
    assert "\n" not in failure.value.message
