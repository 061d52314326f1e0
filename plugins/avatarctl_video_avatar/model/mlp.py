"""Fully connected networks under the published names, and places encoded by octaves (spec 4.6 to 4.8).

A module here only holds parameters. `layers()` gives weights as they are used, with norms applied: computed
once for many points. Constructors leave parameters 0; `reset` functions draw the published initial values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from avatarctl.device import Noise
from avatarctl.nn.linear import linear

Layer = tuple[Tensor, Tensor]
"""Weight [outputs, inputs] and bias [outputs]."""
BETA = 100.0
"""Sharpness of the softplus between layers."""
SKIP = 4
"""The layer that is given the network's input again."""


class Progress(nn.Module):
    """A number that published checkpoints hold and that never leaves 0 (spec 9, Q12)."""

    progress: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("progress", torch.zeros(()))


class Linear(nn.Module):
    """Weight and bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def layer(self) -> Layer:
        """As it is used."""
        return self.weight, self.bias

    def put(self, weight: Tensor, bias: Tensor | float) -> None:
        """Set both."""
        self.weight.copy_(weight)
        self.bias.copy_(torch.as_tensor(bias))


class NormedLinear(nn.Module):
    """Weight whose rows are `weight_v` brought to the lengths `weight_g` (Salimans and Kingma 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.weight_g = nn.Parameter(torch.zeros(outputs, 1))
        self.weight_v = nn.Parameter(torch.zeros(outputs, inputs))

    def layer(self) -> Layer:
        """As it is used."""
        return self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True)), self.bias

    def put(self, weight: Tensor, bias: Tensor | float) -> None:
        """Set it to a weight and a bias."""
        self.weight_v.copy_(weight)
        self.weight_g.copy_(self.weight_v.norm(dim=1, keepdim=True))
        self.bias.copy_(torch.as_tensor(bias))


class Stack(nn.Module):
    """Weight-normed layers `lin0`, `lin1`, ..., each given by its inputs and outputs."""

    def __init__(self, widths: Iterable[tuple[int, int]]) -> None:
        super().__init__()
        self.count = 0
        for inputs, outputs in widths:
            if min(inputs, outputs) < 1:
                raise ValueError(f"a layer from {inputs} to {outputs} numbers")
            self.add_module(f"lin{self.count}", NormedLinear(inputs, outputs))
            self.count += 1

    def linears(self) -> list[NormedLinear]:
        """The layers' modules in order."""
        return [self.get_submodule(f"lin{number}") for number in range(self.count)]  # type: ignore[misc]

    def layers(self) -> list[Layer]:
        """The layers as they are used."""
        return [one.layer() for one in self.linears()]


class TracedStack(Stack):
    """The same beside a `progress`, as most published networks have it."""

    progress: Tensor

    def __init__(self, widths: Iterable[tuple[int, int]]) -> None:
        super().__init__(widths)
        self.register_buffer("progress", torch.zeros(()))


class Block(nn.Module):
    """Plain layers between ReLUs, under the published names `block_mlps.0`, `block_mlps.2`, ..."""

    def __init__(self, widths: Iterable[tuple[int, int]]) -> None:
        super().__init__()
        self.block_mlps = nn.ModuleDict(
            {str(2 * number): Linear(*width) for number, width in enumerate(widths)}
        )

    def linears(self) -> list[Linear]:
        """The layers' modules in order."""
        return list(self.block_mlps.values())  # type: ignore[arg-type]

    def reset(self, noise: Noise) -> None:
        """Draw initial values with which the output is nearly 0."""
        *hidden, last = self.linears()
        for one in hidden:
            # Xavier, with the gain sqrt(2) of a ReLU
            limit = math.sqrt(2.0) * math.sqrt(6.0 / (one.inputs + one.outputs))
            one.put(_uniform(one, noise, limit), 0.0)
        last.put(_uniform(last, noise, 1e-5), 0.0)


def widths(inputs: int, hidden: int, outputs: int, count: int) -> list[tuple[int, int]]:
    """Inputs and outputs of `count` layers of equal width between."""
    sizes = [inputs, *[hidden] * (count - 1), outputs]
    return list(pairwise(sizes))


def softplus(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Numbers [N, outputs] after layers that each end in a softplus."""
    for weight, bias in layers:
        x = functional.softplus(linear(x, weight, bias), beta=BETA)
    return x


def skipping(x: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The same where layer 4 is given the network's input again, both divided by sqrt(2)."""
    given = x
    x = softplus(x, layers[:SKIP])
    return softplus(torch.cat([x, given], dim=1) / math.sqrt(2.0), layers[SKIP:])


def octaves(points: Tensor, count: int) -> Tensor:
    """Sines and cosines of points [N, 3] at the rates 1, 2, 4, ... [N, count, 2, 3]."""
    angles = points[:, None] * 2.0 ** torch.arange(count, device=points.device)[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=2)


def draw_default(linears: Iterable[Linear | NormedLinear], noise: Noise) -> None:
    """Draw PyTorch's initial values."""
    for one in linears:
        limit = 1 / math.sqrt(one.inputs)
        one.put(_uniform(one, noise, limit), limit * (2 * noise.uniform((one.outputs,)) - 1))


def draw_geometric(linears: Sequence[NormedLinear], noise: Noise, given: int) -> None:
    """Draw values with which the network is about the distance to a sphere (Atzmon and Lipman 2020).

    Args:
        given: Numbers of the input that are no places; nothing depends on them at first.
    """
    last = linears[-1]
    draw_normal(linears[:-1], noise)
    for number, one in enumerate(linears[:-1]):
        if number in (0, SKIP) and given:
            weight = one.weight_v.clone()
            weight[:, -given:] = 0
            one.put(weight, 0.0)
    mean = math.sqrt(math.pi / last.inputs)
    last.put(mean + 1e-4 * noise.normal((last.outputs, last.inputs)), -0.5)


def draw_normal(linears: Iterable[NormedLinear], noise: Noise) -> None:
    """Draw weights that keep the size of numbers behind a softplus, and biases of 0."""
    for one in linears:
        deviation = math.sqrt(2.0 / one.outputs)
        one.put(deviation * noise.normal((one.outputs, one.inputs)), 0.0)


def _uniform(one: Linear | NormedLinear, noise: Noise, limit: float) -> Tensor:
    return limit * (2 * noise.uniform((one.outputs, one.inputs)) - 1)
