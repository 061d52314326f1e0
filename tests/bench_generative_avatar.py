"""Workloads of generative-avatar at the published sizes, for the bench.

Beside each stands the published procedure, run here with the same weights, where it repeats work, and what
the specification (chapter 11) says that the published code took, scaled from its calibration `THEIRS` to this
machine's; of two numbers the smaller one. Networks, body and poses are those of the golden cases. What both
made is compared when both were timed: a bench of something else ends with an error.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import reference_generative_avatar as slow
import torch
from avatarctl_generative_avatar import labels as poses
from avatarctl_generative_avatar import synthetic
from avatarctl_generative_avatar.dataset import Photo, Photos
from avatarctl_generative_avatar.deform.posing import Posing, Roots
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.losses import Drawn, Pair, moment_of
from avatarctl_generative_avatar.mesh import Surface, box, extract
from avatarctl_generative_avatar.model.discriminator import Discriminator
from avatarctl_generative_avatar.model.generator import Generator, Pictures
from avatarctl_generative_avatar.model.rays import coarse_depths
from avatarctl_generative_avatar.model.rays import rays as rays_of
from avatarctl_generative_avatar.model.renderer import Draws
from avatarctl_generative_avatar.model.sizes import DISCRIMINATOR, LIMITS, DiscriminatorSizes
from avatarctl_generative_avatar.settings import Sampling
from avatarctl_generative_avatar.settings_model import Rendering
from avatarctl_generative_avatar.training import Phase, learning, phases_of
from scipy.spatial import cKDTree
from torch import Tensor

from avatarctl.checkpoints.sizes import network, sizes_in
from avatarctl.device import Noise

THEIRS = 2.1
"""Calibration of the published seconds."""
PLAIN = 6.4 / 8.0
"""Published seconds without a profiler over those with one."""
ROOTS, NO_NORMALS = PLAIN * (2.9 + 1.5 + 0.25), PLAIN * 6.9
"""Nearest vertices, root finding and the filter of duplicates; a picture without normals."""
BACKBONE, PICTURE, MESHES = 0.87, 6.4, 5.0
"""A person's planes; a picture of 64 x 64 rays; two meshes of 48^3, each with its planes."""
CRITICS = 24 * THEIRS / 2.4
"""Four discriminators, measured under load."""
PHASES = {"generator": 5.3, "density": 1.2, "discriminator": 2.6, "r1": 0.2}
FEW, MANY = (24, 12), (64, 48)
"""Rays along a side, and samples of a ray in each of the two passes."""
FRAMES, LARGE, PHOTOS = 60, 300, 16
"""Of a turntable; samples along a side of a large mesh; photos that are read."""
PUBLISHED_CHUNK = 10**7
"""Samples of a mesh at a time."""
IMAGES = 1000
"""Pictures that a training has seen where its gradients are timed."""
PSI = 0.7
MEASURED = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
"""Runs a command, prints the kilobytes that it took at most."""
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


def compared(
    name: str,
    work: Callable[[], Any],
    published: float,
    slow: Callable[[], Any],
    hold: Callable[[Any, Any], None],
    repeats: int = 1,
) -> Iterator[Workload]:
    """One workload; when it was timed, `hold` asserts that both ways make the same."""
    made: dict[str, Any] = {}

    def kept(key: str, one: Callable[[], Any]) -> None:
        made[key] = one()

    yield Workload(name, partial(kept, "ours", work), published, partial(kept, "theirs", slow), repeats)
    if len(made) == 2:
        hold(made["ours"], made["theirs"])


