"""The prepare target: a person's recorded conversations to a store, and what is wrong with them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarctl.audio.wave import RATE
from avatarctl.data import StoreWriter
from avatarctl.data.writer import write_part
from avatarctl.errors import DataError
from avatarctl_audio2motion.conversations import scenes
from avatarctl_audio2motion.conversations.dataset import FIELDS, FPS, SYSTEM
from avatarctl_audio2motion.conversations.scenes import FaceNeverSeen, Recorded, Recordings
from avatarctl_audio2motion.conversations.stats import read_statistics

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings_prepare import PrepareConversations

OPEN = Path("open")
"""In place of a folder: the made-up pairs of speech and open motion."""
SPLITS = ("train", "val", "test")
Outcome = dict[str, str | int | float]
"""A scene's line of scenes.csv."""


@dataclass
class Summary:
    """The outcome of every scene, in their order."""

    scenes: list[Outcome] = field(default_factory=list)

    def usable(self) -> list[Outcome]:
        """Those in the store."""
        return [one for one in self.scenes if one["split"]]

    def bad(self) -> list[str]:
        """What is wrong with each that could not be used."""
        return [str(one["note"]) for one in self.scenes if one["status"] == "bad"]

    def odd(self) -> dict[str, list[str]]:
        """What is odd about scenes that can be used, and which."""
        found: dict[str, list[str]] = {}
        for one in self.usable():
            if one["note"]:
                found.setdefault(str(one["note"]), []).append(str(one["scene"]))
        return found

    def rows(self) -> list[Outcome]:
        """The splits: scenes, frames, minutes, and in which part of the frames the face is seen."""
        found: list[Outcome] = []
        for split in SPLITS:
            frames = [int(one["frames"]) for one in self.scenes if one["split"] == split]
            missing = sum(int(one["missing"]) for one in self.scenes if one["split"] == split)
            total = sum(frames)
            seen = round(100 * (1 - missing / total), 1) if total else 0.0
            minutes = round(total / FPS / 60, 2)
            found.append(
                {"split": split, "scenes": len(frames), "frames": total, "minutes": minutes, "face %": seen}
            )
        return found

    def csv(self) -> str:
        """One line a scene."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.scenes[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.scenes)
        return text.getvalue()


def run(settings: PrepareConversations, run: Run) -> None:
    """Check every scene, and write those that can be used to a store."""
    recordings = find(settings, run)
    store = settings.store or Path("data") / recordings.person
    summary = prepare(settings, run, recordings, store)
    run.save("scenes.csv", summary.csv())
    run.output(store, "store")
    bad = summary.bad()
    odd = summary.odd()
    for note, names in odd.items():
        run.log.warning("%s: %s", ", ".join(names), note)
    unseen = sum(one["status"] == "face never seen" for one in summary.scenes)
    run.report(summary.rows(), bad=len(bad), odd=sum(map(len, odd.values())), face_never_seen=unseen)
    if bad and not settings.skip_bad:
        raise DataError(
            "\n".join(f"{settings.folder / line}" for line in bad),
            hint="everything else is prepared; repair or remove these scenes, or accept it with --skip-bad",
        )


def find(settings: PrepareConversations, run: Run) -> Recordings:
    """The recordings that the settings name."""
    if settings.folder == OPEN:
        from avatarctl_audio2motion.person import pairs

        return pairs.recordings()
    scenes.find_scenes(settings.folder)
    run.input(settings.folder, "folder")
    if settings.stats is not None:
        run.input(settings.stats, "stats")
    statistics = read_statistics(settings.stats or settings.folder)
    person = settings.person or scenes.person_of(settings.folder)
    return scenes.official(settings.folder, person, statistics, swap=settings.swap_voices)


def prepare(settings: PrepareConversations, run: Run, recordings: Recordings, store: Path) -> Summary:
    """Read the scenes and write the store; what is there from the same files is not made again.

    Raises:
        DataError: Too few scenes can be used, the output cannot be written, or another store is in the way.
    """
    attributes = attributes_of(settings, recordings)
    inputs = _digest([attributes, [[one.name, one.key] for one in recordings.scenes]])
    with StoreWriter(store, FIELDS, attributes) as writer:
        writer.check_replace(settings.replace)
        if writer.is_finished(inputs):
            writer.discard_parts()
            run.log.info("%s: is up to date", store)
            return Summary(list((writer.existing() or {})["outcomes"]))
        writer.check_space(recordings.frames)
        run.keeps_parts = True
        outcomes = [
            _prepare_one(writer, one, recordings, f"{settings.folder}/")
            for one in run.progress(recordings.scenes, "reading scenes", len(recordings.scenes))
        ]
        try:
            split_scenes(outcomes, settings, recordings.person)
        except DataError:
            writer.discard_parts()
            raise
        keys = {one.name: one.key for one in recordings.scenes}
        splits = {
            split: [keys[str(one["scene"])] for one in outcomes if one["split"] == split] for split in SPLITS
        }
        writer.finish(splits, inputs, outcomes=outcomes)
    return Summary(outcomes)


def attributes_of(settings: PrepareConversations, recordings: Recordings) -> dict[str, Any]:
    """What a reader of the store must know, and all options that its numbers depend on."""
    return {
        "system": SYSTEM,
        "person": recordings.person,
        "fps": FPS,
        "rate": RATE,
        "audio": "1600 samples of the person and the partner in turn, -1..1",
        "pose": "104 raw parameters of the capture skeleton; root translation, root Euler angles, the rest",
        "face": "256 raw face codes; seen: 1 where they are known",
        "swapped_voices": settings.swap_voices,
        "held_out": [settings.validation, settings.test],
        "statistics": recordings.statistics.to_plain(),
        "licence": recordings.licence,
    }


def _prepare_one(writer: StoreWriter, recorded: Recorded, recordings: Recordings, folder: str) -> Outcome:
    """Read a scene and write its part of the store, whose bytes must not depend on where the scene lies."""
    outcome: Outcome = {
        "scene": recorded.name, "split": "", "status": "ok", "frames": 0, "missing": 0, "note": "",
    }  # fmt: skip
    try:
        scene = recorded.read()
    except FaceNeverSeen as error:
        return outcome | {"status": "face never seen", "note": error.message.replace(folder, "")}
    except DataError as error:
        return outcome | {"status": "bad", "note": error.message.replace(folder, "")}
    write_part(writer.part(recorded.key), scene.rows(), {"names": scene.name})
    missing = len(scene) - int(scene.seen.sum())
    notes = "; ".join(scene.notes(recordings.statistics))
    return outcome | {"frames": len(scene), "missing": missing, "note": notes}


def split_scenes(outcomes: list[Outcome], settings: PrepareConversations, person: str) -> None:
    """Say in the outcomes which scenes are for training, validation or testing (spec 2.4).

    Raises:
        DataError: None is left for training.
    """
    usable = [one for one in outcomes if one["status"] == "ok"]
    first = len(usable) - settings.validation - settings.test
    if first < 1:
        reasons = [str(one["note"]) for one in outcomes if one["status"] == "bad"]
        lines = [
            f"{person}: {len(usable)} of {len(outcomes)} scenes can be used; with "
            f"{settings.validation} for validation and {settings.test} for testing, none is left to train on",
            *reasons,
        ]
        raise DataError("\n".join(lines), hint="add recordings, or lower --validation and --test")
    for place, one in enumerate(usable):
        one["split"] = SPLITS[(place >= first) + (place >= first + settings.validation)]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
