"""The networks in the form that inference computes: equal to denoiser.py and decoder.py up to rounding.

What is linear between two layers that are not is one product, worked out in float64; what depends on the time
step or on nothing is worked out once; of the decoder's frames only the last is made (spec 11, items 1 to 4).
The condition is a product of 54 columns this way, so that keeping its rows from frame to frame would save
nothing. A window's numbers do not depend on its batch (see products.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avatarctl_sparse_tracking.model import stack
from avatarctl_sparse_tracking.model.decoder import Decoder, Refiner
from avatarctl_sparse_tracking.model.denoiser import WINDOW, Block, Condition, LatentDiffusion
from avatarctl_sparse_tracking.model.products import Apply, NumberFormat, keeps_rows, product

State = tuple[Tensor, ...]
"""Of the refiner after a frame: a vector [C] of each layer."""


TOKENS = WINDOW // 2
"""Of a window; the blocks work on the tokens of all windows, one after the other [B L, C]."""


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Mixed tokens [B L, C] of queries, keys and values side by side [B L, 3 C]."""
    width = qkv.shape[1] // 3
    query, key, value = qkv.view(-1, TOKENS, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(-1, width)


class Context:
    """From trackers [B, T, 3, 18] to their share of the tokens [B, T / 2, N]: everything is linear.

    Args:
        after: What the tokens of the condition are multiplied with [N, C].
        constant: What is added to the result [T / 2, N], float64.
    """

    def __init__(self, condition: Condition, frames_in: nn.Conv1d, after: Tensor, constant: Tensor) -> None:
        spread, mix = condition.trackers.weight[:, :, 0].double(), frames_in.weight[:, :, 0].double()
        project = condition.project.weight.double().unflatten(1, (len(spread), -1))  # [C, 22, 18]
        weight = after @ torch.einsum("ojc,jk->okc", project, spread).flatten(1)
        bias = torch.einsum("ojc,j->o", project, condition.trackers.bias.double())  # type: ignore[union-attr]
        bias = after @ (bias + condition.project.bias.double())
        moved = frames_in.bias.double()[:, None] * after.sum(1)  # type: ignore[union-attr]
        self.product = product(weight, bias)
        self.mix, self.constant = mix.float(), (constant + moved).float()

    def __call__(self, trackers: Tensor) -> Tensor:
        """The tokens' share."""
        return _mixed(self.constant, self.mix, self.product(trackers.reshape(-1, 54)))


def _mixed(added: Tensor, mix: Tensor, tokens: Tensor) -> Tensor:
    """`added` [B or none, M, N] plus tokens [B L, N] of each window mixed by a matrix [M, L]: [B, M, N]."""
    windows = tokens.unflatten(0, (-1, mix.shape[1]))
    if len(windows) == 1 and not keeps_rows():
        return _mixed(added, mix, tokens.repeat(2, 1))[:1]
    return torch.baddbmm(added.expand(len(windows), -1, -1), mix.expand(len(windows), -1, -1), windows)


class DenoiserBlock:
    """A block of the denoiser for chosen time steps."""

    def __init__(self, block: Block, number_format: NumberFormat) -> None:
        self.block, self.heads = block, block.attn.heads
        layers = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        self.qkv, self.proj, self.fc1, self.fc2 = (
            product(layer.weight, layer.bias, number_format=number_format, gelu="tanh" if place == 2 else "")
            for place, layer in enumerate(layers)
        )

    def modulations(self, time: Tensor) -> list[tuple[Tensor, ...]]:
        """Shift, scale and gate of both halves for each embedded step [S, C]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.block.modulated(time)[:, 0].chunk(6, dim=-1)
        return list(zip(shift1, 1 + scale1, gate1, shift2, 1 + scale2, gate2, strict=True))

    def __call__(self, x: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Tokens [B L, C]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        width = x.shape[-1:]
        mixed = self.proj(attend(self.qkv(F.layer_norm(x, width, scale1, shift1, 1e-6)), self.heads))
        x = torch.addcmul(x, gate1, mixed)
        return torch.addcmul(x, gate2, self.fc2(self.fc1(F.layer_norm(x, width, scale2, shift2, 1e-6))))


class FastDiffusion:
    """A LatentDiffusion for inference."""

    def __init__(self, network: LatentDiffusion, number_format: NumberFormat = "float32") -> None:
        denoiser = network.denoiser
        self.denoiser, self.latent, self.tokens = denoiser, network.latent, network.tokens
        of_condition, of_latents = (
            part.double() for part in denoiser.enter.weight.split([denoiser.width, network.latent], dim=1)
        )
        align = denoiser.align.weight[:, :, 0].double()
        moved = denoiser.align.bias.double()[:, None] * of_latents.sum(1)  # type: ignore[union-attr]
        none = torch.zeros(denoiser.width, device=align.device)
        self.given = None
        if denoiser.join is not None:
            of_given, of_noisy = denoiser.join.weight.double().chunk(2, dim=1)
            self.given = product(of_latents @ of_given, none)
            moved = moved + align.sum(1)[:, None] * (of_latents @ denoiser.join.bias.double())
            of_latents = of_latents @ of_noisy
        constant = denoiser.enter.bias.double() + moved
        self.context = Context(network.condition, denoiser.frames_in, of_condition, constant)
        self.enter, self.align = product(of_latents, none), align.float()
        self.blocks = [DenoiserBlock(block, number_format) for block in denoiser.blocks]  # type: ignore[arg-type]
        self.leave = product(denoiser.leave.weight, denoiser.leave.bias)
        self._modulations: dict[tuple[int, ...], list[list[tuple[Tensor, ...]]]] = {}

    def denoising(
        self, trackers: Tensor, steps: Sequence[int], given: Tensor | None = None
    ) -> Callable[[Tensor, int], Tensor]:
        """As LatentDiffusion.denoising."""
        context, modulations = self.context(trackers), self._of_steps(tuple(steps))
        if self.given is not None and given is not None:
            context = _mixed(context, self.align, self.given(given.flatten(0, 1)))

        def denoise(noisy: Tensor, place: int) -> Tensor:
            x = _mixed(context, self.align, self.enter(noisy.flatten(0, 1))).flatten(0, 1)
            for block, modulation in zip(self.blocks, modulations, strict=True):
                x = block(x, modulation[place])
            return self.leave(x).view_as(noisy)

        return denoise

    def _of_steps(self, steps: tuple[int, ...]) -> list[list[tuple[Tensor, ...]]]:
        """Of each block at each step, worked out once."""
        if steps not in self._modulations:
            time = self.denoiser.embedded(torch.tensor(steps, device=self.align.device))
            self._modulations[steps] = [block.modulations(time) for block in self.blocks]
        return self._modulations[steps]


def _linear(layer: object) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer


class StackBlock:
    """A block of the decoder's stack."""

    def __init__(self, block: stack.Block) -> None:
        self.heads, self.ln1, self.ln2 = block.attn.heads, block.ln1, block.ln2
        attn, fc1, fc2 = block.attn, _linear(block.mlp[0]), _linear(block.mlp[2])
        parts = [_linear(part) for part in (attn.query, attn.key, attn.value)]
        self.qkv = product(
            torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )
        self.proj = product(attn.proj.weight, attn.proj.bias)
        self.fc1, self.fc2 = product(fc1.weight, fc1.bias, gelu="none"), product(fc2.weight, fc2.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """Tokens [B L, C]."""
        x = x + self.proj(attend(self.qkv(self.ln1(x)), self.heads))
        return x + self.fc2(self.fc1(self.ln2(x)))


class FastDecoder:
    """The last frame of a Decoder."""

    def __init__(self, network: Decoder) -> None:
        layers, latent = network.stack, network.frames_in.out_channels
        width = network.from_latents.in_features // 3
        of_condition, of_latents = network.from_latents.weight.double().split([width, 2 * width], dim=1)
        constant = network.from_latents.bias.double() + layers.positions[0, :latent].double()
        self.context = Context(network.condition, network.frames_in, of_condition, constant)
        self.enter = product(of_latents, torch.zeros_like(network.from_latents.bias))
        self.blocks = [StackBlock(block) for block in layers.blocks]  # type: ignore[arg-type]
        assert layers.up is not None
        # The last of the 2 L + 1 frames of a transposed convolution of stride 2 comes from the last token.
        self.up = product(layers.up.weight[:, :, 2].mT, layers.up.bias)  # type: ignore[arg-type]
        self.norm = layers.norm
        first, second = ([_linear(one[place]) for one in (network.root, network.body)] for place in (0, 2))
        joined = torch.cat([layer.weight for layer in first]).double() @ layers.head.weight.double()
        self.first = product(joined, torch.cat([layer.bias for layer in first]))
        apart = torch.block_diag(*(layer.weight for layer in second))
        self.second = product(apart, torch.cat([layer.bias for layer in second]))

    def __call__(self, upper: Tensor, lower: Tensor, trackers: Tensor) -> Tensor:
        """Rotations of the last frame [B, 132]; arguments as Decoder's."""
        context = self.context(trackers).flatten(0, 1)
        x = context + self.enter(torch.cat([upper, lower], dim=-1).flatten(0, 1))
        for block in self.blocks:
            x = block(x)
        last = x[TOKENS - 1 :: TOKENS]
        return self.second(F.relu(self.first(self.norm(self.up(last)))))


class FastRefiner:
    """A Refiner that goes on from frame to frame."""

    def __init__(self, network: Refiner) -> None:
        recurrent = network.recurrent
        self.layers: list[tuple[Apply, Tensor, Tensor]] = []
        for layer in range(recurrent.num_layers):
            names = (f"{name}_l{layer}" for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
            into, into_bias, again, again_bias = (getattr(recurrent, name).detach() for name in names)
            self.layers.append((product(into, into_bias), again, again_bias))
        self.start = network.change.weight.new_zeros(recurrent.hidden_size)
        self.change = product(network.change.weight, network.change.bias)

    def __call__(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The change of each frame [F, 132], and the state after the last; None at the start."""
        x, after = frames, []
        for place, (into, again, bias) in enumerate(self.layers):
            hidden, made = self.start if state is None else state[place], []
            for gates in into(x):
                hidden = _next(gates, torch.addmv(bias, again, hidden), hidden)
                made.append(hidden)
            x = torch.stack(made)
            after.append(hidden)
        return self.change(x), tuple(after)


@dataclass(frozen=True)
class Fast:
    """All networks of inference."""

    upper: FastDiffusion
    lower: FastDiffusion
    decoder: FastDecoder
    refiner: FastRefiner | None

    @staticmethod
    def of(
        upper: LatentDiffusion,
        lower: LatentDiffusion,
        decoder: Decoder,
        refiner: Refiner | None,
        number_format: NumberFormat,
    ) -> Fast:
        """Pack networks; the number format is that of the denoisers' blocks."""
        return Fast(
            FastDiffusion(upper, number_format),
            FastDiffusion(lower, number_format),
            FastDecoder(decoder),
            FastRefiner(refiner) if refiner is not None else None,
        )


def _next(gates: Tensor, again: Tensor, hidden: Tensor) -> Tensor:
    """The hidden vector after a frame: reset and update gate, candidate [3 C] (spec 4.6)."""
    width = len(hidden)
    reset, update = (gates[: 2 * width] + again[: 2 * width]).sigmoid_().chunk(2)
    candidate = torch.addcmul(gates[2 * width :], reset, again[2 * width :]).tanh_()
    return torch.lerp(candidate, hidden, update)
