"""The manifest of a run: what, with what, from what, by what, and how it ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from avatarctl.errors import DataError
from avatarctl.files import write_text
from avatarctl.runs.folder import MANIFEST, kind

SCHEMA = "avatarctl-run/1"
RESTORE = "restore it from a copy"
STATUSES = ("running", "finished", "failed", "interrupted", "preempted")


@dataclass
class Manifest:
    """manifest.json as a value; written whole at the start, at each checkpoint and at the end."""

    what: dict[str, str]
    """verb, target, stage."""
    schema: str = SCHEMA
    status: str = "running"
    error: str = ""
    started: str = ""
    ended: str = ""
    argv: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    """Layer of each setting's leaf."""
    seed: int = 0
    precision: str = "fp32"
    device: dict[str, Any] = field(default_factory=dict)
    world: int = 1
    plugin: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Kind of run, as its folder is named: verb-target or verb-target-stage."""
        return kind(*(self.what.get(word, "") for word in ("verb", "target", "stage")))

    def write(self, folder: Path) -> None:
        """Write manifest.json atomically."""
        write_text(folder / MANIFEST, as_json(asdict(self)))

    def add(self, where: str, record: dict[str, Any]) -> None:
        """Record an input or output; an earlier record of the same path is replaced."""
        records: list[dict[str, Any]] = getattr(self, where)
        key = record["path"]
        records[:] = [*(r for r in records if r["path"] != key), record]


def read(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        DataError: It is missing, broken, or of another schema.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: is no run folder (no {MANIFEST})", hint="avatarctl runs lists them"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint=RESTORE) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path}: schema: found {found!r}, expected {SCHEMA!r}", hint="it is no run of this version"
        )
    for item in fields(Manifest):
        wanted = {"dict": dict, "list": list, "str": str, "int": int}[str(item.type).partition("[")[0]]
        if item.name in content and not isinstance(content[item.name], wanted):
            raise DataError(
                f"{path}: {item.name}: found {type(content[item.name]).__name__}, expected {wanted.__name__}",
                hint=RESTORE,
            )
    _check_records(path, content)
    if content.get("status") not in STATUSES:
        raise DataError(
            f"{path}: status: found {content.get('status')!r}, expected one of {', '.join(STATUSES)}",
            hint=RESTORE,
        )
    known = {item.name for item in fields(Manifest)}
    return Manifest(**{"what": {}} | {key: value for key, value in content.items() if key in known})


def _check_records(path: Path, content: dict[str, Any]) -> None:
    """Refuse inputs and outputs without a path, and words that are no text."""
    wanted = {"path": str, "kind": str, "hash": str, "bytes": int, "run": str}
    for where in ("inputs", "outputs"):
        for number, record in enumerate(content.get(where, [])):
            is_record = isinstance(record, dict) and "path" in record
            fits = [is_record and isinstance(record.get(key, kind()), kind) for key, kind in wanted.items()]
            if not all(fits):
                found = f"found {str(record)[:60]}, expected a path with hash and size"
                raise DataError(f"{path}: {where}: record {number}: {found}", hint=RESTORE)
    for name, word in content.get("what", {}).items():
        if not isinstance(word, str):
            raise DataError(f"{path}: what: {name}: found {str(word)[:40]}, expected text", hint=RESTORE)


def now() -> str:
    """The time, UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def as_json(value: Any) -> str:
    """Readable JSON without NaN: numbers that are not finite become null."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names; what is empty is a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def plain(value: Any) -> Any:
    """A value in JSON's types: arrays and tensors become lists, paths text, unfinished numbers None."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    return str(value)