def close(ours: Tensor, theirs: Tensor, limit: float = 1e-3, share: float = 0.005) -> None:
    """Assert that few numbers differ."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
    far = float(((ours - theirs).abs() > limit).float().mean())
    assert far <= share, f"{far:.2%} of the numbers differ by more than {limit}"


def same_pictures(ours: Pictures, theirs: Pictures) -> None:
    """The tolerance of the golden cases."""
    for name in ("image", "image_raw", "image_depth", "image_normal"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine is not None:
            close(mine, other)


@torch.no_grad()
def workloads() -> Iterator[Workload]:
    """All of them."""
    given = Given()
    yield from _networks(given)
    yield from _pictures(given)
    yield from _meshes(given)
    yield from _training(given)
    yield from _photos()


class Given:
    """One person in a pose: networks, body and label of the golden cases, and the published twin."""

    def __init__(self) -> None:
        sys.path.insert(0, str(HERE / "parity"))
        import golden
        from generative_avatar import inputs

        self.inputs, self.folder = inputs, inputs.OWN
        self.cases = {case.path.stem: case for case in golden.find(inputs.OWN)}
        self.generator: Generator = inputs.generator(self.folder)
        self.theirs = slow.Published.of(self.generator)
        self.template = Template.of(inputs.body(self.folder), inputs.sdf(self.folder))
        arrays = self.cases["render64_s13"].arrays()
        z, self.label = (torch.from_numpy(arrays[name]) for name in "zc")
        self.ws = self.generator.mapping(z, self.label, PSI, rendering=Rendering())

    @cached_property
    def planes(self) -> Tensor:
        """What the person is made of."""
        return self.generator.planes(self.ws)

    def critics(self) -> Discriminator:
        """All four discriminators."""
        weights = self.inputs.discriminator(self.folder)
        sizes = sizes_in(weights, DISCRIMINATOR, DiscriminatorSizes(), limits=LIMITS)
        found = network(weights, DISCRIMINATOR, Discriminator, sizes)
        assert isinstance(found, Discriminator)
        return found


def rendering(samples: int) -> Rendering:
    """The published test's, with so many samples in each pass."""
    own = {name: value for name, value in Sampling() if name in Rendering.model_fields}
    return Rendering(**own | {"depth_resolution": samples, "depth_resolution_importance": samples})


def _networks(given: Given) -> Iterator[Workload]:
    """Layers alone."""
    generator, noise = given.generator, Noise.seeded(0, "networks")
    yield from compared(
        "planes of a person, 96 x 256²",
        partial(generator.planes, given.ws),
        BACKBONE,
        partial(given.theirs.planes, given.ws),
        close,
    )
    features = noise.normal((1, 32, 256, 256))
    enlarge = partial(generator.superresolution, features[:, :3], features, given.ws)
    yield from compared("super-resolution, 256² to 512²", enlarge, 0.94, partial(_published, enlarge), close)
    critics, labels = given.critics(), given.label.expand(2, -1)
    sides = {"image": 512, "image_raw": 256, "normal": 256, "face": 64, "normal_face": 32}
    shown = {name: noise.normal((2, 3, side, side)) for name, side in sides.items()}
    judge = partial(critics, shown, labels)
    yield from compared(
        "four discriminators, 2 pictures of 512²", judge, CRITICS, partial(_published, judge), _same_terms
    )


def _published(work: Callable[[], Any]) -> Any:
    with slow.published_layers():
        return work()


def _same_terms(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4, msg=name)


def _pictures(given: Given) -> Iterator[Workload]:
    """Places and whole pictures of one person."""
    template, label = given.template, given.label
    origins, directions = rays_of(label, MANY[0])
    depths = coarse_depths(origins, origins.new_zeros(*origins.shape[:2], 2 * MANY[1]), -0.5, 0.5)
    points = (origins[:, :, None] + directions[:, :, None] * depths[..., None]).flatten(1, 2)
    yield from compared(
        f"canonical places of {points.shape[1]} samples",
        lambda: Posing(template, label).roots(points),
        ROOTS,
        lambda: slow.searched(Posing(template, label), points),
        _same_places,
    )
    for (side, samples), has_normals, published in (
        (FEW, True, 2.0),
        (MANY, True, PICTURE),
        (MANY, False, NO_NORMALS),
    ):
        made = partial(_synthesis, given, rendering=rendering(samples), rays=side, wants_normals=has_normals)
        yield from compared(
            f"picture, {side}² rays x 2 x {samples}, {'with' if has_normals else 'no'} normals",
            partial(made, given.generator),
            published,
            partial(made, given.theirs),
            same_pictures,
        )
    yield from _turntable(given)
    yield from _large_picture(given)


def _same_places(ours: Roots, theirs: tuple[Tensor, Tensor]) -> None:
    kept, places = (one.flatten(0, 1) for one in theirs)
    mine = torch.zeros_like(kept)
    mine[ours.point, ours.start] = True
    assert (mine != kept).sum() <= 0.005 * kept.sum()
    is_common = kept[ours.point, ours.start]
    close(ours.places[is_common], places[ours.point, ours.start][is_common])


