import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from avatarctl.checkpoints import native
from avatarctl.errors import CheckpointError, DataError


def content():
    tensors = {
        "b.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a.bias": torch.tensor([0.1, -0.2], dtype=torch.float16),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }
    return tensors, {"width": 3, "parts": ["a", "b"], "name": "naïve", "lr": 0.1}


def test_tensors_and_configuration_come_back_bit_for_bit(tmp_path):
    tensors, config = content()
    found, about = native.load(native.save(tmp_path / "weights ü.safetensors", tensors, config))
    assert about == config
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_the_same_content_gives_the_same_bytes_whatever_the_order(tmp_path):
    tensors, config = content()
    one = native.save(tmp_path / "one.safetensors", tensors, config).read_bytes()
    other = native.save(
        tmp_path / "two.safetensors",
        dict(reversed([(name, tensor.clone()) for name, tensor in tensors.items()])),
        dict(reversed(list(config.items()))),
    )
    assert other.read_bytes() == one


def test_views_and_shared_memory_are_stored_as_their_values(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    found, _ = native.load(
        native.save(tmp_path / "w.safetensors", {"t": base.T, "row": base[1], "all": base}, {})
    )
    assert torch.equal(found["t"], base.T)
    assert torch.equal(found["row"], base[1])


def test_only_floating_point_tensors_take_the_asked_number_type(tmp_path):
    tensors, config = content()
    found, _ = native.load(native.save(tmp_path / "h.safetensors", tensors, config, dtype=torch.float16))
    assert found["b.weight"].dtype == torch.float16
    assert found["steps"].dtype == torch.int64


def test_any_flipped_bit_is_noticed_in_one_line(tmp_path):
    tensors, config = content()
    whole = native.save(tmp_path / "whole.safetensors", tensors, config).read_bytes()
    file = tmp_path / "flipped.safetensors"
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        with pytest.raises(CheckpointError) as caught:
            native.load(file)
        assert str(file) in caught.value.message
        assert "\n" not in caught.value.message, place


def test_any_truncation_is_noticed_in_one_line(tmp_path):
    tensors, config = content()
    whole = native.save(tmp_path / "whole.safetensors", tensors, config).read_bytes()
    file = tmp_path / "cut.safetensors"
    for length in range(1, len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            native.load(file)
        assert "\n" not in caught.value.message


def test_a_header_of_enormous_length_is_refused(tmp_path):
    file = tmp_path / "long.safetensors"
    file.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(CheckpointError, match="not a whole"):
        native.load(file)


def test_files_of_other_programs_are_read_without_configuration(tmp_path):
    file = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(2)}, file, metadata={"format": "pt"})
    tensors, config = native.load(file)
    assert torch.equal(tensors["w"], torch.ones(2))
    assert config == {}


def test_another_version_of_the_layout_is_refused_with_its_number(tmp_path):
    file = tmp_path / "later.safetensors"
    words = json.dumps({"version": 2, "config": {}, "crc32": 0})
    save_file({"w": torch.ones(2)}, file, metadata={native.KEY: words})
    with pytest.raises(CheckpointError, match="found version 2, expected 1"):
        native.load(file)


def test_a_full_disk_leaves_the_old_file(tmp_path, small_files):
    file = tmp_path / "weights.safetensors"
    native.save(file, {"w": torch.ones(2)}, {})
    before = file.read_bytes()
    with small_files(1 << 16), pytest.raises(DataError, match="cannot be written"):
        native.save(file, {"w": torch.ones(1 << 16)}, {})
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
