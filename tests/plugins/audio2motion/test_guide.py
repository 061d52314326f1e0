"""Codec and guide: what looks at what, generation with kept keys and values, drawing, published files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.model.codec import Codec, CodecSizes
from avatarctl_audio2motion.model.guide import Guide, GuideSizes, choose, drawn_by
from avatarctl_audio2motion.official import write
from avatarctl_audio2motion.official_tokens import MAPS, refusal, sizes_of
from avatarctl_audio2motion.plugin import avatarctl_weights
from tiny import sizes, voices
from torch import nn

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.device import Noise
from avatarctl.errors import DataError

KEYS = 4
MANIFESTS = Path(__file__).resolve().parents[3] / "fixtures" / "parity" / "audio2motion" / "manifests"


@pytest.fixture(scope="module")
def guide() -> Guide:
    """A tiny guide of two codes a key pose, for windows of four seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Guide(sizes()["guide"]).eval().requires_grad_(False)
    for module in made.audio_stack.modules():
        if isinstance(module, nn.Conv1d):
            module.weight *= 2.5  # random convolutions lose the voices on the way
    return made


@pytest.fixture(scope="module")
def codec() -> Codec:
    """A tiny codec with started books."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        made = Codec(CodecSizes(width=8, codes=16, depth=2))
    made.train()(Noise.seeded(0, "poses").normal((4, 20, 104)), Noise.seeded(0, "start"))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def features(guide) -> torch.Tensor:
    """Of two clips of four seconds."""
    return guide.features(torch.stack([voices(4, seed) for seed in (0, 1)]))


def greedy(probabilities: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(probabilities), dtype=torch.int64)


def step_by_step(guide: Guide, features: torch.Tensor, keys: int) -> torch.Tensor:
    """The most probable codes, the whole sequence seen anew for each."""
    tokens = torch.full((len(features), 1), guide.start)
    for _ in range(keys * guide.sizes.depth):
        told = guide(tokens, features)[:, -1].argmax(dim=-1)
        tokens = torch.cat([tokens, told[:, None]], dim=1)
    return tokens[:, 1:].reshape(len(features), keys, -1)


def test_kept_keys_and_values_give_the_codes_of_the_whole_sequence(guide, features):
    assert torch.equal(
        guide.generate(None, KEYS, 0.9, greedy, features=features), step_by_step(guide, features, KEYS)
    )


def test_audio_is_listened_to_where_no_features_are_given(guide, features):
    audio = torch.stack([voices(4, seed) for seed in (0, 1)])

    assert torch.equal(
        guide.generate(audio, KEYS, 0.9, greedy), guide.generate(None, KEYS, 0.9, greedy, features=features)
    )


@pytest.mark.parametrize("known", [1, 3])
def test_a_prefix_is_kept_and_gone_on_from(guide, features, known):
    whole = guide.generate(None, KEYS, 0.9, greedy, features=features)

    made = guide.generate(None, KEYS, 0.9, greedy, whole[:, :known], features=features)

    assert torch.equal(made, whole)


def test_a_foreign_prefix_stays(guide, features):
    prefix = torch.full((2, 2, guide.sizes.depth), 5)

    made = guide.generate(None, KEYS, 0.9, greedy, prefix, features=features)

    assert torch.equal(made[:, :2], prefix)


def test_several_sequences_of_a_clip_are_those_of_the_clip_repeated(guide, features):
    noises = [[Noise.seeded(seed, "rank") for seed in range(3)] for _ in range(2)]

    made = guide.generate(None, KEYS, 0.95, drawn_by(noises[0]), features=features[:1], rows=3)
    again = guide.generate(None, KEYS, 0.95, drawn_by(noises[1]), features=features[:1].repeat(3, 1, 1))

    assert torch.equal(made, again)
    assert len({tuple(one.flatten().tolist()) for one in made}) == 3


def test_a_sequence_does_not_depend_on_those_beside_it(guide, features):
    both = guide.generate(
        None, KEYS, 0.95, drawn_by([Noise.seeded(seed, "rank") for seed in (0, 1)]), features=features
    )
    alone = guide.generate(None, KEYS, 0.95, drawn_by([Noise.seeded(1, "rank")]), features=features[1:])

    assert torch.equal(both[1:], alone)


def test_a_token_looks_at_those_before_it_and_at_both_voices(guide, features):
    tokens = torch.tensor([[guide.start, 1, 2, 3, 4]])
    other = tokens.clone()
    other[:, 3:] = 9
    swapped = features[:1].roll(features.shape[2] // 2, dims=2)

    logits = guide(tokens, features[:1])

    torch.testing.assert_close(guide(other, features[:1])[:, :3], logits[:, :3], rtol=0, atol=1e-6)
    assert float((guide(other, features[:1]) - logits)[:, 3:].abs().amax(dim=2).min()) > 0.01
    assert float((guide(tokens, swapped) - logits).abs().max()) > 0.01


def test_a_sample_that_is_told_nothing_does_not_hear(guide, features):
    tokens = torch.tensor([[guide.start, 1, 2]]).repeat(2, 1)

    deaf = guide(tokens, features, torch.tensor([False, False]))
    half = guide(tokens, features, torch.tensor([True, False]))

    torch.testing.assert_close(deaf[0], deaf[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(half[0], guide(tokens, features)[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(half[1], deaf[1], rtol=0, atol=1e-6)


def plain_nucleus(logits: np.ndarray, top_p: float) -> np.ndarray:
    """Probabilities of the codes, of which the improbable ones are never drawn; rank by rank, in float64."""
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    kept, total = np.zeros_like(chances), 0.0
    for rank, code in enumerate(np.argsort(-chances, kind="stable")):
        if rank == 0 or total < top_p:
            kept[code] = chances[code]
        total += chances[code]
    return kept / kept.sum()


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.94, 1.0])
def test_the_most_probable_codes_are_drawn_as_often_as_they_should(top_p):
    draws = 4000
    logits = 2 * Noise.seeded(5, "logits").normal((1, 12))
    expected = plain_nucleus(logits[0].double().numpy(), top_p)
    noises = [Noise.seeded(6, "ranks")] * draws

    chosen = choose(logits.repeat(draws, 1), top_p, drawn_by(noises))

    found = np.bincount(chosen.numpy(), minlength=12) / draws
    assert not found[expected == 0].any()
    deviations = np.sqrt(expected * (1 - expected) / draws)
    assert (np.abs(found - expected) <= 4.5 * deviations + 1e-12).all()


def test_heights_beyond_the_rounded_sum_take_the_last_rank_that_has_a_chance():
    noise = Noise.replay([np.array([1 - 2**-24], np.float32)])

    rank = drawn_by([noise])(torch.tensor([[0.7, 0.3 - 1e-6, 0.0, 0.0]]))

    assert rank.tolist() == [1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "6 frames of audio are too few for the guide; expected at least 9"),
        (5, "at most 398 at once"),
    ],
)
def test_clips_that_do_not_fit_are_a_line(guide, seconds, words):
    with pytest.raises(DataError, match=words):
        guide.features(voices(seconds)[None])


def test_the_shortest_clip_is_taken(guide):
    assert guide.generate(voices(9 / 30)[None], 1, 0.9, greedy).shape == (1, 1, 2)


def test_codes_of_a_key_pose_look_at_it_and_seven_before(codec):
    keys = Noise.seeded(1, "keys").normal((1, 20, 104))
    other = keys.clone()
    other[:, 4] += 1

    changed = (codec.latents(other) - codec.latents(keys)).abs().amax(dim=(0, 2)) > 1e-6

    assert changed.nonzero().flatten().tolist() == list(range(4, 12))


def test_a_key_pose_is_decoded_from_its_codes_and_those_of_seven_before(codec):
    codes = codec.encode(Noise.seeded(1, "keys").normal((1, 20, 104)))
    other = codes.clone()
    other[:, 4] = (other[:, 4] + 1) % 16

    changed = (codec.decode(other) - codec.decode(codes)).abs().amax(dim=(0, 2)) > 1e-6

    assert set(changed.nonzero().flatten().tolist()) <= set(range(4, 12))
    assert changed[4]


def test_evaluation_decodes_what_was_encoded(codec):
    keys = Noise.seeded(2, "keys").normal((3, 5, 104))

    made, quantized = codec(keys)

    assert torch.equal(quantized.codes, codec.encode(keys))
    assert torch.equal(made, codec.decode(codec.encode(keys)))


@pytest.mark.parametrize(("part", "manifest"), [("codec", "vq_pose"), ("guide", "guide_pose")])
def test_published_names_are_ours_one_to_one(part, manifest):
    names = json.loads((MANIFESTS / f"{manifest}.json").read_text())["tensors"]

    ours = [MAPS[part].ours(name) for name in names]

    assert [MAPS[part].theirs(name) for name in ours] == list(names)
    assert len(set(ours)) == len(names)


def test_published_sizes_are_those_of_the_tensors():
    found = {}
    for part, manifest in (("codec", "vq_pose"), ("guide", "guide_pose")):
        entries = json.loads((MANIFESTS / f"{manifest}.json").read_text())["tensors"]
        tensors = {
            MAPS[part].ours(name): torch.empty(one["shape"], device="meta") for name, one in entries.items()
        }
        found[part] = sizes_of(part, tensors)

    assert found["codec"] == {"channels": 104, "width": 64, "codes": 1024, "depth": 4}
    assert found["guide"] == {
        "width": 64, "feedforward": 1024, "layers": 6, "codes": 1024, "audio_layers": 2, "tokens": 1998,
    }  # fmt: skip


def test_a_codec_survives_its_published_file(codec, tmp_path):
    config = {"networks": {"codec": {"width": 8, "codes": 16, "depth": 2}}, "person": "PXB184"}
    weights = Weights({"codec": codec.state_dict()}, config, "avatarctl", tmp_path / "a.safetensors")

    paths = write(weights, tmp_path)
    back = open_weights(tmp_path, list(avatarctl_weights()))

    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "vq/c1_pose/net_iter0.pth", "vq/c1_pose/args.json",
    ]  # fmt: skip
    assert json.loads(paths[1].read_text()).items() >= {
        "nb_joints": 104, "output_emb_width": 8, "code_dim": 16, "depth": 2,
    }.items()  # fmt: skip
    assert back.config["networks"]["codec"] == {"channels": 104, "width": 8, "codes": 16, "depth": 2}
    assert all(torch.equal(tensor, codec.state_dict()[name]) for name, tensor in back.part("codec").items())


def test_a_guide_that_the_published_code_cannot_build_is_refused():
    assert refusal("guide", asdict(GuideSizes())) == ""
    assert refusal("guide", asdict(replace(GuideSizes(), heads=8))).startswith("guide: heads is 8")


def test_generation_takes_a_pass_of_one_token_for_each_code(guide, features):
    seen: list[int] = []
    handle = guide.codes_in.register_forward_hook(lambda module, taken, given: seen.append(taken[0].shape[1]))
    guide.generate(None, KEYS, 0.9, greedy, features=features)
    handle.remove()

    assert seen == [1] * (KEYS * guide.sizes.depth)
