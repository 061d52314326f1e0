"""Collision networks from weights: which kind it is, the file says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avatarctl.body import BodyModel
from avatarctl.checkpoints import Weights, sizes
from avatarctl.checkpoints.official import INSPECT
from avatarctl.errors import CheckpointError
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.coap import Coap, CoapSizes
from avatarctl_ego_hmr.collision.parts import PartNetwork
from avatarctl_ego_hmr.collision.volumetric import Volumetric, VolumetricSizes

PART = "collision"
KINDS: dict[str, tuple[Callable[[Any, BodyModel], PartNetwork], Any]] = {
    "coap": (Coap, CoapSizes()),
    "volumetric": (Volumetric, VolumetricSizes()),
}
"""Of each kind its class and the published sizes."""


def kind_of(weights: Weights) -> str:
    """Which kind of collision network the weights hold.

    Raises:
        CheckpointError: They hold none, or one of no known kind.
    """
    weights.part(PART)
    networks = weights.config.get("networks")
    found = networks.get(PART) if isinstance(networks, dict) else None
    kind = found.get("kind") if isinstance(found, dict) else None
    if kind not in KINDS:
        raise CheckpointError(
            f"{weights.path}: networks: {PART}: found kind {kind!r}, expected {' or '.join(KINDS)}",
            hint=INSPECT,
        )
    return str(kind)


def load_collision(weights: Weights, people: People) -> PartNetwork:
    """The collision network of the neutral body, frozen.

    Raises:
        CheckpointError: The file has none, its tensors are not those of its sizes, or it knows other bodies.
    """
    kind, published = KINDS[kind_of(weights)]
    body = people.neutral
    known, given = str(weights.config.get("body", "smpl")), "open" if body.is_open else "smpl"
    if known != given:
        raise CheckpointError(
            f"{weights.path}: a collision network of the body '{known}'; the bodies here are '{given}'",
            hint="name one of the same body: --collision FILE, or train it: avatarctl train ego-hmr "
            "--stage collision",
        )
    found = sizes.sizes_in(weights, PART, published)
    network = sizes.network(weights, PART, lambda made: kind(made, body), found)
    assert isinstance(network, PartNetwork)
    return network.to(body.template.device)
