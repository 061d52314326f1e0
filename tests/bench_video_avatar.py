"""Workloads of video-avatar at the published sizes, for the bench.

Beside each stands the published procedure, run here with the same weights, where it repeats work, and what
the specification (chapter 11) says that the published code took, scaled from its calibration `THEIRS` to this
machine's; of a range, its lower end. Networks have their first values, and the open body stands in for SMPL.

The planes are filtered once for an avatar: `window attention` is that, and what a surface is asked later is
timed without it. The published code filters them each time, in each chunk of rays and block of a grid.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import reference_video_avatar as slow
import torch
from avatarctl_video_avatar import preparing
from avatarctl_video_avatar.body_fit import canonical, star_vertices
from avatarctl_video_avatar.cube import cube_sdf
from avatarctl_video_avatar.depths import inner_depths
from avatarctl_video_avatar.extract import extract, grid_around
from avatarctl_video_avatar.intersect import all_hits
from avatarctl_video_avatar.items import pose_of, sample_of
from avatarctl_video_avatar.losses import Criterion
from avatarctl_video_avatar.model.avatar import Avatar, AvatarSizes, build
from avatarctl_video_avatar.model.delta import DeltaSdf
from avatarctl_video_avatar.model.nearest import NEIGHBOURS, Nearest, skinning_of
from avatarctl_video_avatar.model.rendering import CHUNK, Scene, picture
from avatarctl_video_avatar.model.volume import BaseSdf
from avatarctl_video_avatar.prepared import Camera, Fit
from avatarctl_video_avatar.raw.recording import Recording, Shot
from avatarctl_video_avatar.sample import Patches, Sample, Subject
from avatarctl_video_avatar.settings_model import Rendering
from avatarctl_video_avatar.settings_train import Losses
from avatarctl_video_avatar.sight import sight_of
from avatarctl_video_avatar.train import learn
from avatarctl_video_avatar.training import Drawn
from torch import Tensor

from avatarctl.body import open_body
from avatarctl.device import Noise

THEIRS = 2.24
"""Calibration of the published seconds."""
POINTS = 16_384
SIDE = 512
"""Of a picture with 262 144 rays."""
STEP = 300_000
"""At the end of a training: poses are refined."""
PAD, DELTA = 0.1, 0.06
"""Of ZJU-MoCap."""
FEW = Rendering(n_samples=32)
NEIGHBOURS_TIME, SKINNING, COLOURS = 6.2, 0.24, 0.39
"""Published seconds for 16 384 points: nearest vertices, one pass of the skinning network, colours."""
FORWARD, GRADIENT = 23.9 - 19.0, 0.85
"""And of the surface: a query without its window attention, its gradient."""
ATTENTION = 7.9
"""Published seconds of one window attention on a quiet machine."""
MESH = 16.0
"""Published seconds of a mesh of 40^3."""


@dataclass(frozen=True)
class Workload:
    """Something to time; `published` are its seconds there, 0 where unknown."""

    name: str
    work: Callable[[], object]
    published: float = 0.0
    slow: Callable[[], object] | None = None
    """The published procedure, and how often it is repeated for the same result."""
    repeats: int = 1


@torch.no_grad()
def workloads() -> Iterator[Workload]:
    """All of them; what one needs is released before the next is made."""
    given = Given()
    yield from _preparation(given)
    yield Workload("building the networks, planes of 512²", given.make, 77.0)
    yield from _points(given)
    yield from _surface(given)
    yield from _chunk(given)
    yield from _meshes(given)
    yield from _small(given)


class Given:
    """A body in a pose, and a camera before it."""

    def __init__(self) -> None:
        self.body = open_body("smpl")
        self.faces = self.body.faces.numpy()
        draw = np.random.default_rng(0)
        numbers = np.concatenate([np.zeros(3), 0.15 * draw.normal(size=69)])
        zeros = np.zeros(3, np.float32)
        self.fit = Fit(numbers.astype(np.float32), zeros, zeros, np.zeros(10, np.float32))
        self.frame = preparing.bodies_of({"0": self.fit}, self.body, PAD, DELTA)["0"]
        joints, vertices = canonical(self.body, self.fit.betas)
        self.star = star_vertices(self.body, joints, vertices)
        self.pose = pose_of(self.frame, joints)
        self.mesh = self.frame.dilated_vertices, self.frame.dilated_triangles

    def measure(self, size: int) -> None:
        """Make the base shape with so many samples along each side."""
        self.volume = cube_sdf(self.star, self.faces, size, PAD)

    def make(self) -> None:
        """Make networks with planes of the published size, for inference."""
        self.large = _avatar(512).requires_grad_(False)

    @cached_property
    def subject(self) -> Subject:
        """The base shape as it was made last."""
        low, high = (
            torch.tensor(bound, dtype=torch.float32) for bound in (self.volume.bbmin, self.volume.bbmax)
        )
        return Subject(self.body.weights.float(), torch.from_numpy(self.volume.grid), low, high)

    @cached_property
    def small(self) -> Avatar:
        """With small planes, to be trained."""
        return _avatar(128)

    @cached_property
    def inside(self) -> Tensor:
        """Points along rays through the body, in its frame, metres [16 384, 3]."""
        rays = self.seen(SIDE, Rendering()).rays
        rays = rays[rays.hits.nonzero()[:, 0]]
        chosen = rays[torch.linspace(0, len(rays) - 1, POINTS // rays.depths.shape[1]).long()]
        return (chosen.origins[:, None] + chosen.directions[:, None] * chosen.depths[..., None]).view(-1, 3)

    def camera(self, side: int) -> Camera:
        """It sees the whole body in a square picture."""
        extrinsics = np.eye(4)
        extrinsics[:3, :3], extrinsics[:3, 3] = np.diag([1.0, -1.0, -1.0]), [0.0, -0.35, 3.0]
        focal, middle = 1.52 * side, (side - 1) / 2
        matrix = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]], np.float32)
        return Camera(matrix, extrinsics, np.zeros(5, np.float32))

    def seen(self, side: int, rendering: Rendering) -> Sample:
        """A picture of it."""
        return sample_of(self.pose, self.camera(side), self.fit, (side, side), rendering, self.mesh)

    def scene(self, avatar: Avatar, rendering: Rendering) -> Scene:
        """An avatar in the pose."""
        return Scene(avatar, self.subject, self.pose, rendering, STEP)

    def published(self, avatar: Avatar, rendering: Rendering, share: int = 1) -> Scene:
        """The same as published."""
        return slow.scene(avatar, self.subject, self.pose, rendering, STEP, share)


def _avatar(resolution: int) -> Avatar:
    return build(AvatarSizes(img_resolution=resolution), Noise.seeded(0, "avatar"))


def _preparation(given: Given) -> Iterator[Workload]:
    """From fits to bodies, their volumes, and a whole recording; depths of rays, which follow from them."""
    for size, published in ((64, 1.0), (256, 114.0)):
        yield Workload(f"distances to a body on a cube, {size}³", partial(given.measure, size), published)
    frame = partial(preparing.bodies_of, {"0": given.fit}, given.body, PAD, DELTA)
    yield Workload("body and dilated mesh of a frame", frame, 1.0)
    yield Workload("preparation, 3 frames of 3 views", partial(_prepare, given), 3.8)
    sight = sight_of(given.pose, given.camera(SIDE), given.fit, Rendering(), given.mesh)
    rays = given.seen(SIDE, Rendering()).rays
    directions = rays.directions.double().numpy()
    near, far = rays.near.double().numpy(), rays.far.double().numpy()
    yield Workload(
        "depths of 262 144 rays, 128 samples",
        lambda: inner_depths(all_hits(sight.origin, directions, *given.mesh), near, far, 128),
        13.9,
    )


def _prepare(given: Given) -> None:
    """The prepared layout of a recording of three frames, with pictures of 96 x 96."""
    names = [f"frame_{number:06d}" for number in range(3)]
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    shot = Shot(lambda: image, lambda: image[..., 0] // 128 * 255, given.camera(96))
    recording = Recording(
        name="somebody",
        fits=dict.fromkeys(names, given.fit),
        views={str(view): dict.fromkeys(names, shot) for view in range(3)},
        sex="neutral",
        pad=PAD,
        delta=DELTA,
        dataset="zju-mocap",
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        preparing.prepare(
            recording, out, lambda sex: given.body, "open", volume_size=64, run=None, processes=1
        )


def _points(given: Given) -> Iterator[Workload]:
    """What brings points to the canonical body, and what they show there."""
    vertices, weights, points = given.pose.vertices, given.subject.skinning, given.inside
    compared = slow.Compared(vertices)
    yield Workload(
        "skinning by 10 vertices, 16 384 points",
        lambda: skinning_of(*Nearest(vertices)(points, NEIGHBOURS), weights),
        NEIGHBOURS_TIME,
        lambda: skinning_of(*compared(points, NEIGHBOURS), weights),
    )
    avatar = given.large
    ours = given.scene(avatar, Rendering())
    found = ours.deformer.start(points)
    theirs = slow.deformer(avatar, given.subject, given.pose, ours.bones)
    yield Workload(
        "skinning network, 16 384 points",
        partial(ours.deformer.step, points, found),
        SKINNING,
        partial(theirs.step, points, found),
    )
    noise = Noise.seeded(0, "colour")
    told = (found.points, *(noise.normal((POINTS, width)) for width in (3, 3, 256)))
    yield Workload(
        "colours, 16 384 points",
        partial(avatar.colour(), *told),
        COLOURS,
        partial(slow.Coloured(avatar.color_network), *told),
    )


def _surface(given: Given) -> Iterator[Workload]:
    """The surface at canonical points; all but the first with planes that are filtered already."""
    network = given.large.sdf_network
    assert isinstance(network, DeltaSdf)
    yield Workload(
        "window attention, planes of 512²", network.filtered, ATTENTION, partial(slow.filtered, network)
    )
    surface, base = given.large.surface(), BaseSdf.of(given.subject)
    points = given.scene(given.large, Rendering()).deformer(given.inside).points
    queried = slow.Queried(network)
    yield Workload(
        "surface, 16 384 points", partial(surface, points), ATTENTION + FORWARD, partial(queried, points)
    )
    held = deepcopy(network).requires_grad_(True)  # for the graph of the parameters
    filtered = slow.Queried(held, copies=[held.planes[0]] * 4)

    def published() -> Tensor:
        with torch.enable_grad():
            places = points.clone().requires_grad_(True)
            sdf = base(places)[:, 0] + filtered(places)[:, 0]
            (gradient,) = torch.autograd.grad(sdf.sum(), places, create_graph=True)
            return gradient.detach()

    yield Workload(
        "distance and its gradient, 16 384 points",
        lambda: (base.probe(points), surface.probe(points)),
        FORWARD + GRADIENT,
        published,
    )


def _chunk(given: Given) -> Iterator[Workload]:
    """Rays through the body, against a sixteenth of them with a sixteenth of the attention.

    The published seconds are the sum of those of its parts.
    """
    share, each = 16, NEIGHBOURS_TIME + 3 * SKINNING + FORWARD + GRADIENT + COLOURS
    sample = given.seen(SIDE, Rendering())
    hits = sample.rays.hits.nonzero()[:, 0]
    rays = sample.rays[hits[len(hits) // 2 :][:CHUNK]]
    ours = given.scene(given.large, Rendering())
    held = deepcopy(given.large).requires_grad_(True)
    theirs = given.published(held, Rendering(), share)
    few = rays[torch.arange(0, CHUNK, share)]
    yield Workload(
        f"{CHUNK} rays x 128 samples, planes of 512²",
        partial(ours.render, rays.origins, rays.directions, rays.depths, None, sample.background),
        ATTENTION + CHUNK * 128 / POINTS * each,
        partial(slow.rendered, theirs, few, sample.background),
        share,
    )


def _meshes(given: Given) -> Iterator[Workload]:
    """Meshes, against a share of the grid and of the attentions that its blocks of 64^3 need.

    The published seconds of the larger one are those of the smaller one for each sample, and an attention for
    each block.
    """
    vertices = given.pose.vertices.numpy()
    for name, avatar, side, share, strip, published in (
        ("128²", given.small, 40, 8, 8, MESH),
        ("512²", given.large, 256, 1024, 16, 64 * ATTENTION + (256 / 40) ** 3 * MESH),
    ):
        ours, theirs = given.scene(avatar, Rendering()), given.published(avatar, Rendering(), strip)
        places = grid_around(vertices, side).places(_some(side, side**3 // share))
        yield Workload(
            f"mesh of {side}³, planes of {name}",
            partial(extract, partial(_field, ours), vertices, side),
            published,
            partial(slow.field, theirs, torch.from_numpy(places).float()),
            share,
        )


def _field(scene: Scene, places: np.ndarray) -> np.ndarray:
    values: np.ndarray = scene.field(torch.from_numpy(places)).numpy()
    return values


def _some(side: int, count: int) -> np.ndarray:
    """Evenly spread samples of a grid, by their numbers along its sides [count, 3]."""
    chosen = np.linspace(0, side**3 - 1, count).astype(np.int64)
    return np.stack(np.unravel_index(chosen, (side,) * 3), axis=-1)


def _small(given: Given) -> Iterator[Workload]:
    """What was measured with planes of 128^2: a training step without LPIPS and optimiser, and a picture."""
    avatar, criterion = given.small, Criterion(Losses(), None)
    drawn = _drawn(given)
    background = drawn.sample.background

    def ours() -> None:
        with torch.enable_grad():
            avatar.zero_grad()
            learn(avatar, given.subject, [drawn], criterion, FEW, STEP)["total"].backward()

    def published() -> None:
        with torch.enable_grad():
            avatar.zero_grad()
            theirs = given.published(avatar, FEW)
            (made,) = slow.rendered(theirs, drawn.sample.rays, background, drawn.shift)
            criterion.terms(made, drawn.sample, STEP)["total"].backward()

    yield Workload("training step, 512 rays x 32, planes of 128²", ours, 3.0 + 1.5, published)
    sample = given.seen(24, FEW)
    yield Workload(
        f"picture, {len(sample.rays)} rays x 32, planes of 128²",
        lambda: picture(given.scene(avatar, FEW), sample, Noise.seeded(0, "jitter")),
        4.0,
        lambda: slow.rendered(given.published(avatar, FEW), sample.rays, background),
    )


def _drawn(given: Given) -> Drawn:
    """Two patches of 16 x 16 pixels: on the trunk, and at its side."""
    whole, noise, side = given.seen(SIDE, FEW), Noise.seeded(0, "patches"), 16
    steps = torch.arange(side)
    rows, columns = 240 + steps[:, None], torch.tensor([250, 180])[:, None, None] + steps
    pixels = (rows * SIDE + columns).flatten()
    rays = whole.rays[pixels]
    colours = noise.uniform((len(rays), 3))
    rays = replace(rays, colours=colours, alpha=rays.hits.float())
    drawn = torch.ones(2, side, side, dtype=torch.bool)
    patches = Patches(colours.view(*drawn.shape, 3), drawn, torch.tensor([0, 256, 512]))
    return Drawn(replace(whole, rays=rays, patches=patches, box=None), noise.uniform((len(rays),)))
