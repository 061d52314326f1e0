"""Texel maps, values between mesh and texture, seams: brute force and closed forms as oracles."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.avatar import uv
from avatarctl_audio2motion.avatar.depth import depth_edges, depth_normals
from avatarctl_audio2motion.avatar.fields import Fields
from avatarctl_audio2motion.avatar.seams import Seams, read_seams
from avatarctl_audio2motion.avatar.uv import TexelMaps, Topology, UvMaps, inpainted, made_maps, texel_maps
from torch.nn.functional import grid_sample

from avatarctl.errors import DataError


def _islands(seed=0, faces=12):
    """Triangles here and there in the unit square, each with its own corners; some overlap."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.rand(faces, 1, 2, generator=draw)
    uvs = (centres + 0.5 * torch.rand(faces, 3, 2, generator=draw) - 0.25).view(-1, 2)
    index = torch.arange(3 * faces).view(-1, 3)
    return Topology(index, index, uvs, torch.arange(3 * faces)[:, None].repeat(1, 2))


def _grid(count=5):
    """A flat grid of vertices that fills the square from 0.1 to 0.9, unwrapped onto itself."""
    place = torch.linspace(0.1, 0.9, count)
    y, x = torch.meshgrid(place, place, indexing="ij")
    uvs = torch.stack([x, y], -1).view(-1, 2)
    corner = (torch.arange(count - 1)[:, None] * count + torch.arange(count - 1)).flatten()
    halves = [[0, 1, count + 1], [0, count + 1, count]]
    faces = torch.cat([corner[:, None] + torch.tensor(half) for half in halves])
    return Topology(faces, faces, uvs, torch.arange(count**2)[:, None].repeat(1, 3))


def _brute(topology, size):
    """Faces by solving for barycentric coordinates texel by texel in float64."""
    found = torch.full((size, size), -1)
    weights = torch.zeros(size, size, 3, dtype=torch.float64)
    corners = topology.uvs.double()[topology.uv_faces]
    from_place = torch.linalg.inv(torch.cat([corners.mT, torch.ones(len(corners), 1, 3)], 1))
    for row in range(size):
        for column in range(size):
            point = torch.tensor([(column + 0.5) / size, (row + 0.5) / size, 1.0], dtype=torch.float64)
            inside = from_place @ point
            hits = (inside > 0).all(1).nonzero()
            if len(hits):
                found[row, column] = hits[0, 0]
                weights[row, column] = inside[hits[0, 0]]
    return found, weights


@pytest.mark.parametrize("seed", [0, 1])
def test_a_texel_shows_the_first_triangle_around_its_centre(seed):
    topology = _islands(seed)
    face, weights = _brute(topology, 24)
    maps = texel_maps(topology, 24)
    wanted = torch.where((face >= 0)[..., None], topology.faces[face], -1)
    assert (face >= 0).sum() > 50
    assert torch.equal(maps.vertices, wanted)
    torch.testing.assert_close(maps.barycentric.double(), weights, rtol=0, atol=1e-4)


def test_centres_on_an_edge_show_nothing():
    maps = texel_maps(_grid(2), 20)  # the diagonal of the only square runs through the texels (i, i)
    assert (maps.vertices.diagonal()[:, 2:18] == -1).all()
    assert (maps.barycentric.diagonal() == 0).all()
    off = ~torch.eye(20, dtype=torch.bool)
    assert ((maps.vertices >= 0).all(-1) == off)[2:18, 2:18].all()


def _far_away():
    """One triangle in the corner of a texture that is larger than the reach."""
    uvs = torch.tensor([[0.01, 0.01], [0.06, 0.01], [0.01, 0.06]])
    index = torch.tensor([[0, 1, 2]])
    return Topology(index, index, uvs, torch.tensor([[0], [1], [2]]))


def test_empty_texels_show_a_nearest_one_within_reach_and_the_others_nothing():
    plain = texel_maps(_far_away(), 160)
    filled = inpainted(plain)
    valid, empty = ((plain.vertices[..., 0] >= 0) == is_valid for is_valid in (True, False))
    distances = torch.cdist(empty.nonzero().double(), valid.nonzero().double())
    nearest = distances.amin(1)
    assert (nearest > 100).any()
    assert torch.equal(filled.vertices[empty][:, 0] >= 0, nearest < 100)
    weights = plain.barycentric[valid]
    gaps = (filled.barycentric[empty][:, None] - weights).abs().amax(-1)
    is_near = distances == nearest[:, None]
    closest = torch.where(is_near, gaps, torch.inf).amin(1)
    assert (closest[nearest < 100] == 0).all()
    assert torch.equal(filled.barycentric[valid], weights)


