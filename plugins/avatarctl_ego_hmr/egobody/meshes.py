"""Scans of rooms, with their vertices in the order of the published reader (spec 3.1) or of the file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

Order = Literal["assimp", "file"]
SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")
UNREADABLE = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
"""What Pillow says of pictures that are broken in one way or another."""
HINT = "export it again from the program that it comes from"


@dataclass(frozen=True)
class SceneMesh:
    """A room: `vertices` float64 [V, 3], `faces` int64 [F, 3], `colours` 0 to 1 float32 [V, 3] or None."""

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None = None


def read_mesh(path: str | Path, order: Order = "file") -> SceneMesh:
    """The mesh, or the points without faces, in a file; units and axes are the file's.

    Args:
        order: "assimp" for an .obj gives the vertices that published crops take every k-th of: in the order
            in which faces use them, those that no face uses left out, doubled along texture seams.

    Raises:
        DataError: It is no mesh, has no vertices, or numbers that are not finite.
    """
    path = check_input_file(path, f"a mesh ({', '.join(SUFFIXES)})")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: '{path.suffix}' is no mesh; expected {', '.join(SUFFIXES)}", hint=HINT)
    mesh = _read_obj(path, order) if path.suffix.lower() == ".obj" else _read_other(path)
    if not len(mesh.vertices):
        what = "no faces, or no vertices that they use" if order == "assimp" else "no vertices"
        raise DataError(f"{path}: {what} in it; expected a scan of a room", hint=HINT)
    if not np.isfinite(mesh.vertices).all():
        raise DataError(f"{path}: vertices that are not finite", hint=HINT)
    return mesh


@dataclass(frozen=True)
class _Obj:
    """The numbers of an .obj file; a corner without texture or normal has -1 there."""

    vertices: np.ndarray
    colours: np.ndarray | None
    textures: np.ndarray
    normals: np.ndarray
    corners: np.ndarray
    """Vertex, texture, normal of each corner, face by face [C, 3]."""
    faces: np.ndarray
    """Triangles, as corners [F, 3]."""
    library: str
    """Its file of materials."""


def _read_obj(path: Path, order: Order) -> SceneMesh:
    try:
        parsed = _parse(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a readable .obj: {str(error)[:120]}", hint=HINT) from error
    colours = parsed.colours
    if order == "file":
        if colours is None and (painted := _painted(path, parsed)) is not None:
            colours = np.full(parsed.vertices.shape, 0.5, np.float32)
            colours[parsed.corners[::-1, 0]] = painted[::-1]  # the first corner of a vertex comes last
        return SceneMesh(parsed.vertices, parsed.corners[parsed.faces, 0], colours)
    first, place = _joined(parsed)
    used = parsed.corners[first, 0]
    # parity: coordinates pass through float32 inside the importer (spec 3.1).
    vertices = parsed.vertices[used].astype(np.float32).astype(np.float64)
    painted = _painted(path, parsed) if colours is None else None
    chosen = painted[first] if painted is not None else colours[used] if colours is not None else None
    return SceneMesh(vertices, place[parsed.faces], chosen)


def _joined(parsed: _Obj) -> tuple[np.ndarray, np.ndarray]:
    """The first corner of each vertex in order of use [V], and the vertex of each corner [C].

    Corners are one vertex where position, texture coordinate and normal have equal numbers (spec 3.1).
    """
    keys = np.zeros(len(parsed.corners), np.int64)
    arrays = (parsed.vertices, parsed.textures, parsed.normals)
    for array, corners in zip(arrays, parsed.corners.T, strict=True):
        same = _numbered(array.astype(np.float32) + np.float32(0))  # -0 equals 0
        number = np.append(same, len(same))[corners]  # -1 takes the last
        keys = np.unique(keys * (len(same) + 1) + number, return_inverse=True)[1]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    by_use = np.argsort(first)
    rank = np.empty_like(by_use)
    rank[by_use] = np.arange(len(by_use))
    return first[by_use], rank[inverse]


def _numbered(rows: np.ndarray) -> np.ndarray:
    """A number for each row; equal rows have equal ones [N]."""
    if not rows.size:
        return np.zeros(len(rows), np.int64)
    raw = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[1])))
    return np.unique(raw[:, 0], return_inverse=True)[1]


def _parse(data: bytes) -> _Obj:
    """The numbers of an .obj.

    Raises:
        ValueError: They are not what an .obj has.
    """
    lines: dict[bytes, list[bytes]] = {b"v ": [], b"vt": [], b"vn": [], b"f ": [], b"mt": []}
    for line in data.replace(b"\t", b" ").splitlines():
        if (kept := lines.get(line[:2])) is not None:
            kept.append(line)
    table = _table(lines[b"v "], (3, 4, 6, 7), "v")
    vertices = table[:, :3]
    colours = table[:, -3:].astype(np.float32) if table.shape[1] >= 6 else None
    if colours is not None and colours.max(initial=0) > 1:
        colours /= 255
    textures, normals = _table(lines[b"vt"], (2, 3), "vt")[:, :2], _table(lines[b"vn"], (3,), "vn")
    words = [line.split()[1:] for line in lines[b"f "]]
    corners = _corners(list(chain.from_iterable(words)))
    for name, column, array in zip(("v", "vt", "vn"), corners.T, (vertices, textures, normals), strict=True):
        if column.size and column.max() >= len(array):
            raise ValueError(f"a face names {name} {column.max() + 1}; there are {len(array)}")
    library = lines[b"mt"][0].decode("utf-8", "replace").split(maxsplit=1)[1:] if lines[b"mt"] else []
    faces = _triangles(np.array([len(one) for one in words], np.int64))
    return _Obj(vertices, colours, textures, normals, corners, faces, library[0].strip() if library else "")


def _table(lines: list[bytes], widths: tuple[int, ...], what: str) -> np.ndarray:
    """The numbers of equal lines, float64 [N, one of the widths]."""
    numbers = np.array(b" ".join(line[2:] for line in lines).split()).astype(np.float64)
    width, rest = divmod(len(numbers), len(lines)) if lines else (widths[0], 0)
    if rest or width not in widths or any(len(line.split()) != width + 1 for line in lines):
        raise ValueError(f"'{what}' lines of different lengths; expected {widths[0]} numbers in each")
    return numbers.reshape(len(lines), width)


def _corners(words: list[bytes]) -> np.ndarray:
    """Vertex, texture, normal of corners such as 3/1/2, counted from 0; -1 where it has none [C, 3]."""
    slashes = {word.count(b"/") for word in words}
    if not slashes <= {0, 1, 2}:
        raise ValueError("a corner of a face with more than three numbers")
    if len(slashes) > 1:
        words = [word + b"/0" * (2 - word.count(b"/")) for word in words]
        slashes = {2}
    width = max(slashes, default=0) + 1
    text = b" ".join(words).replace(b"//", b"/0/").replace(b"/ ", b"/0 ").replace(b"/", b" ")
    numbers = np.array(text.split()).astype(np.int64).reshape(-1, width)
    if numbers.size and numbers.min() < 0:
        raise ValueError("faces that count backwards (negative numbers)")
    if numbers.size and numbers[:, 0].min() < 1:
        raise ValueError("a face names vertex 0; they are counted from 1")
    corners = np.full((len(numbers), 3), -1, np.int64)
    corners[:, :width] = numbers - 1
    return corners


def _triangles(counts: np.ndarray) -> np.ndarray:
    """Triangles of faces with so many corners each, as numbers of corners [F, 3]."""
    if (counts < 3).any():
        raise ValueError("a face of fewer than three corners")
    starts = np.cumsum(counts) - counts
    start = np.repeat(starts, counts - 2)
    within = np.arange(len(start)) - np.repeat(np.cumsum(counts - 2) - (counts - 2), counts - 2)
    return np.stack([start, start + within + 1, start + within + 2], axis=1)


def _painted(path: Path, parsed: _Obj) -> np.ndarray | None:
    """Colours of the texture at the corners, float32 [C, 3]; None where there is not one for all."""
    library = path.parent / parsed.library
    if not parsed.library or not len(parsed.textures) or not library.is_file():
        return None
    maps = [
        line.split(maxsplit=1)[1].strip()
        for line in library.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip().startswith("map_Kd ")
    ]
    picture = path.parent / maps[0] if maps else path
    if len(set(maps)) != 1 or not picture.is_file():
        return None
    try:
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
    except UNREADABLE as error:
        raise DataError(f"{picture}: cannot be read as a texture: {error}", hint="copy it again") from error
    at = parsed.textures[parsed.corners[:, 1]]
    column = np.floor(at[:, 0] * pixels.shape[1]).astype(np.int64) % pixels.shape[1]
    row = np.floor((1 - at[:, 1]) * pixels.shape[0]).astype(np.int64) % pixels.shape[0]
    return pixels[row, column].astype(np.float32) / 255


def _read_other(path: Path) -> SceneMesh:
    import trimesh

    try:
        loaded: Any = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = trimesh.util.concatenate(loaded.dump())
    except Exception as error:  # readers of a dozen formats raise whatever they meet
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise DataError(f"{path}: not a readable mesh: {reason}", hint=HINT) from error
    vertices = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), np.float64).reshape(-1, 3)
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), np.int64).reshape(-1, 3)
    return SceneMesh(vertices, faces, _colours(loaded, len(vertices)))


def _colours(loaded: Any, count: int) -> np.ndarray | None:
    if hasattr(loaded, "visual"):
        kind = loaded.visual.kind
        visual = loaded.visual.to_color() if kind == "texture" else loaded.visual
        colours = visual.vertex_colors if kind else None
    else:
        colours = getattr(loaded, "colors", None)
    if colours is None or np.shape(colours)[:1] != (count,) or not count:
        return None
    return np.asarray(colours)[:, :3].astype(np.float32) / 255
