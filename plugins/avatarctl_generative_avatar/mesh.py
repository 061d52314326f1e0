"""A person's surface as triangles, and pictures of it (spec 6.1).

The published extraction evaluates all samples of a grid whose indices drift, and mirrors what it finds; it
is kept for comparison. Ours lays an even grid around the same body, evaluates samples near the surface alone,
and colours vertices as the generator does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from torch import Tensor
from torch.nn.functional import normalize

from avatarctl.errors import CheckpointError
from avatarctl.geometry import isosurface
from avatarctl.geometry.cameras import Camera
from avatarctl.geometry.isosurface import Grid, NoSurface, Progress, Samples
from avatarctl.geometry.meshes import Mesh, component_sizes, kept, vertex_normals
from avatarctl.geometry.shapes import expect
from avatarctl.render import rasterize
from avatarctl.render.pixels import as_bytes, averaged
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.deform.nearness import RADIUS
from avatarctl_generative_avatar.deform.posing import EVERY, Posing
from avatarctl_generative_avatar.deform.template import TRANSL, Template
from avatarctl_generative_avatar.model.field import Field
from avatarctl_generative_avatar.model.generator import BOX_WARP, Generator

CHUNK = 1 << 19
"""Places given to the generator at a time; bounds the memory."""
ROOM = 1.1
"""Side of the grid over the body's largest extent."""
DIMMED = 0.999
"""What the published code takes colours times before it truncates them to bytes."""
DISTANCE, SAMPLES = 1000.0, 2
"""Pictures: how far away the camera stands, metres, so that it is as good as orthographic, and samples along
each side of a pixel."""
HINT = "check that the training got beyond its first thousand pictures"


@dataclass(frozen=True)
class Surface:
    """A person's surface: `vertices` float64 [V, 3], metres, `faces` int64 [F, 3], their outsides outwards.

    `colours` are in [0, 1] [V, 3]; `weights` [V, 24] say how much each joint moves a vertex.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: Tensor
    weights: Tensor

    @property
    def mesh(self) -> Mesh:
        """The triangles alone."""
        return Mesh(self.vertices, self.faces)


def canonical_label(labels: Tensor) -> Tensor:
    """The same cameras, and the mean shape in T-pose as the template stands [..., 111]."""
    made = labels.clone()
    made[..., label.CAMERA :] = 0
    made[..., label.SCALE] = 1
    made[..., label.TRANSL] = labels.new_tensor(TRANSL)
    return made


@torch.no_grad()
def extract(
    generator: Generator,
    planes: Tensor,
    template: Template,
    labels: Tensor,
    n: int,
    *,
    canonical: bool = False,
    published: bool = False,
    chunk: int = CHUNK,
    box_warp: float = BOX_WARP,
    progress: Progress | None = None,
) -> Surface:
    """The largest part of one person's surface.

    Args:
        planes: Of the person [1, 3, 32, P, P].
        labels: The pose [1, 111].
        n: Samples along each side of a cube around the body.
        canonical: In the template's T-pose and mean shape instead, y up.
        published: As the published code does it: indices drift, the surface is mirrored, colours show joints.
        chunk: Samples evaluated at a time; bounds the memory.
        box_warp: Side of the cube that the planes cover, metres.

    Raises:
        CheckpointError: There is no surface.
    """
    expect(labels, f"1 {label.SIZE}", "labels")
    if published:
        posing = Posing(template, canonical_label(labels) if canonical else labels)
        return _published(generator.field(planes, posing, box_warp), n, chunk, progress)
    space = template if canonical else Posing(template, labels)
    field = generator.field(planes, space, box_warp)
    mesh = _widest(_found(field, n, chunk, progress).turned())
    colours, weights = _shown(field, torch.from_numpy(mesh.vertices).to(planes), chunk)
    return Surface(*mesh, colours, weights)


def _found(field: Field, n: int, chunk: int, progress: Progress | None) -> Mesh:
    """The surface around the body, wound as seen from inside."""
    from scipy.spatial import cKDTree

    def outside(places: np.ndarray) -> np.ndarray:
        values = _values(field, torch.from_numpy(places).to(field.template.vertices), chunk)
        # Beyond the template's shell values are of no size; near the surface none of them is cut.
        return (-values).clamp(-RADIUS, RADIUS).cpu().numpy()

    vertices = _body(field)
    middle, side = box(vertices)
    centre, reach = middle.double().cpu().numpy(), np.full(3, ROOM * side / 2)
    tree = cKDTree(vertices[::EVERY].cpu().numpy())
    samples = Samples(
        outside, Grid(centre - reach, centre + reach, n), tree, far=RADIUS, neighbours=1, outside=RADIUS
    )
    try:
        return isosurface.extract(samples, progress=progress)
    except NoSurface as error:
        raise CheckpointError(f"the person has {error}", hint=HINT) from error


def _body(field: Field) -> Tensor:
    """Vertices of the body in the field's space [6890, 3]."""
    return field.space.vertices[0] if isinstance(field.space, Posing) else field.template.vertices


