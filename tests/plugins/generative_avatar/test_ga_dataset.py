"""Collections of photos as training takes them."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar.dataset import Photos, order, unit_normals
from avatarctl_generative_avatar.label import mirrored

from avatarctl.cli.main import main
from avatarctl.errors import DataError

sys.path.append(str(Path(__file__).resolve().parent))

import photo_zip
from photo_zip import SIDE


def test_alpha_puts_photos_on_white_and_takes_normals_away(tmp_path):
    files = photo_zip.contents(1)
    name = "00000/img00000000.png"
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[..., 0], pixels[0, :3, 3] = 200, (76, 77, 255)
    normals = np.full((SIDE, SIDE, 3), (255, 128, 128), np.uint8)
    files |= {name: photo_zip.png(pixels), name.replace("img", "normal"): photo_zip.png(normals)}
    one = Photos(photo_zip.write(tmp_path / "photos.zip", files), SIDE)[0]
    assert one.image.dtype == torch.uint8
    part = 77 / 255
    assert one.image[:, 0, 1].tolist() == [int(200 * part + 255 * (1 - part)), *[int(255 * (1 - part))] * 2]
    assert one.image[:, 0, 2].tolist() == [200, 0, 0]
    assert one.image[:, 1, 1].tolist() == [255, 255, 255]
    assert (one.normals[:, 0, 0] == 255).all()
    unit = one.normals[:, 0, 1] / 127.5 - 1
    torch.testing.assert_close(unit.norm(), torch.tensor(1.0))
    assert unit[0] > 0.999


def test_normals_are_unit_vectors_and_white_where_they_were(tmp_path):
    photos = Photos(photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(2)), SIDE)
    normals = photos[1].normals
    assert (normals[:, :2] == 255).all()
    lengths = (normals[:, 2:] / 127.5 - 1).norm(dim=0)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-5, rtol=0)


def test_a_folder_holds_the_same_as_a_zip(tmp_path):
    files = photo_zip.contents(3) | {
        "00000/img_seg0.png": b"x",
        "__MACOSX/._img.png": b"x",
        "more/.img": b"x",
    }
    packed = Photos(photo_zip.write(tmp_path / "photos.zip", files), 8)
    loose = Photos(photo_zip.write(tmp_path / "photos", files), 8)
    assert packed.names == loose.names == [f"{n // 2:05d}/img{n:08d}.png" for n in range(3)]
    for one, other in zip(packed[2], loose[2], strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(packed.labels, photo_zip.labels(3))
    torch.testing.assert_close(packed.label_std, photo_zip.labels(3).std(dim=0, correction=0))
    assert packed.body is None


def test_mirrored_photos_have_mirrored_normals_and_labels(tmp_path):
    path = photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(2))
    photos, published = Photos(path, SIDE, xflip=True), Photos(path, SIDE, xflip=True, published=True)
    assert len(photos) == len(photos.labels) == 4
    plain, turned = photos[1], photos[3]
    assert torch.equal(turned.image, plain.image.flip(-1))
    assert torch.equal(turned.label, mirrored(plain.label))
    is_white = (plain.normals == 255).all(dim=0)
    signs = torch.tensor([-1.0, 1, 1])[:, None, None]
    wanted = torch.where(is_white, plain.normals, (plain.normals - 127.5) * signs + 127.5)
    torch.testing.assert_close(turned.normals, wanted.flip(-1), atol=1e-4, rtol=0)
    assert torch.equal(published[3].normals, plain.normals.flip(-1))
    assert torch.equal(published[3].label, plain.label)


def test_a_part_of_the_photos_is_the_same_each_time(tmp_path):
    path = photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(9))
    part = Photos(path, 8, max_size=4, seed=3)
    wanted = np.arange(9)
    np.random.RandomState(3).shuffle(wanted)
    wanted = np.sort(wanted[:4])
    torch.testing.assert_close(part.labels, photo_zip.labels(9)[wanted])
    whole = Photos(path, 8, max_size=20)
    assert len(whole) == 9
    assert torch.equal(part[2].image, whole[int(wanted[2])].image)
    assert torch.equal(part.label_std, whole.label_std)


@pytest.mark.parametrize("memory", [0, 3000, 1 << 20])
def test_kept_pictures_are_the_decoded_ones(memory, tmp_path):
    path = photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(5, alpha=True))
    photos = Photos(path, 8, memory=memory)
    first = photos.take(range(5))
    for one, again in zip(first, photos.take(range(5)), strict=True):
        assert torch.equal(one, again)
    assert photos._held <= memory


def test_several_threads_take_the_same_photos(tmp_path):
    path = photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(6))
    wanted = Photos(path, 8).take(range(6))
    with ThreadPoolExecutor(6) as pool:
        photos = Photos(path, 8, memory=0)
        found = list(pool.map(photos.__getitem__, [*range(6)] * 5))
    for number, one in enumerate(found):
        assert torch.equal(one.image, wanted.image[number % 6])
    for workers in (0, 2):
        batches = photos.batches(order(6, 0), 4, workers)
        got = torch.cat([one.label for one in islice(batches, 3)])
        batches.close()
        assert torch.equal(got, photos.labels[list(islice(order(6, 0), 12))])


def published_order(count, seed, rank, world):
    random = np.random.RandomState(seed)
    indices = np.arange(count)
    random.shuffle(indices)
    window, step = int(np.rint(count * 0.5)), 0
    while True:
        place = step % count
        if step % world == rank:
            yield int(indices[place])
        if window >= 2:
            other = (place - random.randint(window)) % count
            indices[place], indices[other] = indices[other], indices[place]
        step += 1


@pytest.mark.parametrize("count", [1, 2, 3, 11, 1000])
def test_the_order_is_the_published_one_from_anywhere(count):
    wanted = list(islice(published_order(count, 5, 1, 3), 3000))
    assert list(islice(order(count, 5, 1, 3), 3000)) == wanted
    assert list(islice(order(count, 5, 1, 3, start=1700), 1300)) == wanted[1700:]


def test_sizes_may_differ_which_is_said_once(tmp_path, caplog):
    small, large = photo_zip.contents(2), photo_zip.contents(4, side=24)
    files = large | {name: content for name, content in small.items() if name != "dataset.json"}
    photos = Photos(photo_zip.write(tmp_path / "photos.zip", files), 8)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert photos[number].image.shape == photos[number].normals.shape == (3, 8, 8)
    assert len(caplog.records) == 1
    assert "img00000002.png has a side of 24 pixels, others 16" in caplog.text


def test_photos_that_are_enlarged_are_said_once(tmp_path, caplog):
    photos = Photos(photo_zip.write(tmp_path / "photos.zip", photo_zip.contents(2)), 2 * SIDE)
    with caplog.at_level(logging.WARNING):
        photos.take([0, 1])
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        f"photos have a side of {SIDE} pixels and are enlarged to {2 * SIDE}"
    ]


def broken(tmp_path, **changes):
    files = photo_zip.contents(2)
    for name, change in changes.items():
        key = {
            "index": "dataset.json",
            "photo": "00000/img00000001.png",
            "normals": "00000/normal00000001.png",
        }
        files[key[name]] = change
    return photo_zip.write(
        tmp_path / "photos.zip", {name: one for name, one in files.items() if one is not None}
    )


def entry(row, name="00000/img00000001.png"):
    good = photo_zip.index_of(["00000/img00000000.png"], photo_zip.labels(1))["labels"]
    return json.dumps({"labels": [*good, [name, row]]}).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index": None}, "photos.zip: no dataset.json; it holds the labels"),
        ({"index": b"{"}, "dataset.json: is no JSON"),
        ({"index": b"{}"}, "labels: not found"),
        ({"index": b'{"labels": [3]}'}, "labels: entry 0: expected [name, [camera, body]]"),
        ({"index": entry([[0.0] * 25, [0.0] * 82])}, "img00000001.png: found lists of [25, 82]; expected"),
        ({"index": entry([0.0] * 111)}, "found 111 values; expected [camera, body] of 25 and 86 numbers"),
        ({"index": entry([["x"] * 25, [0.0] * 86])}, "img00000001.png: expected numbers"),
        (
            {"index": entry([[1e60] * 25, [0.0] * 86])},
            "1 of 2 photos have impossible numbers: 00000/img00000001.png: camera: found 1e+60",
        ),
        ({"index": entry([[0] * 25, [1, 0, 1e30, *[0] * 83]])}, "img00000001.png: transl: found 1e+30"),
        ({"index": entry([[0] * 25, [*[0] * 80, float("nan"), *[0] * 5]])}, "betas: found nan"),
        ({"index": entry([[0] * 25, [10**400, *[0] * 85]])}, "scale: found 1000"),
        (
            {"index": entry([[0] * 25, [0] * 86], "other.png")},
            "none for 1 of 2 photos: 00000/img00000001.png",
        ),
        (
            {"normals": None},
            "1 of 2 photos lack their normals: 00000/img00000001.png (00000/normal00000001.png)",
        ),
    ],
)
def test_broken_collections_are_refused_when_they_are_opened(change, words, tmp_path):
    with pytest.raises(DataError) as caught:
        Photos(broken(tmp_path, **change), 8)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("faulty", [entry([[0] * 25, [0] * 86], "other.png"), entry([[1e60] * 25, [0] * 86])])
def test_photos_may_be_removed_where_their_labels_are_not_as_they_should_be(faulty, tmp_path):
    with pytest.raises(DataError) as caught:
        Photos(broken(tmp_path, index=faulty), 8)
    assert "remove these photos" in caught.value.hint  # a label that is taken out alone is missed next


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": b"\x89PNG junk"}, "img00000001.png: is no readable picture"),
        (
            {"normals": photo_zip.contents(1)["00000/img00000000.png"][:300]},
            "normal00000001.png: is no readable",
        ),
        ({"photo": photo_zip.png(np.zeros((8, 9, 3), np.uint8))}, "is 9 x 8 pixels; expected a square"),
        ({"photo": photo_zip.png(np.zeros((8, 8), np.uint16))}, "has pixels of type I;16; expected 8 bits"),
        ({"photo": photo_zip.png(np.zeros((8, 8, 4), np.uint8))}, "has a side of 8 pixels, its normals 16"),
    ],
)
def test_broken_pictures_are_refused_when_they_are_read(change, words, tmp_path):
    photos = Photos(broken(tmp_path, **change), 8)
    assert photos[0].image.shape == (3, 8, 8)
    with pytest.raises(DataError) as caught:
        photos[1]
    assert words in caught.value.message


def test_other_files_are_no_collections(tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"PK junk")
    with pytest.raises(DataError, match="is no readable zip"):
        Photos(tmp_path / "photos.zip", 8)
    with pytest.raises(DataError, match="not found"):
        Photos(tmp_path / "nowhere", 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos; names of photos contain 'img'"):
        Photos(tmp_path / "empty", 8)


def test_grey_and_palette_pictures_are_colours(tmp_path):
    grey = photo_zip.png(np.full((SIDE, SIDE), 70, np.uint8))
    assert (Photos(broken(tmp_path, photo=grey), 8)[1].image == 70).all()


def test_unit_normals_turn_around_but_for_the_background():
    coded = np.array([[[255, 128, 128], [255, 255, 255]]], np.uint8)
    plain, turned = unit_normals(coded), unit_normals(coded, is_mirrored=True)
    assert plain[0, 1].tolist() == turned[0, 1].tolist() == [255, 255, 255]
    np.testing.assert_allclose(turned[0, 0, 0], 255 - plain[0, 0, 0])
    assert turned[0, 0, 0] < 0.01


@pytest.mark.parametrize("name", ["photos.zip", "photos"])
def test_inspect_describes_a_collection(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = photo_zip.contents(3)
    photo_zip.write(tmp_path / name, files)
    assert main(["inspect", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what"] == "photos of people with labels, for generative-avatar"
    assert found["facts"] == {
        "photos": 3,
        "normals": "of all photos",
        "size": "16 x 16 pixels (the first photo)",
        "labels": "of all photos",
    }
    assert f"avatarctl train generative-avatar --data {name}" in found["read_by"]
    bare = {name: content for name, content in files.items() if "normal" not in name}
    photo_zip.write(tmp_path / "bare.zip", bare)
    assert main(["inspect", "bare.zip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["normals"] == "none"
