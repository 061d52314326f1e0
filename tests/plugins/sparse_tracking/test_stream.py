"""Streams against recordings, and the form of the networks that inference computes against the networks."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avatarctl_sparse_tracking import pipeline
from avatarctl_sparse_tracking.model import build, products
from avatarctl_sparse_tracking.model.inference import FastDecoder, FastDiffusion, FastRefiner
from avatarctl_sparse_tracking.sampling import latents_of
from avatarctl_sparse_tracking.stream import Stream

from avatarctl.body import open_body
from avatarctl.diffusion import leading_steps
from avatarctl.errors import CheckpointError, DeviceError
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import FPS, Tracking

SHALLOW = {"upper": {"depth": 1}, "lower": {"depth": 1}, "decoder": {"layers": 1}, "refiner": {"layers": 2}}
"""Published widths, so that products are blocked as at the published sizes."""


@pytest.fixture(scope="module")
def tracking() -> Tracking:
    return Tracking.from_motion(clips()["walk_2"].motion()[:28])


@pytest.fixture(scope="module")
def features(tracking):
    return tracking.features().float()


@pytest.fixture(scope="module")
def wide() -> pipeline.Pipeline:
    torch.manual_seed(0)
    parts = {part: build(part, sizes).eval() for part, sizes in SHALLOW.items()}
    for part in parts.values():
        for weights in part.parameters():  # as large as trained ones, so that rounding shows
            weights.data.mul_(1.5)
    rest = open_body().rest_joints[:22]
    return pipeline.Pipeline(**parts, frame="world", rest=rest, device=torch.device("cpu"))


@pytest.fixture(params=["heading", "world", "wide", "bfloat16", "int8"])
def model(request, tiny_weights, wide):
    if request.param in ("heading", "world"):
        return replace(pipeline.load(tiny_weights, "cpu", open_body()), frame=request.param)
    return wide if request.param == "wide" else replace(wide, number_format=request.param)


def streamed(stream, frames) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found = [frame for frame in map(stream.push, frames) if frame is not None]
    return tuple(torch.stack([getattr(frame, name) for frame in found]) for name in ("sixd", "poses", "root"))


def test_a_stream_equals_the_recording_bit_for_bit(model, tracking, features):
    expected = model(tracking, model.seeded(3))
    stream = Stream(model, model.seeded(3))
    frames = [tracking[index : index + 1] for index in range(len(tracking))]

    assert stream.push(frames[0]) is None
    sixd, poses, root = streamed(stream, frames[1:])

    assert torch.equal(sixd, model.sixd(features, model.seeded(3)))
    assert torch.equal(poses, expected.poses)
    assert torch.equal(root, expected.root)


def test_batches_do_not_change_a_bit(model, features):
    expected = model.sixd(features, model.seeded(3))
    for size in (1, 10):
        assert torch.equal(model.sixd(features, model.seeded(3), batch_size=size), expected)


def test_features_are_taken_as_they_are_after_a_reset(model, features):
    stream = Stream(model, model.seeded(3))
    first = streamed(stream, features[:10])
    stream.reset()
    again = streamed(stream, features[:10])

    assert torch.equal(
        first[1], model.place(model.sixd(features, model.seeded(3)), features[:, 12:15]).poses[:10]
    )
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_frames_that_did_not_come_lie_between_their_neighbours(wide, tracking):
    kept = [index for index in range(len(tracking)) if index not in (12, 13)]
    between = replace(tracking[11:15:3], fps=FPS / 3).resampled(FPS)
    filled = Tracking(
        torch.cat([tracking.rotations[:12], between.rotations[1:3], tracking.rotations[14:]]),
        torch.cat([tracking.positions[:12], between.positions[1:3], tracking.positions[14:]]),
        FPS,
    )
    expected = wide.sixd(filled.features(), wide.seeded(3), refine=False)
    stream = Stream(wide, wide.seeded(3), refine=False)

    found = [stream.push(tracking[index : index + 1], missed=2 if index == 14 else 0) for index in kept]

    assert torch.equal(torch.stack([frame.sixd for frame in found[1:]]), expected[[i - 1 for i in kept[1:]]])


def test_after_a_long_gap_the_recording_begins_anew(wide, tracking):
    frames = [tracking[index : index + 1] for index in range(len(tracking))]
    stream, fresh = Stream(wide, wide.seeded(3)), Stream(wide, wide.seeded(3))
    for frame in frames[:5]:
        stream.push(frame)

    assert stream.push(frames[20], missed=20) is None
    assert fresh.push(frames[20]) is None
    assert torch.equal(stream.push(frames[21]).sixd, fresh.push(frames[21]).sixd)


@pytest.mark.parametrize("width", [55, 0])
def test_features_of_another_width_are_refused(wide, width):
    with pytest.raises(ValueError, match="54"):
        Stream(wide).push(torch.zeros(width))


def test_numbers_that_are_not_finite_are_refused(wide):
    with pytest.raises(CheckpointError, match="not finite"):
        Stream(wide).push(torch.full((54,), float("nan")))


@torch.no_grad()
def test_the_computed_form_gives_what_the_networks_give(wide):
    trackers, latent = torch.randn(3, 20, 3, 18), torch.randn(2, 3, 10, 384)
    steps, frames = (800, 400, 0), torch.randn(30, 132)
    for half, given in ((wide.upper, None), (wide.lower, latent[1])):
        expected, found = (net.denoising(trackers, steps, given) for net in (half, FastDiffusion(half)))
        for place in (0, 1):
            torch.testing.assert_close(
                found(latent[0], place), expected(latent[0], place), rtol=1e-4, atol=1e-5
            )
    last = wide.decoder(*latent, trackers)[:, -1]
    torch.testing.assert_close(FastDecoder(wide.decoder)(*latent, trackers), last, rtol=1e-4, atol=1e-5)
    refiner = FastRefiner(wide.refiner)
    first, state = refiner(frames[:10], None)
    found = torch.cat([first, refiner(frames[10:], state)[0]])
    torch.testing.assert_close(found, wide.refiner(frames[None])[0][0], rtol=1e-4, atol=1e-5)


def test_the_result_is_that_of_the_published_procedure(wide, features):
    path = Path(__file__).parents[2] / "reference_sampling.py"
    spec = importlib.util.spec_from_file_location("reference_sampling", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    windows = pipeline.windows_of(features.unflatten(-1, (3, 18)))

    expected = module.Published(wide)(windows, *wide.seeded(3)(0, len(windows)))

    torch.testing.assert_close(wide.sixd(features, wide.seeded(3)), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_fewer_steps_are_evenly_spaced(wide, features):
    windows = pipeline.windows_of(features.unflatten(-1, (3, 18)))
    starts = wide.seeded(3)(0, len(windows))
    latents = latents_of(wide.upper, wide.lower, windows, *starts, leading_steps(1000, 2))
    expected = wide.decoder(*latents, windows)[:, -1]

    found = replace(wide, steps=2).sixd(features, wide.seeded(3), refine=False)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("number_format", "bound", "has_bfloat16"),
    [
        ("bfloat16", 0.01, products.has_bfloat16()),
        ("bfloat16", 0.01, False),
        ("int8", 0.02 if torch.cpu._is_vnni_supported() else 0.025, products.has_bfloat16()),
    ],
)
def test_small_number_formats_stay_near_and_are_not_the_same(number_format, bound, has_bfloat16, monkeypatch):
    monkeypatch.setattr(products, "has_bfloat16", lambda: has_bfloat16)
    torch.manual_seed(0)
    weight, bias, x = torch.randn(96, 640), torch.randn(96), torch.randn(50, 640)
    exact = (x.double() @ weight.double().mT + bias).float()

    found = products.product(weight, bias, number_format=number_format)(x)

    error = (found - exact).norm() / exact.norm()
    assert 1e-4 < error < bound


def test_without_onednn_streams_equal_recordings_window_by_window(tiny_weights, features, monkeypatch):
    packed = pipeline.load(tiny_weights, "cpu", open_body())
    expected = packed.sixd(features, packed.seeded(3))
    monkeypatch.setattr(products, "has_onednn", lambda: False)
    model = pipeline.load(tiny_weights, "cpu", open_body())

    alone = model.sixd(features, model.seeded(3), batch_size=1)

    assert torch.equal(streamed(Stream(model, model.seeded(3)), features)[0], alone)
    torch.testing.assert_close(alone, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DeviceError, match="no products of 8-bit integers"):
        pipeline.load(tiny_weights, "cpu", open_body(), number_format="int8")
