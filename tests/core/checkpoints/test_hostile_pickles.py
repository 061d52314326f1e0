"""Malicious pickles (ecosystem 11): nothing that they name runs, and nothing large is allocated."""

import builtins
import io
import os
import pickle
import random
import struct
import subprocess
import time
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarctl.checkpoints.pickle_reader import load_pickle, load_torch
from avatarctl.errors import AvatarError, CheckpointError, DataError


def reduce(module, name, *args, protocol=0):
    """A pickle that calls `module.name(*args)`."""
    words = pickle.dumps(args, 2)[2:-1]
    return f"c{module}\n{name}\n".encode() + words + b"R."


def chain(*parts):
    """A pickle that makes a tuple of several calls, so that each is tried."""
    return b"(" + b"".join(part[:-1] for part in parts) + b"t."


def hostile(path):
    """Name and bytes of each attack; those that work would create `path`."""
    shell, source = f"touch '{path}'", f"open({str(path)!r}, 'w')"
    method = b"\x8c\x04exec\x93" + pickle.dumps((source,), 2)[2:-1] + b"R."
    return {
        "os.system": reduce("os", "system", shell),
        "posix.system": reduce("posix", "system", shell),
        "os.popen": reduce("os", "popen", shell),
        "os.execl": reduce("os", "execlp", "touch", "touch", str(path)),
        "subprocess.Popen": reduce("subprocess", "Popen", ["touch", str(path)]),
        "subprocess.check_output": reduce("subprocess", "check_output", ["touch", str(path)]),
        "builtins.eval": reduce("builtins", "eval", source),
        "builtins.exec": reduce("__builtin__", "exec", source),
        "builtins.open": reduce("builtins", "open", str(path), "w"),
        "builtins.compile": reduce("builtins", "compile", source, "x", "exec"),
        "builtins.__import__": reduce("builtins", "__import__", "antigravity"),
        "builtins.getattr": chain(
            reduce("builtins", "getattr", "x", "__class__"), reduce("os", "system", shell)
        ),
        "code interpreter": reduce("code", "InteractiveInterpreter"),
        "code.interact": reduce("code", "interact", source),
        "logging listener": reduce("logging.config", "listen", 0),
        "torch.hub.load": reduce("torch.hub", "load", str(path.parent), "model", "source"),
        "nested torch.load": reduce("torch.serialization", "load", str(path)),
        "numpy.load": reduce("numpy", "load", str(path), None, True),
        "numpy runstring": reduce("numpy.testing._private.utils", "runstring", source, {}),
        "torch.fx source": reduce("torch.fx.graph_module", "_forward_from_src", source, {}),
        "torch jit": reduce("torch.jit.unsupported_tensor_ops", "execWrapper", source, {}, {}),
        "idlelib": reduce("idlelib.pyshell", "ModifiedInterpreter", None),
        "idlelib calltip": reduce("idlelib.calltip", "get_entity", source),
        "importlib": reduce("importlib", "import_module", "antigravity"),
        "runpy": reduce("runpy", "run_path", str(path)),
        "socket": reduce("socket", "create_connection", ("127.0.0.1", 9)),
        "webbrowser": reduce("webbrowser", "open", f"file://{path}"),
        "pty.spawn": reduce("pty", "spawn", ["touch", str(path)]),
        "shutil.rmtree": reduce("shutil", "rmtree", str(path.parent)),
        "operator chain": reduce("operator", "methodcaller", "system", shell),
        "functools chain": reduce("functools", "partial", shell),
        "copyreg.add_extension": reduce("copyreg", "add_extension", "os", "system", 1),
        "copyreg.constructor": reduce("copyreg", "constructor", source),
        "copyreg._reconstructor": reduce("copyreg", "_reconstructor", "x", "y", source),
        "pickle.loads": reduce("pickle", "loads", reduce("os", "system", shell)),
        "pip": reduce("pip", "main", ["--version"]),
        "cProfile": reduce("cProfile", "run", source),
        "timeit": reduce("timeit", "timeit", source),
        "ctypes": reduce("ctypes", "CDLL", str(path)),
        "dotted name": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + pickle.dumps((shell,), 2)[2:-1] + b"R.",
        "attribute of an allowed one": b"\x80\x04\x8c\x0bcollections\x8c\x12OrderedDict.system\x93)R.",
        "hidden class": b"\x80\x04\x8c\x08builtins\x8c\x19object.__subclasses__.name\x93)R.",
        "exec by stack": b"\x80\x04\x8c\x08builtins" + method,
        "instance of os": f"(S'{shell.replace(chr(39), '')}'\nios\nsystem\n.".encode(),
        "setstate of a function": b"c_codecs\nencode\n}(U\x0c__defaults__U\x04utf7ub.",
        "slot state of a function": b"c_codecs\nencode\n(N}(U\x0c__defaults__(U\x04utf7tutb.",
        "setstate of a class": b"cos\npath\n}(U\x03abcU\x03defub.",
        "persistence source": reduce(
            "torch_utils.persistence",
            "_reconstruct_persistent_obj",
            {"type": "class", "version": 6, "module_src": source, "class_name": "G", "state": {}},
        ),
    }


