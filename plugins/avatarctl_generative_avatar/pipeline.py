"""New people, ready to be looked at, as commands and users of the Python API want it.

people = pipeline.load("deep_fashion.pkl", sampling=Sampling())
for person in people.sample(8, seed=0, labels=pipeline.labels_of("dp_pose_dist.npy", people)):
    pictures = person.pictures(person.label)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.assets.catalogue import found
from avatarctl.body import Bodies
from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.sizes import settings_in
from avatarctl.device import Noise, choose
from avatarctl.errors import CheckpointError, DataError
from avatarctl.runs.inputs import opened
from avatarctl_generative_avatar import label
from avatarctl_generative_avatar.body import load_body
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.deform.volumes import load_sdf
from avatarctl_generative_avatar.labels import extent, of_clips
from avatarctl_generative_avatar.mesh import Surface, extract
from avatarctl_generative_avatar.model.generator import Generator, Pictures
from avatarctl_generative_avatar.model.generator import load as load_generator
from avatarctl_generative_avatar.model.sizes import GENERATOR
from avatarctl_generative_avatar.people import Kept, Origin, digest_of, picked
from avatarctl_generative_avatar.plugin import avatarctl_assets, avatarctl_weights
from avatarctl_generative_avatar.poses import read_poses
from avatarctl_generative_avatar.settings import Chance, Sampling
from avatarctl_generative_avatar.settings_model import Kind, Rendering

if TYPE_CHECKING:
    from avatarctl.geometry.isosurface import Progress
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings import Chosen
    from avatarctl_generative_avatar.settings import People as PeopleSettings

log = logging.getLogger(__name__)

CLIPS, CANONICAL = "clips", "canonical"
"""Poses that are no file: those of the embedded clips, and standing at rest with arms out."""
ROOM = 0.05
"""How far the surface may be from the body, metres, where samples are fitted to it."""
MOST_RAYS = 1024
"""Along a side of the picture."""
AGAIN = "export the weights again"


@dataclass(frozen=True)
class Look:
    """Where chance comes in: the planes' fine detail, and the depths of samples.

    `noise` const takes the trained detail, random draws it once for each person, published anew for each
    picture, with jitter. `seed` and the number of the person begin each person's stream.
    """

    noise: Chance = "const"
    jitter: bool = False
    seed: int = 0

    @property
    def has_jitter(self) -> bool:
        """Whether depths are drawn."""
        return self.jitter or self.noise == "published"


@dataclass(frozen=True)
class People:
    """A trained generator with the body that it poses."""

    generator: Generator
    template: Template
    rendering: Rendering
    weights: Weights
    fits: bool = True
    """Whether samples reach as far as a posed body does."""
    rays: int = 0
    """Along a side of the picture; 0 for half of its pixels."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.template.vertices.device

    def sample(
        self, number: int, seed: int, labels: Tensor, truncation: float = 0.7, look: Look | None = None
    ) -> list[Person]:
        """New people in poses drawn from labels [M, 111], by numpy's published streams."""
        z, rows = drawn(number, seed, self.generator.sizes.z_dim, len(labels))
        look = look or Look(seed=seed)
        return [
            self.person(z[index : index + 1], labels[rows[index], None], truncation, look, index)
            for index in range(number)
        ]

    @torch.no_grad()
    def person(
        self, z: Tensor, one: Tensor, truncation: float = 0.7, look: Look | None = None, number: int = 0
    ) -> Person:
        """The person of a draw [1, z_dim] with a label [1, 111]."""
        z, one = z.to(self.device), label.check(one).to(self.device)
        ws = self.generator.mapping(z, one, truncation, rendering=self.rendering)
        return Person(self, ws, one, look or Look(), number)

    def kept(self, kept: Kept, look: Look | None = None) -> list[Person]:
        """The people of a file, from `people.read`.

        Raises:
            DataError: They are of a generator of other sizes.
        """
        own = [self.generator.backbone.num_ws, self.generator.sizes.w_dim]
        if list(kept.ws.shape[1:]) != own:
            raise DataError(
                f"{kept.path}: styles of {list(kept.ws.shape[1:])}, expected {own} for {self.weights.path}",
                hint=f"name the weights that drew them: --weights {kept.origin.weights or 'FILE'}",
            )
        look = look or Look(seed=kept.origin.seed or 0)
        ws, labels = kept.ws.to(self.device), label.check(kept.labels).to(self.device)
        return [
            Person(self, ws[row, None], labels[row, None], look, number)
            for row, number in enumerate(kept.numbers)
        ]

    def fitted(self, labels: Tensor) -> Rendering:
        """How labels [N, 111] are rendered: samples reach as far as bodies do, and are as dense as given."""
        given = self.rendering
        if not self.fits:
            return given
        low, high = extent(self.template.body, labels)
        start = min(given.ray_start, float(low[:, 2].min()) - ROOM)
        end = max(given.ray_end, float(high[:, 2].max()) + ROOM)
        growth = (end - start) / (given.ray_end - given.ray_start)
        if growth <= 1:
            return given
        return given.model_copy(
            update={
                "ray_start": start,
                "ray_end": end,
                "depth_resolution": round(given.depth_resolution * growth),
                "depth_resolution_importance": round(given.depth_resolution_importance * growth),
            }
        )


