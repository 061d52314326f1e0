"""AMASS as the published preparation sees it: order, lists, walks, numbers and strides (spec 2, 3.2)."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from avatarctl.checkpoints.arrays import archive_names
from avatarctl.errors import DataError

SUBSETS = (
    "ACCAD", "BioMotionLab_NTroje_train", "BioMotionLab_NTroje_test", "BMLmovi", "CMU_train", "CMU_test",
    "EKUT", "Eyes_Japan_Dataset", "HumanEva", "KIT", "MPI_HDM05_train", "MPI_HDM05_test", "MPI_Limits",
    "MPI_mosh", "SFU", "TotalCapture", "Transitions_mocap",
)  # fmt: skip
WEBSITE = {
    "BioMotionLab_NTroje": "BMLrub", "MPI_HDM05": "HDM05", "MPI_Limits": "PosePrior", "MPI_mosh": "MoSh",
    "Eyes_Japan_Dataset": "EyesJapanDataset", "Transitions_mocap": "Transitions",
}  # fmt: skip
"""Canonical folder names and, where another is used there, the names on the AMASS website."""
COMPLETE = {
    "ACCAD": 252, "BMLmovi": 1801, "BioMotionLab_NTroje_train": 2754, "BioMotionLab_NTroje_test": 307,
    "CMU_train": 1867, "CMU_test": 207, "EKUT": 349, "Eyes_Japan_Dataset": 750, "HumanEva": 28, "KIT": 4232,
    "MPI_HDM05_train": 193, "MPI_HDM05_test": 22, "MPI_Limits": 35, "MPI_mosh": 77, "SFU": 44,
    "TotalCapture": 37, "Transitions_mocap": 110,
}  # fmt: skip
"""Sequences numbered in a complete copy (spec 2.3)."""
SPLITS = ("train", "test")
HELD_OUT = ("HumanEva", "Transitions_mocap")
RIGHT_DOWNLOAD = (
    "this is AMASS in its 'SMPL-X G' form; take the 'SMPL+H G' download of each subset "
    "(files NAME_poses.npz, key mocap_framerate)"
)
WEBSITE_ADDRESS = "https://amass.is.tue.mpg.de"
STAGEII = "_stageii.npz"
LIST_HINT = "leave --lists out to use the published lists"


@dataclass(frozen=True)
class Sequence:
    """A numbered sequence: `source` is its path below the AMASS folder, `listed` what its file notes."""

    subset: str
    number: int
    path: Path
    source: str
    listed: str


@dataclass
class Survey:
    """What an AMASS folder holds, in the published order."""

    sequences: list[Sequence] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    """The folder taken for each subset."""
    passed_over: list[str] = field(default_factory=list)
    """Second folders of a subset, one sentence each."""
    missing_files: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Lines of each list whose file is not there."""
    missing_subsets: list[str] = field(default_factory=list)
    unnumbered: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Archives that cannot be opened; they have a number."""
    wrong_download: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Sequences of each subset that are there."""
        return Counter(one.subset for one in self.sequences)


def survey(root: Path, lists: Path | None = None, subsets: tuple[str, ...] = SUBSETS) -> Survey:
    """Number the sequences below an AMASS folder as the published preparation does.

    A listed file that is not there keeps its number, so that the others' numbers, and with them the lists of
    setting S3, stay right in an incomplete copy.

    Args:
        lists: Folder of split lists (CMU_train.txt, ...); the published ones when left out.
        subsets: Which of `SUBSETS` to look at.

    Raises:
        DataError: A folder cannot be read, or a list is wrong.
    """
    found = Survey()
    with readable():
        for subset in subsets:
            folder = _take_folder(root.resolve(), base_of(subset), found)
            if folder is None:
                found.missing_subsets.append(subset)
            elif is_listed(subset):
                lines = read_paths(subset, lists, base_of(subset))
                _survey_lines(subset, lines, {base_of(subset): folder}, found)
            else:
                _survey_walk(folder, subset, found)
    return found


def _survey_lines(subset: str, lines: list[str], folders: Mapping[str, Path | None], found: Survey) -> None:
    """Add the sequences that a list names, numbered by their place in it.

    Args:
        subset: What the sequences are counted under.
        lines: Paths below the AMASS folder, each beginning with a canonical subset name.
        folders: Where each subset lies; None for one that is not there.
    """
    number = 0
    for line in lines:
        name, _, inside = line.partition("/")
        folder = folders[name]
        path = folder / inside if folder else None
        if path is None or not path.is_file():
            number += 1
            if path is not None and path.with_name(_stageii(path.name)).is_file():
                found.wrong_download.append(_stageii(line))
            else:
                found.missing_files[subset].append(line)
        elif _counts(path, line, found):
            number += 1
            found.sequences.append(Sequence(subset, number, path, line, line))


