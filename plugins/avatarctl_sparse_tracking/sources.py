"""What there is to prepare: AMASS subsets, loose clips, or the embedded ones, each with its split."""

from __future__ import annotations

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
    "sequences were numbered in the order of the authors' disk"
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

    def key(self, options: str) -> str:
        """What the finished clip is recognised by."""
        return fingerprint(self.path, options, self.name, self.source, self.rate)


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
        return sum(
            clip.path.stat().st_size // BYTES_A_FRAME.get(clip.path.suffix, 2700) for clip in self.clips
        )


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
    found = _amass(settings) if amass.has_subsets(raw) else _loose(settings)
    if not found.clips:
        details = "\n".join(found.notes)
        raise DataError(
            f"{raw}: no clips found; {WANTED}" + (f"\n{details}" if details else ""), hint="check the folder"
        )
    return found


def _amass(settings: PrepareAmass) -> Found:
    raw, protocol, lists = settings.raw, settings.protocol, settings.lists
    wanted = amass.SUBSETS if "official" in settings.layout else amass.needed_subsets(protocol)
    survey = amass.survey(raw, lists, wanted)
    if survey.wrong_download and not survey.sequences:
        raise DataError(
            f"{raw}: {survey.wrong_download[0]}: {amass.RIGHT_DOWNLOAD}", hint="https://amass.is.tue.mpg.de"
        )
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
    found = Found("amass", str(raw), clips_found, AMASS_LICENCE)
    _note_missing(found, survey, protocol, set(amass.needed_subsets(protocol)))
    return found


def _note_missing(found: Found, survey: amass.Survey, protocol: str, needed: set[str]) -> None:
    """Say what is not there under the names that the AMASS website uses."""
    absent = Counter(amass.website_name(subset) for subset in survey.missing_subsets if subset in needed)
    if absent:
        found.notes.append(f"subsets of setting {protocol} that are not there: {', '.join(absent)}")
    for name in absent:
        found.missing[name] = sum(
            count for subset, count in amass.COMPLETE.items() if amass.website_name(subset) == name
        )
    for subset, count in survey.missing_files.items():
        name = amass.website_name(subset)
        found.missing[name] = found.missing.get(name, 0) + count
        found.notes.append(f"{name}: {count} of the sequences listed in {subset}.txt are not there")
    if survey.wrong_download:
        first = survey.wrong_download[0]
        found.notes.append(
            f"{len(survey.wrong_download)} files left out ({first}, ...): {amass.RIGHT_DOWNLOAD}"
        )
    if protocol == "S3":
        found.notes.append(S3_NOTE)


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
    files = sorted(
        (path for path in raw.rglob("*") if path.name.lower().endswith((".npz", *BVH)) and path.is_file()),
        key=lambda path: path.relative_to(raw).as_posix(),
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
