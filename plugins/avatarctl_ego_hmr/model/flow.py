"""Conditional Glow over poses: densities of given ones, and samples (Kingma & Dhariwal 2018, spec 4.4).

Each transform takes rows x [B, D] and their conditions [B, C] to y [B, D] and log |det dy/dx| [B]; `inverse`
goes back, with the determinant of the way back. Twelve of them make the flow, each third of one kind.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAST_DIAGONAL = 1e-3
LEAST_DEVIATION = 1e-3


class Moved(NamedTuple):
    """Rows [B, D] after a transform, and the log determinant [B] of it."""

    rows: Tensor
    log_det: Tensor


class Transform(nn.Module):
    """An invertible map; the buffer is one that official files hold."""

    dummy_buffer: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("dummy_buffer", torch.ones(()))


class ActNorm(Transform):
    """Scale and shift of each number, which give the first batch a mean of 0 and a deviation of 1."""

    initialized: Tensor

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(numbers))
        self.shift = nn.Parameter(torch.zeros(numbers))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor, context: Tensor) -> Moved:
        return Moved(self.log_scale.exp() * x + self.shift, self.log_scale.sum().expand(len(x)))

    def inverse(self, y: Tensor, context: Tensor) -> Moved:
        return Moved((y - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(y)))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Take scale and shift from rows [B, D], unless that was done before."""
        if bool(self.initialized):
            return
        deviation = x.std(dim=0).clamp(min=LEAST_DEVIATION)
        self.log_scale.copy_(-deviation.log())
        self.shift.copy_(-(x / deviation).mean(dim=0))
        self.initialized.fill_(True)


class LULinear(Transform):
    """A matrix L U and a bias, the identity at first."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        entries = numbers * (numbers - 1) // 2
        self.bias = nn.Parameter(torch.zeros(numbers))
        self.lower_entries = nn.Parameter(torch.zeros(entries))
        self.upper_entries = nn.Parameter(torch.zeros(entries))
        raw = math.log(math.expm1(1 - LEAST_DIAGONAL))
        self.unconstrained_upper_diag = nn.Parameter(torch.full((numbers,), raw))

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """L and U [D, D], and the diagonal of U [D]."""
        count = len(self.bias)
        diagonal = functional.softplus(self.unconstrained_upper_diag) + LEAST_DIAGONAL
        rows, columns = torch.tril_indices(count, count, -1, device=diagonal.device)
        lower = torch.eye(count, dtype=diagonal.dtype, device=diagonal.device)
        lower = lower.index_put((rows, columns), self.lower_entries)
        rows, columns = torch.triu_indices(count, count, 1, device=diagonal.device)
        upper = torch.diag(diagonal).index_put((rows, columns), self.upper_entries)
        return lower, upper, diagonal

    def forward(self, x: Tensor, context: Tensor) -> Moved:
        lower, upper, diagonal = self.matrices()
        y = functional.linear(functional.linear(x, upper), lower, self.bias)
        return Moved(y, diagonal.log().sum().expand(len(x)))

    def inverse(self, y: Tensor, context: Tensor) -> Moved:
        lower, upper, diagonal = self.matrices()
        columns = (y - self.bias).mT
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        columns = torch.linalg.solve_triangular(upper, columns, upper=True)
        return Moved(columns.mT, -diagonal.log().sum().expand(len(y)))


class ResidualBlock(nn.Module):
    """Two linear layers, each after a norm, beside the identity."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.batch_norm_layers = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(2))
        self.linear_layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        for tensor in self.linear_layers[1].parameters():
            nn.init.uniform_(tensor, -1e-3, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_layers[0](functional.relu(self.batch_norm_layers[0](x)))
        y = self.dropout(functional.relu(self.batch_norm_layers[1](y)))
        return x + self.linear_layers[1](y)


class CouplingNet(nn.Module):
    """What a coupling adds to half of the numbers, from the other half and the condition."""

    def __init__(self, inputs: int, outputs: int, hidden: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.initial_layer = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(ResidualBlock(hidden, dropout) for _ in range(depth))
        self.final_layer = nn.Linear(hidden, outputs)
        bound = 0.01 / math.sqrt(hidden)
        for tensor in self.final_layer.parameters():
            nn.init.uniform_(tensor, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial_layer(x)
        for block in self.blocks:
            x = block(x)
        return self.final_layer(x)


class Coupling(Transform):
    """Adds to every second number what a network makes of the others."""

    identity_features: Tensor
    transform_features: Tensor

    def __init__(self, numbers: int, first: int, net: CouplingNet) -> None:
        """
        Args:
            first: The first of the numbers that stay, 0 or 1.
        """
        super().__init__()
        self.register_buffer("identity_features", torch.arange(first, numbers, 2))
        self.register_buffer("transform_features", torch.arange(1 - first, numbers, 2))
        self.transform_net = net

    def forward(self, x: Tensor, context: Tensor) -> Moved:
        return self._moved(x, context, 1.0)

    def inverse(self, y: Tensor, context: Tensor) -> Moved:
        return self._moved(y, context, -1.0)

    def _moved(self, x: Tensor, context: Tensor, sign: float) -> Moved:
        """The numbers that stay are those before and after, so that both ways see the same shift."""
        shift = self.transform_net(torch.cat([x[:, self.identity_features], context], dim=1))
        return Moved(x.index_add(1, self.transform_features, shift, alpha=sign), x.new_zeros(len(x)))


class Composite(Transform):
    """Transforms one after the other."""

    def __init__(self, transforms: list[Transform]) -> None:
        super().__init__()
        self._transforms = nn.ModuleList(transforms)

    @property
    def transforms(self) -> list[Transform]:
        """Those, in the direction of densities."""
        return list(self._transforms)  # type: ignore[arg-type]


class Flow(nn.Module):
    """A density over rows of numbers, given a condition of each."""

    def __init__(
        self, numbers: int, context: int, *, layers: int, hidden: int, depth: int, dropout: float
    ) -> None:
        """
        Args:
            numbers: Of a row; even.
            context: Numbers of a condition.
            layers: Steps of ActNorm, linear layer and coupling.
            hidden, depth, dropout: Of the networks in couplings.
        """
        super().__init__()
        made: list[Transform] = []
        for layer in range(layers):
            net = CouplingNet(numbers // 2 + context, numbers // 2, hidden, depth, dropout)
            made += [ActNorm(numbers), LULinear(numbers), Coupling(numbers, layer % 2, net)]
        self.numbers = numbers
        self._transform = Composite(made)

    @property
    def transforms(self) -> list[Transform]:
        """The transforms, in the direction of densities."""
        return self._transform.transforms

    def log_prob(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Log density [B] of rows [B, D], and the latents [B, D] that would give them."""
        total = x.new_zeros(len(x))
        for transform in self.transforms:
            x, log_det = transform(x, context)
            total = total + log_det
        return normal_log_prob(x) + total, x

    def sample(self, latents: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Rows [B, D] that latents [B, D] give, and their log density [B]."""
        x, total = latents, latents.new_zeros(len(latents))
        for transform in reversed(self.transforms):
            x, log_det = transform.inverse(x, context)  # type: ignore[operator]
            total = total + log_det
        return x, normal_log_prob(latents) - total

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor) -> None:
        """Give each ActNorm that has none its scale and shift from a first batch of rows [B, D]."""
        for transform in self.transforms:
            if isinstance(transform, ActNorm):
                transform.initialise(x)
            x = transform(x, context).rows


def normal_log_prob(z: Tensor) -> Tensor:
    """Log density [B] of the standard normal distribution at rows [B, D]."""
    return -0.5 * z.square().sum(dim=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
