"""What the golden cases of audio2motion are given: inputs, weights and statistics, from their recipes."""

from __future__ import annotations

import json
import os
import re
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from avatarctl_audio2motion.conversations.stats import Statistics, read_statistics
from avatarctl_audio2motion.plugin import avatarctl_weights
from golden import FIXTURES, Absent, module

from avatarctl.checkpoints import Weights, open_weights

STATS = "AVATARCTL_AUDIO2MOTION_STATS"
"""Environment variable: the folder with PERSON/data_stats.pth."""
NESTED = re.compile(r'"(\w+)": STATE')


def recipes(folder: Path) -> ModuleType:
    """The file `buffers.py` beside the manifests: `tensors`, `value`."""
    path = folder / "buffers.py"
    return module(path if path.is_file() else FIXTURES / "audio2motion" / "buffers.py")


def value_of(entry: Mapping[str, Any]) -> np.ndarray:
    """An input of a case: {"weights.value": [name, shape, dtype, kind, seed]} and what is done with it."""
    recipes(FIXTURES / "audio2motion")  # its folder goes on the path
    from weights import value

    unknown = entry.keys() - {"weights.value", "scale", "repeat", "abs then times"}
    assert not unknown, f"a recipe with {sorted(unknown)}"
    name, shape, dtype, kind, seed = entry["weights.value"]
    made: np.ndarray = value(name, tuple(shape), dtype, kind, seed)
    if "abs then times" in entry:
        made = np.abs(made) * made.dtype.type(entry["abs then times"])
    made = made * made.dtype.type(entry.get("scale", 1))
    return np.repeat(made, entry.get("repeat", 1), axis=0)


def state(manifest: str, folder: Path, seed: int) -> dict[str, np.ndarray]:
    """The tensors of `manifests/MANIFEST.json` under the official names."""
    tensors: dict[str, np.ndarray] = recipes(folder).tensors(folder / "manifests" / f"{manifest}.json", seed)
    return tensors


def write_official(
    place: Path, manifest: str, folder: Path, seed: int, args: Mapping[str, Any] | None = None
) -> Path:
    """An official checkpoint below a folder, under its published name and in its published nesting.

    Args:
        args: What `args.json` beside it says; left out: there is none.
    """
    words = json.loads((folder / "manifests" / f"{manifest}.json").read_text(encoding="utf-8"))
    tensors = {name: torch.from_numpy(array) for name, array in state(manifest, folder, seed).items()}
    nested = NESTED.search(words["nesting"])
    path = place / words["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({nested[1]: tensors, **beside_the_network(words)} if nested else tensors, path)
    if args is not None:
        beside = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        (beside / "args.json").write_text(json.dumps(args, indent=4, sort_keys=True), encoding="utf-8")
    return path


def beside_the_network(words: Mapping[str, Any]) -> dict[str, Any]:
    """What a published file also holds, by its manifest: objects of classes, which a reader must not call."""
    nesting = words["nesting"]
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    found: dict[str, Any] = {
        "optimizer": optimizer.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [300_000]),
        "args": Namespace(arch="wav2vec", log_compression=False),
        "iteration": int((re.findall(r"\d+", Path(words["file"]).stem) or ["0"])[-1]),
    }
    return {name: value for name, value in found.items() if f'"{name}"' in nesting}


def official(manifest: str, folder: Path, seed: int, args: Mapping[str, Any] | None = None) -> Weights:
    """Generated weights, written in the official layout and read by the product's reader."""
    with tempfile.TemporaryDirectory() as place:
        path = write_official(Path(place), manifest, folder, seed, args)
        return open_weights(path, list(avatarctl_weights()))


def stats_file(folder: Path, person: str) -> Path:
    """A person's published statistics, which are no part of this project.

    Raises:
        Absent: They lie neither beside the cases nor where the environment variable says.
    """
    named = os.environ.get(STATS)
    places = [folder / "data", *([Path(named)] if named else [])]
    for place in places:
        if (place / person / "data_stats.pth").is_file():
            return place / person / "data_stats.pth"
    raise Absent(
        f"data/{person}/data_stats.pth is not there (non-commercial licence); {STATS} names its folder"
    )


def stats(folder: Path, person: str) -> Statistics:
    """The same, read by the product."""
    return read_statistics(stats_file(folder, person))


def stats_row(values: torch.Tensor) -> np.ndarray:
    """What the cases keep of a large tensor: mean, deviation, largest magnitude, a weighted mean [4]."""
    flat = values.detach().double().flatten()
    ramp = torch.linspace(-1, 1, flat.numel(), dtype=torch.float64)
    row = torch.stack([flat.mean(), flat.std(), flat.abs().max(), (flat * ramp).mean()])
    return row.float().numpy()
