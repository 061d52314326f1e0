"""The prepared store: what is written is read, and everything that can go wrong is said in one line."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time

import h5py
import numpy as np
import pytest

from avatarctl.data import Store, StoreWriter, fingerprint
from avatarctl.data import writer as writing
from avatarctl.data.store import manifest_digest
from avatarctl.data.writer import part_frames, read_part, write_part
from avatarctl.errors import DataError
from avatarctl.files import digest

FIELDS = {"sparse": 54, "head": 3}
LENGTHS = {"train": [7, 1, 30, 12], "test": [5]}


def clip(length, seed):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(length, width)).astype(np.float32) for name, width in FIELDS.items()}


def fill(folder, lengths=LENGTHS, attributes=None):
    """Write a store; returns its manifest."""
    with StoreWriter(folder, FIELDS, attributes or {"fps": 60.0, "up": "z"}) as writer:
        splits = {}
        for split, counts in lengths.items():
            splits[split] = [f"{split}{index}" for index in range(len(counts))]
            for index, (key, length) in enumerate(zip(splits[split], counts, strict=True)):
                about = {"names": f"{split}/läufer {index}", "fps": 60.0}
                write_part(writer.part(key), clip(length, index), about)
        return writer.finish(splits, "inputs", left_out=[])


@pytest.fixture(params=["one shard", "many shards"])
def store(request, tmp_path, monkeypatch):
    if request.param == "many shards":
        monkeypatch.setattr(writing, "SHARD_BYTES", 2000)
    fill(tmp_path / "mein Speicher")
    return Store(tmp_path / "mein Speicher")


def resealed(folder, change):
    """Alter the manifest, and its digest with it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["digest"] = manifest_digest(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("attributes"), "attributes: found nothing; expected a mapping"),
        (lambda m: m["fields"]["head"].update(dtype="<f8"), "fields: head: dtype: expected <f4"),
        (lambda m: m["fields"].update(head=3), "fields: head: found 3; expected a mapping"),
        (lambda m: m["splits"]["test"].pop("shards"), "splits: test: shards: found nothing; expected a list"),
        (lambda m: m["splits"]["test"]["shards"].append(1), "splits: test: shard 1: found 1"),
        (lambda m: m["splits"]["test"]["shards"][0].update(clips=-1), "shard 0: clips: found -1"),
        (lambda m: m["splits"]["test"]["shards"][0].update(file="../a.h5"), "shard 0: file: expected a name"),
    ],
)
def test_a_whole_manifest_of_a_wrong_form_names_the_entry(tmp_path, change, words):
    fill(tmp_path / "store")
    resealed(tmp_path / "store", change)
    with pytest.raises(DataError, match=words):
        Store(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("sparse", lambda rows: rows * np.float32(np.nan), "sparse: row 0: numbers that are not finite"),
        ("sparse", lambda rows: rows[:, :-1], r"sparse: found float32 \[5, 53\]; expected <f4 \[5, 54\]"),
        ("head", lambda rows: rows.astype("<f8"), "head: found float64"),
        ("head", lambda _: None, "head: found"),
        ("offsets", lambda rows: rows[::-1].copy(), "offsets: do not lead from 0 to 5"),
        ("names", lambda rows: rows[:0], "names: expected one value a clip, 1"),
        ("names", lambda rows: np.full(len(rows), b"\xff\xfe"), "names: is missing, or no text"),
    ],
)
def test_a_whole_shard_with_other_content_names_the_field(tmp_path, name, change, words):
    fill(tmp_path / "store")
    path = tmp_path / "store" / "test-00000.h5"
    with h5py.File(path, "r") as file:
        arrays = {key: file[key][()] for key in file}
    arrays[name] = change(arrays[name])
    with h5py.File(path, "w") as file:
        for key, values in arrays.items():
            if values is not None:
                file.create_dataset(key, data=values)

    def reseal(manifest):
        manifest["splits"]["test"]["shards"][0].update(bytes=path.stat().st_size, digest=digest(path))

    resealed(tmp_path / "store", reseal)
    split = Store(tmp_path / "store").split("test")
    with pytest.raises(DataError, match=words) as caught:
        (split.field("sparse"), split.names)
    assert path.name in caught.value.message


