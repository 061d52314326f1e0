"""Golden cases of codec and guide and of their training steps, on weights read from official files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio2motion.inputs import official, stats_row, value_of
from avatarctl_audio2motion.model import load
from avatarctl_audio2motion.model.codec import Codec
from avatarctl_audio2motion.model.guide import Guide
from avatarctl_audio2motion.official_tokens import MAPS
from avatarctl_audio2motion.settings_train import TrainGuide, TrainVqvae
from avatarctl_audio2motion.train_tokens import guide_loss, shifted, vqvae_losses
from torch import Tensor, nn

from avatarctl.engine import make_optimizer
from avatarctl.quantize import kmeans, perplexity

Arrays = dict[str, np.ndarray]


def network(case: dict[str, Any], folder: Path, part: str, manifest: str = "manifest") -> Any:
    """Guide or codec in evaluation mode, to be trained where a case does."""
    weights = official(case[manifest], folder, case["weights_seed"])
    made = load(weights, part, torch.device("cpu")).requires_grad_(True)
    if part == "guide":
        made.front_end.requires_grad_(False)
    return made


def given(case: dict[str, Any], name: str) -> Tensor:
    """An input of a case."""
    return torch.from_numpy(value_of(case["inputs"][name]))


def plain(found: dict[str, Tensor]) -> Arrays:
    """Tensors as arrays."""
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


@torch.no_grad()
def vq_codec(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Key poses to codes and back."""
    codec: Codec = network(case, folder, "codec")
    keys = given(case, "pose")
    codes = codec.encode(keys)
    made, quantized = codec(keys)
    margins, left = [], codec.latents(keys).flatten(0, 1)
    for place, book in enumerate(codec.codebook.books):
        best = torch.cdist(left.double(), book.codes.double()).square().topk(2, largest=False).values
        margins.append((best[:, 1] - best[:, 0]).min().float())
        left = left - book.codes[codes.flatten(0, 1)[:, place]]
    found = {
        "latent": codec.latents(keys),
        "tokens": codes,
        "decoded": codec.decode(codes),
        "quantised": quantized.values,
        "forward_out": made,
        "forward_loss": quantized.losses.mean(),
        "perplexity": perplexity(quantized.codes[..., -1], codec.sizes.codes),
        "min_margin": torch.stack(margins),
    }
    return plain(found)


