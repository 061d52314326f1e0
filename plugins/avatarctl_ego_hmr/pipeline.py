"""Bodies of people in pictures, as users of the Python API want it: first where they are, then their poses.

model = pipeline.load("checkpoints")
place = model.place(view_with_points_in_front)
found = model.bodies(view_with_points_around, place, names=["photo.jpg"], samples=5)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from avatarctl.body import Bodies
from avatarctl.checkpoints import Weights
from avatarctl.device import choose
from avatarctl.device.precision import precision as autocast
from avatarctl.errors import CheckpointError, UsageError
from avatarctl.runs.inputs import opened
from avatarctl_ego_hmr.bodies import Kind, People
from avatarctl_ego_hmr.collision.load import PART, kind_of, load_collision
from avatarctl_ego_hmr.collision.partition import SAMPLES, Figure, seeded
from avatarctl_ego_hmr.collision.parts import PartNetwork
from avatarctl_ego_hmr.guidance import Guide
from avatarctl_ego_hmr.model.diffusion import PoseDiffusion
from avatarctl_ego_hmr.model.networks import load as load_network
from avatarctl_ego_hmr.model.scene import SceneNet
from avatarctl_ego_hmr.official import check_template
from avatarctl_ego_hmr.plugin import avatarctl_weights
from avatarctl_ego_hmr.sampling import Samples, sample, streams
from avatarctl_ego_hmr.settings import Sampling
from avatarctl_ego_hmr.views import View

log = logging.getLogger(__name__)
Network = TypeVar("Network")
Part = Literal["scene", "diffusion", "collision"]
STRENGTHS = {"coap": 0.4, "volumetric": 30.0}
"""Of the guidance, for each body; COAP's published 2 is that of the mean over batches of 5 (spec 6.3)."""
OPTIONS = {"scene": "--scene-network", "diffusion": "--diffusion-network", "collision": "--collision"}
"""Where each network can be named."""


@dataclass(frozen=True)
class Pipeline:
    """The networks of one set of weights; `source` is these, for messages."""

    people: People
    device: torch.device
    scene: SceneNet | None = None
    diffusion: PoseDiffusion | None = None
    collision: PartNetwork | None = None
    collision_kind: str = ""
    source: str = ""
    precision: str = "fp32"
    surface: int = SAMPLES
    """Points on the surface of each part of a body that the collision network looks at."""

    @torch.no_grad()
    def place(self, view: View) -> Tensor:
        """Where bodies are, in camera axes, metres [B, 3].

        Args:
            view: With the points in front of the camera.

        Raises:
            CheckpointError: There is no such network, or it gives numbers that are not finite.
        """
        return self.likeliest(view)[1]

    @torch.no_grad()
    def likeliest(self, view: View) -> tuple[Samples, Tensor]:
        """What stage 1 says by itself: one body of each person, and where it is; as `place`."""
        network = self._required("scene", self.scene)
        view = view.to(self.device)
        with autocast(self.precision, self.device):
            condition = network.condition(view)
        found = network.predict(condition.float(), view)
        for values in (found.transl, found.matrices, found.betas):
            self._finite("scene", values)
        return Samples(found.matrices, found.betas[:, None]), found.transl

    def bodies(
        self,
        view: View,
        transl: Tensor,
        options: Sampling | None = None,
        *,
        names: Sequence[str],
        samples: int | None = None,
        seed: int = 0,
    ) -> Samples:
        """Several bodies of each person; none depends on who stands beside in the batch.

        Args:
            view: With the points around the body.
            transl: Where it is, in camera axes, metres [B, 3].
            options: Sampler, guidance and so on, as the command has them.
            names: What tells people apart; their random numbers depend on it.
            samples: Bodies of each; left out: what the options say.

        Raises:
            CheckpointError: A network that is needed is not there, or gives numbers that are not finite.
            UsageError: The sampler cannot be guided.
        """
        options = options or Sampling()
        network = self._required("diffusion", self.diffusion)
        guide = self.guide(options)
        view, transl = view.to(self.device), transl.to(self.device)
        with torch.no_grad(), autocast(self.precision, self.device):
            condition = network.condition(view, transl, loosen=options.loosen)
        condition = replace(
            condition,
            **{name: value.float() for name, value in vars(condition).items() if value.is_floating_point()},
        )
        found = sample(
            network,
            condition,
            view.points - transl[:, None],
            streams(seed, names, samples or options.samples),
            spacing=options.sampler,
            fuse=options.fuse,
            guide=guide,
        )
        self._finite("diffusion", found.matrices)
        self._finite("diffusion", found.betas)
        return found

    def guide(self, options: Sampling) -> Guide | None:
        """What pushes bodies out of the room; None where nothing does.

        Raises:
            CheckpointError: The collision network that was asked for is not there.
            UsageError: The sampler cannot be guided.
        """
        wanted = options.guidance
        if wanted == "none" or (wanted == "auto" and (self.collision is None or options.sampler != "ddpm")):
            return None
        if options.sampler != "ddpm":
            raise UsageError(
                f"guidance {wanted}: collision guidance does not work with {options.sampler}",
                hint="--sampler ddpm, or --guidance none",
            )
        network = self._required("collision", self.collision)
        if wanted not in ("auto", self.collision_kind):
            raise CheckpointError(
                f"guidance {wanted}: the collision network of {self.source} is of the kind "
                f"'{self.collision_kind}'",
                hint=f"--guidance {self.collision_kind}, or name another one: --collision FILE",
            )
        strength = (
            STRENGTHS[self.collision_kind] if options.collision_weight is None else options.collision_weight
        )
        return Guide(network, self.people.neutral, strength, surface=self.surface)

    @torch.no_grad()
    def collisions(self, found: Samples, points: Tensor, *, names: Sequence[str], seed: int = 0) -> Tensor:
        """The share of points that lie inside of each body [B, S] (spec 7.2).

        Args:
            points: The room around each body, in its axes, metres [B, N, 3].
            names: As in `bodies`.
        """
        network = self._required("collision", self.collision)
        count = found.betas.shape[1]
        rows = streams(seed, [f"{name}/collision" for name in names], count)
        shares = []
        for person in range(len(points)):
            posed = self.people.neutral.shape(found.betas[person]).pose_matrices(found.matrices[person])
            figure = Figure.of(posed)
            cloud = points[person].to(self.device).expand(count, -1, -1)
            own = rows[person * count : (person + 1) * count]
            draw = seeded([one.surface for one in own], self.surface)
            shares.append(network.occupied(figure, cloud, draw, figure.around(cloud)).float().mean(dim=1))
        return torch.stack(shares)

    def _required(self, part: Part, network: Network | None) -> Network:
        if network is None:
            raise _missing(part, self.source)
        return network

    def _finite(self, part: Part, values: Tensor) -> Tensor:
        if not torch.isfinite(values).all():
            raise CheckpointError(
                f"{self.source}: the {part} network gives numbers that are not finite",
                hint="take other weights, or --precision fp32",
            )
        return values


