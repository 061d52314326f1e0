"""The prepare target for headset logs: what was wrong with them, a picture of them, and their features."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich import box
from rich.table import Table
from rich.text import Text

from avatarctl.errors import DataError
from avatarctl.files import check_input_file
from avatarctl.motion.headset import HeadsetLog, Reading, is_log, read_log
from avatarctl.motion.lost import fill
from avatarctl.motion.recording import Finding, Option, check, typed
from avatarctl.motion.tracking import Tracking
from avatarctl_sparse_tracking import headset_report
from avatarctl_sparse_tracking.headset_report import Checked
from avatarctl_sparse_tracking.settings_headset import LogSettings

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_sparse_tracking.settings_prepare import PrepareHeadset

LOG = logging.getLogger(__name__)
MOTIONS = (".bvh", ".bvh.gz", ".npz", ".pkl", ".pickle")
STYLES = {"serious": "red", "warning": "yellow", "note": "dim"}


def run(settings: PrepareHeadset, run: Run) -> None:
    """Check headset logs, and turn them to files of features, which `infer` takes."""
    names = _names(settings.recording)
    logs = [_read(path) for path in settings.recording]
    for path in settings.recording:
        run.input(path, "recording")
    checked = [_checked(log, settings) for log in logs]
    _tell(checked, run)
    run.save("report.html", headset_report.page(run, checked, settings.skip_first))
    rows, bad = [], []
    for log, name in zip(logs, names, strict=True):
        try:
            tracking = tracking_of(log, settings)
        except DataError as error:
            bad.append(error)
            continue
        sparse = tracking.features()
        if "features" in settings.layout:
            run.save(f"{name}.npz", {"sparse": sparse, "fps": np.array(tracking.fps)}, "features")
        if "official" in settings.layout:
            content = io.BytesIO()
            torch.save(sparse, content)
            run.save(f"{name}.pt", content.getvalue(), "features")
        seconds = round(len(sparse) / tracking.fps, 2)
        rows.append(
            {"recording": log.path.name, "frames": len(sparse), "fps": tracking.fps, "seconds": seconds}
        )
    if rows:
        run.report(rows)
    if bad:
        made = f"; what was found, with a picture: {run.folder / 'report.html'}"
        raise DataError("\n".join(error.message for error in bad), hint=bad[0].hint + made)


def reading_of(settings: LogSettings) -> Reading:
    """How the settings say that a log is to be taken."""
    return Reading(
        axes=settings.axes,
        units=settings.units,
        wxyz=settings.quaternions == "wxyz",
        swap_hands=settings.swap_hands,
        floor=settings.floor,
    )


def findings_of(log: HeadsetLog, settings: LogSettings) -> list[Finding]:
    """What is wrong with a log that is read as the settings say."""
    return check(
        log,
        reading_of(settings),
        skip_first=settings.skip_first,
        rate=settings.rate,
        lost_hands=settings.lost_hands,
    )


def tracking_of(log: HeadsetLog, settings: LogSettings) -> Tracking:
    """The signals in a log that is read as the settings say.

    Raises:
        DataError: The log is too short, or a device is nowhere or where none can be.
    """
    return Tracking.from_log(
        log.read_as(reading_of(settings)),
        rate=settings.rate,
        skip_first=settings.skip_first,
        lost_hands=settings.lost_hands,
    )


def warn(path: Path, findings: Sequence[Finding], settings: LogSettings) -> None:
    """Log what is seriously wrong, one line each, and where to learn more."""
    serious = [finding for finding in findings if finding.severity == "serious"]
    for finding in serious:
        LOG.warning("%s: %s", path, finding.line())
    if serious:
        words = f"{path} {typed(given(settings))}".strip()
        LOG.warning("details and a picture: avatarctl prepare headset %s", words)


def warn_of_unused(path: Path | str, settings: LogSettings) -> None:
    """Say which options do nothing for a file or an embedded clip, which is no log."""
    options = typed(given(settings))
    if options:
        LOG.warning("%s: no headset log, so these options change nothing: %s", path, options)


def given(settings: LogSettings) -> dict[str, Option]:
    """The settings of logs that are not the app's."""
    return {
        name: getattr(settings, name)
        for name, field in LogSettings.model_fields.items()
        if getattr(settings, name) != field.default
    }


def mending(findings: Sequence[Finding], settings: LogSettings) -> str:
    """Options that mend what was found, with those that were given; none where there is nothing to type."""
    found: dict[str, Option] = {}
    for finding in findings:
        found |= finding.options if finding.severity != "note" else {}
    usual = {name: str(field.default) for name, field in LogSettings.model_fields.items()}
    options = {name: value for name, value in (given(settings) | found).items() if str(value) != usual[name]}
    return typed(options) if found else ""


def _names(paths: Sequence[Path]) -> list[str]:
    """What the files of features are called."""
    # parity: a file is named after what stands before the first dot (spec 3.3, step 6).
    names = [path.name.split(".", 1)[0] for path in paths]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"recording: two logs are named '{twice[0]}'", hint="rename one, or prepare them apart"
        )
    return names


def _read(path: Path) -> HeadsetLog:
    check_input_file(path, "a headset log")
    if not is_log(path) and path.name.lower().endswith(MOTIONS):
        raise DataError(
            f"{path}: no headset log; motions and prepared features need no preparation",
            hint=f"avatarctl infer sparse {path}",
        )
    return read_log(path)


def _checked(log: HeadsetLog, settings: PrepareHeadset) -> Checked:
    findings = findings_of(log, settings)
    shown = log.read_as(reading_of(settings))
    if settings.lost_hands != "keep":
        shown = fill(shown, settings.lost_hands)
    return Checked(shown, findings, typed(given(settings)), mending(findings, settings))


def _tell(checked: Sequence[Checked], run: Run) -> None:
    """The findings as a table, and what to type to mend them."""
    for one in checked:
        if not one.findings:
            run.log.info("%s: nothing is wrong with it", one.log.path)
    if any(one.findings for one in checked):
        findings = {one.log.path.name: [asdict(finding) for finding in one.findings] for one in checked}
        run.report(_table(checked), findings=findings)
    for one in checked:
        if one.mending:
            run.log.info("to mend it: avatarctl prepare headset %s %s", one.log.path, one.mending)


def _table(checked: Sequence[Checked]) -> Table:
    """Findings for the console, the most serious first."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    if len(checked) > 1:
        table.add_column("recording", overflow="fold", ratio=2)
    table.add_column("")
    table.add_column("found, and what it means", ratio=5)
    table.add_column("what to type or do", ratio=3)
    for one in checked:
        for finding in one.findings:
            words = Text(f"{finding.about}: {finding.found}: {finding.means}")
            cells = [Text(finding.severity, STYLES[finding.severity]), words, Text(finding.remedy)]
            table.add_row(*([Text(one.log.path.name)] if len(checked) > 1 else []), *cells)
    return table