def assert_refused_or_inert(load, file):
    """The file is refused in one line that names it, or what it names has become inert."""
    message = ""
    try:
        found = load(file)
    except AvatarError as error:
        message = error.message
    if message:
        assert message.startswith(f"{file}: ")
        assert "\n" not in message
    else:
        assert "inert" in repr(found)


@pytest.fixture
def traps(monkeypatch):
    """Calls that would show that something ran; nothing may reach them."""
    reached = []

    def trap(name):
        return lambda *args, **kwargs: reached.append(name)

    for owner, name in (
        (os, "system"), (os, "popen"), (os, "execlp"), (subprocess, "Popen"), (subprocess, "check_output"),
        (builtins, "eval"), (builtins, "exec"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, trap(name))
    yield reached
    monkeypatch.undo()


@pytest.mark.parametrize("name", sorted(hostile(Path("x/y"))))
@pytest.mark.parametrize("load", [load_pickle, load_torch])
def test_a_hostile_pickle_runs_nothing(tmp_path, traps, name, load):
    victim = tmp_path / "inside"
    victim.mkdir()
    canary = victim / "canary"
    file = tmp_path / "hostile.pkl"
    file.write_bytes(hostile(canary)[name])
    assert_refused_or_inert(load, file)
    assert traps == []
    assert victim.is_dir()
    assert not canary.exists()


def test_the_attacks_are_real(tmp_path):
    """The same bytes do run under Python's own unpickler, so the test above tests something."""
    attacks = hostile(tmp_path / "canary")
    for name in ("os.system", "builtins.exec", "subprocess.check_output", "dotted name", "builtins.open"):
        canary = tmp_path / "canary"
        pickle.loads(attacks[name])
        assert canary.exists(), name
        canary.unlink()


def test_a_pickle_cannot_change_the_functions_it_may_call(tmp_path):
    for name in ("setstate of a function", "slot state of a function"):
        file = tmp_path / "state.pkl"
        file.write_bytes(hostile(tmp_path)[name])
        with pytest.raises(DataError, match="given a state"):
            load_pickle(file)


class Evil:
    """An object whose pickle makes a file named canary in the working folder."""

    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_hostile_call_inside_a_torch_file_is_inert(tmp_path, monkeypatch, is_zip):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"state_dict": {"w": 1.0}, "evil": Evil()}, 2)
    file = tmp_path / "evil.pth"
    if is_zip:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        file.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts) + content + pickle.dumps([], 2))
    found = load_torch(file)
    assert found["state_dict"] == {"w": 1.0}
    assert "inert" in repr(found["evil"])
    assert not (tmp_path / "canary").exists()
    pickle.loads(content)
    assert (tmp_path / "canary").exists()  # so the attack was a real one


def bombs():
    eight = pickle.dumps("f8", 2)[2:-1]
    shape = pickle.dumps((20_000_000_000,), 2)[2:-1]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + shape + eight + b"tR."
    half = b"x" * 30_000
    copies = (
        b"\x80\x04\x8c\x08builtins\x8c\x09bytearray\x93\x94B"
        + struct.pack("<I", len(half))
        + half
        + b"\x94\x85\x940"
    )
    copies = copies + b"(" + b"h\x00h\x02R" * 20_000 + b"t."
    dtype = b"cnumpy\ndtype\n" + pickle.dumps(("V8", False, True), 2)[2:-1] + b"R"
    return {
        "announced array": array,
        "array by state": (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01" + shape
            + b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR\x89U\x01xtb."
        ),
        "zeros": b"cnumpy\nzeros\n(J\xff\xff\xff\x7ftR.",
        "bytearray": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
        "copies": copies,
        "memo number": b"\x80\x04Nr\xff\xff\xff\x7f.",
        "memo number as text": b"Np2147483647\n.",
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 37) + b"x.",
        "text type": b"cnumpy\ndtype\n(U\x0bU9999999999tR.",
        "type with fields": dtype + b"(K\x03U\x01|NNNJ\xff\xff\xff\x7fJ\xff\xff\xff\x7fK\x00tb.",
        "wide tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00J\xff\xff\xff\x7f\x85K\x00\x85tR.",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(bombs()))
