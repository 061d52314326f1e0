"""Weights as calls in Python name them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from avatarctl.checkpoints import Weights
from avatarctl.errors import DataError
from avatarctl.runs.inputs import opened


@dataclass(frozen=True)
class Declared:
    """Embedded weights, as a plugin declares them."""

    name: str
    path: str


def written(path: Path, part: str) -> Path:
    return Weights({part: {"a": torch.ones(1)}}, {}, "x", path).write(path)


def test_weights_are_opened_ones_files_or_embedded_ones_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy = Declared("toy", str(written(tmp_path / "embedded.safetensors", "face")))
    body = written(tmp_path / "body.safetensors", "body")
    found = opened("toy", iter([toy]))
    assert set(found.parts) == {"face"}
    assert opened(found, []) is found
    assert set(opened(body, [toy]).parts) == {"body"}
    assert set(opened(f"toy, {body}", [toy]).parts) == {"face", "body"}
    with pytest.raises(DataError, match="tow"):
        opened("tow", [toy])
    written(tmp_path / "toy", "own")  # a file goes before a name, as on the command line
    assert set(opened("toy", [toy]).parts) == {"own"}
