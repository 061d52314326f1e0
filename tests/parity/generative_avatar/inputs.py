"""What the golden cases of generative-avatar are given: body, template, draws, networks."""

from __future__ import annotations

import atexit
import json
import pickle
import re
import shutil
import sys
import tempfile
import types
from collections import OrderedDict
from copy import deepcopy
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_generative_avatar.model.generator import Generator
from avatarctl_generative_avatar.model.generator import load as load_generator
from avatarctl_generative_avatar.plugin import avatarctl_weights
from golden import FIXTURES, module
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body import files as body_files
from avatarctl.checkpoints import Weights, open_weights
from avatarctl.device import Noise

OWN = FIXTURES / "generative-avatar"


def place(folder: Path, name: str) -> Path:
    """A file beside the cases, or the packaged one."""
    path = folder / name
    return path if path.is_file() else OWN / name


@cache
def body(folder: Path) -> BodyModel:
    """The synthetic body of assets/body.npz, read by the product."""
    return body_files.read(place(folder, "assets/body.npz"), gender="neutral")


@cache
def sdf(folder: Path) -> Tensor:
    """Signed distances of assets/sdf_smpl.npz [1, 1, 32, 128, 128]."""
    with np.load(place(folder, "assets/sdf_smpl.npz")) as file:
        return torch.from_numpy(file["sdf"])


def noise(words: dict[str, Any], draws: str = "draws", key: str = "KEY") -> Noise:
    """The draws of a case, by its recipe."""
    made = []
    for number, (kind, shape) in enumerate(words[draws]):
        stream = np.random.Generator(np.random.Philox(key=int(words[key]) + number))
        values = stream.random(shape) if kind == "rand" else stream.standard_normal(shape)
        made.append(torch.from_numpy(np.asarray(values).astype(np.float32)))
    return Noise.replay(made)


def told(words: dict[str, Any], pattern: str, *usual: float) -> list[float]:
    """Numbers in what a case says of itself; the usual ones where it does not say them.

    Args:
        pattern: What stands around them, with a group for each.
    """
    found = re.search(pattern, words["what"])
    return [float(number) for number in found.groups()] if found else list(usual)


def samples(draws: list[Any]) -> dict[str, Any]:
    """Samples of a ray in both passes, by the shapes of their draws: [N, R, S, 1] and [N R, F]."""
    shapes = [shape for kind, shape in draws if kind == "rand"]
    place = next(number for number, shape in enumerate(shapes) if len(shape) == 4)
    fine = shapes[place + 1][1] if len(shapes) > place + 1 else 0
    return {"depth_resolution": shapes[place][2], "depth_resolution_importance": fine}


@lru_cache(maxsize=2)  # hundreds of megabytes each
def state(manifest: str, folder: Path, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of manifests/MANIFEST.json under the official names."""
    fill = module(FIXTURES / "weights.py").fill
    path = place(folder, f"manifests/{manifest}.json")
    return {name: torch.from_numpy(np.asarray(array)) for name, array in fill(path, seed).items()}


PLAIN = {
    "renderer": ("training.volumetric_rendering.renderer", "ImportanceRenderer"),
    "decoder": ("training.triplane", "OSGDecoder"),
    "net": ("torch.nn.modules.container", "Sequential"),
}
"""Inner networks that a snapshot does not hold with their source."""
SOURCE = "raise SystemExit('source text of a snapshot was run')"


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    """Only its name is written."""


class _Persistent:
    """Pickles as networks with their source text do."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.meta = {
            "type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state,
        }  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconstruct_persistent_obj, (self.meta,)


def _foreign(module: str, name: str) -> type:
    """A class of a package that is not there."""
    if module not in sys.modules:
        for place in accumulate(module.split("."), lambda above, name: f"{above}.{name}"):
            sys.modules.setdefault(place, types.ModuleType(place))
    made = sys.modules[module]
    if not hasattr(made, name):
        setattr(made, name, type(name, (), {"__module__": module}))
    found: type = getattr(made, name)
    return found


def _network(name: str, tensors: dict[str, Tensor], more: dict[str, Any]) -> Any:
    """A tree of networks in the published nesting."""
    inner: dict[str, dict[str, Tensor]] = {}
    own: dict[str, Tensor] = {}
    for path, tensor in tensors.items():
        first, _, rest = path.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = tensor
        else:
            own[first] = tensor
    buffers = ("resample_filter", "noise_const", "w_avg", "dataset_label_std")
    state = {
        "training": False,
        "_parameters": OrderedDict(
            (key, torch.nn.Parameter(value)) for key, value in own.items() if key not in buffers
        ),
        "_buffers": OrderedDict((key, value) for key, value in own.items() if key in buffers),
        "_modules": OrderedDict((key, _network(key, value, {})) for key, value in inner.items()),
        **more,
    }
    if name not in PLAIN:
        return _Persistent(name, state)
    one: Any = object.__new__(_foreign(*PLAIN[name]))
    one.__dict__.update(state)
    return one


@lru_cache(maxsize=2)  # hundreds of megabytes each
def snapshot(folder: Path, networks: tuple[tuple[str, str, int], ...]) -> Weights:
    """A snapshot written in the published nesting, read by the product.

    Args:
        networks: Name in the snapshot, manifest and seed of each.
    """
    content: dict[str, Any] = {"augment_pipe": None, "training_set_kwargs": {}, "progress": {}}
    for name, manifest, seed in networks:
        words = json.loads(place(folder, f"manifests/{manifest}.json").read_text("utf-8"))["init_kwargs"]
        more = {"_init_args": (), "_init_kwargs": words, "img_resolution": words["img_resolution"]}
        if name != "D":
            more["rendering_kwargs"] = words["rendering_kwargs"]
            more["neural_rendering_resolution"] = words["img_resolution"] // 2
        kind = "AG3DDiscriminator" if name == "D" else "AG3DGenerator"
        content[name] = _network(kind, state(manifest, folder, seed), more)
    path = scratch() / ("-".join("_".join(map(str, one)) for one in networks) + ".pkl")
    publish = _foreign("torch_utils.persistence", "nothing").__module__
    _reconstruct_persistent_obj.__module__ = publish
    sys.modules[publish]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    path.write_bytes(pickle.dumps(content, protocol=4))
    return open_weights(path, list(avatarctl_weights()))


@cache
def scratch() -> Path:
    """A folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def generator(folder: Path, manifest: str = "G_ema", seed: int = 0) -> Generator:
    """The generator of a manifest, through the product's reader of snapshots; a check may change it."""
    return deepcopy(load_generator(snapshot(folder, (("G_ema", manifest, seed),))))


def discriminator(folder: Path, manifest: str = "D", seed: int = 0) -> Weights:
    """Weights with the discriminators of a manifest (and a small generator), through the product's reader."""
    return snapshot(folder, (("G_ema", "train_G", 0), ("D", manifest, seed)))
