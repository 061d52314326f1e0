"""Workloads of ego-hmr at the published sizes, for the bench.

Beside each stands the published procedure, run here with the same weights, where it repeats work, and what
the specification (chapter 11) says that the published code took, scaled from its calibration `THEIRS` to this
machine's. Networks, bodies and inputs are those of the golden cases; scans and scene points are made up.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from avatarctl_ego_hmr import scores
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.coap import Coap
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.collision.partition import Figure, seeded
from avatarctl_ego_hmr.crops import Cube, Room, thinned
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import Annotations
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.egobody.transforms import FLIP, moved
from avatarctl_ego_hmr.evaluate import Bodies, errors_of
from avatarctl_ego_hmr.guidance import FIRST, Guide
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.model.diffusion import NUMBERS, PoseDiffusion
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.sampling import Spacing, ddpm, sample, schedule, streams
from avatarctl_ego_hmr.scores import nearest
from avatarctl_ego_hmr.views import View
from PIL import Image
from torch import Tensor

from avatarctl.device import Noise
from avatarctl.geometry.rotations import matrix_from_axis_angle_smpl, sixd_from_matrix

THEIRS = 2.97
"""Calibration of the published seconds."""
POINTS, VERTICES = 20_000, 300_000
"""Points that the networks are given, vertices of a scan."""
FEW, IN_BOX = 64, 4900
"""Points on the surface of each part in guided samplings; points in the body's box beside the usual 1000."""
FRAMES, SAMPLES = 100, 5
"""That are scored."""
SIZE = (1920, 1080)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Workload:
    """Something to time; `published` are its seconds there, 0 where unknown."""

    name: str
    work: Callable[[], object]
    published: float = 0.0
    slow: Callable[[], object] | None = None
    """The published procedure, and how often it is repeated for the same result."""
    repeats: int = 1


def workloads() -> Iterator[Workload]:
    """All of them; what one needs is released before the next is made."""
    given = Given()
    yield from _networks(given)
    yield from _samplings(given)
    yield from _room(given)
    yield from _crops()
    yield _scoring(given.people)
    yield from _item(given)


class Given:
    """Networks, bodies and inputs of the golden cases."""

    def __init__(self) -> None:
        sys.path += [str(HERE), str(HERE / "parity"), str(HERE / "plugins" / "ego_hmr")]
        import golden
        from ego_hmr import inputs

        self.folder = golden.FIXTURES / "ego-hmr"
        self.inputs: ModuleType = inputs
        case = next(case for case in golden.find(self.folder) if case.path.stem == "s2_sample_ddpm50_guided")
        arrays = case.arrays()
        self.view: View = inputs.view(arrays, inputs.value("in.smp.img", (2, 3, 224, 224)))
        self.transl: Tensor = inputs.truth(arrays).transl

    @cached_property
    def people(self) -> People:
        """Stand-in SMPL bodies."""
        found: People = self.inputs.people(self.folder)
        return found

    @cached_property
    def network(self) -> PoseDiffusion:
        """That of stage 2."""
        found = load(self.inputs.official("stage2_91453", self.folder), "diffusion", torch.device("cpu"))
        assert isinstance(found, PoseDiffusion)
        return found

    @cached_property
    def coap(self) -> Coap:
        """The collision network."""
        found = load_collision(self.inputs.official("coap_smpl_neutral", self.folder), self.people)
        assert isinstance(found, Coap)
        return found


