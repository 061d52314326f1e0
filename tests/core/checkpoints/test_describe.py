"""What weight files are said to be: native, foreign, recognised by a plugin's reader, broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatarctl.api import Weights
from avatarctl.checkpoints import native
from avatarctl.checkpoints.describe import describe_weights
from avatarctl.errors import AvatarError, CheckpointError

TENSORS = {"upper.layer.weight": torch.ones(3, 4), "lower.layer.weight": torch.zeros(5)}


def test_a_native_file_is_described_by_its_parts_shapes_and_configuration(tmp_path: Path) -> None:
    native.save(tmp_path / "w.safetensors", TENSORS, {"kind": "toy-net", "width": 7})
    found = describe_weights(tmp_path / "w.safetensors")
    assert found.kind == "weights"
    assert found.what == "native weights"
    assert found.facts["holds"] == "2 tensors, 17 numbers"
    assert found.facts["upper"] == "1 tensors, 12 numbers"
    assert found.facts["kind"] == "toy-net"
    assert found.facts["config"]["width"] == 7
    assert found.arrays == {"upper.layer.weight": "float32 [3, 4]", "lower.layer.weight": "float32 [5]"}


def test_a_training_checkpoint_is_told_from_plain_weights(tmp_path: Path) -> None:
    state = {**TENSORS, "#optimizer.adam.0.step": torch.tensor(3.0)}
    native.save(tmp_path / "step-000000003.safetensors", state, {"kind": "toy-net"})
    found = describe_weights(tmp_path / "step-000000003.safetensors")
    assert found.what == "native training checkpoint"
    assert found.facts["holds"] == "2 tensors, 17 numbers"
    assert found.facts["optimiser, averages, random streams"] == "1 tensors"


def test_a_pointer_is_followed(tmp_path: Path) -> None:
    native.save(tmp_path / "step-000000003.safetensors", TENSORS, {"kind": "toy-net"})
    (tmp_path / "best.pt").write_text(json.dumps({"file": "step-000000003.safetensors", "step": 3}))
    found = describe_weights(tmp_path / "best.pt")
    assert found.what == "pointer to step-000000003.safetensors, a native weights"
    assert found.arrays["lower.layer.weight"] == "float32 [5]"


def test_a_safetensors_file_of_another_program_is_told_apart(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    assert describe_weights(tmp_path / "other.safetensors").what == "safetensors file of another program"


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_reader_of_a_plugin_recognises_its_layout(
    tmp_path: Path, is_zip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "net": dict(TENSORS)}, path, _use_new_zipfile_serialization=is_zip)
    seen = {}

    def sniff(header: dict[str, tuple[int, ...]]) -> bool:
        seen.update(header)
        return "net.upper.layer.weight" in header

    monkeypatch.setattr("avatarctl.checkpoints.describe.toy_sniff", sniff, raising=False)
    reader = Weights(
        name="toy-net", summary="published toy checkpoints", sniff="avatarctl.checkpoints.describe:toy_sniff"
    )
    found = describe_weights(path, [reader])
    assert seen["net.upper.layer.weight"] == (3, 4)
    assert (found.what, found.reader) == ("published toy checkpoints", "toy-net")
    assert found.arrays["net.lower.layer.weight"] == "[5]"


def test_a_torch_file_that_no_reader_knows_is_described_all_the_same(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "net.pth")
    found = describe_weights(tmp_path / "net.pth")
    assert found.what == "torch file in no known layout"
    assert found.facts["holds"] == "2 tensors, 17 numbers"
    assert found.reader == ""


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_file_is_one_line_with_its_name(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"füße und mehr{suffix}"
    if suffix == ".safetensors":
        native.save(path, TENSORS, {"kind": "toy-net"})
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=suffix == ".pth")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[content.find(b"layer")] ^= 0xFF  # in a name
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "emptied": b""}[damage])
    with pytest.raises(AvatarError) as caught:
        describe_weights(path)
    assert str(path) in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint
    assert caught.value.exit_code in (5, 6)


def test_a_pointer_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_text("{}")
    with pytest.raises(CheckpointError, match=r"last\.pt: is no pointer"):
        describe_weights(tmp_path / "last.pt")
