"""What there is to prepare: AMASS subsets, loose clips, or the embedded ones, each with its split."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.data import fingerprint
from avatarctl.errors import DataError
from avatarctl.motion.clips import clips
from avatarctl_sparse_tracking import amass

if TYPE_CHECKING:
    from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

EMBEDDED = "open"
BVH = (".bvh", ".bvh.gz")
WANTED = (
    "expected AMASS subset folders (CMU, BMLrub, ...), .npz archives, .bvh or .bvh.gz clips, or the word open"
)
BYTES_A_FRAME = {".npz": 2700, ".bvh": 1000, ".gz": 200}
"""Rough size of a source for each frame at 60 a second, to compare with the free disk space."""
S3_NOTE = (
    "S3 membership is approximate: the published lists name prepared files by number, and 58 % of the test "
    "sequences were numbered in the order of the authors' disk; published weights may have been trained on "
    "those that take their place. Only CMU, BMLrub and HDM05 are certain (--protocol S3-certain)"
)
AMASS_LICENCE = "AMASS: registration, non-commercial research, no redistribution"
OPEN_LICENCE = (
    "CMU motion capture: free for all uses, no direct resale; four clips MIT (see LICENSE.md beside them)"
)


@dataclass(frozen=True)
class Source:
    """One clip: `name` in the store and in the official layout, `source` its place below the raw folder.

    `path` is the file, `is_embedded` says that `name` is one of the embedded clips, `listed` is what the
    official file notes, `split` is empty where the protocol leaves the clip out.
    """

    name: str
    subset: str
    split: str
    source: str
    path: Path
    listed: str
    rate: str
    is_embedded: bool = False

    @property
    def frames(self) -> int:
        """About how many frames it has at 60 a second."""
        return self.bytes // BYTES_A_FRAME.get(self.path.suffix, 2700)

    @property
    def bytes(self) -> int:
        """Size of the file; 0 where it cannot be read, which is said when it is prepared."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def key(self, options: str) -> str:
        """What the finished clip is recognised by."""
        words = (options, self.name, self.source, self.rate)
        try:
            return fingerprint(self.path, *words)
        except OSError:
            return hashlib.sha256("\0".join(("unreadable", *words)).encode()).hexdigest()[:32]


@dataclass
class Found:
    """The clips in their order, where they are from, and what a user should know about what is not there."""

    kind: str
    where: str
    clips: list[Source]
    licence: str = "as the source's"
    notes: list[str] = field(default_factory=list)
    missing: dict[str, int] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """About how many frames the store will have."""
        return sum(clip.frames for clip in self.clips)


def find(settings: PrepareAmass) -> Found:
    """The clips that the settings ask for.

    Raises:
        DataError: The folder is missing or has no clips.
    """
    raw = settings.raw
    if str(raw) == EMBEDDED:
        return _embedded(settings.held_out)
    if not raw.exists():
        raise DataError(f"{raw}: not found; {WANTED}", hint="check the path")
    if not raw.is_dir():
        raise DataError(f"{raw}: is a file; {WANTED}", hint=f"name its folder: {raw.parent}")
    if settings.protocol == "lists":
        found = _listed(settings)
    elif amass.has_subsets(raw):
        found = _amass(settings)
    else:
        amass.refuse_wrong_level(raw)
        found = _loose(settings)
    if not found.clips:
        details = "\n".join(found.notes)
        raise DataError(
            f"{raw}: no clips found; {WANTED}" + (f"\n{details}" if details else ""), hint="check the folder"
        )
    return found


def _amass(settings: PrepareAmass) -> Found:
    protocol, lists = settings.protocol, settings.lists
    wanted = amass.SUBSETS if "official" in settings.layout else amass.needed_subsets(protocol)
    survey = amass.survey(settings.raw, lists, wanted)
    clips_found = [
        Source(
            name=f"{one.subset}/{one.number}",
            subset=one.subset,
            split=amass.split_of(one.subset, one.number, protocol, lists),
            source=one.source,
            path=one.path,
            listed=one.listed,
            rate=settings.rate,
        )
        for one in survey.sequences
    ]
    if "official" not in settings.layout:
        clips_found = [clip for clip in clips_found if clip.split]
    found = Found("amass", str(settings.raw), clips_found, AMASS_LICENCE)
    _note_missing_subsets(found, survey, protocol)
    _note_missing_files(found, survey)
    _note_folders(found, survey)
    if protocol == "S3":
        found.notes += [S3_NOTE, *_shifted(survey)]
    return found


def _listed(settings: PrepareAmass) -> Found:
    """The AMASS sequences that train.txt and test.txt name, numbered by nobody: names are paths."""
    if settings.lists is None:
        raise DataError("lists: expected a folder with train.txt and test.txt", hint="name it with --lists")
    survey = amass.survey_lists(settings.raw, settings.lists)
    clips_found = [
        Source(
            name=one.source.removesuffix(".npz"),
            subset=one.source.partition("/")[0],
            split=one.subset,
            source=one.source,
            path=one.path,
            listed=one.listed,
            rate=settings.rate,
        )
        for one in survey.sequences
    ]
    found = Found("amass", str(settings.raw), clips_found, AMASS_LICENCE)
    _note_missing_files(found, survey)
    _note_folders(found, survey)
    return found