@dataclass(frozen=True, eq=False)
class Person:
    """One person: styles `ws` [1, num_ws, w_dim] and a `label` [1, 111] that says how it stands."""

    people: People
    ws: Tensor
    label: Tensor
    look: Look = Look()
    number: int = 0

    @cached_property
    def noise(self) -> Noise:
        """This person's draws."""
        return Noise.seeded(self.look.seed, "person", self.number)

    @cached_property
    def kept_planes(self) -> Tensor:
        """What the person is made of, the same in all pictures [1, 3, 32, P, P]."""
        return self._planes("random" if self.look.noise == "random" else "const")

    @torch.no_grad()
    def _planes(self, mode: Literal["const", "random"]) -> Tensor:
        return self.people.generator.planes(self.ws, mode, self.noise)

    @torch.no_grad()
    def pictures(
        self, labels: Tensor, rendering: Rendering | None = None, *, wants_normals: bool = False
    ) -> Pictures:
        """The person as labels [N, 111] pose it.

        Args:
            rendering: Left out: that of the people, with samples fitted to these poses.
        """
        labels, people = labels.to(self.label), self.people
        rendering = rendering or people.fitted(labels)
        planes = self._planes("random") if self.look.noise == "published" else self.kept_planes
        return people.generator.render(
            planes,
            self.ws,
            labels,
            Posing(people.template, labels),
            rendering,
            rays=people.rays,
            noise=self.noise if self.look.has_jitter else None,
            wants_normals=wants_normals,
        )

    def frames(self, labels: Tensor, batch: int = 1, *, wants_normals: bool = False) -> Iterator[Pictures]:
        """One picture after another of labels [N, 111], sampled alike; so many rendered together at most."""
        rendering = self.people.fitted(labels)
        for part in labels.split(1 if self.look.has_jitter else batch):
            made = self.pictures(part, rendering, wants_normals=wants_normals)
            for row in range(len(part)):
                one = slice(row, row + 1)
                yield Pictures(
                    made.image[one],
                    made.image_raw[one],
                    None if made.image_normal is None else made.image_normal[one],
                    made.image_depth[one],
                    None,
                )

    def towards(self, other: Person, steps: int) -> list[Person]:
        """People between this one and another, both included, all in this one's pose."""
        shares = torch.linspace(0, 1, steps, device=self.ws.device)
        # A bare copy: what is cached belongs to this person's styles.
        made = [replace(self, ws=torch.lerp(self.ws, other.ws, share)) for share in shares]
        if self.look.noise == "published":
            for one in made:
                vars(one)["noise"] = self.noise  # anew in each picture: one stream goes through all
        return made

    def surface(self, voxels: int, pose: Tensor | None = None, progress: Progress | None = None) -> Surface:
        """The surface, from so many samples along each side of the box around the body.

        Args:
            pose: Label of the pose [1, 111]; left out: at rest in canonical space, with skinning weights.
        """
        people = self.people
        return extract(
            people.generator,
            self.kept_planes,
            people.template,
            self.label if pose is None else pose,
            voxels,
            canonical=pose is None,
            box_warp=people.rendering.box_warp,
            progress=progress,
        )


def skinned(surface: Surface, posing: Posing) -> Surface:
    """A surface at rest as its weights move it in a pose."""
    weights = surface.weights.to(posing.transforms)
    return _moved(surface, (weights @ posing.transforms[0].flatten(1)).unflatten(1, (4, 4)))


def carried(surface: Surface, pose: Posing, other: Posing) -> Surface:
    """A surface in a pose, moved as a whole with the pelvis to where that is in another."""
    return _moved(surface, other.transforms[0, :1] @ torch.linalg.inv(pose.transforms[0, :1]))


def _moved(surface: Surface, matrices: Tensor) -> Surface:
    """A surface whose vertices are moved [V or 1, 4, 4]."""
    vertices = torch.from_numpy(surface.vertices).to(matrices)
    moved = (matrices[:, :3, :3] @ vertices[..., None])[..., 0] + matrices[:, :3, 3]
    return replace(surface, vertices=moved.double().cpu().numpy())


def drawn(number: int, seed: int, z_dim: int, labels: int) -> tuple[Tensor, list[int]]:
    """Draws of people [number, z_dim], and rows of so many labels, from one of numpy's published streams."""
    stream = np.random.RandomState(seed % 2**32)
    z = torch.from_numpy(stream.randn(number, z_dim)).float()
    return z, [int(stream.randint(labels)) for _ in range(number)]


