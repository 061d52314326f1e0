"""The prepare target for raw motion: to a store, or to official files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatarctl.body.tables import NUM_BODY
from avatarctl.data import StoreWriter
from avatarctl.data.store import MANIFEST
from avatarctl.device.choose import cores
from avatarctl.errors import DataError
from avatarctl.files import write_text
from avatarctl.motion.tracking import FPS
from avatarctl.terminal import duration
from avatarctl_sparse_tracking import amass, features, sources, splitting
from avatarctl_sparse_tracking.preparing import Outcome, Task, is_official, is_stored, run_all
from avatarctl_sparse_tracking.sources import Found, Source

if TYPE_CHECKING:
    from avatarctl.body import BodyModel
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

DONE = "prepared.json"
"""In a folder of official files: what they were made from, and what was left out."""
PARTS = ".parts"
"""In a folder of official files, while they are made: what is done."""
WORTH_A_POOL = 200 << 20
"""Bytes of raw data from which starting several processes pays."""
LEFT_OUT = ("source", "status", "reason")
"""What is noted of a clip that was left out."""
LIST_NOTE = "# S3: CMU, BioMotionLab_NTroje and MPI_HDM05 are certain, the other subsets approximate"
FRAMES_A_SECOND = 20_000
"""Frames that one process prepares in a second, for the estimate before a long preparation."""
WORTH_AN_ESTIMATE = 20 * FRAMES_A_SECOND
OFFICIAL_BYTES = 4300
"""Bytes of a frame in the published layout."""


@dataclass
class Summary:
    """What was prepared: clips and frames per split, and the sources left out with their reason."""

    clips: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    left_out: list[dict[str, str]] = field(default_factory=list)

    def bad(self, found: Found) -> list[str]:
        """One line for each source that is broken (not merely too short), with the path of its file."""
        paths = {clip.source: str(clip.path) for clip in found.clips}
        bad = [one for one in self.left_out if one["status"] == "bad"]
        return [one["reason"].replace(one["source"], paths.get(one["source"], ""), 1) for one in bad]


def run_amass(settings: PrepareAmass, run: Run) -> None:
    """Prepare AMASS archives or BVH clips, or make split lists of them."""
    if settings.make_split is not None:
        return splitting.run(settings, settings.make_split, run)
    body = run.bodies.load("smplh", "male", settings.body_models)
    found = sources.find(settings)
    if found.kind != "open":
        run.input(settings.raw, "raw")
    if settings.lists is not None:
        run.input(settings.lists, "lists")
    for line in found.notes:
        run.log.warning(line)
    summary = prepare(settings, run, found, body)
    for split in amass.SPLITS:
        lines = [clip.source for clip in found.clips if clip.split == split]
        head = [LIST_NOTE] if found.kind == "amass" and settings.protocol == "S3" else []
        run.save(f"{split}.txt", "".join(f"{line}\n" for line in [*head, *lines]), "list")
    _report(run, found, summary)
    bad = summary.bad(found)
    if bad and not settings.skip_bad:
        more = f"\nand {len(bad) - 20} more" if len(bad) > 20 else ""
        raise DataError(
            "\n".join(bad[:20]) + more,
            hint="everything else is prepared; repair or remove these files, or accept it with --skip-bad",
        )


def prepare(settings: PrepareAmass, run: Run, found: Found, body: BodyModel) -> Summary:
    """Prepare the clips and write what the settings ask for; only what is not there yet is done.

    Raises:
        DataError: No clip can be used, the output cannot be written, or another store is in the way.
    """
    attributes = attributes_of(settings, found, body)
    options = _digest(attributes)
    keys = {clip.name: clip.key(options) for clip in found.clips}
    lines = [(clip.split, [keys[clip.name], clip.name, clip.split]) for clip in found.clips]
    store_inputs = _digest([options, [line for split, line in lines if split]])
    official_inputs = _digest([options, [line for _, line in lines]])
    official = settings.official_out if "official" in settings.layout else None
    with ExitStack() as stack:
        writer = None
        known = _known(official, official_inputs) if official else None
        if official and known:
            shutil.rmtree(official / PARTS, ignore_errors=True)
            official = None
        if "store" in settings.layout:
            writer = stack.enter_context(StoreWriter(settings.store, features.FIELDS, attributes))
            writer.check_replace(settings.replace)
            if writer.is_finished(store_inputs):
                known = known or _from_manifest(writer)
                writer.discard_parts()
                writer = None
        if writer is None and official is None and known:
            run.log.info("everything is up to date")
            return _record(run, settings, known)
        rest = body.rest_joints[:NUM_BODY].numpy()
        tasks = [_task(clip, keys[clip.name], rest, writer, official) for clip in found.clips]
        if writer:
            writer.check_space(found.frames)
        workers = _workers(settings.workers, found)
        _estimate(run, found, tasks, workers)
        run.keeps_parts = True
        results = run_all(tasks, workers)
        outcomes = list(run.progress(results, "preparing", total=len(tasks)))
        summary = _summarise(found, outcomes)
        if writer:
            _finish_store(writer, store_inputs, outcomes, summary)
        if official:
            _finish_official(official, official_inputs, summary)
        return _record(run, settings, summary)


def _task(
    clip: Source, key: str, rest: np.ndarray, writer: StoreWriter | None, official: Path | None
) -> Task:
    """What is to be made of a clip: a part of the store, an official file, or both."""
    return Task(
        name=clip.name,
        subset=clip.subset,
        split=clip.split,
        source=clip.source,
        path=f"{sources.EMBEDDED}:{clip.name}" if clip.is_embedded else str(clip.path),
        listed=clip.listed,
        key=key,
        rest=rest,
        rate=clip.rate,
        part=str(writer.part(key)) if writer and clip.split else "",
        official=str(official / f"{clip.name}.pt") if official else "",
        marker=str(official / PARTS / key) if official else "",
    )


def _finish_store(writer: StoreWriter, inputs: str, outcomes: list[Outcome], summary: Summary) -> None:
    usable = [outcome.task for outcome in outcomes if outcome.status == "ok"]
    splits = {split: [task.key for task in usable if task.split == split] for split in amass.SPLITS}
    chosen = {outcome.task.source for outcome in outcomes if outcome.task.split}
    writer.finish(splits, inputs, left_out=[one for one in summary.left_out if one["source"] in chosen])


def _finish_official(official: Path, inputs: str, summary: Summary) -> None:
    words = {
        "inputs": inputs,
        "clips": summary.clips,
        "frames": summary.frames,
        "left_out": summary.left_out,
    }
    made = write_text(official / PARTS / DONE, json.dumps(words, indent=1, sort_keys=True) + "\n")
    made.replace(official / DONE)
    shutil.rmtree(official / PARTS, ignore_errors=True)


def attributes_of(settings: PrepareAmass, found: Found, body: BodyModel) -> dict[str, Any]:
    """What a reader of the store must know, and all options that its numbers depend on."""
    return {
        "system": "sparse-tracking",
        "kind": found.kind,
        "protocol": settings.protocol if found.kind == "amass" else found.kind,
        "rate": settings.rate,
        "fps": FPS,
        "up": "z",
        "units": {"places": "metres", "angles": "radians"},
        "sparse": "head, left wrist, right wrist; each: global 6D, step 6D, position, position step",
        "sixd": "local rotations of 22 joints, root first; first two columns, one after the other",
        "poses": "axis-angle of 22 joints, root first; trans is the SMPL translation",
        "body": {
            "family": body.family,
            "gender": body.gender,
            "open": body.is_open,
            "rest": features.rest_digest(body.rest_joints),
        },
        "licence": found.licence,
        "note": sources.S3_NOTE if found.kind == "amass" and settings.protocol == "S3" else "",
    }


def _summarise(found: Found, outcomes: Sequence[Outcome]) -> Summary:
    summary = Summary()
    for split in amass.SPLITS:
        mine = [outcome for outcome in outcomes if outcome.status == "ok" and outcome.task.split == split]
        summary.clips[split] = len(mine)
        summary.frames[split] = sum(outcome.frames for outcome in mine)
    for outcome in outcomes:
        if outcome.status != "ok":
            # The store's bytes must not depend on where the raw data lies.
            reason = outcome.reason.replace(outcome.task.path, outcome.task.source)
            summary.left_out.append(
                {"source": outcome.task.source, "status": outcome.status, "reason": reason}
            )
    if not any(outcome.status == "ok" for outcome in outcomes):
        reasons = "\n".join(one["reason"] for one in summary.left_out[:20])
        raise DataError(f"{found.where}: no clip could be used\n{reasons}", hint="check the files")
    return summary


def _from_manifest(writer: StoreWriter) -> Summary:
    """What was prepared, as the finished store says.

    Raises:
        DataError: Its manifest is whole, but lacks something that this preparation writes.
    """
    manifest = writer.existing() or {}
    try:
        about = {split: manifest["splits"][split] for split in amass.SPLITS}
        left_out = [{key: str(one[key]) for key in LEFT_OUT} for one in manifest["left_out"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{writer.folder / MANIFEST}: no {error}; expected splits train and test, and what was left out",
            hint="delete the folder, or choose another --store",
        ) from error
    clips, frames = ({split: one[what] for split, one in about.items()} for what in ("clips", "frames"))
    return Summary(clips, frames, left_out)


def _known(official: Path, inputs: str) -> Summary | None:
    """What was prepared from the same inputs before, if its official files are still there."""
    try:
        words = json.loads((official / DONE).read_text(encoding="utf-8"))
        is_same = words["inputs"] == inputs
        return Summary(words["clips"], words["frames"], words["left_out"]) if is_same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(run: Run, settings: PrepareAmass, summary: Summary) -> Summary:
    if "store" in settings.layout:
        run.output(settings.store, "store")
    if "official" in settings.layout:
        run.output(settings.official_out, "official files")
    return summary


def _report(run: Run, found: Found, summary: Summary) -> None:
    short = sum(one["status"] == "short" for one in summary.left_out)
    if short:
        run.log.info("%d clips of fewer than 5 frames were left out", short)
    rows = [
        {
            "split": split,
            "clips": summary.clips[split],
            "frames": summary.frames[split],
            "minutes": round(summary.frames[split] / FPS / 60, 2),
        }
        for split in amass.SPLITS
    ]
    numbers: dict[str, Any] = {"bad": len(summary.bad(found)), "short": short}
    if found.missing:
        numbers["missing"] = sum(found.missing.values())
    run.report(rows, **numbers)


def _estimate(run: Run, found: Found, tasks: list[Task], workers: int) -> None:
    """Say what is ahead, where it is long."""
    todo = [(clip, task) for clip, task in zip(found.clips, tasks, strict=True)]
    ahead = [(clip, not is_stored(task), not is_official(task)) for clip, task in todo]
    frames = sum(clip.frames for clip, *missing in ahead if any(missing))
    if frames < WORTH_AN_ESTIMATE:
        return
    reading = sum(clip.bytes for clip, *missing in ahead if any(missing))
    row = 4 * sum(features.FIELDS.values())
    writing = sum(clip.frames * (row * store + OFFICIAL_BYTES * official) for clip, store, official in ahead)
    run.log.info(
        "about %.1f hours of motion (%.2g million frames): reads %.1f GB, writes %.1f GB, takes some %s "
        "with %d processes where the disk keeps up",
        frames / FPS / 3600, frames / 1e6, reading / 1e9, writing / 1e9,
        duration(frames / FRAMES_A_SECOND / workers), workers,
    )  # fmt: skip


def _workers(wanted: int, found: Found) -> int:
    if wanted:
        return wanted
    return cores() if sum(clip.bytes for clip in found.clips) > WORTH_A_POOL else 1


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