def _values(field: Field, points: Tensor, chunk: int) -> Tensor:
    """Signed values [P] at points [P, 3]."""
    return torch.cat([field.values(part[None])[0] for part in points.split(chunk)])


def box(vertices: Tensor) -> tuple[Tensor, float]:
    """Middle [3] and largest extent of vertices [V, 3], metres."""
    low, high = vertices.amin(0), vertices.amax(0)
    return (low + high) / 2, float((high - low).amax())


def _widest(mesh: Mesh) -> Mesh:
    """The part with the largest area."""
    first, second, third = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    _, part = component_sizes(mesh)
    return kept(mesh, part == np.bincount(part, weights=areas).argmax())


def _shown(field: Field, vertices: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Colours [V, 3] and weights of the joints [V, 24] at vertices; of the nearest where nothing is."""
    from scipy.spatial import cKDTree

    found = [field.find(part[None]) for part in vertices.split(chunk)]
    colours = torch.cat([field.colours(part)[:, :3] for part in found]).clamp(0, 1)
    weights = torch.cat([field.template.weights_at(part.places) for part in found])
    starts = range(0, len(vertices), chunk)
    shown = torch.cat([part.point + start for part, start in zip(found, starts, strict=True)])
    if len(shown) < len(vertices):
        places = vertices.cpu().numpy()
        nearest = torch.from_numpy(cKDTree(places[shown.cpu()]).query(places)[1]).to(shown)
        colours, weights = colours[nearest], weights[nearest]
    return colours.cpu(), weights.cpu()


def _published(field: Field, n: int, chunk: int, progress: Progress | None) -> Surface:
    """The published mesh; its colours are those of joints."""
    from skimage import measure

    marching_cubes: Callable[..., tuple[np.ndarray, ...]] = measure.marching_cubes
    volume = published_volume(field, n, chunk, progress).cpu().numpy()
    if not volume.min() <= 0 <= volume.max():
        raise CheckpointError(
            f"the person has no surface near the body: values are {volume.min():.3g} to {volume.max():.3g}",
            hint=HINT,
        )
    places, faces, *_ = marching_cubes(volume, level=0, gradient_direction="ascent")
    merged = trimesh.Trimesh(places, faces)  # joins vertices at one place, in the published order
    mesh = _widest(Mesh(np.asarray(merged.vertices), np.asarray(merged.faces)))
    middle, side = box(_body(field))
    vertices = (mesh.vertices / n - 0.5) * ROOM * side + middle.double().cpu().numpy()
    # parity: posed vertices too are looked up in the canonical grid (spec 6.1)
    weights = field.template.weights_at(torch.from_numpy(vertices).to(middle)).cpu()
    return Surface(vertices, mesh.faces, joint_colours(weights, field.template.palette.cpu()), weights)


def joint_colours(weights: Tensor, palette: Tensor) -> Tensor:
    """The published colours of vertices, cut off to bytes, in [0, 1] [V, 3].

    Args:
        weights: Of the joints [V, 24].
        palette: Colours of the joints, in [0, 1] [24, 3].
    """
    # In float64: where sums are cut off, their last bits should not depend on the processor.
    colours = (weights * DIMMED).double() @ palette.double()
    return (colours * 255).trunc().float() / 255


@torch.no_grad()
def published_volume(field: Field, n: int, chunk: int = CHUNK, progress: Progress | None = None) -> Tensor:
    """The published samples [n, n, n], x first, the first axis turned round."""
    middle, side = box(_body(field))
    starts: Iterable[int] = range(0, n**3, chunk)
    values = []
    for start in starts if progress is None else progress(starts, "samples", -(-(n**3) // chunk)):
        index = torch.arange(start, min(start + chunk, n**3), device=middle.device)
        # parity: quotients are not rounded down, so that samples drift by up to one step (spec 6.1)
        steps = torch.stack([index / n**2 % n, index / n % n, (index % n).float()], dim=-1)
        points = (steps / n - 0.5) * (ROOM * side) + middle
        values.append(_values(field, points, chunk))
    return torch.cat(values).view(n, n, n).flip(0)


def mesh_picture(mesh: Mesh | Surface, size: int = 512) -> np.ndarray:
    """A mesh before white, brighter where it faces the viewer, uint8 [size, size, 3].

    The view is that of the labels' camera, orthographic: x to the right, y down, [-1, 1] wide (spec 6.1).
    """
    vertices, faces = torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces)
    side = size * SAMPLES
    focal = side / 2 * DISTANCE
    intrinsics = torch.tensor([[focal, 0.0, side / 2], [0.0, focal, side / 2], [0.0, 0.0, 1.0]])
    camera = Camera(intrinsics, torch.eye(3), torch.tensor([0.0, 0.0, DISTANCE]))
    found = rasterize(vertices, faces, camera, (side, side), is_closed=False)
    normals = normalize(found.interpolate(vertex_normals(vertices, faces), faces), dim=-1)
    grey, _ = averaged(found, -normals[:, 2:].clamp(max=0), SAMPLES, empty=1.0)
    return as_bytes(grey.expand(-1, -1, 3))