def test_without_scikit_learn_the_distances_are_the_same_and_a_note_says_so(monkeypatch, caplog):
    plain = texel_maps(_far_away(), 128)
    with_it = inpainted(plain)
    monkeypatch.setattr(uv, "_has_sklearn", lambda: False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with caplog.at_level("INFO"):
        without = inpainted(plain)
    assert 'pip install "avatarctl[avatar]"' in caplog.text
    assert torch.equal(with_it.vertices[..., 0] >= 0, without.vertices[..., 0] >= 0)
    assert (with_it.barycentric != without.barycentric).any(-1).float().mean() < 0.1  # ties


def test_a_mesh_that_misses_all_texels_stays_empty():
    uvs = torch.tensor([[0.01, 0.01], [0.02, 0.01], [0.01, 0.02]])
    index = torch.tensor([[0, 1, 2]])
    maps = inpainted(texel_maps(Topology(index, index, uvs, torch.tensor([[0], [1], [2]])), 4))
    assert (maps.vertices == -1).all()


def test_maps_are_made_once_and_read_from_the_cache_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = made_maps(_islands(), 32)
    made = []
    monkeypatch.setattr(uv, "texel_maps", lambda *given: made.append(given) or texel_maps(*given))
    again = made_maps(_islands(), 32)
    assert not made
    assert torch.equal(first.vertices, again.vertices)
    assert torch.equal(first.barycentric, again.barycentric)
    made_maps(_islands(), 33)
    made_maps(_islands(1), 32)
    assert len(made) == 2


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_a_broken_file_in_the_cache_is_made_again(tmp_path, monkeypatch, content):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = made_maps(_islands(), 16)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(content)
    assert torch.equal(made_maps(_islands(), 16).vertices, first.vertices)
    assert path.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level("INFO"):
        maps = made_maps(_islands(), 16)
    assert (maps.vertices >= 0).any()
    assert "not kept" in caplog.text


def test_linear_values_come_back_from_the_texture():
    topology, size = _grid(), 64
    maps = UvMaps(topology, inpainted(texel_maps(topology, size)))
    values = torch.stack([3 * topology.uvs[:, 0] - topology.uvs[:, 1], topology.uvs[:, 1]], 1)[None]
    texture = maps.to_uv(values)
    inner = slice(8, 56)  # texels of the mesh itself
    centres = (torch.arange(size) + 0.5) / size
    plain = 3 * centres[None, :] - centres[:, None]
    diagonal = torch.eye(size, dtype=torch.bool)[inner, inner]  # on edges: in-painted
    gap = (texture[0, 0] - plain)[inner, inner]
    assert gap[~diagonal].abs().max() < 0.08  # edges between squares are in-painted too
    assert gap.abs().median() < 1e-5
    back = maps.from_uv(texture)
    assert (back - values)[0].abs().max() < 0.06  # half a texel, and what is in-painted


def test_the_first_uv_of_a_vertex_counts_as_often_as_it_fills_the_list():
    uvs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    index = torch.tensor([[0, 1, 2]])
    topology = Topology(index, index, uvs, torch.tensor([[0, 1, 0, 0], [1, 1, 1, 1], [2, 0, 2, 2]]))
    texture = torch.zeros(1, 1, 5, 5)
    texture[0, 0, 0, 0], texture[0, 0, 0, 4], texture[0, 0, 4, 0] = 1.0, 2.0, 4.0
    maps = UvMaps(topology, texel_maps(topology, 4))
    assert maps.from_uv(texture)[0, :, 0].tolist() == [1.25, 2.0, 3.25]


def test_texels_that_show_nothing_are_zero():
    topology = _far_away()
    maps = UvMaps(topology, inpainted(texel_maps(topology, 160)))
    texture = maps.to_uv(torch.full((2, 3, 1), 7.0))
    assert set(texture.unique().round(decimals=4).tolist()) == {0.0, 7.0}
    assert texture.shape == (2, 1, 160, 160)


def test_normals_of_a_sphere_point_outwards_and_the_view_cosine_is_that_of_the_sight():
    count = 24
    polar = torch.linspace(0.3, 2.8, count)
    turn = torch.linspace(0, 2 * torch.pi * (1 - 1 / count), count)
    y, x = torch.meshgrid(polar, turn, indexing="ij")
    sphere = torch.stack([y.sin() * x.cos(), y.sin() * x.sin(), y.cos()], -1).view(1, -1, 3)
    row, column = torch.meshgrid(torch.arange(count - 1), torch.arange(count), indexing="ij")
    a, b = row * count + column, row * count + (column + 1) % count
    faces = torch.cat([torch.stack([a, a + count, b], -1), torch.stack([b, a + count, b + count], -1)])
    faces = faces.view(-1, 3)
    topology = Topology(faces, faces, torch.rand(count**2, 2), torch.arange(count**2)[:, None])
    maps = UvMaps(topology, TexelMaps(torch.zeros(1, 1, 3).long(), torch.zeros(1, 1, 3)))
    inner = slice(2 * count, -2 * count)
    normals = maps.vertex_normals(sphere)
    assert (normals * sphere).sum(-1)[0, inner].min() > 0.99
    eye = torch.tensor([[3.0, -1.0, 0.5]])
    sight = sphere - eye
    cosine = (normals * sight).sum(-1) / sight.norm(dim=-1)
    torch.testing.assert_close(maps.view_cosine(sphere, eye), cosine)
    facing = sphere[0] @ eye[0] > 1.2
    assert (maps.view_cosine(sphere, eye)[0, facing] < 0).all()


def test_faces_without_area_add_nothing_to_normals():
    index = torch.tensor([[0, 1, 2], [0, 0, 1]])
    topology = Topology(index, index, torch.rand(3, 2), torch.arange(3)[:, None])
    maps = UvMaps(topology, TexelMaps(torch.zeros(1, 1, 3).long(), torch.zeros(1, 1, 3)))
    flat = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    assert maps.vertex_normals(flat)[0].tolist() == [[0, 0, 1]] * 3


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("vi", [[0, 1, 36]], r"'topology.vi' has to hold numbers from 0 to 35"),
        ("vti", [[0, 1, -1]], r"'topology.vti' has to hold numbers from 0 to 35"),
        ("v2uv", [[50]] * 36, "'topology.v2uv' has to hold numbers"),
        ("vt", [[0.5]], r"'topology.vt' has shape \[1, 1\], expected \[U 2\]"),
    ],
)
def test_a_topology_that_names_what_is_not_there_is_refused(part, value, words):
    mesh = _islands()
    good = {"vi": mesh.faces, "vti": mesh.uv_faces, "vt": mesh.uvs, "v2uv": mesh.vertex_uvs}
    bad = good | {part: np.array(value)}
    if part in ("vi", "vti"):
        bad = {**bad, "vi": bad["vi"][:1], "vti": bad["vti"][:1]}
    with pytest.raises(DataError, match=words):
        uv.read_topology(Fields({"topology": bad}, "static_assets.pt"))


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_resampling_is_the_plain_formula_however_many_texels_it_mixes(share):
    draw = torch.Generator().manual_seed(2)
    uvs = torch.rand(12, 15, 2, generator=draw)
    weights = torch.rand(12, 15, generator=draw) * (torch.rand(12, 15, generator=draw) < share)
    places = torch.randint(0, 12, (4, 2), generator=draw)
    texture = torch.rand(2, 5, 12, 15, generator=draw)
    before = texture.clone()
    other = grid_sample(
        texture, (2 * uvs - 1).expand(2, -1, -1, -1), padding_mode="border", align_corners=False
    )
    found = Seams(places, places, uvs, weights).resample(texture)
    torch.testing.assert_close(found, torch.lerp(before, other, weights))
    assert torch.equal(texture, before)