def test_what_was_written_is_read(store):
    assert store.splits == ("test", "train")
    assert store.attributes == {"fps": 60.0, "up": "z"}
    train = store.split("train")
    assert (len(train), train.frames) == (4, 50)
    assert train.names == [f"train/läufer {index}" for index in range(4)]
    assert train.column("fps") == [60.0] * 4
    assert train.lengths.tolist() == LENGTHS["train"]
    for index, length in enumerate(LENGTHS["train"]):
        for field, wanted in clip(length, index).items():
            np.testing.assert_array_equal(train.clip(field, index), wanted)
            np.testing.assert_array_equal(
                train.window(field, index, length // 2, 1), wanted[length // 2 :][:1]
            )


def test_rows_are_gathered_across_clips(store):
    train = store.split("train")
    rows = np.array([[0, 49, 7], [8, 37, 38]])

    found = train.gather("head", rows)

    np.testing.assert_array_equal(found, np.concatenate([train.clip("head", one) for one in range(4)])[rows])
    np.testing.assert_array_equal(train.field("head")[rows], found)


def test_a_window_outside_its_clip_is_refused(store):
    with pytest.raises(ValueError, match="frames 3 to 8 of clip 0, which has 7"):
        store.split("train").window("head", 0, 3, 5)


def test_arrays_are_read_only(store):
    with pytest.raises(ValueError, match="read-only"):
        store.split("test").clip("head", 0)[0] = 1


def test_unknown_words_name_what_there_is(store):
    with pytest.raises(DataError, match="no split 'val'; it has test, train"):
        store.split("val")
    with pytest.raises(DataError, match="no field 'poses'; it has"):
        store.split("test").clip("poses", 0)


def test_the_same_clips_give_the_same_bytes(tmp_path):
    fill(tmp_path / "a")
    time.sleep(0.01)
    fill(tmp_path / "b")

    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["manifest.json", "test-00000.h5", "train-00000.h5"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_split_of_no_clips_is_read(tmp_path):
    fill(tmp_path, {"train": [4], "test": []})

    test = Store(tmp_path).split("test")

    assert (len(test), test.frames, test.names) == (0, 0, [])
    assert test.field("head").shape == (0, 3)


def test_truncated_or_flipped_shards_are_refused(tmp_path):
    fill(tmp_path)
    path = tmp_path / "train-00000.h5"
    whole = path.read_bytes()

    for content in (
        whole[:-1],
        whole[: len(whole) // 2],
        b"",
        whole[:900] + bytes([whole[900] ^ 1]) + whole[901:],
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match="truncated or altered"):
            Store(tmp_path).split("train").clip("head", 0)
    path.unlink()
    with pytest.raises(DataError, match="missing; the manifest lists it"):
        Store(tmp_path).split("train").clip("head", 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda text: text[:-30], "cannot be read"),
        (lambda text: text.replace('"frames": 50', '"frames": 51'), "digest: does not match the content"),
        (lambda text: json.dumps({"format": "else"}), "is no avatarctl store's manifest"),
        (lambda text: text.replace('"version": 1', '"version": 7'), "version: found 7; expected 1"),
    ],
)
def test_an_altered_manifest_is_refused(tmp_path, content, reason):
    fill(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(content(path.read_text()))

    with pytest.raises(DataError, match=reason):
        Store(tmp_path)


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(DataError, match="store not found"):
        Store(tmp_path / "none")
    with pytest.raises(DataError, match="expected a finished store"):
        Store(tmp_path)


def test_a_damaged_store_does_not_count_as_finished(tmp_path):
    fill(tmp_path)

    with StoreWriter(tmp_path, FIELDS, {}) as writer:
        assert writer.is_finished("inputs")
        assert not writer.is_finished("other inputs")
        shard = tmp_path / "test-00000.h5"
        whole = bytearray(shard.read_bytes())
        whole[-1] ^= 1
        shard.write_bytes(whole)
        assert not writer.is_finished("inputs")
        (tmp_path / "manifest.json").write_text("{")
        assert not writer.is_finished("inputs")


def _hold(folder, ready, done):
    with StoreWriter(folder, FIELDS, {}):
        ready.set()
        done.wait(30)


def test_a_second_writer_is_refused_until_the_first_ends(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(30)

    with (
        pytest.raises(DataError, match="another process is preparing this store"),
        StoreWriter(tmp_path, FIELDS, {}),
    ):
        pass

    done.set()
    other.join()
    with StoreWriter(tmp_path, FIELDS, {}):
        pass


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    arrays = clip(4, 0)
    arrays["head"][2, 1] = np.inf

    with pytest.raises(DataError, match="walk: head: numbers that are not finite"):
        write_part(tmp_path / "part.npz", arrays, {"names": "walk"})

    assert list(tmp_path.iterdir()) == []


def test_a_part_says_its_frames_without_being_read(tmp_path):
    arrays = clip(9, 0)

    write_part(tmp_path / "part.npz", arrays, {"names": "walk", "fps": 50.0})

    assert part_frames(tmp_path / "part.npz") == 9
    found, about = read_part(tmp_path / "part.npz")
    assert about == {"names": "walk", "fps": 50.0}
    np.testing.assert_array_equal(found["sparse"], arrays["sparse"])


def test_too_little_space_is_said_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))

    with StoreWriter(tmp_path, FIELDS, {}) as writer, pytest.raises(DataError, match="GB are needed"):
        writer.check_space(1_000_000)


def test_fingerprints_tell_sources_and_options_apart(tmp_path):
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    first.write_bytes(b"1" * 3_000_000)
    second.write_bytes(b"1" * 3_000_000 + b"2")

    marks = {
        fingerprint(first, "x"),
        fingerprint(first, "y"),
        fingerprint(second, "x"),
        fingerprint(first, "x", ""),
    }

    assert len(marks) == 4
    assert fingerprint(first, "x") in marks


def test_windows_gathered_together_are_those_read_apart(tmp_path):
    fill(tmp_path, {"train": [300] * 100, "test": []})
    split = Store(tmp_path).split("train")
    random = np.random.default_rng(0)
    clips, starts = random.integers(0, 100, 1000), random.integers(0, 260, 1000)
    apart = [split.window("sparse", *where, 40) for where in zip(clips, starts, strict=True)]
    rows = (split.offsets[clips] + starts)[:, None] + np.arange(40)
    np.testing.assert_array_equal(split.gather("sparse", rows), np.stack(apart))
