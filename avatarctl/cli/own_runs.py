"""`avatarctl runs` and `avatarctl runs show RUN`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from avatarctl import terminal
from avatarctl.cli import pages
from avatarctl.cli.tables import AsJson, new_app, print_json, section

runs_app = new_app("Runs: list them, or show one.")


@runs_app.callback(invoke_without_command=True)
def runs(ctx: typer.Context, as_json: AsJson = False) -> None:
    """All runs under the runs folder, and trainings made with --out, oldest first."""
    if ctx.invoked_subcommand is not None:
        return
    from avatarctl.runs import folder, index

    found = index.runs()
    if as_json:
        keys = ("what", "status", "started", "ended", "error")
        print_json(
            {"runs": [{"run": path, **{key: getattr(about, key) for key in keys}} for path, about in found]}
        )
        return
    if not found:
        terminal.err().print(
            f"there is no run in {folder.root()} yet; avatarctl --help lists what can be run"
        )
        return
    _list_runs([(index.name_of(path), about) for path, about in found])


def _list_runs(found: list[tuple[str, Any]]) -> None:
    """A line for each run, whose error is cut to what is left of the width."""
    width = terminal.columns()
    room = min(max(len(name) for name, _ in found), width // 2)
    states = max(len(about.status) for _, about in found)
    pages.say(f"{'run':{room}}  {'status':{states}}  started (UTC)", "bold")
    for name, about in found:
        gap = " " * (room - len(name))
        rest = f"{gap}  {about.status:{states}}  {_minute(about.started):16}  "
        error = about.error.partition("\n")[0]
        left = max(width - len(name) - len(rest), 0)
        if len(error) > left:
            error = error[: max(left - 1, 0)] + "…"[:left]
        terminal.line((name, pages.NAME), ((rest + error).rstrip(), ""))


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


@runs_app.command("show")
def runs_show(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="NAME/NUMBER, NAME (its newest), last, or a folder.")
    ],
    chain: Annotated[bool, typer.Option("--chain", help="The runs and files that led to it.")] = False,
    as_json: AsJson = False,
) -> None:
    """One run: what, with what, from what, and how it ended."""
    from avatarctl.runs import index

    folder = index.find(run)
    if chain:
        lines = index.chain(folder)
        if as_json:
            print_json(
                {"chain": [{"depth": depth, "path": path, "note": note} for depth, path, note in lines]}
            )
        for depth, path, note in () if as_json else lines:
            terminal.out().out("  " * depth + f"{path}  ({note})", highlight=False)
        return
    about = index.read(folder)
    metrics = _metrics(folder)
    if as_json:
        print_json({"run": folder, **vars(about), "metrics": metrics})
        return
    _show_run(folder, about, metrics)


def _metrics(folder: Path) -> Mapping[str, Any]:
    from avatarctl.errors import DataError
    from avatarctl.runs.folder import METRICS

    path = folder / METRICS
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}", hint="restore it from a copy") from error
    return found if isinstance(found, dict) else {}


def _show_run(folder: Path, about: Any, metrics: Mapping[str, Any]) -> None:
    from avatarctl.runs.manifest import leaves

    head = [
        ("run", str(folder)),
        ("status", about.status),
        *([("error", about.error)] if about.error else []),
        ("started", _minute(about.started)),
        ("ended", _minute(about.ended) or "-"),
        ("command", shlex.join(str(word) for word in about.argv)),
        ("device", str(about.device.get("name", about.device.get("device", "")))),
        ("seed", str(about.seed)),
        (
            "avatarctl",
            " ".join(str(about.versions[key]) for key in ("avatarctl", "commit") if about.versions.get(key)),
        ),
    ]
    section(" ".join(word for word in about.what.values() if word), head)
    parts = {
        "settings": [
            (key, f"{value}  ({about.origin.get(key, 'default')})")
            for key, value in leaves(about.settings).items()
        ],
        "inputs": [(_bytes(item), str(item["path"])) for item in about.inputs],
        "outputs": [(str(item.get("kind", "")), str(item["path"])) for item in about.outputs],
        "metrics": [
            (key, str(value)) for key, value in metrics.items() if not isinstance(value, list | dict)
        ],
    }
    for title, rows in parts.items():
        if rows:
            section(title, rows)


def _bytes(item: Mapping[str, Any]) -> str:
    return f"{int(item.get('bytes', 0)) / 1e6:.1f} MB"
