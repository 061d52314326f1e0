import io
import random
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from avatarctl.checkpoints.arrays import archive_names, npz_headers, read_npz
from avatarctl.errors import DataError


def archive(path, compressed=False, **arrays):
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def content():
    return {
        "poses": np.arange(30.0).reshape(5, 6),
        "gender": np.array("female"),
        "fps": np.array(120.0),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3)),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_back_and_pickled_ones_are_left_out(tmp_path, compressed):
    arrays = content()
    file = archive(tmp_path / "clip ü.npz", compressed, **arrays, secret=np.array({"a": 1}, dtype=object))
    found = read_npz(file)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert read_npz(file, ["poses", "absent"]).keys() == {"poses"}
    assert npz_headers(file)["poses"] == ((5, 6), np.dtype("f8"))


def test_a_pickled_array_that_is_asked_for_is_refused(tmp_path):
    file = archive(tmp_path / "p.npz", secret=np.array({"a": 1}, dtype=object))
    with pytest.raises(DataError, match="secret"):
        read_npz(file, ["secret"])


def test_truncated_archives_are_refused_in_one_line(tmp_path):
    whole = archive(tmp_path / "whole.npz", **content()).read_bytes()
    file = tmp_path / "cut.npz"
    for length in range(1, len(whole), 5):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read_npz(file)
        assert str(file) in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("compressed", [False, True])
def test_mutated_archives_end_in_arrays_or_one_line(tmp_path, compressed):
    draws = random.Random(1)
    whole = archive(tmp_path / "whole.npz", compressed, **content()).read_bytes()
    file = tmp_path / "mutated.npz"
    for _ in range(600):
        changed = bytearray(whole)
        for _ in range(draws.choice((1, 1, 2, 8))):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        file.write_bytes(changed)
        with suppress(DataError):
            read_npz(file)


def test_flipped_numbers_are_refused(tmp_path):
    whole = archive(tmp_path / "whole.npz", **content()).read_bytes()
    place = whole.index(struct.pack("<d", 17.0))
    file = tmp_path / "flipped.npz"
    file.write_bytes(whole[:place] + b"\x01" + whole[place + 1 :])
    with pytest.raises(DataError, match="poses"):
        read_npz(file)


def test_a_header_that_announces_more_than_there_is_is_refused(tmp_path):
    header = io.BytesIO()
    words = {"descr": "<f8", "fortran_order": False, "shape": (20_000_000_000,)}
    np.lib.format.write_array_header_1_0(header, words)
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("poses.npy", header.getvalue())
    with pytest.raises(DataError, match="20000000000"):
        read_npz(file)


def test_what_is_no_archive_is_named(tmp_path):
    file = tmp_path / "text.npz"
    file.write_text("not an archive")
    with pytest.raises(DataError, match="not a readable"):
        read_npz(file)
    with pytest.raises(DataError, match="is a folder"):
        read_npz(tmp_path)


def test_names_of_an_archive_whose_names_are_no_text_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", sparse=np.zeros(3))
    assert archive_names(tmp_path / "a.npz") == ["sparse.npy"]
    whole = (tmp_path / "a.npz").read_bytes()
    place = whole.rindex(b"sparse.npy")  # in the directory at the end, whose flags say that names are UTF-8
    flags = whole.rindex(b"PK\x01\x02") + 8
    bad = bytearray(whole)
    bad[place], bad[flags + 1] = 0xCE, 0x08
    (tmp_path / "b.npz").write_bytes(bad)
    assert archive_names(tmp_path / "b.npz") == []
    assert archive_names(tmp_path) == []


def test_an_unfinished_header_is_told(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,".ljust(117) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(24)
    with zipfile.ZipFile(tmp_path / "clip.npz", "w") as file:
        file.writestr("poses.npy", entry)

    with pytest.raises(DataError, match="clip"):
        read_npz(tmp_path / "clip.npz")
