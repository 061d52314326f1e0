"""Final numbers: a table on stdout or one JSON object, metrics.json, and the lines of metrics.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avatarctl.errors import DataError
from avatarctl.files import write_failure, write_text
from avatarctl.runs.folder import METRICS, STEPS
from avatarctl.runs.manifest import as_json, plain


def numbers_table(numbers: Mapping[str, Any]) -> Any:
    """Names and values as a rich table, without groups of values."""
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for name, value in numbers.items():
        if not isinstance(value, dict):
            table.add_row(name.replace("_", " "), shown(value))
    return table


def rows_table(rows: list[Mapping[str, Any]]) -> Any:
    """Equal-keyed rows as a rich table, keys on top."""
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table()
    for index, name in enumerate(names):
        table.add_column(name.replace("_", " "), justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(shown(row.get(name, "")) for name in names))
    return table


def shown(value: Any) -> str:
    """A value as people read it: four significant digits for fractions."""
    value = plain(value)
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """metrics.json, atomically."""
    write_text(folder / METRICS, as_json(dict(metrics)))


def append_step(folder: Path, step: int, split: str, numbers: Mapping[str, Any]) -> None:
    """One line of metrics.jsonl."""
    line = json.dumps(plain({"step": step, "time": round(time.time(), 3), "split": split, **numbers}))
    path = folder / STEPS
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise write_failure(path, error) from error


def steps(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
    path = folder / STEPS
    if not path.is_file():
        return []
    found = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            if number < len(lines):
                raise DataError(
                    f"{path}: line {number}: found no JSON object", hint="delete the line"
                ) from error
    return found


def cut_steps(folder: Path, step: int) -> None:
    """Drop what metrics.jsonl says of steps after `step`: a resumed run writes them again."""
    kept = [line for line in steps(folder) if line.get("step", 0) <= step]
    if (folder / STEPS).is_file():
        write_text(folder / STEPS, "".join(json.dumps(line) + "\n" for line in kept))
