"""Guided sampling against the plain loop: two calls a step, nothing kept between steps."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from avatarctl_audio2motion.model import build
from avatarctl_audio2motion.sampling import STEPS, guided, kept_steps, process_of, sample
from tiny import sizes

FRAMES, BATCH = 60, 2


@pytest.fixture(scope="module", params=["face", "body"])
def network(request):
    torch.manual_seed(0)
    return build(request.param, asdict(sizes(FRAMES)[request.param])).eval()


@pytest.fixture(scope="module")
def condition(network):
    draw = torch.Generator().manual_seed(1)
    audio = torch.randn(BATCH, 1600 * FRAMES, 2, generator=draw)
    keys = torch.randn(BATCH, FRAMES // 30, network.sizes.output, generator=draw)
    with torch.no_grad():
        return network.condition(audio, keys)


def plain_loop(network, condition, scale, kept, noise):
    """The published loop, with the original step numbers and the published form of the noise (spec 6.1)."""
    process, x = process_of("cosine"), noise
    for place in reversed(range(len(kept))):
        steps = torch.full((len(x),), kept[place])
        with torch.no_grad():
            told, untold = network(x, steps, condition), network(x, steps, network.null(condition))
        clean = untold + scale * (told - untold)
        share = float(process.alphas_cumprod[kept[place]])
        before = float(process.alphas_cumprod[kept[place - 1]]) if place else 1.0
        noise = (share**-0.5 * x - clean) / (1 / share - 1) ** 0.5
        x = before**0.5 * clean + (1 - before) ** 0.5 * noise
    return clean


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guided_pairs_as_one_batch_are_two_calls_a_step(network, condition, scale):
    kept = kept_steps("ddim5", STEPS)
    noise = torch.randn(BATCH, FRAMES, network.sizes.output, generator=torch.Generator().manual_seed(2))

    found = sample(guided(network, condition, scale, kept), noise, kept)

    expected = plain_loop(network, condition, scale, kept, noise)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # five steps of float32


@pytest.mark.parametrize(("scale", "rows"), [(0.0, 1), (1.0, 1), (3.0, 2)])
def test_no_more_is_computed_than_the_guidance_needs(network, condition, scale, rows):
    kept, counts = kept_steps("ddim2", STEPS), []
    hook = network.frames_out.register_forward_hook(lambda module, taken, given: counts.append(len(given)))

    sample(guided(network, condition, scale, kept), torch.zeros(BATCH, FRAMES, network.sizes.output), kept)

    hook.remove()
    assert counts == [rows * BATCH] * 2


def test_the_network_is_told_original_steps_the_noisiest_first(network, condition):
    kept, seen = kept_steps("2,3", STEPS), []
    hook = network.time.register_forward_pre_hook(lambda module, taken: seen.append(int(taken[0][0])))

    sample(guided(network, condition, 1.0, kept), torch.zeros(BATCH, FRAMES, network.sizes.output), kept)

    hook.remove()
    assert seen == [999, 750, 500, 499, 0]
