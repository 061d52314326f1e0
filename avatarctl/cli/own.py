"""The command's own words (architecture 5.3): plugins, doctor, config, assets, runs, inspect, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from avatarctl import terminal
from avatarctl.cli import pages
from avatarctl.cli.own_config import config_app
from avatarctl.cli.own_runs import runs_app
from avatarctl.cli.tables import AsJson, columns, new_app, note, print_json, section
from avatarctl.errors import AssetError, DataError, PluginError, UsageError
from avatarctl.plugin.registry import Registry
from avatarctl.plugin.target import Diagnosis

SHAPES_SHOWN = 24
"""Arrays that the page of `inspect` lists; --json has all."""

app = new_app("The command's own words.")
plugins_app = new_app("Installed plugins: what they add, and whether they work.")
assets_app = new_app("Licensed files that you fetch yourself: found where, or how to get them.")
app.add_typer(plugins_app, name="plugins")
app.add_typer(config_app, name="config")
app.add_typer(assets_app, name="assets")
app.add_typer(runs_app, name="runs")


def run(words: list[str], registry: Registry) -> int:
    """Carry out one of the command's own words; the exit code is returned.

    Raises:
        AvatarError: The words are wrong, or what they name cannot be used.
    """
    from avatarctl.config import user

    user.apply()
    try:
        code = app(args=words, prog_name="avatarctl", standalone_mode=False, obj=registry)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what both kinds of click give their usage errors
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "avatarctl"
        message = str(error.format_message()).strip().rstrip(".")
        raise UsageError(message[:1].lower() + message[1:], hint=f"{path} --help") from error
    return code if isinstance(code, int) else 0


@plugins_app.callback(invoke_without_command=True)
def plugins(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Installed plugins: what they add, how long they take to load, and whether they work."""
    if ctx.invoked_subcommand is not None:
        return
    registry: Registry = ctx.obj
    hooks = (registry.assets, registry.weights, registry.layouts, registry.formats, registry.presets)
    for ask in (*hooks, registry.checkups):
        ask()  # each hook is called once, so that a failing one shows
    if as_json:
        print_json({"plugins": [_plugin(item) for item in registry.plugins]})
        return
    rows = [
        (
            item.name,
            f"{item.distribution} {item.version}".strip(),
            item.state,
            f"{item.load_ms:.0f} ms",
            ", ".join(f"{target.verb} {target.name}" for target in item.targets),
        )
        for item in registry.plugins
    ]
    terminal.out().print(columns(("plugin", "distribution", "state", "load", "targets"), rows))
    for item in registry.plugins:
        for trouble in item.troubles:
            note(
                "yellow",
                f"{item.name}: {trouble.where}: {trouble.cause}",
                f"avatarctl plugins check {item.name}",
            )
        for words in item.notes:
            note("", f"{item.name}: {words}")


def _plugin(item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "distribution": item.distribution,
        "version": item.version,
        "state": item.state,
        "load_ms": round(item.load_ms, 2),
        "targets": [f"{target.verb} {target.name}" for target in item.targets],
        "troubles": [{"where": trouble.where, "cause": trouble.cause} for trouble in item.troubles],
        "notes": item.notes,
    }


@plugins_app.command("check")
def plugins_check(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `avatarctl plugins` lists it.")],
    as_json: AsJson = False,
) -> int:
    """Test one plugin in a new process: what its author's CI runs. Ends with 9 when something is wrong."""
    from avatarctl.plugin.check import check

    registry: Registry = ctx.obj
    findings = check(name, registry.files)
    wrong = [finding for finding in findings if finding.trouble]
    if as_json:
        print_json({"plugin": name, "ok": not wrong, "findings": [vars(finding) for finding in findings]})
        return PluginError.exit_code if wrong else 0
    for finding in findings:
        pages.say(f"{'wrong' if finding.trouble else 'ok':7}{finding.what}")
        if finding.trouble:
            pages.say(f"       {finding.trouble}", "yellow")
    plugin = registry.plugin(name)
    for words in plugin.notes:
        note("", words)
    state = f"fails {len(wrong)} of {len(findings)} checks" if wrong else f"passes {len(findings)} checks"
    pages.say(f"{plugin.about} {state}")
    return PluginError.exit_code if wrong else 0


