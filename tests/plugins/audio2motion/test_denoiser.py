"""The diffusion networks: conditions made once give what conditions made at every step give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch
from avatarctl_audio2motion.model.denoiser import Denoiser, Smoothing
from avatarctl_audio2motion.model.front_end import (
    VQ_WAV2VEC,
    WAV2VEC_LARGE,
    FrontEnd,
    conversation_features,
    num_features,
)

from avatarctl.errors import DataError

FRAMES = 60


def network(part: str, **changes: object) -> Denoiser:
    """A tiny network, the same at each call."""
    torch.manual_seed(5)
    return Denoiser(replace(tiny.sizes()[part], **changes)).eval()


def given(part: str, samples: int = 2) -> list[torch.Tensor]:
    """Voices, and for the body key poses."""
    voices = torch.stack([tiny.voices(FRAMES / 30, seed) for seed in range(samples)])
    keys = torch.randn(samples, FRAMES // 30, 104, generator=torch.Generator().manual_seed(9))
    return [voices, keys] if part == "body" else [voices]


def noisy(made: Denoiser, samples: int = 2) -> torch.Tensor:
    return torch.randn(samples, FRAMES, made.sizes.output, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("part", ["face", "body"])
@pytest.mark.parametrize("steps", [(7, 7), (7, 903)])
def test_conditions_in_one_batch_give_what_each_alone_gives(part: str, steps: tuple[int, int]) -> None:
    made, t = network(part), torch.tensor(steps)
    x = noisy(made)
    with torch.no_grad():
        condition = made.condition(*given(part))
        prepared = made.prepare(condition, made.null(condition))
        wanted = [made(x, t, told) for told in (condition, made.null(condition))]
        # twice: the first leaves its step's tokens in the memories
        found = [made(x, t, prepared) for _ in range(2)]
    for one in found:
        torch.testing.assert_close(one, torch.cat(wanted), rtol=1e-4, atol=1e-5)
    assert (wanted[0] - wanted[1]).abs().max() > 0.01


@pytest.mark.parametrize("part", ["face", "body"])
def test_a_differentiated_pass_gives_what_a_plain_one_gives(part: str) -> None:
    made, t = network(part), torch.tensor([7, 903])
    condition = made.condition(*given(part))
    with torch.no_grad():
        wanted = made(noisy(made), t, made.condition(*given(part)))
    found = made(noisy(made), t, condition)
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=1e-5)
    found.square().sum().backward()
    for name, parameter in made.named_parameters():
        trained = not name.startswith(("front_end.", "lip.", "null_"))
        assert (parameter.grad is not None and bool(parameter.grad.any())) == trained, name


def test_samples_without_audio_or_keys_are_those_of_the_null_condition() -> None:
    made, t = network("body"), torch.tensor([7, 7, 7, 7])
    condition = made.condition(*given("body", 4))
    null = made.null(condition)
    with torch.no_grad():
        full, none = made(noisy(made, 4), t, condition), made(noisy(made, 4), t, null)
        audio = torch.tensor([True, False, False, True])
        found = made(noisy(made, 4), t, condition.dropped(audio, torch.tensor([True, False, True, False])))
    torch.testing.assert_close(found[0], full[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], none[1], rtol=1e-4, atol=1e-5)
    for sample in (2, 3):  # one of the two is told
        assert (found[sample] - full[sample]).abs().max() > 1e-3
        assert (found[sample] - none[sample]).abs().max() > 1e-3


def test_gradients_reach_the_null_embeddings_of_dropped_samples() -> None:
    made = network("body")
    condition = made.condition(*given("body")).dropped(torch.zeros(2, dtype=torch.bool), torch.zeros(2) > 0)
    made(noisy(made), torch.tensor([7, 7]), condition).square().sum().backward()
    assert all(bool(p.grad.any()) for p in (made.null_tokens, made.null_pooled, made.null_keys))
    assert not made.condition_in.weight.grad.any()


def test_key_poses_after_the_end_count_as_zeros_and_the_callers_stay() -> None:
    made = network("body")
    voices, keys = given("body")
    kept = keys.clone()
    found = made.condition(voices, keys, lengths=torch.tensor([60, 30])).keys
    assert torch.equal(keys, kept)
    keys[1, 1] = 0
    assert torch.equal(found, made.condition(voices, keys).keys)


def test_features_that_were_made_before_are_taken() -> None:
    made, (voices,) = network("face"), given("face")
    features = conversation_features(made.front_end, voices)
    found, wanted = made.condition(voices, features=features), made.condition(voices)
    assert torch.equal(found.tokens, wanted.tokens)


def test_batches_do_not_change_a_sample() -> None:
    made, t = network("face"), torch.tensor([7, 903])
    voices, x = given("face")[0], noisy(made)
    with torch.no_grad():
        both = made(x, t, made.condition(voices))
        alone = made(x[1:], t[1:], made.condition(voices[1:]))
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_sines_in_place_of_rotary_positions_still_order_the_frames() -> None:
    made, t = network("body", rotary=False), torch.tensor([7, 7])
    with torch.no_grad():
        found = made(noisy(made), t, made.condition(*given("body")))
        turned = made(noisy(made).flip(1), t, made.condition(*given("body")))
    assert (found - turned.flip(1)).abs().max() > 1e-3


@pytest.mark.parametrize(("part", "rotary"), [("face", True), ("body", False)])
def test_a_clip_longer_than_a_window_is_refused(part: str, rotary: bool) -> None:
    made = network(part, rotary=rotary, tokens=398 if rotary else 3000)
    with pytest.raises(DataError, match=r"the network sees at most (398|800) at once") as caught:
        made.condition(torch.zeros(1, 300 * 1600, 2))
    assert caught.value.hint
    with pytest.raises(DataError, match="too few"):
        made.condition(torch.zeros(1, 0, 2))


def test_audio_networks_are_never_trained() -> None:
    made = network("face").train()
    assert made.layers.training
    assert not any(module.training for part in (made.front_end, made.lip) for module in part.modules())
    assert not any(p.requires_grad for part in (made.front_end, made.lip) for p in part.parameters())


def test_initial_weights_are_the_published_ones() -> None:
    torch.manual_seed(0)
    made = Denoiser(replace(tiny.sizes()["body"], width=64, feedforward=256))
    layer = made.layers[0]
    for linear in (layer.linear1, layer.film1.block[1], layer.self_attn.out_proj, made.frames_out):
        wanted = (2 / (linear.in_features + linear.out_features)) ** 0.5  # Xavier, normal
        assert linear.weight.std().item() == pytest.approx(wanted, rel=0.1)
        assert not linear.bias.any()
    assert made.null_tokens.std().item() == pytest.approx(1, rel=0.05)
    assert made.frames_in.bias.any()  # torch's own


def test_smoothing_looks_at_the_last_25_frames_and_no_later_one() -> None:
    torch.manual_seed(0)
    made = Smoothing(6, 8).eval()
    x = torch.randn(1, 60, 6)
    changed = x.clone()
    changed[:, 20] += 1
    differs = (made(x) - made(changed)).abs().amax(dim=(0, 2)) > 0
    assert differs.nonzero().flatten().tolist() == list(range(20, 45))
    made.train()
    assert not torch.equal(made(x), made(x))


@pytest.mark.parametrize("layers", [VQ_WAV2VEC, WAV2VEC_LARGE, tiny.AUDIO])
@pytest.mark.parametrize(("frames", "wanted"), [(600, 1998), (240, 798), (120, 398), (60, 198), (1, 1)])
def test_the_number_of_features_is_the_published_one(layers: object, frames: int, wanted: int) -> None:
    with torch.device("meta"):
        assert num_features(FrontEnd(layers), frames) == wanted  # type: ignore[arg-type]


def test_both_voices_are_heard_alone_and_stand_side_by_side() -> None:
    front_end = network("face").front_end
    voices = given("face")[0]
    found = conversation_features(front_end, voices)
    assert found.shape == (2, num_features(front_end, FRAMES), 2 * front_end.channels)
    swapped = conversation_features(front_end, voices.flip(2))
    assert torch.equal(found, torch.cat([swapped[..., 8:], swapped[..., :8]], -1))


def test_a_logarithm_at_the_end_of_the_front_end() -> None:
    plain = network("face").front_end
    logarithm = network("face", log_compression=True).front_end
    samples = torch.randn(1, 4000)
    torch.testing.assert_close(logarithm(samples), torch.log1p(plain(samples).abs()))