def _synthesis(given: Given, generator: Generator, *, rendering: Rendering, **more: Any) -> Pictures:
    return generator.synthesis(given.ws, given.label, given.template, rendering, **more)


def _turntable(given: Given) -> Iterator[Workload]:
    """A film from around; the published procedure makes the planes and all normals for each frame."""
    (side, samples), template = MANY, given.template
    turned = poses.turned(given.label, 360 * torch.arange(FRAMES) / FRAMES)
    how = rendering(samples)

    def ours() -> Tensor:
        planes = given.generator.planes(given.ws)
        made = [
            given.generator.render(
                planes, given.ws, one, Posing(template, one), how, rays=side, wants_normals=False
            )
            for one in turned.split(1)
        ]
        return torch.cat([one.image for one in made])

    yield from compared(
        f"turntable of {FRAMES} frames, {side}² rays x 2 x {samples}",
        ours,
        FRAMES * PICTURE,
        lambda: given.theirs.synthesis(given.ws, turned[-1:], template, how, rays=side).image,
        lambda images, last: close(images[-1:], last),
        FRAMES,
    )


def _large_picture(given: Given) -> Iterator[Workload]:
    """A picture with the published number of rays, against a share of the rays without networks."""
    share, side, samples = 16, 256, MANY[1]
    how, label, planes = rendering(samples), given.label, given.planes
    some = slice(0, None, share)
    origins, directions = (one[:, some] for one in rays_of(label, side))
    draws = Draws.of(None, (1, side**2), how, label).of_rays(some)

    def theirs() -> Tensor:
        field = given.theirs.field(planes, Posing(given.template, label), how.box_warp)
        return slow.rendered(given.theirs, field, (origins, directions), draws, how)[0][..., :3]

    path = given.inputs.snapshot(given.folder, (("G_ema", "G_ema", 0),)).path
    memory = [f"{_peak(path, chunk):.2f} GB with chunk {chunk}" for chunk in (how.chunk, how.chunk << 3)]
    yield from compared(
        f"picture of 512², {side}² rays x 2 x {samples}; infer takes {', '.join(memory)}",
        partial(_synthesis, given, given.generator, rendering=how, wants_normals=True),
        100.0,
        theirs,
        lambda made, some_rays: close(made.image_raw.flatten(2).mT[:, some], some_rays),
        share,
    )


