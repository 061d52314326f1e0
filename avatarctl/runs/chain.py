"""A chain of trainings: a folder with a run folder for each, and chain.json, which says how it began."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarctl.errors import DataError, UsageError
from avatarctl.files import write_text
from avatarctl.runs import folder as folders

SCHEMA = "avatarctl-chain/1"


@dataclass(frozen=True)
class Chain:
    """A chain's folder, its trainings in their order, and the words after the target with which it began."""

    folder: Path
    verb: str
    target: str
    links: tuple[str, ...]
    words: tuple[str, ...]

    def runs(self) -> list[Path]:
        """The run folders that are there, in the order of the trainings."""
        return [path for name in self.links if folders.is_run(path := self.folder / name)]


def create(
    verb: str, target: str, links: Sequence[str], words: Sequence[str], out: str | Path | None
) -> Chain:
    """A new chain in `out`, or in the first free number of its kind."""
    made = Chain(folders.create(verb, target, "all", out), verb, target, tuple(links), tuple(words))
    folders.clear(made.folder)
    if out is not None:
        folders.note_elsewhere(made.folder, verb, target, "all")
    content = {
        "schema": SCHEMA,
        "verb": verb,
        "target": target,
        "links": made.links,
        "words": made.words,
    }
    write_text(made.folder / folders.CHAIN, json.dumps(content, indent=1) + "\n")
    return made


def is_chain(folder: Path) -> bool:
    """Whether a folder holds a chain of trainings."""
    return (folder / folders.CHAIN).is_file()


def read(folder: Path) -> Chain:
    """The chain in a folder.

    Raises:
        DataError: Its chain.json is broken.
    """
    path = folder / folders.CHAIN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        lists = [tuple(str(word) for word in content[name]) for name in ("links", "words")]
        return Chain(folder, str(content["verb"]), str(content["target"]), *lists)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: is no record of a chain ({error})", hint="begin a new chain") from error


def resumed(what: str, verb: str, target: str) -> Chain:
    """The chain meant by `--resume FOLDER|last`.

    Raises:
        UsageError: There is none, or it is one of another target.
    """
    kind = folders.kind(verb, target, "all")
    folder = Path(what)
    if what == "last":
        base = folders.root() / kind
        every = [*(base.iterdir() if base.is_dir() else ()), *folders.elsewhere(base)]
        chains = filter(is_chain, every)
        found = sorted(chains, key=lambda path: ((path / folders.CHAIN).stat().st_mtime_ns, path))
        if not found:
            raise UsageError(
                f"there is no chain of {kind} in {folders.root()} yet",
                hint=f"avatarctl {verb} {target} --stage all, or name the folder of one: --resume FOLDER",
            )
        folder = found[-1]
    elif not is_chain(folder):
        folder = folders.root() / what.removeprefix("run:")
    if not is_chain(folder):
        raise UsageError(f"--resume {what}: is no folder of a chain of trainings", hint=f"name one of {kind}")
    chain = read(folder)
    if (chain.verb, chain.target) != (verb, target):
        raise UsageError(
            f"--resume {what}: is a chain of {chain.verb} {chain.target}, not of {verb} {target}"
        )
    return chain