def _networks(given: Given) -> Iterator[Workload]:
    """Parts of stage 2, for one person."""
    import reference_ego_hmr as slow

    network, one = given.network, slice(0, 1)
    points = 1.5 * torch.randn(1, POINTS, 3, generator=torch.Generator().manual_seed(0))
    view, transl = replace(given.view[one], points=points + given.transl[one, None]), given.transl[one]
    yield Workload("ResNet-50, one crop", partial(network.backbone, view.image), 0.086)
    encoder = network.scene_enc
    published = partial(slow.encoded, encoder, points)
    yield Workload("scene encoder, 20 000 points", partial(encoder, points), 0.65, published)
    noisy, steps = torch.randn(1, NUMBERS), torch.tensor([20])
    condition = network.condition(view, transl, loosen=True)
    step = partial(network, noisy, steps, condition, fuse=True)
    published = partial(slow.denoise, network, view, transl, noisy, steps)
    yield Workload("denoising step, fused", step, 0.81, published)
    yield Workload("ddim5, one body", partial(_sample, given, view, transl, "ddim5"), 4.8, published, 5)


def _samplings(given: Given) -> Iterator[Workload]:
    """All steps for two bodies and 600 points."""
    view, transl = given.view, given.transl
    guide = Guide(given.coap, given.people.neutral, 2.0, True, FEW)
    for name, push, seconds in (("", None, 13.0), (", guided", guide, 16.0)):
        work = partial(_sample, given, view, transl, "ddpm", push)
        slow = partial(_published, given, view, transl, push)
        yield Workload(f"ddpm, two bodies{name}", work, seconds, slow)


def _sample(given: Given, view: View, transl: Tensor, spacing: Spacing, guide: Guide | None = None) -> Tensor:
    """Sampled poses from pictures and points."""
    condition = given.network.condition(view, transl, loosen=True)
    noises = streams(0, [str(person) for person in range(len(view))], 1)
    around = view.points - transl[:, None]
    return sample(given.network, condition, around, noises, spacing=spacing, guide=guide).matrices


def _published(given: Given, view: View, transl: Tensor, guide: Guide | None) -> Tensor:
    """The same as published."""
    import reference_ego_hmr as slow

    network, count = given.network, len(view)
    betas = network.condition(view, transl, loosen=True).betas
    noises = streams(0, [str(person) for person in range(count)], 1)
    around, surfaces = view.points - transl[:, None], seeded([noise.surface for noise in noises], FEW)

    def denoise(noisy: Tensor, step: int) -> Tensor:
        return slow.denoise(network, view, transl, noisy, torch.full((count,), step))

    def push(noisy: Tensor, step: int, variance: float) -> Tensor | float:
        if guide is None or step > FIRST:
            return 0.0
        found = slow.gradient(given.coap, guide.body, network.poses_from(noisy), betas, around, surfaces)
        return guide.share(step, variance, count) * found

    def draw() -> Tensor:
        return torch.stack([noise.pose.normal((NUMBERS,)) for noise in noises])

    return network.matrices(ddpm(schedule(), denoise, draw, push))[:, None]