def _note_missing_subsets(found: Found, survey: amass.Survey, protocol: str) -> None:
    """Say which subsets, and how many sequences of the others, are not there, as the website calls them."""
    needed = amass.needed_subsets(protocol)
    absent = Counter(amass.website_name(subset) for subset in survey.missing_subsets if subset in needed)
    if absent:
        found.notes.append(f"subsets of setting {protocol} that are not there: {', '.join(absent)}")
    for subset in needed:
        name, complete = amass.website_name(subset), amass.COMPLETE[subset]
        if subset in survey.missing_subsets:
            found.missing[name] = found.missing.get(name, 0) + complete
        elif not amass.is_listed(subset) and survey.counts[subset] < complete:
            found.missing[name] = complete - survey.counts[subset]
            found.notes.append(f"{name}: {survey.counts[subset]} sequences; a complete copy has {complete}")


def _note_missing_files(found: Found, survey: amass.Survey) -> None:
    """Say which sequences of a list are not there."""
    for name, lines in survey.missing_files.items():
        for line in lines:
            subset = amass.website_name(line.partition("/")[0])
            found.missing[subset] = found.missing.get(subset, 0) + 1
        whose = f"{amass.website_name(name)}: " if amass.is_listed(name) else ""
        words = f"{len(lines)} of the sequences listed in {name}.txt are not there ({lines[0]}, ...)"
        found.notes.append(whose + words)


def _note_folders(found: Found, survey: amass.Survey) -> None:
    """Say which folders and files are passed over.

    Raises:
        DataError: There is nothing but the wrong download.
    """
    wrong = survey.wrong_download
    if wrong and not survey.sequences:
        raise DataError(f"{found.where}: {wrong[0]}: {amass.RIGHT_DOWNLOAD}", hint=amass.WEBSITE_ADDRESS)
    if wrong:
        found.notes.append(f"{len(wrong)} files left out ({wrong[0]}, ...): {amass.RIGHT_DOWNLOAD}")
    found.notes += survey.passed_over


def _shifted(survey: amass.Survey) -> list[str]:
    """The walked subsets whose S3 numbers cannot be those of a complete copy, one sentence each."""
    return [
        f"{amass.website_name(subset)}: {survey.counts[subset]} sequences, not {complete}: "
        "its numbers, and with them its S3 membership, are shifted"
        for subset, complete in amass.COMPLETE.items()
        if not amass.is_listed(subset) and survey.counts[subset] not in (0, complete)
    ]


def _embedded(held_out: Path | None) -> Found:
    test = set(_names(held_out) if held_out else amass.read_list("open_test"))
    train = set(clips()) - test if held_out else set(amass.read_list("open_train"))
    _check_names(test, set(clips()), held_out)
    found = [
        Source(
            name=clip.name, subset=clip.action, split="test" if clip.name in test else "train",
            source=clip.path.name, path=clip.path, listed=clip.path.name, rate="resample", is_embedded=True,
        )
        for clip in clips().values()
        if clip.name in test | train
    ]  # fmt: skip
    return Found("open", EMBEDDED, found, OPEN_LICENCE)


def _loose(settings: PrepareAmass) -> Found:
    raw = settings.raw
    with amass.readable():
        files = sorted(
            amass.files_below(raw, (".npz", *BVH)), key=lambda path: path.relative_to(raw).as_posix()
        )
    sources = {_plain_name(path.relative_to(raw).as_posix()): path for path in files}
    if settings.held_out:
        test = set(_names(settings.held_out))
        _check_names(test, set(sources), settings.held_out)
    else:
        test = {name for index, name in enumerate(sources) if index % 10 == 9} or set(list(sources)[-1:])
    found = [
        Source(
            name=name,
            subset=path.parent.name,
            split="test" if name in test else "train",
            source=path.relative_to(raw).as_posix(),
            path=path.resolve(),
            listed=str(path.resolve()),
            rate="resample" if path.name.lower().endswith(BVH) else settings.rate,
        )
        for name, path in sources.items()
    ]
    notes = []
    if not settings.held_out:
        notes.append("no test list given: every tenth clip is for testing (--held-out FILE chooses)")
    if len(files) > len(sources):
        kept = set(sources.values())
        twice = next(path for path in files if path not in kept)
        notes.append(
            f"{len(files) - len(sources)} files left out ({twice.relative_to(raw).as_posix()}, ...): "
            "another format of the same clip is there"
        )
    return Found("clips", str(raw), found, notes=notes)


def _plain_name(source: str) -> str:
    for suffix in (".npz", ".gz", ".bvh", ".BVH"):
        source = source.removesuffix(suffix)
    return source


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(
            f"{path}: list of test clips not found", hint="one name a line; or leave --held-out out"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_plain_name(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def _check_names(test: set[str], known: set[str], path: Path | None) -> None:
    unknown = sorted(test - known)
    if unknown:
        raise DataError(f"{path}: '{unknown[0]}': no such clip; there is {', '.join(sorted(known)[:3])}, ...")