def vq_train_step(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Losses, gradients, codebooks and weights of one step; k-means."""
    codec: Codec = network(case, folder, "codec").train()
    settings, keys = TrainVqvae(), given(case, "pose")
    made, quantized = codec(keys)
    losses = vqvae_losses(made, quantized, keys, settings)
    losses["total"].backward()
    grads = norms(codec, "codec", arrays["grad_names"], of_gradient=True)
    rate = settings.optim.model_copy(update={"lr": case["inputs"]["lr"]})
    make_optimizer(codec.parameters(), rate).step()
    samples = given(case, "kmeans_samples")
    means, bins = kmeans(samples, samples[case["inputs"]["kmeans_start_rows"]])
    found = {
        "recon": losses["reconstruction"],
        "commit": losses["commitment"],
        "perplexity": perplexity(quantized.codes[..., -1], codec.sizes.codes),
        "loss": losses["total"],
        "grad_norms": grads,
        "param_after": norms(codec, "codec", arrays["grad_names"]),
        "kmeans_means": means,
        "kmeans_bins": bins,
    }
    moved = []
    for place, book in enumerate(codec.codebook.books):
        found |= {
            f"cluster_{place}": book.sizes,
            f"embed_{place}_rows": book.codes[::64],
            f"cluster_size_{place}_stats": torch.from_numpy(stats_row(book.sizes)),
            f"embed_{place}_stats": torch.from_numpy(stats_row(book.codes)),
            f"embed_avg_{place}_stats": torch.from_numpy(stats_row(book.sums)),
        }
        # Codes are the averages and nothing else: where one was put elsewhere, they would differ.
        size, total = book.sizes, book.sizes.sum()
        averages = book.sums / ((size + 1e-5) / (total + len(size) * 1e-5) * total)[:, None]
        moved.append((book.codes - averages).abs().max())
    return plain(found | {"dead_code_effect": torch.stack(moved)}) | {"grad_names": arrays["grad_names"]}


@torch.no_grad()
def guide_forward(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Logits with and without the voices."""
    guide: Guide = network(case, folder, "guide")
    features = guide.features(given(case, "audio"))
    tokens = torch.tensor(case["inputs"]["tokens"])
    stacked = guide.audio_stack(features.mT)
    logits = guide(tokens, features)
    untold = guide(tokens, features, torch.zeros(len(tokens), dtype=torch.bool))
    found = {
        "logits": logits[..., ::4],
        "logits_uncond": untold[..., ::4],
        "pre_audio_stats": torch.from_numpy(stats_row(stacked)),
        "pre_audio": stacked[:, ::16, ::8],
        "pre_audio_len": torch.tensor(stacked.shape[-1]),
        "logits_argmax": logits.argmax(dim=-1),
    }
    return plain(found)


@torch.no_grad()
def guide_generate(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Codes drawn one after the other, with the stored ranks, then key poses."""
    guide: Guide = network(case, folder, "guide")
    codec: Codec = network(case, folder, "codec", "manifest_vq")
    features, found = guide.features(given(case, "audio")), {}
    for name in [name for name in arrays if name.startswith("rank_")]:
        words = name.removeprefix("rank_")
        ranks: Iterator[Tensor] = iter(torch.from_numpy(arrays[name]).unbind(1))
        seen: list[Tensor] = []

        def draw(probabilities: Tensor, ranks=ranks, seen=seen) -> Tensor:  # type: ignore[no-untyped-def]
            seen.append(probabilities)
            return next(ranks)

        keys = arrays[name].shape[1] // guide.sizes.depth
        codes = guide.generate(None, keys, float(words), draw, features=features)
        probabilities = torch.stack(seen, dim=1)
        found |= {
            f"tokens_{words}": codes.flatten(1),
            f"nucleus_{words}": (probabilities > 0).sum(dim=-1),
            f"top8_{words}": probabilities[..., :8],
            f"keyframes_{words}": codec.decode(codes),
        }
    return plain({name: tensor for name, tensor in found.items() if name in arrays})


def train_step_guide(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Tokens, loss, gradients and weights of one step without dropout."""
    guide: Guide = network(case, folder, "guide")
    codec: Codec = network(case, folder, "codec", "manifest_vq")
    settings, keys = TrainGuide(), given(case, "motion")[:, :, 0].mT[:, ::30]
    codes = codec.encode(keys)
    tokens, keep = shifted(codes, guide.start), torch.tensor(case["inputs"]["keep_mask"])
    logits = guide(tokens, guide.features(given(case, "audio")), keep)
    loss = guide_loss(logits, codes, settings.smoothing)
    loss.backward()
    rate = settings.optim.model_copy(update={"lr": case["inputs"]["lr"]})
    optimizer = make_optimizer(guide.parameters(), rate)
    (group,) = optimizer.param_groups
    total = nn.utils.clip_grad_norm_(group["params"], group["clip"])
    grads = norms(guide, "guide", arrays["grad_names"], of_gradient=True)
    optimizer.step()
    hits = (logits.argmax(dim=-1) == codes.flatten(1)).sum()
    found = {
        "input_tokens": tokens,
        "target_tokens": codes.flatten(1),
        "loss": loss,
        "total_grad_norm": total,
        "accuracy": 100.0 * hits / codes[..., 0].numel(),  # as published: over key poses, not codes
        "grad_norms_clipped": grads,
        "param_norms_after": norms(guide, "guide", arrays["grad_names"]),
    }
    return plain(found) | {"grad_names": arrays["grad_names"]}


def norms(made: nn.Module, part: str, names: np.ndarray, *, of_gradient: bool = False) -> Tensor:
    """Lengths of parameters or their gradients, by official names; -1 where there is no gradient."""
    own = {MAPS[part].theirs(name): parameter for name, parameter in made.named_parameters()}
    trained = {name for name, parameter in own.items() if parameter.requires_grad}
    assert trained == set(names.tolist()), trained ^ set(names.tolist())
    found = [own[name].grad if of_gradient else own[name] for name in names.tolist()]
    return torch.tensor([-1.0 if one is None else float(one.detach().norm()) for one in found])


KINDS = {
    "vq_codec": vq_codec,
    "vq_train_step": vq_train_step,
    "guide_forward": guide_forward,
    "guide_generate": guide_generate,
    "train_step_guide": train_step_guide,
}
INPUTS = {"guide_generate": ("rank_*",)}
