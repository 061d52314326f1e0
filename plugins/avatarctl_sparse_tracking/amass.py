"""AMASS as the published preparation sees it: order, lists, walks, numbers and strides (spec 2, 3.2)."""

from __future__ import annotations

from collections import Counter
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
SMALL = ("CMU", "BioMotionLab_NTroje", "MPI_HDM05")
HELD_OUT = ("HumanEva", "Transitions_mocap")
RIGHT_DOWNLOAD = (
    "this is AMASS in its 'SMPL-X G' form; take the 'SMPL+H G' download of each subset "
    "(files NAME_poses.npz, key mocap_framerate)"
)


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
    missing_files: Counter[str] = field(default_factory=Counter)
    missing_subsets: list[str] = field(default_factory=list)
    unnumbered: list[str] = field(default_factory=list)
    wrong_download: list[str] = field(default_factory=list)


def survey(root: Path, lists: Path | None = None, subsets: tuple[str, ...] = SUBSETS) -> Survey:
    """Number the sequences below an AMASS folder as the published preparation does.

    A listed file that is not there keeps its number, so that the others' numbers, and with them the lists of
    setting S3, stay right in an incomplete copy.

    Args:
        lists: Folder of split lists (CMU_train.txt, ...); the published ones when left out.
        subsets: Which of `SUBSETS` to look at.
    """
    found = Survey()
    for subset in subsets:
        base, _, part = subset.rpartition("_")
        if part in ("train", "test"):
            _survey_list(root.resolve(), subset, base, read_list(subset, lists), found)
        else:
            _survey_walk(root.resolve(), subset, found)
    return found


def _survey_list(root: Path, subset: str, base: str, lines: list[str], found: Survey) -> None:
    folder = find_subset(root, base)
    if folder is None:
        found.missing_subsets.append(subset)
        return
    number = 0
    for line in lines:
        _, _, inside = line.partition("/")
        path = folder / inside
        if not path.is_file():
            found.missing_files[subset] += 1
            number += 1
        elif _counts(path, line, found):
            number += 1
            found.sequences.append(Sequence(subset, number, path, line, line))


def _survey_walk(root: Path, subset: str, found: Survey) -> None:
    folder = find_subset(root, subset)
    if folder is None:
        found.missing_subsets.append(subset)
        return
    number = 0
    # The published walk takes the disk's order; sorted, it is at least the same on every machine (spec 2.3).
    for path in sorted(folder.rglob("*.npz"), key=lambda path: path.relative_to(folder).as_posix()):
        source = f"{subset}/{path.relative_to(folder).as_posix()}"
        if _counts(path, source, found):
            number += 1
            found.sequences.append(Sequence(subset, number, path, source, str(path)))


def _counts(path: Path, source: str, found: Survey) -> bool:
    """Whether an archive takes a number; one that cannot be opened does, and fails when it is read."""
    keys = archive_names(path)
    if not keys or "mocap_framerate.npy" in keys:
        return True
    if "mocap_frame_rate.npy" in keys or path.name.endswith("_stageii.npz"):
        found.wrong_download.append(source)
    else:
        found.unnumbered.append(source)
    return False


def find_subset(root: Path, name: str) -> Path | None:
    """The folder of a subset under its canonical or its website's name."""
    for word in (name, WEBSITE.get(name, name)):
        if (root / word).is_dir():
            return root / word
    return None


def has_subsets(root: Path) -> bool:
    """Whether a folder looks like AMASS: at least one subset by name."""
    return any(find_subset(root, subset.removesuffix("_train").removesuffix("_test")) for subset in SUBSETS)


def website_name(subset: str) -> str:
    """What the AMASS website calls a subset, for messages."""
    base = subset.removesuffix("_train").removesuffix("_test")
    return WEBSITE.get(base, base)


def read_list(name: str, folder: Path | None = None) -> list[str]:
    """The lines of a split list.

    Args:
        folder: Where to look for NAME.txt; the packaged lists when left out.

    Raises:
        DataError: There is no such list.
    """
    if folder is None:
        return _packaged(name)
    path = Path(folder) / f"{name}.txt"
    if not path.is_file():
        raise DataError(f"{path}: split list not found", hint="leave --lists out to use the published lists")
    return _lines(path.read_text(encoding="utf-8"))


@cache
def _packaged(name: str) -> list[str]:
    return _lines((resources.files(__package__) / "splits" / f"{name}.txt").read_text(encoding="utf-8"))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def split_of(subset: str, number: int, protocol: str, lists: Path | None = None) -> str:
    """ "train", "test", or "" where the protocol leaves a sequence out (spec 2.4)."""
    base = subset.removesuffix("_train").removesuffix("_test")
    if protocol == "S3":
        name = f"dataset/{subset}/{number}.pt"
        named = (split for split in ("test", "train") if name in _members(f"{split}_full_rand0", lists))
        return next(named, "")
    if protocol == "S1":
        return "" if base not in SMALL else "test" if subset.endswith("_test") else "train"
    if protocol == "S2":
        return "test" if subset in HELD_OUT else "train"
    return "test" if subset in HELD_OUT or subset.endswith("_test") else "train"


@cache
def _members(name: str, lists: Path | None) -> frozenset[str]:
    return frozenset(read_list(name, lists))


def needed_subsets(protocol: str) -> tuple[str, ...]:
    """The subsets a protocol uses."""
    if protocol == "S1":
        return tuple(subset for subset in SUBSETS if subset.startswith(SMALL))
    return SUBSETS


def stride(rate: float) -> int:
    """Take every so many frames; 0 for a rate that the published rule cannot handle (spec 3.2, step 2)."""
    # parity: no resampling; 100 frames a second become 50 and are then treated as 60. Half rounds to even.
    return {120.0: 2, 60.0: 1}.get(rate, round(rate / 60.0))
