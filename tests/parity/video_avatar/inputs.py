"""What the golden cases of video-avatar are given: bodies, raw and prepared sequences, weights."""

from __future__ import annotations

import atexit
import json
import shutil
import sys
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_video_avatar.plugin import avatarctl_weights
from golden import FIXTURES, module
from torch import Tensor

from avatarctl.body import BodyModel
from avatarctl.body import files as body_files
from avatarctl.checkpoints import Weights, open_weights

OWN = FIXTURES / "video-avatar"


def recipe(folder: Path, name: str):  # type: ignore[no-untyped-def]
    """A script beside the cases, as a module."""
    for place in (str(folder.parent), str(FIXTURES)):
        if place not in sys.path:
            sys.path.append(place)  # it imports weights.py
    path = folder / name
    return module(path if path.is_file() else OWN / name)


@cache
def scratch() -> Path:
    """A folder that lasts as long as the process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def body_models(folder: Path) -> Path:
    """{neutral,male,female}/model.pkl, made by the recipe of the cases."""
    made, place = recipe(folder, "synthetic_smpl.py"), scratch() / "body_models" / "smpl"
    made.main(str(place))
    return place


@cache
def body(folder: Path, sex: str = "neutral") -> BodyModel:
    """One of them, read by the product."""
    return body_files.read(body_models(folder) / sex / "model.pkl", gender=sex)


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of another case."""
    path = folder / "cases" / f"{name}.npz"
    with np.load(path if path.is_file() else OWN / "cases" / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def words(folder: Path, name: str) -> dict[str, Any]:
    """The JSON of another case."""
    path = folder / "cases" / f"{name}.json"
    content: dict[str, Any] = json.loads(
        (path if path.is_file() else OWN / "cases" / path.name).read_text("utf-8")
    )
    return content


def state(manifest: str, folder: Path, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of `manifests/MANIFEST.json` under the official names, aliases included."""
    recipe(folder, "synthetic_smpl.py")
    from weights import fill

    path = folder / "manifests" / f"{manifest}.json"
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in fill(path, seed).items()}
    aliases = json.loads(path.read_text("utf-8")).get("aliases", {})
    return tensors | {alias: tensors[name] for alias, name in aliases.items()}


def manifest_of(words: str) -> str:
    """The manifest that a case's "weights" names: "manifests/NAME.json seed 0"."""
    return Path(words.split()[0]).stem


@lru_cache(maxsize=2)  # hundreds of megabytes each
def official(manifest: str, folder: Path, step: int = 144000, seed: int = 0) -> Weights:
    """An official checkpoint written in its published nesting, read by the product."""
    path = scratch() / f"{manifest}-{seed}" / "checkpoints" / f"epoch=479-step={step}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "epoch": 479,
            "global_step": step,
            "pytorch-lightning_version": "1.5.10",
            "callbacks": {},
            "optimizer_states": [],
            "lr_schedulers": [],
            "state_dict": state(manifest, folder, seed),
        },
        path,
    )
    return open_weights(path, list(avatarctl_weights()))
