"""The miniature EgoBody and the stand-in bodies of the golden cases, with small pictures, to be spoilt."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

RECIPES = Path(__file__).resolve().parents[3] / "fixtures" / "parity" / "ego-hmr"
RECORDINGS = {
    "train": "recording_20210907_S01_S02_01",
    "val": "recording_20210911_S03_S04_01",
    "test": "recording_20210929_S05_S06_01",
}


def _recipe(name):
    spec = importlib.util.spec_from_file_location(f"ego_hmr_{name}", RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def _made():
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    recipe = _recipe("mini_egobody")
    recipe.WIDTH, recipe.HEIGHT = 32, 18
    before, sys.argv = sys.argv, ["", str(place / "made")]
    try:
        recipe.main()
    finally:
        sys.argv = before
    return place / "made"


def egobody(place):
    """A copy of the miniature EgoBody."""
    return Path(shutil.copytree(_made(), place))


@cache
def bodies():
    """A folder of stand-in SMPL bodies, as .npz, which is read faster; not to be changed."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    recipe = _recipe("body_model")
    for gender in ("neutral", "male", "female"):
        arrays = {name: np.asarray(array) for name, array in recipe.make(gender).items()}
        arrays["posedirs"] = arrays["posedirs"].astype(np.float32)
        np.savez(place / f"SMPL_{gender.upper()}.npz", **arrays)
    return place


def annotation(root, split):
    return root / "annotation_egocentric_smpl_npz" / f"egocapture_{split}_smpl.npz"


def arrays_of(root, split):
    with np.load(annotation(root, split)) as file:
        return {name: file[name] for name in file.files}


def spoil(root, split, **arrays):
    """Replace arrays of an annotation file; None leaves one out."""
    found = arrays_of(root, split) | arrays
    np.savez(annotation(root, split), **{name: array for name, array in found.items() if array is not None})


def zipped(root, items, *, inside=True):
    """Put items of a folder into zips as the site has them.

    Args:
        inside: Whether the zip has the item's own folder.
    """
    for item in items:
        path = root / item
        with zipfile.ZipFile(root / f"{path.stem if path.is_file() else item}.zip", "w") as archive:
            for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
                name = file.relative_to(root if inside or path.is_file() else path)
                archive.write(file, name.as_posix())
        shutil.rmtree(path) if path.is_dir() else path.unlink()