def _room(given: Given) -> Iterator[Workload]:
    """One body and the room: how to leave it, and how near it is."""
    import reference_ego_hmr as slow

    body, noise = given.people.neutral, Noise.seeded(0, "room")
    matrices = matrix_from_axis_angle_smpl(0.2 * noise.normal((1, 24, 3)))
    poses, betas = sixd_from_matrix(matrices, "interleaved").flatten(1), torch.zeros(1, 10)
    vertices = Figure.of(body.shape(betas).pose_matrices(matrices)).vertices
    low, high = vertices.amin(dim=1), vertices.amax(dim=1)
    points = (low + noise.uniform((IN_BOX, 3)) * (high - low))[None]
    guide, surfaces = Guide(given.coap, body, 2.0), seeded([noise])
    yield Workload(
        "COAP gradient, 4900 points",
        partial(guide.gradient, poses, betas, points, surfaces),
        4.0,
        partial(slow.gradient, given.coap, body, poses, betas, points, surfaces),
    )
    cube = slow.scan(VERTICES)[:: VERTICES // POINTS].astype(np.float32)
    stood = vertices + torch.tensor([0.3, -float(low[0, 1]), 0.4])
    yield Workload(
        "body to scene, 6890 x 20 000",
        partial(nearest, stood.numpy(), cube),
        6.0,
        partial(slow.nearest, stood[0], torch.from_numpy(cube)),
    )


def _crops() -> Iterator[Workload]:
    """Scene points of a frame, from a scan."""
    import published_crops
    import reference_ego_hmr as slow

    vertices = slow.scan(VERTICES)
    room = Room(vertices)
    yield Workload("grid of a scan, 300 000 vertices", partial(Room, vertices))
    turn, place = np.eye(4), np.eye(4)
    turn[:3, :3] = _about_y(0.7)
    place[:3, 3] = -0.2, -1.6, 0.5  # from the scan's origin to a head
    steps = (np.linalg.inv(turn), turn, place)
    camera = FLIP @ place @ turn @ np.linalg.inv(turn)
    yield Workload(
        "points in front, a frame",
        lambda: moved(vertices.take(thinned(room.in_front(camera), POINTS), axis=0), steps[0]),
        slow=partial(published_crops.front, vertices, *steps, FLIP, POINTS),
    )
    cube = Cube(np.array([0.2, 0.9, -0.4]), 0.7, (0.1, -0.2))
    where = (cube.middle, cube.angle, cube.shift, cube.size)
    yield Workload(
        "points around a body, a frame",
        lambda: vertices.take(thinned(room.inside(cube), POINTS), axis=0),
        slow=partial(published_crops.cube, vertices, *where, POINTS),
    )


def _about_y(angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _scoring(people: People) -> Workload:
    """The numbers of stage 2 for many bodies, against one body after the other."""
    import reference_ego_hmr as slow

    rng = np.random.default_rng(0)
    poses = 0.3 * rng.normal(size=(FRAMES, SAMPLES, 24, 3)).astype(np.float32)
    nothing = np.full((FRAMES, SAMPLES), np.nan)
    transl = np.tile([0.1, 0.2, 1.5], (FRAMES, 1))
    bodies = Bodies(
        np.arange(FRAMES),
        matrix_from_axis_angle_smpl(torch.from_numpy(poses)).numpy(),
        rng.normal(size=(FRAMES, SAMPLES, 10)),
        transl,
        *[nothing] * 3,
    )
    middle, focal = (np.full(FRAMES, number) for number in (960.0, 1450.0))
    truth = Annotations(
        names=[str(frame) for frame in range(FRAMES)],
        centre=np.zeros((FRAMES, 2)),
        scale=middle,
        poses=poses[:, 0],
        betas=rng.normal(size=(FRAMES, 10)),
        transl=transl,
        cx=middle,
        cy=0.5 * middle,
        fx=focal,
        fy=focal,
        keypoints=np.zeros((FRAMES, 25, 3)),
        joints=np.zeros((FRAMES, 24, 3)),
        gender=np.arange(FRAMES) % 2,
    )
    return Workload(
        f"scores, {FRAMES} frames of {SAMPLES} bodies",
        lambda: scores.summary(errors_of(people, bodies, truth, SIZE)),
        slow=lambda: slow.errors(people, bodies, truth, SIZE),
    )


def _item(given: Given) -> Iterator[Workload]:
    """One person of a recording: crop of a picture, points of the room."""
    split, rng = "test", np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(given.inputs.mini(given.folder), root, dirs_exist_ok=True)
        data = EgoBody(root)
        key = data.annotations(split).key(0)
        picture = np.kron(rng.integers(0, 256, (27, 48, 3)), np.ones((40, 40, 1))).astype(np.uint8)
        Image.fromarray(picture).save(root / key, "jpeg", quality=95)
        cloud = root / prepared.FOLDERS["cube-predicted"] / prepared.cube_file(split, key)
        cloud.parent.mkdir(parents=True)
        np.save(cloud, rng.normal(size=(POINTS, 3)))
        items = Items(data, split, given.people, points="cube-pred")
        yield Workload("one item, picture of 1920 x 1080", partial(items.item, 0))