def survey_lists(root: Path, lists: Path) -> Survey:
    """The sequences below an AMASS folder that train.txt and test.txt of a folder name.

    A sequence's `subset` is its split here, its number the place in the list.

    Raises:
        DataError: A list is missing or wrong, a sequence stands in both, or a folder cannot be read.
    """
    paths = {split: read_paths(split, lists) for split in SPLITS}
    both = set(paths["train"]).intersection(paths["test"])
    if both:
        raise DataError(
            f"{lists}: {len(both)} sequences stand in train.txt and in test.txt ({min(both)}, ...)",
            hint="delete them from one of the lists",
        )
    found = Survey()
    with readable():
        names = {path.partition("/")[0] for lines in paths.values() for path in lines}
        folders = {name: _take_folder(root.resolve(), name, found) for name in sorted(names)}
        for split, lines in paths.items():
            _survey_lines(split, lines, folders, found)
    return found


def _stageii(name: str) -> str:
    """What the 'SMPL-X G' download calls a sequence's file."""
    return name.removesuffix("_poses.npz") + STAGEII


def _survey_walk(folder: Path, subset: str, found: Survey) -> None:
    number = 0
    # The published walk takes the disk's order; sorted, it is at least the same on every machine (spec 2.3).
    for inside in sorted(path.relative_to(folder).as_posix() for path in files_below(folder)):
        source = f"{subset}/{inside}"
        if _counts(folder / inside, source, found):
            number += 1
            found.sequences.append(Sequence(subset, number, folder / inside, source, str(folder / inside)))


def files_below(folder: Path, suffixes: tuple[str, ...] = (".npz",)) -> Iterator[Path]:
    """The files below a folder with such names; linked folders are gone into, each once, and none above."""
    seen = {str(above) for above in folder.resolve().parents}

    def fail(error: OSError) -> None:
        raise error

    for place, inside, files in os.walk(folder, onerror=fail, followlinks=True):
        inside.sort()
        real = os.path.realpath(place)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in files if name.lower().endswith(suffixes))


