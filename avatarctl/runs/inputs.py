"""From a weights setting to files: a path, run:NAME/N, latest, or the name of embedded open weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.checkpoints.native import stored_config
from avatarctl.errors import DataError
from avatarctl.runs import chain, index
from avatarctl.runs.folder import CHECKPOINTS, WEIGHTS, is_run, root
from avatarctl.runs.index import Accept


def find_weights(
    words: str,
    target: str,
    stage: str,
    declared: Iterable[Any],
    accept: Accept | None,
    foreign: Mapping[str, Any],
) -> Path:
    """The file or folder that a weights setting names.

    Args:
        words: What the user gave.
        stage: Upstream stage that `latest` looks for.
        declared: The plugins' `Weights` declarations; those with a `path` are embedded and found by name.
        foreign: Embedded weights of other plugins, by name; of those, only the target's are taken.

    Raises:
        DataError: Nothing is found; the message lists what is. Or the weights are another plugin's.
    """
    embedded = embedded_weights(declared)
    others = {name: plugin for name, plugin in foreign.items() if target not in plugin.target_names}
    own = [name for name in embedded if name not in others]
    if words == "latest":
        return index.weights_file(index.latest("train", target, stage, accept, own))
    if words.startswith("run:"):
        return index.weights_file(index.find(words))
    names = ", ".join(["latest", "run:NAME/N", *own])
    path = Path(words).expanduser()
    if words in others and not path.exists():
        raise DataError(
            f"{words}: these are weights of {others[words].name}",
            hint=f"name a file or folder, or one of {names}",
        )
    if words in embedded and not path.exists():
        return embedded[words]
    path = index.last_of_chain(path) or path
    if is_run(path):
        return index.weights_file(path)
    if path.suffix == ".pt" and path.parent.name == CHECKPOINTS and path.stem in ("best", "last"):
        path = index.pointed(path.parent.parent, path.stem) or path
    if not path.exists():
        raise DataError(
            f"{words}: no such weights file or folder", hint=f"name a file or folder, or one of {names}"
        )
    return path


def opened(weights: str | Path | Weights, declared: Iterable[Any]) -> Weights:
    """Weights as calls in Python name them.

    Args:
        weights: Opened ones, a file or folder, native or official, or the name of embedded ones; several are
            joined by commas.
        declared: The plugin's `Weights` declarations.

    Raises:
        DataError: There is no such file.
        CheckpointError: It holds no weights.
    """
    if isinstance(weights, Weights):
        return weights
    declared = list(declared)
    embedded = embedded_weights(declared)
    paths = [
        embedded[words] if words in embedded and not Path(words).exists() else words
        for words in several(str(weights))
    ]
    return open_weights(paths, declared)


def several(words: str) -> list[str]:
    """The files, folders or names in a weights setting; several are joined by commas."""
    if "," not in words or Path(words).expanduser().exists():
        return [words]
    return [word.strip() for word in words.split(",") if word.strip()]


def of_chain(words: str) -> list[Path]:
    """The files that hold every part of a chain of trainings, the last one's first; none for other words."""
    path = Path(words.removeprefix("run:")).expanduser()
    chains = [folder for folder in (root() / path, path) if chain.is_chain(folder)]
    files: list[Path] = []
    parts: set[str] = set()
    for run in reversed(chain.read(chains[0]).runs() if chains else []):
        file = run / WEIGHTS
        own = set(stored_config(file).get("parts", [])) if file.is_file() else set()
        if own - parts:
            files.append(file)
            parts |= own
    return files


def embedded_weights(declared: Iterable[Any]) -> Mapping[str, Path]:
    """Weights that come with a plugin, by name."""
    return {item.name: Path(item.path) for item in declared if getattr(item, "path", None)}
