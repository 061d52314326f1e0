"""Golden cases: finding them and their checks, running one, and measuring it against its tolerance.

A case is `NAME.json` beside `NAME.npz`; the words of its JSON get its own `path`, for files beside it. A
check is a function `check(case, arrays, folder)` that a module `SYSTEM/check_*.py` lists in `KINDS` under
the case's kind; it returns what the product computes for every array of the case that is not an input. Such
a module may also have, per kind,

    INPUTS      names or patterns of the arrays that go in; all others must come out
    TOLERANCES  {name or pattern: {"rtol": ..., "atol": ...}} where the case's tolerance is a sentence; beside
                numbers of the case they only narrow
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "fixtures" / "parity"
Check = Callable[[dict[str, Any], dict[str, np.ndarray], Path], dict[str, np.ndarray]]

WAITING: dict[tuple[str, str], str] = {}
"""Kinds that may lack a check, each with the reason."""


class Absent(Exception):
    """A check needs a file that is no part of this project; the case waits, and says so."""


@dataclass(frozen=True)
class Case:
    """One golden case: its JSON `words`, its arrays, and the folder of its system's manifests and recipes."""

    path: Path
    words: dict[str, Any]
    folder: Path

    @property
    def system(self) -> str:
        """The system it belongs to."""
        return str(self.words["system"])

    @property
    def kind(self) -> str:
        """The check it wants."""
        return str(self.words["kind"])

    @property
    def name(self) -> str:
        """System and file name."""
        return f"{self.system}/{self.path.stem}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Inputs and expected values."""
        with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


@dataclass(frozen=True)
class Checks:
    """The checks of a system, by kind."""

    kinds: dict[str, Check] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tolerances: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """How a case went: "pass", "fail", "waiting" or "no check"; `error` in units of the tolerance."""

    status: str
    error: float = 0.0
    array: str = ""
    note: str = ""


def find(folder: Path) -> Iterator[Case]:
    """The cases below a folder, in order of their paths."""
    for path in sorted(folder.resolve().rglob("*.json")):
        if not path.with_suffix(".npz").is_file():
            continue
        words = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(words, dict) and "system" in words and "kind" in words:
            yield Case(path, words | {"path": str(path)}, _system_folder(path, str(words["system"])))


def _system_folder(path: Path, system: str) -> Path:
    """The nearest folder above a case that has manifests, else the packaged one of the system."""
    return next((above for above in path.parents if (above / "manifests").is_dir()), FIXTURES / system)


@cache
def checks_of(system: str) -> Checks:
    """All checks of the modules in the system's folder."""
    found = Checks()
    for path in sorted((HERE / system.replace("-", "_")).glob("check_*.py")):
        loaded = module(path)
        twice = found.kinds.keys() & loaded.KINDS.keys()
        assert not twice, f"{path}: kinds {sorted(twice)} have two checks"
        found.kinds.update(loaded.KINDS)
        found.inputs.update(getattr(loaded, "INPUTS", {}))
        found.tolerances.update(getattr(loaded, "TOLERANCES", {}))
    return found


@cache
def module(path: Path) -> ModuleType:
    """A Python file as a module, by its path."""
    spec = importlib.util.spec_from_file_location(
        "_".join(path.with_suffix("").parts[-3:]).replace("-", "_"), path
    )
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def recipes(folder: Path) -> ModuleType:
    """The `fixtures.py` beside a system's cases: stand-in bodies, checkpoint layouts, `value`, `fill`."""
    path = folder / "fixtures.py"
    return module(path if path.is_file() else FIXTURES / folder.name / "fixtures.py")


def run(case: Case) -> Result:
    """Run the check of a case and compare what it returns.

    Raises:
        Exception: Whatever the check raises; an `AssertionError` says what differs beside the arrays.
    """
    checks = checks_of(case.system)
    if case.kind not in checks.kinds:
        reason = WAITING.get((case.system, case.kind))
        return Result("waiting", note=reason) if reason else Result("no check", note=f"kind '{case.kind}'")
    arrays = case.arrays()
    inputs = checks.inputs.get(case.kind, ())
    try:
        computed = checks.kinds[case.kind](case.words, dict(arrays), case.folder)
    except Absent as error:
        return Result("waiting", note=str(error))
    wanted = [name for name in arrays if not any(fnmatchcase(name, pattern) for pattern in inputs)]
    missing = [name for name in wanted if name not in computed]
    unknown = [name for name in computed if name not in wanted]
    if missing or unknown or not wanted:
        return Result("fail", np.inf, note=f"not computed: {missing}; not wanted: {unknown}")
    worst = Result("pass")
    for name in wanted:
        rtol, atol = tolerance(case.words, name, checks.tolerances.get(case.kind, {}))
        found, note = difference(np.asarray(computed[name]), arrays[name], rtol, atol)
        if found >= worst.error:
            worst = Result("pass" if found <= 1 else "fail", found, name, note)
    return worst


def tolerance(
    words: Mapping[str, Any], name: str, stated: Mapping[str, Mapping[str, float]]
) -> tuple[float, float]:
    """rtol and atol of an array: the case's, narrowed by `tolerance_of` and by what the check states.

    `tolerance_WORD` holds in place of `tolerance` for arrays named `NAME.WORD`.
    """
    given = words.get(f"tolerance_{name.rpartition('.')[2]}", words.get("tolerance"))
    given = given if isinstance(given, dict) else {}
    base = given[name] if isinstance(given.get(name), dict) else given
    limits = [base] if {"rtol", "atol"} & base.keys() else []
    limits += [words["tolerance_of"][name]] if name in words.get("tolerance_of", {}) else []
    limits += [numbers for pattern, numbers in stated.items() if fnmatchcase(name, pattern)]
    assert limits, f"{name}: no tolerance in numbers; state it in the check's TOLERANCES"
    return min(one.get("rtol", 0.0) for one in limits), min(one.get("atol", 0.0) for one in limits)


def difference(found: np.ndarray, wanted: np.ndarray, rtol: float, atol: float) -> tuple[float, str]:
    """The largest error in units of the tolerance, and words about it; integers and text must be equal."""
    if found.shape != wanted.shape:
        return np.inf, f"found {list(found.shape)}, expected {list(wanted.shape)}"
    if wanted.dtype.kind not in "fc":
        unequal = int((found != wanted).sum())
        return (np.inf, f"{unequal} of {wanted.size} differ") if unequal else (0.0, "")
    if not wanted.size:
        return 0.0, ""
    with np.errstate(invalid="ignore"):
        gap = np.abs(found.astype(wanted.dtype) - wanted).astype(np.float64)
    gap = np.where((found == wanted) | (np.isnan(found) & np.isnan(wanted)), 0.0, gap)
    with np.errstate(invalid="ignore"):
        limit = atol + rtol * np.abs(wanted.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(gap == 0, 0.0, gap / limit)
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    return float(ratio.max()), f"differs by {gap.flat[int(ratio.argmax())]:.2g}"
