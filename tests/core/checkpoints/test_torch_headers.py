"""Torch files without their numbers, and what users take for torch files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from avatarctl.checkpoints.official import flatten
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError

CONTENT = {"epoch": 3, "a": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.ones(4, dtype=torch.int64)}}
HTML = b"\r\n<!DOCTYPE html><html><title>Virus scan warning</title></html>"


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_header_has_the_shapes_and_types_of_the_whole_file(tmp_path: Path, is_zip: bool) -> None:
    torch.save(CONTENT, tmp_path / "f.pth", _use_new_zipfile_serialization=is_zip)
    whole, header = (load_torch(tmp_path / "f.pth", is_header=is_header) for is_header in (False, True))
    assert header["epoch"] == 3
    found, wanted = flatten(header), flatten(whole)
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {
        name: (t.shape, t.dtype) for name, t in wanted.items()
    }
    assert all(tensor.is_meta for tensor in found.values())


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_header_does_not_read_the_numbers(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "f.pth"
    torch.save({"w": torch.full((1000,), 7.25)}, path, _use_new_zipfile_serialization=is_zip)
    content = path.read_bytes()
    at = content.index(torch.full((4,), 7.25).numpy().tobytes())
    path.write_bytes(content[:at] + b"\0" * 16 + content[at + 16 :])
    assert load_torch(path, is_header=True)["w"].shape == (1000,)
    if is_zip:
        with pytest.raises(CheckpointError, match=r"f\.pth: torch file: refused: Bad CRC"):
            load_torch(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HTML, "found a web page, expected a torch file"),
        (b"PK\x03\x04 and no more", "it ends early"),
        (b"version https://git-lfs.github.com/spec/v1\n", "best.pth.tar: is no torch file"),
    ],
)
def test_what_is_downloaded_instead_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "best.pth.tar").write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_torch(tmp_path / "best.pth.tar")
    assert len(caught.value.message.splitlines()) == 1


def test_an_archive_of_checkpoints_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "S1.zip", "w") as archive:
        archive.writestr("outputs/decoder/best.pth.tar", b"x")
    with pytest.raises(CheckpointError, match=r"archive of files \(outputs/decoder/best\.pth\.tar") as caught:
        load_torch(tmp_path / "S1.zip")
    assert "unpack" in caught.value.hint