def load(
    weights: Weights | str | Path,
    device: str | torch.device = "auto",
    *,
    people: People | None = None,
    body_models: str | Path | None = None,
    parts: Sequence[Part] = ("scene", "diffusion", "collision"),
    precision: str = "fp32",
) -> Pipeline:
    """The pipeline of trained weights.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones.
        people: Bodies; left out: those that the weights were trained with.
        body_models: Folder of licensed body models, for these; left out: the added assets.
        parts: Networks that are wanted; the collision network may be missing.

    Raises:
        AssetError: A licensed body model is not there.
        CheckpointError: A network is missing or does not fit.
    """
    weights = opened(weights, avatarctl_weights())
    where = torch.device(device) if not isinstance(device, str) else choose(device)[0]
    source = str(weights.path)
    check_parts(weights, parts)
    if people is None:
        people = People.load(Bodies(), body_of(weights), Path(body_models) if body_models else None)
    check_template(weights, people)
    people = people.to(where)
    found: dict[str, Any] = {part: load_network(weights, part, where) for part in parts if part != PART}
    if PART in parts and weights.holds(PART):
        found |= {PART: load_collision(weights, people), "collision_kind": kind_of(weights)}
    return Pipeline(people, where, **found, source=source, precision=precision)


def check_parts(weights: Weights, parts: Sequence[Part]) -> None:
    """Refuse weights that lack a network; the collision network may be missing.

    Raises:
        CheckpointError: The first network that is not there.
    """
    for part in parts:
        if part != PART and not weights.holds(part):
            raise _missing(part, str(weights.path))


def body_of(weights: Weights) -> Kind:
    """Whose bodies the weights were trained with.

    Raises:
        CheckpointError: They say something else than smpl or open.
    """
    found = weights.config.get("body", "smpl")
    if found not in ("smpl", "open"):
        raise CheckpointError(
            f"{weights.path}: body: found {str(found)[:20]!r}, expected smpl or open",
            hint="avatarctl inspect FILE says what a file is",
        )
    return "open" if found == "open" else "smpl"


def with_part(weights: Weights, part: Part, other: Weights) -> Weights:
    """Weights with one network from others.

    Raises:
        CheckpointError: Those do not have it, or know other bodies.
    """
    tensors = other.part(part)
    if weights.parts.keys() - {part} and body_of(weights) != body_of(other):
        raise CheckpointError(
            f"{weights.path} knows {body_of(weights)} bodies, but {other.path} {body_of(other)} ones",
            hint="choose weights of one body",
        )
    networks = {**weights.config.get("networks", {}), part: other.config.get("networks", {}).get(part)}
    config = {**weights.config, "networks": networks, "body": body_of(other)}
    unclear = {name: files for name, files in weights.unclear.items() if name != part}
    return replace(weights, parts={**weights.parts, part: tensors}, config=config, unclear=unclear)


def _missing(part: str, source: str) -> CheckpointError:
    return CheckpointError(
        f"{source}: has no '{part}' network", hint=f"name weights that have it: {OPTIONS[part]} FILE"
    )
