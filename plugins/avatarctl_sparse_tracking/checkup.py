"""What `avatarctl doctor sparse-tracking` looks at: AMASS, body, weights, prepared stores (spec 2.3, 10)."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from avatarctl.api import Diagnosis
from avatarctl.body import Bodies
from avatarctl.checkpoints import open_weights
from avatarctl.data.store import MANIFEST, read_manifest
from avatarctl.errors import CheckpointError, DataError
from avatarctl_sparse_tracking import amass, inspecting, plugin

SETTINGS = {"S1": "data/amass", "S2": "data/amass-s2", "S3": "data/amass-s3"}
"""Published settings, and where their presets keep the store."""
DOWNLOAD = f"download it from {amass.WEBSITE_ADDRESS} ('SMPL+H G')"
ABSENT = "not there"


def run(data: Path | None, weights: Path | None, body_models: Path | None) -> Diagnosis:
    """Whether a user's files are fit for the published settings, and the command to go on with.

    Args:
        data: AMASS folder; not looked at when left out.
        weights: File or folder of trained weights; the embedded ones when left out.
        body_models: Folder of licensed bodies; the added assets when left out.

    Raises:
        AvatarError: Something that was named is not there or cannot be read.
    """
    found = Diagnosis()
    ready = _amass(data, found) if data is not None else []
    found.tables["body model"] = [{"body": "SMPL-H, male", "found": _body(body_models)}]
    found.tables["weights"] = _weights(weights)
    found.tables["prepared stores"] = _stores(found)
    found.next = _next(data, weights, ready)
    return found


def _amass(data: Path, found: Diagnosis) -> list[str]:
    """Add the tables of subsets and settings; the settings that can be prepared are returned."""
    if not data.is_dir():
        raise DataError(
            f"{data}: no such folder; expected the folder that holds the subsets", hint="check --data"
        )
    if not amass.has_subsets(data):
        amass.refuse_wrong_level(data)
        raise DataError(
            f"{data}: none of the AMASS subsets (CMU, BMLrub, HDM05, ...) is in it", hint=DOWNLOAD
        )
    survey = amass.survey(data)
    rows = {}
    for base in dict.fromkeys(map(amass.base_of, amass.SUBSETS)):
        parts = [subset for subset in amass.SUBSETS if amass.base_of(subset) == base]
        rows[base] = _subset(base, parts, survey, found)
    found.tables[f"AMASS in {data}"] = list(rows.values())
    found.problems += [(words, "remove one of the two folders") for words in survey.passed_over]
    settings: list[dict[str, str | int]] = []
    ready = []
    for setting in SETTINGS:
        bases = dict.fromkeys(map(amass.base_of, amass.needed_subsets(setting)))
        absent = [str(rows[base]["subset"]) for base in bases if rows[base]["state"] == ABSENT]
        unlike = [
            str(rows[base]["subset"]) for base in bases if rows[base]["state"] not in (ABSENT, "complete")
        ]
        words = [f"lacks {', '.join(absent)}"] if absent else []
        words += [f"not as published: {', '.join(unlike)}"] if unlike else []
        if setting == "S3" and not absent:
            words.append("membership approximate, see the README")
        settings.append({"setting": setting, "state": "; ".join(words) or "complete"})
        if all(rows[base]["sequences"] for base in bases):
            ready.append(setting)
    found.tables["published settings"] = settings
    small = dict.fromkeys(map(amass.base_of, amass.needed_subsets("S1")))
    lacking = [str(rows[base]["subset"]) for base in small if rows[base]["state"] == ABSENT]
    if lacking:
        found.problems.append((f"{', '.join(lacking)}: not there; every setting needs it", DOWNLOAD))
    return ready


def _subset(base: str, parts: list[str], survey: amass.Survey, found: Diagnosis) -> dict[str, str | int]:
    """The row of one subset; what is wrong with it goes to the problems."""
    name = amass.website_name(base)
    count, complete = (sum(of[part] for part in parts) for of in (survey.counts, amass.COMPLETE))
    inside = f"{base}/"
    wrong = [source for source in survey.wrong_download if source.startswith(inside)]
    broken = [source for source in survey.broken if source.startswith(inside)]
    missing = [line for part in parts for line in survey.missing_files.get(part, [])]
    state = "complete"
    if base not in survey.folders:
        state = ABSENT
    elif wrong:
        state = "wrong download"
        found.problems.append(
            (f"{name}: {len(wrong)} files are of the 'SMPL-X G' download ({wrong[0]}, ...)", DOWNLOAD)
        )
    elif count < complete:
        state = f"{complete - count} missing"
        first = f" ({missing[0]}, ...)" if missing else ""
        found.problems.append(
            (f"{name}: {complete - count} of {complete} sequences are missing{first}", DOWNLOAD)
        )
    elif count > complete:
        state = f"{count - complete} more than published"
    if broken:
        words = f"{name}: {len(broken)} archives cannot be opened ({broken[0]}, ...)"
        found.problems.append((words, "copy or download them again"))
    folder = survey.folders[base].name if base in survey.folders else "-"
    return {"subset": name, "folder": folder, "sequences": count, "complete": complete, "state": state}


def _body(folder: Path | None) -> str:
    silent = logging.getLogger("silent")
    silent.disabled = True
    body = Bodies(silent).load("smplh", "male", folder)
    if body.is_open:
        return "not there: the open body stands in, and scores are not comparable (avatarctl assets)"
    return body.source


def _weights(path: Path | None) -> list[dict[str, str | int]]:
    declared = list(plugin.avatarctl_weights())
    opened = path or Path(next(item.path for item in declared if item.path))
    if not opened.exists():
        raise CheckpointError(f"{opened}: not found; expected trained weights", hint="check --weights")
    weights = open_weights(opened, declared)
    known = inspecting.describe(weights)
    if known is None:
        raise CheckpointError(f"{opened}: is no SAGE Net", hint="avatarctl inspect FILE says what a file is")
    what, facts, _ = known
    return [{"weights": str(path or "open-small"), "are": f"{what}; sizes {facts['sizes']}"}]


def _stores(found: Diagnosis) -> list[dict[str, str | int]]:
    """The stores of the presets that are there."""
    rows: list[dict[str, str | int]] = []
    for setting, place in SETTINGS.items():
        row: dict[str, str | int] = {"preset": f"sparse-tracking/{setting.lower()}", "store": place}
        if not (Path(place) / MANIFEST).is_file():
            rows.append({**row, "holds": "not prepared"})
            continue
        try:
            manifest = read_manifest(place)
        except DataError as error:
            found.problems.append((error.message, error.hint))
            rows.append({**row, "holds": "cannot be read"})
            continue
        words = [f"{name} {about['clips']} clips" for name, about in manifest["splits"].items()]
        protocol = manifest["attributes"].get("protocol", "no protocol")
        rows.append({**row, "holds": f"{protocol}: {', '.join(words)}"})
    return rows


def _next(data: Path | None, weights: Path | None, ready: list[str]) -> list[str]:
    """The command for the first setting that is not prepared, or for what was prepared."""
    prepared = [setting for setting, place in SETTINGS.items() if (Path(place) / MANIFEST).is_file()]
    todo = [setting for setting in ready if setting not in prepared]
    commands = []
    if data is None:
        commands.append("avatarctl doctor sparse-tracking --data AMASS")
    elif todo:
        commands.append(
            f"avatarctl prepare amass {shlex.quote(str(data))} -c sparse-tracking/{todo[0].lower()}"
        )
    if prepared:
        preset = f"-c sparse-tracking/{prepared[0].lower()}"
        commands += [f"avatarctl train sparse --stage all {preset}"] if weights is None else []
        commands.append(
            f"avatarctl eval sparse {preset} --weights {shlex.quote(str(weights or 'open-small'))}"
        )
    return commands or ["avatarctl prepare amass open --store data/open"]
