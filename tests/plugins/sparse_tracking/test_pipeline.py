"""The pipeline: frame by frame causality, batches, memory, headings, and the official layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from avatarctl_sparse_tracking import pipeline
from avatarctl_sparse_tracking.heading import heading, to_heading, turn_root

from avatarctl.checkpoints import open_weights
from avatarctl.errors import CheckpointError
from avatarctl.geometry.rotations import matrix_about, matrix_from_sixd, sixd_from_matrix
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import Tracking


@pytest.fixture(scope="module")
def model(tiny_weights):
    return pipeline.load(tiny_weights, device="cpu")


@pytest.fixture(scope="module")
def features():
    return Tracking.from_motion(clips()["walk_2"].motion()[:60]).features().float()


def test_a_frame_depends_on_no_later_one(model, features):
    torch.testing.assert_close(model.sixd(features[:30]), model.sixd(features)[:30], rtol=0, atol=1e-5)


def test_batches_do_not_change_the_result(model, features):
    starts = model.seeded(0)
    expected = model.sixd(features, starts)
    torch.testing.assert_close(model.sixd(features, starts, batch_size=7), expected, rtol=0, atol=1e-5)


def test_less_memory_does_not_change_the_noise(model, features, monkeypatch):
    expected = model.sixd(features, model.seeded(0))
    sampler = pipeline.latents_of

    def short_of_memory(upper, lower, windows, *starts):
        if len(windows) > 16:
            raise RuntimeError("CUDA out of memory")
        return sampler(upper, lower, windows, *starts)

    monkeypatch.setattr(pipeline, "latents_of", short_of_memory)
    found = model.sixd(features, model.seeded(0))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_head_meets_the_tracked_head(model, features):
    motion = model.place(model.sixd(features), features[:, 12:15])

    again = Tracking.from_motion(motion)

    torch.testing.assert_close(again.positions[:, 0].float(), features[:, 12:15], rtol=0, atol=1e-5)


def test_turning_the_room_turns_the_motion(model, features):
    turn = matrix_about("Z", torch.tensor(2.0))
    frames = features.unflatten(-1, (3, 18))
    vectors = [frames[..., :3], frames[..., 3:6], frames[..., 12:15], frames[..., 15:]]
    first, second, places, moves = (vector @ turn.T for vector in vectors)
    turned = torch.cat([first, second, frames[..., 6:12], places, moves], dim=-1).flatten(1)

    expected = turn_root(model.sixd(features), turn.expand(len(features), 3, 3))

    torch.testing.assert_close(model.sixd(turned), expected, rtol=0, atol=1e-4)


def test_the_head_looks_along_minus_y_from_above_the_origin(features):
    windows = features.unflatten(-1, (3, 18)).unfold(0, 20, 1).movedim(-1, 1)

    seen = to_heading(windows, *heading(windows))

    last = seen[:, -1, 0]
    look = matrix_from_sixd(last[:, :6])[..., 2]
    assert last[:, 12:14].abs().max() < 1e-6
    assert (look[:, 1] < 0).all()
    torch.testing.assert_close(
        sixd_from_matrix(matrix_from_sixd(last[:, :6])), last[:, :6], rtol=0, atol=1e-5
    )


def test_weights_without_a_decoder_are_refused(tiny_weights, tmp_path):
    weights = open_weights(tiny_weights)
    path = type(weights)({"upper": weights.parts["upper"]}, weights.config, "", tiny_weights).write(
        tmp_path / "upper.safetensors"
    )

    with pytest.raises(CheckpointError, match="holds upper diffusion; lacks lower diffusion, decoder"):
        pipeline.load(path)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (3, "has no 'decoder' network"),
        ({"layers": 10**6}, "layers: found 1000000, expected 1 to"),
        ({"layers": 0}, "layers: found 0, expected 1 to"),
        ({"width": "x"}, "width: found x, expected 1 to"),
        ({"heads": 3}, "width 32: expected a multiple of heads, 3"),
        ({"channels": 3}, "channels: found 3, no such size"),
    ],
)
def test_sizes_that_no_network_can_have_are_refused_at_once(tiny_weights, tmp_path, sizes, words):
    weights = open_weights(tiny_weights)
    networks = dict(weights.config["networks"])
    networks["decoder"] = {**networks["decoder"], **sizes} if isinstance(sizes, dict) else sizes
    path = replace(weights, config={**weights.config, "networks": networks}).write(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=words) as caught:
        pipeline.load(path)
    assert str(path) in caught.value.message


def test_weights_that_overflow_name_their_file(tiny_weights, features, tmp_path):
    weights = open_weights(tiny_weights)
    for tensor in weights.parts["decoder"].values():
        tensor.fill_(1e30)
    path = weights.write(tmp_path / "huge.safetensors")
    with pytest.raises(
        CheckpointError, match=r"huge\.safetensors: the networks give numbers that are not finite"
    ):
        pipeline.load(path).sixd(features)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_gives_the_result_of_the_cpu(model, features, tiny_weights):
    on_cuda = pipeline.load(tiny_weights, device="cuda")

    torch.testing.assert_close(on_cuda.sixd(features), model.sixd(features), rtol=0, atol=1e-4)
