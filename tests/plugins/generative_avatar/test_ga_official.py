"""Published snapshots: read, described, refused; nothing that they carry is run."""

from __future__ import annotations

import io
import json
import lzma
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_people
import torch
from avatarctl_generative_avatar import official
from avatarctl_generative_avatar.deform.volumes import load_sdf
from avatarctl_generative_avatar.model.generator import load
from avatarctl_generative_avatar.model.sizes import DISCRIMINATOR, GENERATOR, RAW
from avatarctl_generative_avatar.pipeline import sdf_of
from avatarctl_generative_avatar.plugin import avatarctl_weights

from avatarctl.checkpoints import open_weights
from avatarctl.cli.main import main
from avatarctl.errors import CheckpointError

CASE = Path(__file__).parents[3] / "fixtures/parity/generative-avatar/cases/tiny_snapshot.pkl.xz"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "network-snapshot.pkl"
    path.write_bytes(lzma.decompress(CASE.read_bytes()))
    return path


def read(path: Path) -> Any:
    return open_weights(path, list(avatarctl_weights()))


def test_all_networks_and_the_progress_come_out(snapshot):
    weights = read(snapshot)
    assert set(weights.parts) == {GENERATOR, DISCRIMINATOR, RAW}
    assert (weights.config["step"], weights.config["images"]) == (3844, 123000)
    assert weights.config["rendering"]["depth_resolution"] == 36
    assert weights.kind == "ag3d"
    assert "unknown" not in weights.config


