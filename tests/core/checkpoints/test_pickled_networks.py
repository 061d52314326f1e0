"""Networks pickled whole, with their source text, as the StyleGAN family does: nothing of it runs."""

import pickle
import sys
import types
from collections import OrderedDict

import pytest
import torch

from avatarctl.checkpoints.official import find_reader, flatten, module_state
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.errors import CheckpointError


def rebuild(meta):
    raise AssertionError("only its name is written")


class Persistent:
    def __init__(self, **state):
        self.meta = {"type": "class", "module_src": "raise SystemExit", "class_name": "Net", "state": state}

    def __reduce__(self):
        return rebuild, (self.meta,)


@pytest.fixture
def published(monkeypatch):
    """`rebuild` under its published name, as long as files are written."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = rebuild
    monkeypatch.setattr(rebuild, "__module__", module.__name__)
    monkeypatch.setattr(rebuild, "__qualname__", "_reconstruct_persistent_obj")
    monkeypatch.setattr(rebuild, "__name__", "_reconstruct_persistent_obj")
    monkeypatch.setitem(sys.modules, "torch_utils", package)
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


def network():
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    inner = Persistent(
        _parameters=OrderedDict(weight=weight), _buffers={"half": torch.ones(2).half()}, _modules={}
    )
    plain = torch.nn.Linear(3, 1)
    return Persistent(
        _parameters={},
        _buffers={"count": torch.tensor(7)},
        _modules=OrderedDict(inner=inner, plain=plain),
        size=3,
    )


def test_tensors_and_attributes_come_out_and_the_source_is_not_run(tmp_path, published):
    path = tmp_path / "network-snapshot.pkl"
    made = network()
    path.write_bytes(pickle.dumps({"G": made, "step": 4}, 4))
    content = load_torch(path)
    found = flatten(content)
    plain = made.meta["state"]["_modules"]["plain"]
    assert sorted(found) == ["G.count", "G.inner.half", "G.inner.weight", "G.plain.bias", "G.plain.weight"]
    assert torch.equal(found["G.plain.weight"], plain.weight)
    assert found["G.inner.half"].dtype == torch.float16
    assert found["G.count"].item() == 7
    assert module_state(content["G"])["size"] == 3
    assert content["step"] == 4


def test_the_header_says_the_shapes_without_numbers(tmp_path, published):
    path = tmp_path / "network-snapshot.pkl"
    path.write_bytes(pickle.dumps({"G": network()}, 4))
    assert find_reader(path, []).header["G.inner.weight"] == (2, 3)
    assert flatten(load_torch(path, is_header=True))["G.inner.weight"].is_meta


def test_a_view_into_a_larger_storage_keeps_its_numbers(tmp_path):
    path = tmp_path / "views.pkl"
    whole = torch.arange(24.0).reshape(4, 6)
    path.write_bytes(pickle.dumps({"a": whole.T[1:3], "b": whole[2]}, 4))
    found = load_torch(path)
    assert torch.equal(found["a"], whole.T[1:3])
    assert torch.equal(found["b"], whole[2])


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_ends_early_is_one_line(tmp_path, published, cut):
    path = tmp_path / "network-snapshot.pkl"
    raw = pickle.dumps({"G": network()}, 4)
    path.write_bytes(raw[: int(cut * len(raw))])
    with pytest.raises(CheckpointError, match=r"network-snapshot\.pkl"):
        load_torch(path)


def test_a_call_hidden_in_a_storage_is_not_made(tmp_path):
    mark = tmp_path / "mark"
    inner = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    outer = b"\x80\x04c" + b"torch.storage\n_load_from_bytes\n" + pickle.dumps((inner,), 2)[2:-1] + b"R."
    path = tmp_path / "evil.pkl"
    path.write_bytes(outer)
    load_torch(path)
    assert not mark.exists()


def test_a_storage_cannot_claim_more_than_its_bytes(tmp_path):
    raw = pickle.dumps(torch.zeros(4), 4)
    path = tmp_path / "bomb.pkl"
    path.write_bytes(raw.replace(b"K\x04", b"J\xff\xff\xff\x7f"))
    with pytest.raises(CheckpointError, match=r"refused"):
        load_torch(path)
