"""An avatar: all of its networks under the published names (spec 4.6 to 4.11).

`surface()`, `colour()` and `skinning()` give functions of points in which everything that depends on
parameters only is computed already: once for a step of training, once for all pictures of an avatar.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from avatarctl.checkpoints import Weights, sizes
from avatarctl.device import Noise
from avatarctl.errors import CheckpointError
from avatarctl_video_avatar.model.colour import Colour, ColourNet
from avatarctl_video_avatar.model.delta import DeltaSdf
from avatarctl_video_avatar.model.mlp import Progress
from avatarctl_video_avatar.model.mlp_sdf import MlpSdf
from avatarctl_video_avatar.model.nonrigid import NonRigid, OffsetNet
from avatarctl_video_avatar.model.pose import PoseDecoder
from avatarctl_video_avatar.model.skinning import Skinning, SkinningNet
from avatarctl_video_avatar.model.surface import Surface

PART = "avatar"
"""The part of a weights file."""
GROUPS = ("pose_decoder", "skinning_model", "non_rigid_mlp")
"""Networks with learning rates of their own (spec 5)."""
OTHERS = "others"
"""The group of all other parameters."""
VARIANCE = 0.3
"""Of a fresh avatar: the surface's opacity begins with sharpness exp(3) (spec 4.8)."""
OF_PLANES, OF_SKINNING = ("img_resolution", "img_channels", "box_warp"), ("skinning_hidden",)
"""Sizes that only some avatars have."""


@dataclass(frozen=True)
class AvatarSizes:
    """Sizes of the networks; the published ones by default. `settings_model.Network` says what they are."""

    sdf: str = "triplane"
    deform: str = "skinning"
    img_resolution: int = 512
    img_channels: int = 24
    box_warp: int = 3
    hidden: int = 256
    features: int = 256
    skinning_hidden: int = 128
    pose_hidden: int = 256

    def stored(self) -> dict[str, Any]:
        """Sizes by name, as weights files hold them: those of networks that there are."""
        absent = (() if self.sdf == "triplane" else OF_PLANES) + (
            () if self.deform == "skinning" else OF_SKINNING
        )
        return {name: value for name, value in asdict(self).items() if name not in absent}


class Sharpness(nn.Module):
    """How sharply opacity follows the distance to the surface."""

    def __init__(self) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """inv_s = exp(10 variance), a scalar."""
        return torch.exp(10 * self.variance)


class Avatar(nn.Module):
    """All networks of an avatar, all parameters 0: `build` draws initial values, `load` reads trained ones.

    Raises:
        ValueError: No networks have these sizes.
    """

    def __init__(self, given: AvatarSizes | None = None) -> None:
        super().__init__()
        self.sizes = one = given or AvatarSizes()
        if one.sdf not in ("triplane", "mlp") or one.deform not in ("skinning", "nonrigid"):
            raise ValueError(
                f"found sdf {one.sdf}, deform {one.deform}; expected triplane or mlp, skinning or nonrigid"
            )
        self.pose_decoder = PoseDecoder(one.pose_hidden)
        self.motion_basis_computer = Progress()
        self.deviation_network = Sharpness()
        self.color_network = ColourNet(one.hidden, one.features)
        self.skinning_model = SkinningNet(one.skinning_hidden) if one.deform == "skinning" else None
        self.offset_net = OffsetNet() if one.deform == "nonrigid" else None
        self.non_rigid_mlp = NonRigid() if one.deform == "nonrigid" else None
        self.sdf_network: DeltaSdf | MlpSdf
        if one.sdf == "triplane":
            self.sdf_network = DeltaSdf(
                one.img_resolution, one.img_channels, one.box_warp, one.hidden, one.features
            )
        else:
            self.sdf_network = MlpSdf(one.hidden, one.features)
        self._kept: tuple[tuple[tuple[int, int], ...], Surface] | None = None

    @torch.no_grad()
    def reset(self, noise: Noise) -> None:
        """Draw the published initial values."""
        self.deviation_network.variance.fill_(VARIANCE)
        for network in (
            self.pose_decoder,
            self.color_network,
            self.skinning_model,
            self.offset_net,
            self.non_rigid_mlp,
            self.sdf_network,
        ):
            if network is not None:
                network.reset(noise)

    def surface(self) -> Surface:
        """Detail of the surface as a function of canonical points.

        With gradients enabled it is part of the graph of the parameters, for one backward pass; without, the
        same is given again until a parameter changes.
        """
        if torch.is_grad_enabled():
            self._kept = None
            return self.sdf_network.surface()
        mark = tuple((one.data_ptr(), one._version) for one in self.sdf_network.parameters())
        if self._kept is None or self._kept[0] != mark:
            self._kept = None  # both together would be twice the memory
            self._kept = (mark, self.sdf_network.surface())
        return self._kept[1]

    def surfaces(self, count: int) -> Iterator[Surface]:
        """The surface for each of several pictures of a step, which go backward one after the other.

        The planes are filtered once; what the first pictures say of them reaches the parameters with the
        gradient of the last.
        """
        self._kept = None
        network = self.sdf_network
        if count == 1 or not isinstance(network, DeltaSdf):
            for _ in range(count):
                yield network.surface()
            return
        whole = network.filtered()
        leaf = whole.table.detach().requires_grad_()
        for _ in range(count - 1):
            yield network.surface(replace(whole, table=leaf))
        gathered = leaf.grad
        if gathered is not None:
            whole.table.register_hook(lambda gradient: gradient + gathered)
        yield network.surface(whole)

    def colour(self) -> Colour:
        """Colour as a function of canonical points, views, normals and features."""
        return self.color_network.colour()

    def skinning(self) -> Skinning:
        """Shares of the bones as a function of canonical points; only of avatars with a skinning network."""
        assert self.skinning_model is not None, "this avatar deforms by non-rigid motion"
        return self.skinning_model.skinning()

    def sharpness(self) -> Tensor:
        """inv_s of opacity, before it is clipped, a scalar."""
        made: Tensor = self.deviation_network()
        return made

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of their learning rate: those of `GROUPS` that there are, and the others."""
        found: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            group = name.partition(".")[0]
            found.setdefault(group if group in GROUPS else OTHERS, []).append(parameter)
        return found


def build(given: AvatarSizes, noise: Noise) -> Avatar:
    """A fresh avatar with the published initial values."""
    made = Avatar(given)
    made.reset(noise)
    return made


def steps_of(weights: Weights) -> int:
    """Finished training steps of an avatar, which rendering depends on.

    Raises:
        CheckpointError: The file does not say.
    """
    found = weights.config.get("step", (weights.config.get("loop") or {}).get("step"))
    if type(found) is not int or found < 0:
        raise CheckpointError(
            f"{weights.path}: step is {found!r}, expected the number of finished steps",
            hint="take the file as the training wrote it",
        )
    return found


def load(weights: Weights, device: torch.device, *, frozen: bool = True) -> Avatar:
    """An avatar from a weights file.

    Args:
        frozen: Share the file's tensors and take no gradients; otherwise to be trained on.

    Raises:
        CheckpointError: The file has no avatar, or its tensors are not those of its sizes.
    """
    found = sizes.sizes_in(weights, PART, AvatarSizes())
    made = sizes.network(weights, PART, Avatar, found)
    assert isinstance(made, Avatar)
    if not frozen:
        made = deepcopy(made).train().requires_grad_(True)
    return made.to(device)
