"""Files as the field writes them are read without their packages: chumpy, argparse, scipy, numpy scalars."""

import argparse
import collections
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch

from avatarctl.checkpoints.pickle_reader import load_pickle, load_torch
from avatarctl.errors import DataError


@pytest.fixture
def chumpy(monkeypatch):
    """A stand-in for the chumpy package, there while the file is written and gone when it is read."""
    package = types.ModuleType("chumpy")
    for name in ("ch", "reordering"):
        module = types.ModuleType(f"chumpy.{name}")
        kind = type({"ch": "Ch", "reordering": "Select"}[name], (), {"__module__": module.__name__})
        setattr(module, kind.__name__, kind)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "chumpy", package)
    return package


def made(kind, **state):
    thing = kind()
    thing.__dict__.update(state)
    return thing


@pytest.mark.parametrize("protocol", range(6))
def test_a_body_model_pickle_with_chumpy_and_scipy_is_read(tmp_path, chumpy, monkeypatch, protocol):
    vertices = np.arange(12.0).reshape(4, 3)
    regressor = scipy.sparse.csc_matrix(np.array([[0.5, 0.5, 0, 0], [0, 0, 0, 1.0]]))
    inner = made(chumpy.ch.Ch, x=vertices)
    body = {
        "v_template": inner,
        "picked": made(
            chumpy.reordering.Select, a=inner, idxs=np.array([11, 0, 5, 6]), preferred_shape=(2, 2)
        ),
        "J_regressor": regressor,
        "f": np.array([[0, 1, 2]], dtype=np.uint32),
        "fortran": np.asfortranarray(vertices),
        "bs_type": "lrotmin",
    }
    file = tmp_path / "body model ü.pkl"
    file.write_bytes(pickle.dumps(body, protocol))
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)
    found = load_pickle(file)
    np.testing.assert_array_equal(found["v_template"].array, vertices)
    np.testing.assert_array_equal(found["picked"].array, [[11, 0], [5, 6]])
    np.testing.assert_array_equal(found["J_regressor"].toarray(), regressor.toarray())
    np.testing.assert_array_equal(found["fortran"], vertices)
    assert type(found["f"]) is np.ndarray
    assert found["f"].dtype == np.uint32
    assert found["bs_type"] == "lrotmin"
    assert "chumpy" not in sys.modules


def test_a_python_2_pickle_is_read(tmp_path):
    numbers = struct.pack(">2d", 1.5, -2.0)
    content = (
        b"\x80\x02}U\x05posescnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x10" + numbers + b"tbs."
    )
    file = tmp_path / "two.pkl"
    file.write_bytes(content)
    np.testing.assert_array_equal(load_pickle(file)["poses"], [1.5, -2.0])


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_text_and_containers_come_back_equal(tmp_path, protocol):
    content = {
        "scalar": np.float64(0.25),
        "integer": np.int64(-3),
        "half": np.float16(0.5),
        "names": np.array(["hips", "head"]),
        "bytes": b"\x00\xff",
        "objects": np.array([1, "two", None], dtype=object),
        "ordered": collections.OrderedDict(a=1, b=[2, (3, 4)]),
        "sets": ({1, 2}, frozenset({3})),
        "complex": 1 + 2j,
        "empty": np.zeros((0, 3)),
        "none": None,
    }
    file = tmp_path / "plain.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    found = load_pickle(file)
    assert found.keys() == content.keys()
    for name in ("scalar", "integer", "half", "bytes", "ordered", "sets", "complex", "none"):
        assert found[name] == content[name]
    for name in ("names", "objects", "empty"):
        np.testing.assert_array_equal(found[name], content[name])
        assert found[name].dtype == content[name].dtype


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_trainers_checkpoint_is_read(tmp_path, is_zip):
    weight = torch.arange(12.0).reshape(3, 4)
    content = {
        "state_dict": collections.OrderedDict(
            w=weight, transposed=weight.T, b=torch.tensor([1, 2]).bfloat16()
        ),
        "parameter": torch.nn.Parameter(weight[1:]),
        "best_loss": np.float64(0.125),
        "args": argparse.Namespace(lr=1e-3, layers=(1, 2)),
        "empty": torch.zeros(0, 3),
        "size": weight.shape,
        "epoch": 7,
    }
    file = tmp_path / "model.pth.tar"
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    found = load_torch(file)
    for name, tensor in content["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor)
        assert found["state_dict"][name].dtype == tensor.dtype
    assert torch.equal(found["parameter"], weight[1:])
    assert found["best_loss"] == 0.125
    assert found["args"].state == {"lr": 1e-3, "layers": (1, 2)}
    assert found["empty"].shape == (0, 3)
    assert found["size"] == (3, 4)
    assert found["epoch"] == 7


def test_a_text_is_said_to_be_no_pickle(tmp_path):
    file = tmp_path / "bad.pkl"
    file.write_bytes(b'header{"a": 1}')
    with pytest.raises(DataError, match=r"bad\.pkl: is no pickle") as caught:
        load_pickle(file, start=6)
    assert caught.value.hint.startswith("check the path")
    file.write_bytes(pickle.dumps([1])[:-1])  # cut off, but a pickle
    with pytest.raises(DataError, match="pickle: refused"):
        load_pickle(file)


@pytest.mark.parametrize(
    "change",
    [
        {"indptr": np.array([0, 10**12, 4], np.int64)},
        {"indptr": np.array([0, 3, 2], np.int32)},
        {"indices": np.array([0, 9], np.int32)},
        {"_shape": (2, 10**9)},
        {"_shape": (-1, 2)},
        {"data": np.array(["a", "b"])},
        {"data": None},
    ],
)
def test_a_sparse_matrix_that_is_none_is_refused(tmp_path, change):
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    matrix.__dict__.update(change)
    file = tmp_path / "sparse.pkl"
    file.write_bytes(pickle.dumps(matrix, 2))
    with pytest.raises(DataError, match="sparse matrix"):
        load_pickle(file).toarray()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"x": "text"},
        {"a": np.arange(3), "idxs": np.array([5])},
        {"a": np.arange(3), "idxs": np.array([0.5])},
        {"a": np.arange(3), "idxs": np.array([0]), "preferred_shape": (7,)},
    ],
)
def test_a_chumpy_object_without_an_array_is_refused(tmp_path, chumpy, state):
    file = tmp_path / "chumpy.pkl"
    file.write_bytes(pickle.dumps(made(chumpy.ch.Ch, **state), 2))
    with pytest.raises(DataError, match="chumpy object"):
        load_pickle(file).array  # noqa: B018 (the property raises)


def test_a_chumpy_object_that_holds_itself_is_refused(tmp_path, chumpy):
    thing = made(chumpy.ch.Ch)
    thing.x = thing
    file = tmp_path / "loop.pkl"
    file.write_bytes(pickle.dumps(thing, 2))
    with pytest.raises(DataError, match="no array"):
        load_pickle(file).array  # noqa: B018 (the property raises)


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    (tmp_path / "empty.pkl").touch()
    for name, words in (("none.pkl", "not found"), ("", "is a folder"), ("empty.pkl", "is empty")):
        with pytest.raises(DataError, match=words):
            load_pickle(tmp_path / name)