def test_inspect_says_what_it_is(snapshot, capsys):
    assert main(["inspect", str(snapshot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "AG3D" in json.dumps(found)
    assert "avatarctl infer generative-avatar" in json.dumps(found)


def test_safetensors_hold_the_same(snapshot, tmp_path):
    given = read(snapshot)
    found = read(given.write(tmp_path / "same.safetensors"))
    assert found.config["networks"] == given.config["networks"]
    for part, tensors in given.parts.items():
        assert all(torch.equal(found.part(part)[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_snapshot_that_ends_early_is_one_line(snapshot, tmp_path, share):
    path = tmp_path / "cut.pkl"
    raw = snapshot.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(CheckpointError, match=r"cut\.pkl"):
        read(path)


def rebuilt(meta):
    raise AssertionError("only its name is written")


class Network:
    """Pickled with its source text, as published."""

    def __init__(self, tensors: dict[str, torch.Tensor], **more: Any) -> None:
        inner: dict[str, dict[str, torch.Tensor]] = {}
        own = {}
        for name, tensor in tensors.items():
            first, _, rest = name.partition(".")
            (inner.setdefault(first, {}) if rest else own)[rest or first] = tensor
        modules = OrderedDict((name, Network(value)) for name, value in inner.items())
        self.state = {"_parameters": own, "_buffers": {}, "_modules": modules, **more}

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, ({"type": "class", "module_src": "raise SystemExit", "state": self.state},)


@pytest.fixture
def written(snapshot, tmp_path, monkeypatch):
    """`written(change, ...)`: a snapshot of the case's averaged generator, its tensors changed."""
    for name in ("torch_utils", "torch_utils.persistence", "somebody"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = rebuilt  # type: ignore[attr-defined]
    monkeypatch.setattr(rebuilt, "__module__", "torch_utils.persistence")
    monkeypatch.setattr(rebuilt, "__qualname__", "_reconstruct_persistent_obj")
    tensors = dict(read(snapshot).part(GENERATOR))

    def write(change=None, extra=None, **more: Any) -> Path:
        words = {"channel_base": 512, "channel_max": 16} | more.pop("words", {})
        found = dict(tensors)
        if change is not None:
            change(found)
        made = {"G_ema": Network(found, _init_kwargs=words, **more), "extra": extra}
        path = tmp_path / "made.pkl"
        path.write_bytes(pickle.dumps(made, 4))
        return path

    return write


def test_a_written_snapshot_is_read(written):
    assert read(written()).config["networks"][GENERATOR]["z_dim"] == 16


def test_labels_of_another_size_are_said(written):
    def eg3d(tensors):
        tensors["backbone.mapping.embed.weight"] = torch.zeros(512, 25)

    with pytest.raises(CheckpointError, match=r"G_ema: labels of 25 numbers, expected 111"):
        read(written(eg3d))


def test_a_resolution_that_its_tensors_do_not_have_is_said(written):
    with pytest.raises(CheckpointError, match="img_resolution: found 512, but its tensors are for 128"):
        read(written(img_resolution=512))


def test_densities_without_signed_distances_are_refused(written):
    with pytest.raises(CheckpointError, match="is_sdf: found False"):
        read(written(rendering_kwargs={"is_sdf": False}))


def test_settings_that_cannot_be_are_named(written):
    with pytest.raises(CheckpointError, match=r"rendering_kwargs\.depth_resolution: found many"):
        read(written(rendering_kwargs={"depth_resolution": "many"}))
    with pytest.raises(CheckpointError, match="channel_base: found x"):
        read(written(words={"channel_base": "x"}))


def test_a_missing_tensor_is_named(written):
    with pytest.raises(CheckpointError, match=r"lacks 'superresolution\.block1\.conv1\.noise_const'"):
        read(written(lambda tensors: tensors.pop("superresolution.block1.conv1.noise_const")))


def test_the_number_of_rays_is_that_of_the_training(written):
    assert "rays" not in read(written()).config
    assert read(written(neural_rendering_resolution=48)).config["rays"] == 48


def test_arguments_may_be_numbers_of_numpy(written):
    words = {"channel_base": np.int64(512), "channel_max": np.int32(16)}
    rendering = {"ray_end": np.float64(0.4), "depth_resolution": np.int64(20), "is_sdf": np.bool_(True)}
    config = read(written(words=words, rendering_kwargs=rendering)).config
    assert config["networks"][GENERATOR]["channel_base"] == 512
    assert (config["rendering"]["ray_end"], config["rendering"]["depth_resolution"]) == (0.4, 20)
    with pytest.raises(CheckpointError, match="is_sdf: found False"):
        read(written(rendering_kwargs={"is_sdf": np.bool_(False)}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_other_number_types_are_read(written, dtype):
    def narrow(tensors):
        for name in tensors:
            tensors[name] = tensors[name].to(dtype)

    plain, found = load(read(written())), load(read(written(narrow)))
    for name, tensor in found.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=1e-2, atol=1e-6)


class OnGpu:
    """A tensor that was on a GPU when it was pickled."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor.contiguous()

    def __reduce__(self) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        storage = torch.storage.TypedStorage(
            wrap_storage=self.tensor.untyped_storage(), dtype=self.tensor.dtype, _internal=True
        )
        torch.save(storage, buffer, _use_new_zipfile_serialization=False)
        raw = buffer.getvalue()
        moved = raw.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
        assert moved != raw
        words = Stored(moved), 0, tuple(self.tensor.shape), self.tensor.stride(), False, OrderedDict()
        return torch._utils._rebuild_tensor_v2, words


class Stored:
    """A storage by the bytes of its file."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __reduce__(self) -> tuple[Any, ...]:
        return torch.storage._load_from_bytes, (self.raw,)


def test_tensors_of_a_gpu_are_read_without_one(written):
    name = "renderer.sigmoid_beta"
    plain = read(written()).part(GENERATOR)[name]

    def moved(tensors):
        tensors[name] = OnGpu(tensors[name])

    found = read(written(moved)).part(GENERATOR)[name]
    assert found.device.type == "cpu"
    assert torch.equal(found, plain)


def test_a_snapshot_without_its_averaged_generator_is_refused(written, tmp_path):
    path = written()
    path.write_bytes(path.read_bytes().replace(b"G_ema", b"G_old"))
    with pytest.raises(CheckpointError, match="tensors in no known layout"):
        read(path)


def test_classes_of_others_are_named_and_stay_inert(written, monkeypatch):
    kind = type("Trap", (), {"__module__": "somebody"})
    sys.modules["somebody"].Trap = kind  # type: ignore[attr-defined]
    path = written(extra=kind())
    monkeypatch.delitem(sys.modules, "somebody")
    weights = read(path)
    assert weights.config["unknown"] == ["somebody.Trap"]
    said = official.describe(weights)
    assert said is not None
    assert "somebody.Trap" in said[1]["unknown classes"]


def test_native_weights_of_other_labels_are_said(tmp_path):
    weights = small_people.weights()
    sizes = weights.config["networks"][GENERATOR]
    state = weights.parts[GENERATOR]
    sizes["c_dim"], name = 25, "backbone.mapping.embed.weight"
    state[name] = state[name][:, :25].contiguous()
    with pytest.raises(CheckpointError, match="labels of 25 numbers, expected 111"):
        load(read(weights.write(tmp_path / "eg3d.safetensors")))


def test_signed_distances_are_added_to_the_assets(tmp_path, monkeypatch, capsys, make):
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    given = make.fashion().write_sdf(tmp_path / "downloads")
    assert main(["assets", "add", str(tmp_path / "downloads")]) == 0
    kept = tmp_path / "added" / "sdf_smpl.npy"
    assert capsys.readouterr().out.strip() == str(kept)
    assert kept.read_bytes() == given.read_bytes()
    assert torch.equal(sdf_of("smpl", None), load_sdf(given))
    assert main(["assets", "add", str(tmp_path / "added" / "nothing")]) == 5