@contextmanager
def readable() -> Iterator[None]:
    """Say in one line which folder or file cannot be read: what is silently left out would shift numbers.

    Raises:
        DataError: The system refused something inside the block.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read: {error.strerror}", hint="check its permissions"
        ) from error


def _counts(path: Path, source: str, found: Survey) -> bool:
    """Whether an archive takes a number; one that cannot be opened does, and fails when it is read."""
    keys = archive_names(path)
    if not keys:
        found.broken.append(source)
    if not keys or "mocap_framerate.npy" in keys:
        return True
    if "mocap_frame_rate.npy" in keys or path.name.endswith(STAGEII):
        found.wrong_download.append(source)
    else:
        found.unnumbered.append(source)
    return False


def _take_folder(root: Path, base: str, found: Survey) -> Path | None:
    """The folder of a subset, None where there is none; that there are others is noted."""
    folders = subset_folders(root, base)
    if folders and base not in found.folders:
        taken, *others = folders
        # An archive unpacked in a folder of its own name: BMLrub/BioMotionLab_NTroje/rub001.
        found.folders[base] = next(iter(subset_folders(taken, base)), taken)
        found.passed_over += [
            f"{other.name} and {taken.name} are the same subset; {taken.name} is taken" for other in others
        ]
    return found.folders.get(base)


def subset_folders(root: Path, base: str) -> list[Path]:
    """The folders of a subset: by canonical name, by the website's, then by either in other capitals.

    Two names of one folder (a link) count once.
    """
    words = (base, WEBSITE.get(base, base))
    capitals = {word.lower() for word in words}
    found = [path for path in root.iterdir() if path.name.lower() in capitals and path.is_dir()]
    found.sort(key=lambda path: (words.index(path.name) if path.name in words else len(words), path.name))
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def has_subsets(root: Path) -> bool:
    """Whether a folder looks like AMASS: at least one subset by name."""
    with readable():
        return any(path.name.lower() in _CANONICAL and path.is_dir() for path in root.iterdir())


def refuse_wrong_level(root: Path) -> None:
    """Refuse a folder whose parent or child is the AMASS folder: it would be taken for loose clips.

    Raises:
        DataError: With the right folder.
    """
    with readable():
        inside = [path for path in sorted(root.iterdir()) if path.is_dir() and has_subsets(path)]
        if inside:
            raise DataError(f"{root}: the AMASS subsets are one folder deeper", hint=f"name {inside[0]}")
        whole = root.resolve()
        if whole.name in _NAMES and next(files_below(root), None):
            raise DataError(
                f"{root}: is one subset of AMASS; expected the folder that holds the subsets",
                hint=f"name {whole.parent}",
            )


def base_of(subset: str) -> str:
    """The subset whose folder holds the sequences: CMU for CMU_train."""
    return subset.removesuffix("_train").removesuffix("_test")


def is_listed(subset: str) -> bool:
    """Whether a list numbers a subset; the numbers of the others are places in a folder walk (spec 2.3)."""
    return base_of(subset) != subset


def canonical(word: str) -> str:
    """The canonical name of a subset, from any of its names; another word as it is."""
    return _CANONICAL.get(word.lower(), word)


_NAMES = {base_of(subset): base_of(subset) for subset in SUBSETS} | {
    word: base for base, word in WEBSITE.items()
}
"""Canonical names by any name."""
_CANONICAL = {word.lower(): base for word, base in _NAMES.items()}


def website_name(subset: str) -> str:
    """What the AMASS website calls a subset, for messages."""
    return WEBSITE.get(base_of(subset), base_of(subset))


def read_list(name: str, folder: Path | None = None) -> list[str]:
    """The lines of a split list.

    Args:
        folder: Where to look for NAME.txt; the packaged lists when left out.

    Raises:
        DataError: There is no such list, or it cannot be read.
    """
    return [line for _, line in _numbered(name, folder)]


def read_paths(name: str, folder: Path | None = None, base: str = "") -> list[str]:
    """The sequences that a split list names: paths below the AMASS folder, with canonical subset names.

    Args:
        folder: Where to look for NAME.txt; the packaged lists when left out.
        base: The subset that all lines must be of.

    Raises:
        DataError: There is no such list, or a line is no such path, or stands twice.
    """
    first: dict[str, int] = {}
    for number, line in _numbered(name, folder):
        subset, _, inside = line.replace("\\", "/").partition("/")
        path = f"{canonical(subset)}/{inside}"
        where = f"{Path(folder or 'splits') / name}.txt: line {number}"
        is_inside = subset not in ("", ".") and inside.endswith(".npz") and ".." not in path.split("/")
        if not is_inside or base not in ("", canonical(subset)):
            wanted = f"{base or 'SUBSET'}/SUBJECT/NAME_poses.npz"
            raise DataError(f"{where}: found '{line:.80}'; expected {wanted}", hint=LIST_HINT)
        if path in first:
            raise DataError(
                f"{where}: '{line}' stands twice, first in line {first[path]}", hint="delete one of the lines"
            )
        first[path] = number
    return list(first)


def _numbered(name: str, folder: Path | None) -> list[tuple[int, str]]:
    """The lines of a list that are no comments, with their numbers."""
    return _packaged(name) if folder is None else _parsed(_text(Path(folder) / f"{name}.txt"))


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"{path}: split list not found", hint=LIST_HINT)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint=LIST_HINT) from error


@cache
def _packaged(name: str) -> list[tuple[int, str]]:
    return _parsed((resources.files(__package__) / "splits" / f"{name}.txt").read_text(encoding="utf-8"))


def _parsed(text: str) -> list[tuple[int, str]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def split_of(subset: str, number: int, protocol: str, lists: Path | None = None) -> str:
    """ "train", "test", or "" where the protocol leaves a sequence out (spec 2.4)."""
    if protocol == "S3-certain" and not is_listed(subset):
        return ""
    if protocol in ("S3", "S3-certain"):
        name = f"dataset/{subset}/{number}.pt"
        named = (split for split in ("test", "train") if name in _members(f"{split}_full_rand0", lists))
        return next(named, "")
    if protocol == "S1":
        return "" if not is_listed(subset) else "test" if subset.endswith("_test") else "train"
    if protocol == "S2":
        return "test" if subset in HELD_OUT else "train"
    return "test" if subset in HELD_OUT or subset.endswith("_test") else "train"


@cache
def _members(name: str, lists: Path | None) -> frozenset[str]:
    return frozenset(read_list(name, lists))


def needed_subsets(protocol: str) -> tuple[str, ...]:
    """The subsets a protocol uses."""
    if protocol in ("S1", "S3-certain"):
        return tuple(subset for subset in SUBSETS if is_listed(subset))
    return SUBSETS


def stride(rate: float) -> int:
    """Take every so many frames; 0 for a rate that the published rule cannot handle (spec 3.2, step 2)."""
    # parity: no resampling; 100 frames a second become 50 and are then treated as 60. Half rounds to even.
    return {120.0: 2, 60.0: 1}.get(rate, round(rate / 60.0))