@app.command()
def doctor(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A checkup, such as sparse-tracking.")] = "",
    data: Annotated[Path | None, typer.Option(help="Folder of the raw data.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File or folder of trained weights.")] = None,
    body_models: Annotated[Path | None, typer.Option(help="Folder of licensed body models.")] = None,
    as_json: AsJson = False,
) -> int:
    """Versions, devices, optional packages, assets and disk; with NAME: your data for one system.

    A checkup says what is wrong, what mends it, and what to type next. It ends with 5 when data is not right.
    """
    from avatarctl.cli import doctor as examination

    if name:
        return _checkup(name, examination.checkup(ctx.obj, name, data, weights, body_models), as_json)
    if data or weights or body_models:
        raise UsageError("doctor: name what the files are for", hint="avatarctl doctor NAME --data FOLDER")
    report = examination.examine(ctx.obj)
    if as_json:
        print_json(report)
        return 0
    for title, rows in examination.shown(report):
        section(title, rows)
    for item in report["problems"]:
        note("yellow", item["problem"], item["try"])
    if not report["problems"]:
        terminal.out().print("nothing is wrong")
    return 0


def _checkup(name: str, found: Diagnosis, as_json: bool) -> int:
    """Show what a checkup found; the exit code is returned."""
    if as_json:
        problems = [{"problem": words, "try": remedy} for words, remedy in found.problems]
        print_json({"checkup": name, "tables": found.tables, "problems": problems, "next": found.next})
    else:
        for title, rows in found.tables.items():
            pages.say(title, "bold")
            cells = [tuple(map(str, row.values())) for row in rows]
            terminal.out().print(columns(tuple(rows[0]) if rows else (), cells))
        for words, remedy in found.problems:
            note("yellow", words, remedy)
        for command in found.next:
            pages.say(f"next  {command}")
    return DataError.exit_code if found.problems else 0


@assets_app.callback(invoke_without_command=True)
def assets(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Licensed files that you fetch yourself: found where, or how to get them."""
    if ctx.invoked_subcommand is not None:
        return
    from avatarctl.assets import asset_folders, catalogue
    from avatarctl.cli.doctor import all_assets

    known = all_assets(ctx.obj)
    found = {item.name: catalogue.found(item) for item in known}
    if as_json:
        about = ({**vars(item), "found": found[item.name]} for item in known)
        print_json({"folders": asset_folders(), "assets": list(about)})
        return
    for item in known:
        files = found[item.name]
        rows = [("found", str(path)) for path in files]
        if not files:
            rows = [("found", "no"), ("register", item.register_at), ("then", "avatarctl assets add FOLDER")]
        section(item.name, [("is", item.summary), *rows, ("licence", item.licence)])
    terminal.out().print(Text(f"\nlooked in {', '.join(str(folder) for folder in asset_folders())}"))
    terminal.out().print(
        "Where a model is missing, the embedded open body stands in (SMPL-H and SMPL-X layouts)."
    )


@assets_app.command("add")
def assets_add(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder or file with them.")],
) -> None:
    """Check the licensed files below a folder, and keep copies where every command finds them."""
    from avatarctl.assets import catalogue
    from avatarctl.body.adding import add_bodies

    copied = catalogue.add(folder, ctx.obj.assets())
    try:
        copied += add_bodies(folder)
    except (AssetError, DataError):  # no body model: all well where there was something else
        if not copied:
            raise
    for path in copied:
        terminal.out().out(str(path), highlight=False)


@app.command()
def inspect(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="File, folder, run, embedded weights or clip; or clips, for all."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a file is: its kind, its shapes, and which target reads it."""
    from avatarctl.cli.inspecting import describe, readers
    from avatarctl.runs.manifest import leaves

    found = describe(file, ctx.obj)
    commands = readers(found, ctx.obj)
    if as_json:
        about = {
            "path": found.path,
            "kind": found.kind,
            "what": found.what,
            "facts": found.facts,
            "arrays": found.arrays,
        }
        print_json({**about, "reader": found.reader, "read_by": commands})
        return
    facts = [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for key, value in leaves(found.facts).items()
    ]
    section(f"{found.path}: {found.what}", [*facts, *(("read by", command) for command in commands)])
    arrays = list(found.arrays.items())
    if arrays:
        section("arrays", arrays[:SHAPES_SHOWN])
    if len(arrays) > SHAPES_SHOWN:
        terminal.out().print(f"  and {len(arrays) - SHAPES_SHOWN} more; --json lists all")


@app.command("new-plugin")
def new_plugin(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Lower-case words with hyphens, such as inbetween.")
    ],
) -> None:
    """Write a complete plugin package, avatarctl-NAME, into this folder."""
    from avatarctl.plugin import scaffold

    scaffold.check_name(name)
    for plugin in ctx.obj.plugins:
        if plugin.name == name:
            raise UsageError(
                f"a plugin '{name}' is installed already ({plugin.distribution})", hint="choose another name"
            )
    folder = scaffold.write(name)
    terminal.out().out(str(folder), highlight=False)
    terminal.err().print(Text(f"next: pip install -e {folder}\n      avatarctl infer {name} --help"))


@app.command()
def completion(shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print the completion script of a shell."""
    from avatarctl.cli.completion import script

    terminal.out().out(script(shell).rstrip("\n"), highlight=False)