def test_an_allocation_bomb_is_refused_at_once(tmp_path, name):
    file = tmp_path / "bomb.pkl"
    file.write_bytes(bombs()[name])
    load_pickle_of_nothing(tmp_path)
    tracemalloc.start()
    begun = time.process_time()
    assert_refused_or_inert(load_pickle, file)
    spent = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert spent < (5.0 if name == "copies" else 0.1)


def load_pickle_of_nothing(folder):
    """Imports and caches out of the way of the measurement."""
    file = folder / "nothing.pkl"
    file.write_bytes(pickle.dumps({}))
    load_pickle(file)


def test_the_bomb_of_160_gb_has_sixty_bytes_and_is_named(tmp_path):
    content = bombs()["announced array"]
    assert len(content) < 100
    file = tmp_path / "bomb.pkl"
    file.write_bytes(content)
    with pytest.raises(DataError, match="20000000000"):
        load_pickle(file)


def test_a_number_type_cannot_be_given_fields(tmp_path):
    """numpy's own would take fields that overlap objects, and read foreign memory as an object."""
    inner = b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR"
    fields = b"}U\x01a(" + inner + b"K\x00ts"
    state = b"(K\x03U\x01|N(U\x01at" + fields + b"K\x08K\x01K\x00tb."
    file = tmp_path / "fields.pkl"
    file.write_bytes(b"cnumpy\ndtype\n(U\x02V8K\x00K\x01tR" + state)
    with pytest.raises(DataError, match="plain name"):
        load_pickle(file)
    file.write_bytes(b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR" + state)
    assert load_pickle(file) == np.dtype("f8")


def test_shared_arrays_of_arrays_take_no_exponential_time(tmp_path):
    content = np.array([1, None], dtype=object)
    for _ in range(60):
        wrapped = np.empty(2, dtype=object)
        wrapped[:] = [content, content]
        content = wrapped
    file = tmp_path / "laughs.pkl"
    file.write_bytes(pickle.dumps(content, 4))
    begun = time.process_time()
    assert load_pickle(file).shape == (2,)
    assert time.process_time() - begun < 1


def test_deep_nesting_is_refused_without_a_crash(tmp_path):
    file = tmp_path / "deep.pkl"
    file.write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    with pytest.raises(DataError, match=r"depth|deeply"):
        load_pickle(file)


def torch_bytes(is_zip):
    buffer = io.BytesIO()
    content = {"epoch": 3, "state_dict": {"w": torch.arange(6.0).reshape(2, 3)}, "loss": np.float64(0.25)}
    torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


@pytest.mark.parametrize("is_zip", [True, False])
def test_truncated_torch_files_are_one_line_failures(tmp_path, is_zip):
    content = torch_bytes(is_zip)
    file = tmp_path / "cut.pth"
    for length in range(1, len(content) - 1, 7):
        file.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            load_torch(file)
        assert str(file) in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_mutated_files_never_end_in_anything_but_content_or_one_line(tmp_path, kind):
    draws = random.Random(0)
    array = np.arange(20.0)
    whole = torch_bytes(kind == "zip") if kind != "pickle" else pickle.dumps({"a": array, "b": array[0]}, 2)
    file = tmp_path / "mutated.pth"
    load = load_pickle if kind == "pickle" else load_torch
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(draws.choice((1, 1, 2, 8))):
            content[draws.randrange(len(content))] = draws.randrange(256)
        file.write_bytes(content)
        with suppress(AvatarError):
            load(file)


def test_a_zip_whose_numbers_were_altered_is_refused(tmp_path):
    content = torch_bytes(True)
    place = content.index(struct.pack("<f", 5.0))
    file = tmp_path / "flipped.pth"
    file.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(CheckpointError, match="CRC"):
        load_torch(file)


def test_a_zip_bomb_is_refused(tmp_path):
    file = tmp_path / "bomb.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(CheckpointError, match="unpack to more"):
        load_torch(file)
