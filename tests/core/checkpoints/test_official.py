import json
import logging
import sys
from types import ModuleType

import pytest
import torch

from avatarctl.api import Weights as Reader
from avatarctl.checkpoints import Weights, native, open_weights
from avatarctl.checkpoints.official import find_reader, flatten
from avatarctl.errors import CheckpointError, DataError

READER = Reader(
    name="published", summary="the published layout", sniff="toy_layout:is_ours", read="toy_layout:read"
)
OTHER = Reader(name="other", summary="", sniff="toy_layout:has_q")


@pytest.fixture(autouse=True)
def toy_layout(monkeypatch):
    """The code that the declarations name."""
    module = ModuleType("toy_layout")
    module.is_ours = lambda header: header.get("state_dict.w") == (2, 3)
    module.has_q = lambda header: "q" in header
    parts = {"upper": {"w": torch.ones(2, 3)}, "lower": {"w": torch.zeros(2, 3)}}
    module.read = lambda path: (parts, {"width": 3})
    monkeypatch.setitem(sys.modules, "toy_layout", module)


def published(path):
    torch.save({"state_dict": {"w": torch.ones(2, 3)}, "epoch": 4}, path)
    return path


def test_a_native_file_opens_by_its_parts(tmp_path):
    weights = Weights(
        {"a": {"x.w": torch.ones(2)}, "b": {"w": torch.zeros(1)}}, {"width": 2}, "net", tmp_path
    )
    found = open_weights(weights.write(tmp_path / "w.safetensors"))
    assert found.parts.keys() == {"a", "b"}
    assert torch.equal(found.part("a")["x.w"], torch.ones(2))
    assert found.config == {"width": 2}
    assert found.kind == "net"


def test_parts_leave_out_what_is_no_weight(tmp_path):
    tensors = {"model.w": torch.ones(1), "#optimizer.adam.0.step": torch.ones(1)}
    file = native.save(tmp_path / "step.safetensors", tensors, {"parts": ["model"], "kind": "train-x"})
    assert open_weights(file).parts.keys() == {"model"}


def test_the_first_reader_that_knows_the_content_reads_it(tmp_path):
    found = open_weights(published(tmp_path / "model.pth"), [OTHER, READER])
    assert found.kind == "published"
    assert found.parts.keys() == {"upper", "lower"}
    assert found.config == {"width": 3}
    assert find_reader(tmp_path / "model.pth", [OTHER])[0] is None


def test_a_reader_that_raises_is_named_and_the_next_one_is_asked(tmp_path, caplog):
    absent = Reader(name="absent", summary="", sniff="no_such_module:sniff")
    broken = Reader(name="broken", summary="", sniff="toy_layout:is_ours_not")
    with caplog.at_level(logging.WARNING):
        found = open_weights(published(tmp_path / "model.pth"), [absent, broken, READER])
    assert found.kind == "published"
    assert "weights 'absent': no_such_module:sniff: ModuleNotFoundError" in caplog.text
    assert "weights 'broken': toy_layout:is_ours_not: AttributeError" in caplog.text


def test_a_safetensors_file_is_known_by_content_whatever_its_name(tmp_path):
    file = native.save(tmp_path / "weights.bin", {"w": torch.ones(1)}, {})
    assert open_weights(file).parts[""].keys() == {"w"}


def test_unknown_content_names_some_of_its_tensors(tmp_path):
    with pytest.raises(CheckpointError, match=r"1 tensors in no known layout \(state_dict\.w"):
        open_weights(published(tmp_path / "model.pth"), [OTHER])


def test_a_missing_part_names_those_that_are_there(tmp_path):
    weights = Weights({"upper": {}}, {}, "net", tmp_path / "f")
    with pytest.raises(CheckpointError, match="has no 'lower' weights; it holds 'upper'"):
        weights.part("lower")


def test_a_folder_is_the_sum_of_its_files_and_later_files_win(tmp_path):
    def write(name, **parts):
        tensors = {part: {"w": torch.tensor([value])} for part, value in parts.items()}
        Weights(tensors, {}, "net", tmp_path).write(tmp_path / name)

    write("one/best.safetensors", vq=1.0)
    write("two/best.safetensors", vq=2.0, decoder=3.0)
    (tmp_path / "notes.pt").write_bytes(b"broken")
    found = open_weights(tmp_path)
    assert found.parts["vq"]["w"] == 2.0
    assert found.parts["decoder"]["w"] == 3.0


def write(path, value=0.0, parts=("net",), **config):
    tensors = {part: {"w": torch.tensor([value])} for part in parts}
    return Weights(tensors, config, "net", path).write(path)


def test_a_part_that_two_folders_hold_is_refused_when_it_is_asked_for_and_not_before(tmp_path):
    write(tmp_path / "one/best.safetensors", parts=("decoder",))
    for name in ("old", "new"):
        write(tmp_path / name / "best.safetensors", parts=("vq",))
    found = open_weights(tmp_path)
    assert found.part("decoder")
    with pytest.raises(CheckpointError, match="2 files hold 'vq' weights") as caught:
        found.part("vq")
    assert all(str(tmp_path / name / "best.safetensors") in caught.value.message for name in ("old", "new"))
    with pytest.raises(CheckpointError, match="2 files hold"):
        found.holds("vq")


def test_of_a_folder_only_the_files_that_are_taken_are_read(tmp_path, caplog):
    write(tmp_path / "a/best.safetensors", 1.0)
    spoiled = write(tmp_path / "a/checkpoint.safetensors", 2.0)
    content = bytearray(spoiled.read_bytes())
    content[-1] ^= 0xFF  # its checksum is wrong, which only reading shows
    spoiled.write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert open_weights(tmp_path).part("net")["w"] == 1.0
    assert "net from a/best.safetensors; not used: a/checkpoint.safetensors" in caplog.text


def test_of_several_each_adds_the_parts_that_those_before_it_lack(tmp_path, caplog):
    one = write(tmp_path / "one.safetensors", 1.0, ("a", "b"), sizes={"a": 1, "b": 1}, axes="world")
    two = write(tmp_path / "two.safetensors", 2.0, ("b", "c"), sizes={"b": 2, "c": 2}, axes="world")
    found = open_weights([one, two])
    assert {part: float(own["w"]) for part, own in found.parts.items()} == {"a": 1.0, "b": 1.0, "c": 2.0}
    assert found.config["sizes"] == {"a": 1, "b": 1, "c": 2}
    with caplog.at_level(logging.WARNING):
        open_weights([one, one])
    assert "one.safetensors: not used: what it holds is in" in caplog.text


def test_files_that_were_made_for_different_things_are_not_joined(tmp_path):
    one = write(tmp_path / "one.safetensors", parts=("a",), axes="world", run="train-x/001")
    two = write(tmp_path / "two.safetensors", parts=("b",), axes="heading", run="train-x/002")
    with pytest.raises(CheckpointError, match=r"one\.safetensors has axes 'world', but .*two\.safetensors"):
        open_weights([one, two])


def test_a_folder_without_weights_and_a_broken_file_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no weight file"):
        open_weights(tmp_path)
    (tmp_path / "a.pth").write_bytes(b"\x80\x02nonsense")
    with pytest.raises(CheckpointError, match=r"a\.pth: torch file: refused"):
        open_weights(tmp_path)
    with pytest.raises(DataError, match="not found"):
        open_weights(tmp_path / "none.pth")


def test_nested_tensors_have_dotted_names():
    found = flatten({"a": {"b": torch.ones(1), "c": 3}, "d": torch.ones(2), "e": json})
    assert found.keys() == {"a.b", "d"}
