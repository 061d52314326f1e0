"""The published inference of one window or a batch, operation for operation, for the bench.

Written from the specification (sparse-tracking 4.4 to 4.6, 6.2): five calls of each denoiser, the condition
and the modulations worked out anew at each, attention in separate products, every frame of the decoder, and
the refiner over the frames.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from avatarctl_sparse_tracking.pipeline import Pipeline
from torch import Tensor
from torch.nn import functional as F

STEPS = (800, 600, 400, 200, 0)


class Published:
    """The networks of a pipeline, computed as published."""

    def __init__(self, model: Pipeline) -> None:
        parts = {"upper": model.upper, "lower": model.lower, "decoder": model.decoder}
        self.refiner, self.stack = model.refiner, model.decoder.stack
        self.weights = {name: dict(part.state_dict()) for name, part in parts.items()}
        self.heads = {"upper": _heads(model.upper), "lower": _heads(model.lower)}
        fraction = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(1001)]
        betas = [min(1 - after / before, 0.999) for before, after in pairwise(fraction)]
        self.kept = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64).float(), 0)

    @torch.no_grad()
    def __call__(self, windows: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
        """Local 6D rotations [B, 132] of windows [B, 20, 3, 18] from normal starts [B, 10, D]."""
        first = self.sample("upper", windows, upper)
        second = self.sample("lower", windows, lower, first)
        frames = self.decode(windows, first, second)[:, -1]
        return frames if self.refiner is None else frames + self.refiner(frames[None])[0][0]

    def sample(self, part: str, windows: Tensor, start: Tensor, given: Tensor | None = None) -> Tensor:
        """Latents by five steps."""
        x = 0.01 * start
        for step in STEPS:
            clean = self.denoise(part, x, step, windows, given)
            kept, after = self.kept[step], self.kept[max(step - 200, 0)]
            noise = (x - kept.sqrt() * clean) / (1 - kept).sqrt()
            x = after.sqrt() * clean + (1 - after).sqrt() * noise
        return x

    def denoise(self, part: str, x: Tensor, step: int, windows: Tensor, given: Tensor | None) -> Tensor:
        """One call of a denoiser."""
        weights, name = self.weights[part], "denoiser."
        angle = step * torch.exp(-math.log(10000.0) * torch.arange(128) / 128)
        time = torch.cat([angle.cos(), angle.sin()]).expand(len(x), -1)
        time = self.linear(part, f"{name}time.2", F.silu(self.linear(part, f"{name}time.0", time)))
        condition = F.conv1d(
            self.condition(part, windows),
            weights[f"{name}frames_in.weight"],
            weights[f"{name}frames_in.bias"],
        )
        if given is not None:
            x = self.linear(part, f"{name}join", torch.cat([given, x], -1))
        x = F.conv1d(x, weights[f"{name}align.weight"], weights[f"{name}align.bias"])
        x = self.linear(part, f"{name}enter", torch.cat([condition, x], -1))
        for block in range(sum(key.endswith("attn.qkv.weight") for key in weights)):
            x = self.block(part, f"{name}blocks.{block}.", x, time)
        return self.linear(part, f"{name}leave", x)

    def block(self, part: str, name: str, x: Tensor, time: Tensor) -> Tensor:
        """One transformer block, modulated by the embedded step."""
        modulation = self.linear(part, f"{name}modulation.1", F.silu(time))[:, None].chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation
        qkv = self.linear(part, f"{name}attn.qkv", _norm(x) * (1 + scale1) + shift1)
        query, key, value = qkv.unflatten(-1, (3, self.heads[part], -1)).permute(2, 0, 3, 1, 4)
        mixed = _attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + gate1 * self.linear(part, f"{name}attn.proj", mixed)
        inner = self.linear(part, f"{name}mlp.fc1", _norm(x) * (1 + scale2) + shift2)
        return x + gate2 * self.linear(part, f"{name}mlp.fc2", F.gelu(inner, approximate="tanh"))

    def decode(self, windows: Tensor, upper: Tensor, lower: Tensor) -> Tensor:
        """All frames of the decoder [B, 20, 132]."""
        weights = self.weights["decoder"]
        condition = F.conv1d(
            self.condition("decoder", windows), weights["frames_in.weight"], weights["frames_in.bias"]
        )
        x = self.linear("decoder", "from_latents", torch.cat([condition, upper, lower], -1))
        x = x + weights["stack.positions"][:, : x.shape[1]]
        for index, block in enumerate(self.stack.blocks):
            name = f"stack.blocks.{index}."
            normed = block.ln1(x)
            query, key, value = (
                self.linear("decoder", f"{name}attn.{one}", normed)
                .unflatten(-1, (block.attn.heads, -1))
                .transpose(1, 2)
                for one in ("query", "key", "value")
            )
            mixed = _attention(query, key, value).transpose(1, 2).flatten(2)
            x = x + self.linear("decoder", f"{name}attn.proj", mixed)
            inner = F.gelu(self.linear("decoder", f"{name}mlp.0", block.ln2(x)))
            x = x + self.linear("decoder", f"{name}mlp.2", inner)
        up = F.conv_transpose1d(x.mT, weights["stack.up.weight"], weights["stack.up.bias"], stride=2)
        x = F.linear(self.stack.norm(up.mT[:, 1:]), weights["stack.head.weight"])
        parts = [
            self.linear("decoder", f"{one}.2", self.linear("decoder", f"{one}.0", x).relu())
            for one in ("root", "body")
        ]
        return torch.cat(parts, -1)

    def condition(self, part: str, windows: Tensor) -> Tensor:
        """A token of each frame [B, 20, C]."""
        weights = self.weights[part]
        rows = F.conv1d(
            windows.flatten(0, 1), weights["condition.trackers.weight"], weights["condition.trackers.bias"]
        )
        return self.linear(part, "condition.project", rows.flatten(1).unflatten(0, windows.shape[:2]))

    def linear(self, part: str, name: str, x: Tensor) -> Tensor:
        """A linear layer by its name."""
        weights = self.weights[part]
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _heads(half: object) -> int:
    """Attention heads of a denoiser."""
    return int(half.denoiser.blocks[0].attn.heads)  # type: ignore[attr-defined]


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(-1) @ value
