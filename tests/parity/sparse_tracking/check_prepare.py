"""The preparation of AMASS archives, by the run function of `avatarctl prepare amass`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import golden
import numpy as np
from avatarctl_sparse_tracking.prepare import run_amass
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.runs.run import Run


def check_prepare(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The official files of the case's archives; what stands in them beside arrays is asserted."""
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        settings = PrepareAmass(
            raw=_write_archives(temporary / "amass", case["inputs"], arrays),
            lists=_write_lists(temporary / "lists", case["inputs"]),
            body_models=golden.recipes(folder).write_body_model(temporary / "bodies"),
            layout=["official"],
            official_out=temporary / "out",
            protocol="all",
        )
        run_amass(settings, Run.standalone(temporary / "run", settings=settings))
        made = {
            path.relative_to(temporary / "out").as_posix(): path for path in (temporary / "out").rglob("*.pt")
        }
        assert made.keys() == case["outputs"].keys(), f"prepared {sorted(made)}"
        return {
            f"out.{file}.{key}": array
            for file, path in made.items()
            for key, array in _content(load_torch(path), case["outputs"][file], settings.raw).items()
        }


def _write_archives(root: Path, inputs: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> Path:
    for one in inputs:
        path = root / one["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        poses, trans = arrays[f"{one['array']}.poses"], arrays[f"{one['array']}.trans"]
        content = {"poses": poses, "trans": trans, "gender": np.array(one["gender"]), "betas": np.zeros(16)}
        content["dmpls"] = np.zeros((len(poses), 8))
        if one["mocap_framerate"] is not None:
            content["mocap_framerate"] = np.array(one["mocap_framerate"])
        np.savez(path, **content)
    return root


def _write_lists(folder: Path, inputs: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    lists: dict[str, list[str]] = {
        f"{subset}_{part}": []
        for subset in ("CMU", "BioMotionLab_NTroje", "MPI_HDM05")
        for part in ("train", "test")
    }
    for one in inputs:
        if one["listed_in_split"]:
            lists.setdefault(one["listed_in_split"], []).append(one["path"])
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def _content(content: dict[str, Any], about: dict[str, Any], root: Path) -> dict[str, np.ndarray]:
    """The arrays of an official file, flat, after its other fields were compared."""
    body = content.pop("body_parms_list")
    words = {name: content.pop(name) for name in ("framerate", "gender", "filepath")}
    assert words["framerate"] == about["framerate"]
    assert (str(words["gender"]), type(words["gender"]).__name__) == (about["gender"], about["gender_type"])
    assert words["filepath"] == about["filepath"].replace("ROOT", str(root.resolve()))
    tensors = content | {f"body_parms_list.{name}": tensor for name, tensor in body.items()}
    dtypes = {name: str(tensor.dtype) for name, tensor in tensors.items()}
    assert dtypes == about["dtypes"], dtypes
    # The case stores in float32 what the file has in float64.
    return {name: tensor.float().numpy() for name, tensor in tensors.items()}


KINDS = {"prepare_amass": check_prepare}
INPUTS = {"prepare_amass": ("in*.poses", "in*.trans")}
