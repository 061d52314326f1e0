"""Random crops and chunks of a prepared store, against plain slicing of the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.conversations.dataset import FRAME, open_conversations
from made_up import SCENES

from avatarctl.data import StoreWriter
from avatarctl.device import Noise
from avatarctl.errors import DataError, SettingsError

TRAIN = SCENES["train"]


@pytest.fixture(scope="module")
def data(small_store):
    """The made-up conversations."""
    return open_conversations(small_store)


def normalised(data, split, scene, kind):
    """A whole scene as the networks take it, in numpy."""
    stats, found = data.statistics, data.store.split(split)
    raw = found.clip({"body": "pose", "face": "face"}[kind], scene).astype(np.float64)
    mean, std = (stats.pose_mean, stats.pose_std) if kind == "body" else (stats.code_mean, stats.code_std)
    motion = (raw - mean.numpy()) / std.numpy()
    audio = found.clip("audio", scene).reshape(-1, 2)
    return motion, (audio - stats.audio_mean.numpy()) / np.float32(stats.audio_std)


def test_a_crop_is_that_stretch_of_its_scene_and_zeros(data):
    windows = data.windows("train", "body", 150, shortest=60)
    scene, start, length = windows.crop(300, Noise.replay([[11], [70]]))
    assert (scene, start, length) == (1, 11, 70)
    batch = windows.batch(torch.tensor([300]), Noise.replay([[11], [70]]))
    motion, audio = normalised(data, "train", 1, "body")
    np.testing.assert_allclose(batch.motion[0, :70], motion[11:81], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        batch.audio[0, : 70 * FRAME], audio[11 * FRAME : 81 * FRAME], rtol=0, atol=1e-5
    )
    assert not batch.motion[0, 70:].any()
    assert not batch.audio[0, 70 * FRAME :].any()
    assert batch.seen[0].tolist() == batch.mask[0].tolist() == [1] * 70 + [0] * 80
    np.testing.assert_allclose(batch.keys[0, :3], motion[[11, 41, 71]], rtol=0, atol=1e-5)
    assert not batch.keys[0, 3:].any()
    assert batch.keys.shape == (1, 5, 104)
    assert batch.key_lengths.tolist() == [3]


def test_unseen_faces_are_the_mean_code_but_key_frames_are_as_recorded(data):
    batch = data.windows("train", "face", 100, shortest=None, key_step=1).batch(
        torch.tensor([1]), Noise.replay([[0]])
    )
    motion, _ = normalised(data, "train", 0, "face")
    unseen = np.arange(100) % 7 == 3
    assert batch.seen[0].tolist() == (~unseen).tolist()
    assert not batch.motion[0, unseen].any()
    np.testing.assert_allclose(batch.motion[0, ~unseen], motion[:100][~unseen], rtol=0, atol=1e-5)
    np.testing.assert_allclose(batch.keys[0], motion[:100], rtol=0, atol=1e-5)


def test_items_are_frames_and_item_0_is_in_the_last_scene_as_published(data):
    windows = data.windows("train", "body", 120, shortest=None)
    ends = np.cumsum(TRAIN)
    assert len(windows) == ends[-1]
    items = [0, 1, ends[0], ends[0] + 1, ends[1], ends[1] + 1, ends[2] - 1]
    assert [windows.scene_of(int(item)) for item in items] == [2, 0, 0, 1, 1, 2, 2]


def test_starts_and_lengths_stay_in_their_limits_and_reach_them(data):
    windows = data.windows("train", "body", 160, shortest=157, has_audio=False)
    noise = Noise.seeded(0, "crops")
    crops = [windows.crop(TRAIN[0] + TRAIN[1] + 1, noise) for _ in range(300)]
    assert {start for _, start, _ in crops} == set(range(10))  # the last scene has 170 frames
    assert {length for *_, length in crops} == {157, 158, 159}


def test_crops_without_a_face_are_drawn_again(data):
    windows = data.windows("train", "face", 20, shortest=1)
    # Frame 3 was not seen: a crop of it alone is refused, the next draw is taken.
    assert windows.crop(1, Noise.replay([[3], [1], [4], [2]])) == (0, 4, 2)


def test_shuffled_epochs_pass_every_item_once_and_depend_on_seed_and_step_alone(data):
    windows = data.windows("train", "body", 150, shortest=None, has_audio=False)
    steps, batch = windows.shuffled(9, seed=3)
    assert steps == sum(TRAIN) // 9
    later = batch(steps + 4)
    again = data.windows("train", "body", 150, shortest=None, has_audio=False).shuffled(9, seed=3)[1]
    torch.testing.assert_close(again(steps + 4), later, rtol=0, atol=0)
    assert not torch.equal(batch(5).motion, later.motion)
    order = Noise.seeded(3, "order/0").permutation(len(windows))
    assert sorted(order.tolist()) == list(range(len(windows)))


def test_without_audio_none_is_read(data):
    batch = data.windows("train", "body", 150, shortest=None, has_audio=False).batch(
        torch.tensor([5]), Noise.seeded(0, "a")
    )
    assert batch.audio.shape == (1, 0, 2)


@pytest.mark.parametrize(("length", "published", "kept"), [(50, 2, 2), (65, 1, 2), (130, 0, 1)])
def test_a_chunk_that_ends_with_its_scene_is_left_out_as_published(data, length, published, kept):
    assert len(data.chunks("test", "body", length, keep_last=True)) == kept  # of 130 frames
    if published:
        assert len(data.chunks("test", "body", length)) == published
    else:
        with pytest.raises(DataError, match="no chunk of 130 frames; the longest of 1 scenes has 130"):
            data.chunks("test", "body", length)


def test_chunks_do_not_overlap_and_know_their_places(data):
    chunks = data.chunks("train", "body", 60)
    names = [chunks.name(chunk) for chunk in range(len(chunks))]
    assert names[:6] == [
        "scene01_00000", "scene01_00060", "scene01_00120", "scene01_00180", "scene02_00000", "scene02_00060",
    ]  # fmt: skip
    motion, audio = normalised(data, "train", 0, "body")
    batch = chunks.batch([3, 0])
    np.testing.assert_allclose(batch.motion[0], motion[180:240], rtol=0, atol=1e-5)
    np.testing.assert_allclose(batch.audio[1], audio[: 60 * FRAME], rtol=0, atol=1e-5)
    assert batch.lengths.tolist() == [60, 60]


def test_the_order_of_chunks_is_that_of_numpys_old_generator(data):
    chunks = data.chunks("train", "body", 40)
    np.random.seed(10)
    assert chunks.order(10).tolist() == np.random.permutation(len(chunks)).tolist()


def test_windows_that_do_not_fit_are_told(data, caplog):
    windows = data.windows("train", "body", 180, shortest=None)
    assert windows.scenes.tolist() == [0, 1]
    assert "scenes of 180 frames or fewer are left out: scene03" in caplog.text
    with pytest.raises(DataError, match="the longest of 3 scenes has 260 frames; windows of 260 need longer"):
        data.windows("train", "body", 260, shortest=None)
    with pytest.raises(SettingsError, match="crops of random length are 400 frames long or longer"):
        data.windows("train", "body", 400)
    with pytest.raises(DataError, match="fewer than a batch of 1000"):
        data.windows("train", "body", 150, shortest=None).shuffled(1000, 0)


def test_another_targets_store_is_refused(tmp_path):
    with StoreWriter(tmp_path / "store", {"sixd": 132}, {"system": "sparse-tracking"}) as writer:
        writer.finish({"train": []}, "nothing")
    with pytest.raises(
        DataError, match="no store of prepare conversations: it lacks audio, pose, face, seen"
    ):
        open_conversations(tmp_path / "store")
