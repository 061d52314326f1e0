"""PointNet with residual blocks: features of a cloud of points (spec 4.3; ConvONet's ResnetPointnet)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from avatarctl.nn.linear import linear


class Block(nn.Module):
    """Two linear layers beside a shortcut; the shortcut has no bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(inputs, outputs)
        self.fc_1 = nn.Linear(outputs, outputs)
        self.shortcut = nn.Linear(inputs, outputs, bias=False)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., outputs] of features [..., inputs]."""
        return _linear(self.shortcut, x) + self._residual(_linear(self.fc_0, functional.relu(x)))

    def _residual(self, hidden: Tensor) -> Tensor:
        return _linear(self.fc_1, functional.relu(hidden))

    def with_pooled(self, x: Tensor, pooled: Tensor) -> Tensor:
        """The same for [x, pooled], where `pooled` [..., 1, inputs / 2] is one for all points x.

        A linear layer of a concatenation is the sum of two; that of the pooled half is computed once.
        """
        own = x.shape[-1]
        hidden = _split(self.fc_0, functional.relu(x), functional.relu(pooled), own)
        return _split(self.shortcut, x, pooled, own) + self._residual(hidden)


def _split(layer: nn.Linear, x: Tensor, pooled: Tensor, own: int) -> Tensor:
    shared = functional.linear(pooled, layer.weight[:, own:], layer.bias)
    return linear(x, layer.weight[:, :own]) + shared


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


class PointEncoder(nn.Module):
    """Features [..., features] of points [..., N, 3]; four blocks, each but the first sees what all have.

    Args:
        hidden: Width of a block.
        features: Numbers that come out.
        position: Name of the first layer in checkpoints.
        blocks: Names of the four blocks in checkpoints.
    """

    def __init__(
        self,
        hidden: int = 256,
        features: int = 512,
        *,
        position: str = "fc_pos_0",
        blocks: tuple[str, str, str, str] = ("block_0", "block_1", "block_2", "block_3"),
    ) -> None:
        super().__init__()
        self.names = (position, *blocks)
        self.add_module(position, nn.Linear(3, 2 * hidden))
        for name in blocks:
            self.add_module(name, Block(2 * hidden, hidden))
        self.fc_c = nn.Linear(hidden, features)

    def forward(self, points: Tensor) -> Tensor:
        """Features of each cloud."""
        position, first, *others = (self.get_submodule(name) for name in self.names)
        x = first(position(points))
        for block in others:
            x = block.with_pooled(x, x.amax(dim=-2, keepdim=True))  # type: ignore[operator]
        return self.fc_c(functional.relu(x.amax(dim=-2)))