def load(
    weights: str | Path | Weights,
    *,
    sampling: Sampling | None = None,
    bodies: Bodies | None = None,
    body: Literal["auto", "smpl", "open"] = "auto",
    body_models: Path | None = None,
    sdf: Path | None = None,
    device: torch.device | str | None = None,
) -> People:
    """A generator of people from its weights.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones.
        sampling: Samples of rays; left out: those of the published test script.
        body: That is posed; auto: the one of the training.
        body_models: Folder of licensed body models; left out: the added assets.
        sdf: Signed distances of the canonical body; left out: the added asset, else computed from the body.

    Raises:
        CheckpointError: The weights hold no generator.
        AssetError: The body model was not found.
    """
    weights = opened(weights, avatarctl_weights())
    generator = load_generator(weights)
    sampling = sampling or Sampling()
    rendering = rendering_of(weights, sampling)
    place = torch.device(device) if device is not None else choose("cpu")[0]
    trained: Kind = "open" if weights.config.get("body") == "open" else "smpl"
    kind = trained if body == "auto" else body
    if kind != trained:
        log.warning("%s: trained with the %s body, posed with the %s one", weights.path, trained, kind)
    model = load_body(bodies or Bodies(log), kind, body_models)
    template = Template.of(model, sdf_of(kind, sdf)).to(place)
    rays = sampling.rays or rays_of(weights)
    return People(generator.to(place), template, rendering, weights, sampling.fits, rays)


def of_settings(settings: PeopleSettings, run: Run) -> People:
    """As `load`, from a command's settings."""
    if settings.sdf is not None:
        run.input(settings.sdf, "sdf")
    return load(
        run.weights(settings.weights, target="generative-avatar"),
        sampling=settings.sampling,
        bodies=run.bodies,
        body=settings.body,
        body_models=settings.body_models,
        sdf=settings.sdf,
        device=run.device,
    )


def sample(settings: Chosen, people: People, run: Run, kept: Kept | None = None) -> list[Person]:
    """The people that a command's settings ask for: new ones, or those of a file."""
    if kept is not None:
        origin, look = kept.origin, Look(settings.noise, settings.jitter, kept.origin.seed or 0)
        if origin.generator and origin.generator != digest_of(people.weights.part(GENERATOR)):
            run.log.warning(
                "%s: drawn by another generator, of %s; people look different here",
                kept.path,
                origin.weights,
            )
        if origin.seed is None and (look.noise != "const" or look.has_jitter):
            run.log.warning("%s: does not say its seed; noise is that of seed 0", kept.path)
        return people.kept(kept, look)
    labels = labels_of(settings.poses, people, run)
    look = Look(settings.noise, settings.jitter, run.seed)
    made = people.sample(settings.number, run.seed, labels, settings.truncation, look)
    return [made[number] for number in picked(settings.pick, range(settings.number), "--number")]


def origin_of(settings: Chosen, people: People, run: Run, kept: Kept | None = None) -> Origin:
    """What drew the people that `sample` gives."""
    if kept is not None:
        return kept.origin
    generator = digest_of(people.weights.part(GENERATOR))
    return Origin(run.seed, settings.truncation, str(people.weights.path), generator)


def labels_of(words: str | None, people: People, run: Run | None = None) -> Tensor:
    """The labels that poses are drawn from [M, 111].

    Args:
        words: A .npy file or photos; `clips`, also where nothing is said; or `canonical`.

    Raises:
        DataError: They cannot be read.
    """
    if words == CANONICAL:
        plain = label.made(torch.zeros(1, label.JOINTS, 3))
        return label.canonical_pose(plain)
    if words is None or words == CLIPS:
        if words is None and run is not None:
            run.log.info("poses are those of the embedded clips; --poses names others")
        return of_clips(people.template.body)
    path = Path(words).expanduser()
    return read_poses(path if run is None else run.input(path, "poses"))


def sdf_of(kind: Kind, given: Path | None) -> Tensor | None:
    """Signed distances of the canonical body [1, 1, D, H, W]; None where they are to be computed."""
    if given is not None:
        return load_sdf(given)
    if kind == "open":
        return None
    files = [path for asset in avatarctl_assets() for path in found(asset)]
    if files:
        log.info("signed distances of the body: %s", files[0])
        return load_sdf(files[0])
    log.info("no sdf_smpl.npy was added: distances are computed from the body, not the published ones")
    return None


def rays_of(weights: Weights) -> int:
    """Rays along a side of the picture that weights were trained with; 0 where they say none.

    Raises:
        CheckpointError: What they say is no number of rays.
    """
    stated = weights.config.get("rays", 0)
    if type(stated) is not int or not 0 <= stated <= MOST_RAYS:
        raise CheckpointError(
            f"{weights.path}: rays: found {str(stated)[:40]}, expected a whole number up to {MOST_RAYS}",
            hint="--set sampling.rays=128 says it in their place",
        )
    return stated


def rendering_of(weights: Weights, sampling: Sampling) -> Rendering:
    """How people are rendered: as they were trained, with samples as given.

    Raises:
        CheckpointError: What the weights say is no setting.
    """
    stated = weights.config.get("rendering") or {}
    own = {name: value for name, value in sampling.model_dump().items() if name in Rendering.model_fields}
    merged = {**stated, **own} if isinstance(stated, dict) else stated
    return settings_in(Rendering, merged, f"{weights.path}: rendering", AGAIN)