def test_impainting_copies_texels_in_place_for_any_memory_layout():
    to, source = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[3, 3], [1, 0]])
    seams = Seams(to, source, torch.zeros(4, 5, 2), torch.zeros(4, 5))
    whole = torch.arange(2 * 6 * 20.0).view(2, 6, 4, 5)
    texture = whole.chunk(2, dim=1)[1]
    assert seams.impaint(texture) is texture
    assert torch.equal(whole[:, 3:, 0, 1], whole[:, 3:, 3, 3])
    assert torch.equal(whole[:, 3:, 2, 3], whole[:, 3:, 1, 0])
    assert torch.equal(whole[:, :3], torch.arange(240.0).view(2, 6, 4, 5)[:, :3])


@pytest.mark.parametrize("bad", [{"dst_ij": [[0, 9]]}, {"src_ij": [[0, 0], [1, 1]]}, {"dst_ij": [[-1, 0]]}])
def test_seams_outside_the_texture_are_refused(bad):
    good = {
        "dst_ij": [[0, 1]],
        "src_ij": [[1, 1]],
        "uvs": np.zeros((4, 4, 2)),
        "weights": np.zeros((4, 4)),
    }
    with pytest.raises(DataError, match="do not pair texels of 4 x 4"):
        read_seams(Fields({"seam_data_4": good | bad}, "static_assets.pt"), "seam_data_4")


def test_normals_and_edges_of_a_tilted_plane_that_breaks_off():
    _, column = torch.meshgrid(torch.arange(30.0), torch.arange(40.0), indexing="ij")
    focal, centre, slope = 200.0, (18.0, 14.0), 0.4
    # The plane z = 1000 + slope x has depth 1000 / (1 - slope (column - cx) / f).
    plane = 1000 / (1 - slope * (column - centre[0]) / focal)
    normal = torch.tensor([slope, 0.0, -1.0]) / (1 + slope**2) ** 0.5
    found = depth_normals(plane[None, None], focal, centre)
    torch.testing.assert_close(
        found[0, :, 1:-1, 1:-1], normal[:, None, None].expand(3, 28, 38), rtol=0, atol=1e-3
    )
    step = torch.where(column < 20, 1000.0, 1011.0)  # a Sobel response of 4 x 11, above the limit of 40
    edges = depth_edges(step[None, None])[0, 0, 3:-3, 3:-3]
    assert torch.equal(edges, ((column >= 18) & (column < 22))[3:-3, 3:-3])
    assert not depth_edges(torch.where(column < 20, 1000.0, 1009.0)[None, None])[0, 0, 3:-3, 3:-3].any()
