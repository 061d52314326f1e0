"""A body file pickled with chumpy objects, read without chumpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from avatarctl.body.files import read_arrays


def check_chumpy(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the .pkl beside the case."""
    found = read_arrays(Path(case["path"]).with_suffix(".pkl"))
    return {name: found[name] for name in arrays}


KINDS = {"chumpy_body": check_chumpy}
