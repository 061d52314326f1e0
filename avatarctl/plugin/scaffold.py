"""What `avatarctl new-plugin NAME` writes: a complete third-party package (architecture 4.4)."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path
from string import Template

from avatarctl.errors import UsageError
from avatarctl.files import write_failure

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40
PREFIX = "avatarctl-"
FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "entry.py.txt": "$package/__init__.py",
    "settings.py.txt": "$package/settings.py",
    "infer.py.txt": "$package/infer.py",
    "coarse.yaml.txt": "$package/presets/coarse.yaml",
    "test_plugin.py.txt": "tests/test_plugin.py",
}
"""Template to the file made from it; $name, $package and $distribution are filled in, in names too."""


def write(name: str, parent: str | Path = ".") -> Path:
    """The folder of a new plugin package below `parent`.

    Raises:
        UsageError: The name is not allowed, or something of the folder's name is there already.
        DataError: The folder cannot be written.
    """
    check_name(name)
    words = {"name": name, "package": f"avatarctl_{name.replace('-', '_')}", "distribution": PREFIX + name}
    folder = Path(parent) / words["distribution"]
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise UsageError(
            f"{folder}: exists already; nothing was written", hint="choose another name, or move it away"
        ) from error
    except OSError as error:
        raise write_failure(folder, error) from error
    try:
        for template, target in FILES.items():
            text = (resources.files(__package__) / "templates" / template).read_text(encoding="utf-8")
            path = folder / Template(target).substitute(words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(words), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise write_failure(folder, error) from error
    return folder


def check_name(name: str) -> None:
    """Raise `UsageError` unless a name is lower-case words with hyphens, and say the nearest one that is."""
    if NAME.fullmatch(name) and len(name) <= LONGEST and not name.startswith(PREFIX):
        return
    near = (
        re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix(PREFIX))
        .strip("-0123456789")[:LONGEST]
        .strip("-")
    )
    raise UsageError(
        f"'{name}' cannot be a plugin's name: expected lower-case words with hyphens, up to {LONGEST} "
        f"letters, without '{PREFIX}' in front",
        hint=f"avatarctl new-plugin {near or 'inbetween'}",
    )