def _peak(weights: Path, chunk: int) -> float:
    """The most memory of a command that makes one picture, GB."""
    with tempfile.TemporaryDirectory() as out:
        words = [
            *("-m", "avatarctl", "infer", "generative-avatar", "-q", "--weights", str(weights), "--out", out),
            *("--body", "open", "--poses", "canonical", "--panels", "rgb", "--panels", "normal"),
            *("--set", f"sampling.chunk={chunk}"),
        ]
        # In between stands a small process: what a process held when it began another counts for that one.
        between = [sys.executable, "-c", MEASURED, sys.executable, *words]
        found = subprocess.run(between, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return int(found.stdout) * 1024 / 1e9


def _meshes(given: Given) -> Iterator[Workload]:
    """Meshes as published, and ours; large ones against a share of the samples and without marching."""
    template, label = given.template, given.label

    def both(generator: Generator, is_once: bool, chunk: int) -> list[Surface]:
        planes, made = generator.planes(given.ws), []
        for canonical in (False, True):
            planes = planes if is_once else generator.planes(given.ws)
            made.append(
                extract(
                    generator, planes, template, label, 48, canonical=canonical, published=True, chunk=chunk
                )
            )
        return made

    yield from compared(
        "published meshes of 48³, posed and canonical",
        partial(both, given.generator, True, 1 << 19),
        MESHES,
        partial(both, given.theirs, False, PUBLISHED_CHUNK),
        _same_surfaces,
    )
    share, posing = 256, Posing(template, label)
    middle, side = box(posing.vertices[0])
    index = torch.arange(0, LARGE**3, share)
    steps = torch.stack([index / LARGE**2 % LARGE, index / LARGE % LARGE, (index % LARGE).float()], dim=-1)
    places = ((steps / LARGE - 0.5) * (1.1 * side) + middle)[None]
    fields = [
        one.field(given.planes, posing, Rendering().box_warp) for one in (given.generator, given.theirs)
    ]
    close(fields[0].values(places), fields[1].values(places))
    large = partial(extract, given.generator, given.planes, template, label, LARGE)
    for name, is_published in (("published mesh", True), ("mesh", False)):
        yield Workload(
            f"{name} of {LARGE}³, posed",
            partial(large, published=is_published),
            (MESHES / 2 - BACKBONE) * (LARGE / 48) ** 3,
            partial(fields[1].values, places),
            share,
        )


def _same_surfaces(ours: list[Surface], theirs: list[Surface]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert abs(len(mine.faces) / len(other.faces) - 1) <= 0.01
        away = cKDTree(mine.vertices).query(other.vertices)[0]
        assert np.quantile(away, 0.995) <= 1e-3, f"vertices are {away.max()} m apart"


class Followed(Pair):
    """A pair whose operations can be counted: leaves that go straight into networks end the counter."""

    def logits(self, pictures: dict[str, Tensor], labels: Tensor, noise: Noise) -> dict[str, Tensor]:
        """As the pair's."""
        return super().logits({name: one.view_as(one) for name, one in pictures.items()}, labels, noise)


def _training(given: Given) -> Iterator[Workload]:
    """Gradients of the phases of the reduced pair, 4 pictures of 128 pixels, 6 + 6 samples."""
    from generative_avatar import check_train

    case = given.cases["train_s21"]
    arrays, settings = case.arrays(), check_train.settings_of(case.words)
    plain, _ = check_train.pair_of(case.words, settings, given.folder)
    pair = Followed(**vars(plain))
    theirs = replace(pair, generator=slow.Published.of(pair.generator))
    real = check_train.real_of(arrays, pair.generator.sizes.img_resolution)
    batch = len(real.labels)
    moment = moment_of(settings.losses, IMAGES, batch, is_told=False)

    def learn(pair: Pair, phase: Phase, drawn: Drawn) -> dict[str, Tensor]:
        params = list(pair.generator.parameters()), list(pair.discriminator.parameters())
        learning(params[0], phase.of_generator)
        learning(params[1], not phase.of_generator)
        with torch.enable_grad():
            terms = phase.gradients(pair, drawn, real, moment, Noise.seeded(0, phase.name), 1.0)
        own = params[0] if phase.of_generator else params[1]
        terms["norm"] = torch.nn.utils.get_total_norm([one.grad for one in own if one.grad is not None])
        pair.generator.zero_grad()
        pair.discriminator.zero_grad()
        return terms

    for number, phase in enumerate(phases_of(settings)):
        rows = slice(number * batch, (number + 1) * batch)
        drawn = Drawn(torch.from_numpy(arrays["gen_z"][rows]), torch.from_numpy(arrays["gen_c"][rows]))
        yield from compared(
            f"training, reduced pair: {phase.name}",
            partial(learn, pair, phase, drawn),
            PHASES[phase.name],
            partial(_published, partial(learn, theirs, phase, drawn)),
            _same_terms,
        )


def _photos() -> Iterator[Workload]:
    """Photos with normals from a zip: decoded each time, and once."""
    with tempfile.TemporaryDirectory() as folder:
        path, part = Path(folder) / "photos.zip", Path(folder) / "part.zip"
        parts = [synthetic.Part(str(part), range(PHOTOS), 0, 512)]
        synthetic.draw(parts[0])
        synthetic.join(path, parts, {})
        with zipfile.ZipFile(path) as archive:
            for name, memory in (("from a zip", 0), ("kept in memory", 1 << 30)):
                photos = Photos(path, 512, memory=memory)
                yield from compared(
                    f"{PHOTOS} photos of 512² with normals, {name}",
                    partial(photos.take, range(PHOTOS)),
                    0.0,
                    partial(_decoded, archive, photos.names),
                    _same_photos,
                )


def _decoded(archive: zipfile.ZipFile, names: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [slow.photo(archive, one) for one in names]


def _same_photos(ours: Photo, theirs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for number, (image, normals) in enumerate(theirs):
        assert np.array_equal(ours.image[number].numpy(), image)
        close(ours.normals[number], torch.from_numpy(normals).float(), share=0.0)
