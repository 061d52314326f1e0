"""The miniature raw recordings of `fixtures/videos.py`, made once and copied to be spoilt."""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"


@cache
def videos():
    """The recipes."""
    spec = importlib.util.spec_from_file_location("fixtures_videos", FIXTURES / "videos.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@cache
def _made():
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@cache
def arrays(sex):
    """The arrays of a body file."""
    found = videos().synthetic_smpl().build(sex)
    found["posedirs"] = found["posedirs"].astype(np.float32)  # half as large
    return {name: value for name, value in found.items() if not isinstance(value, str)}


@cache
def body_models():
    """A folder with the three body files as .npz, which is read faster; not to be changed."""
    place = _made() / "body_models"
    for sex in ("neutral", "male", "female"):
        (place / "smpl" / sex).mkdir(parents=True)
        dense = {**arrays(sex), "J_regressor": arrays(sex)["J_regressor"].toarray()}
        np.savez(place / "smpl" / sex / "model.npz", **dense)
    return place


@cache
def body():
    """The neutral body."""
    return videos().body_files.read(body_models() / "smpl" / "neutral" / "model.npz", gender="neutral")


@cache
def recording(name):
    """A raw folder by its data set; not to be changed."""
    small = {"h36m": {"frames": 7, "size": 48}, "monocap": {"cameras": 3}, "synthetic_human": {"cameras": 3}}
    if name.startswith("zju"):
        return videos().write_zju(_made(), f"CoreView_{name.removeprefix('zju')}")
    return getattr(videos(), f"write_{name}")(_made(), body(), **small.get(name, {}))


def copy(name, place):
    """A copy of a raw folder below `place`, under the same name."""
    source = recording(name)
    inner = source.relative_to(_made())
    return Path(shutil.copytree(source, place / inner))


def unboxed(path):
    """The dictionary in a .npy of ours."""
    return np.load(path, allow_pickle=True).item()


def boxed(path, content):
    """Write it again."""
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
