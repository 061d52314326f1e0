"""`avatarctl config show VERB TARGET` and `avatarctl config list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarctl.cli import pages
from avatarctl.cli.tables import AsJson, new_app, print_json, section
from avatarctl.errors import AvatarError, UsageError
from avatarctl.plugin.registry import Registry, did_you_mean
from avatarctl.plugin.target import VERBS

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from avatarctl.cli.target import Command
    from avatarctl.config.layers import Resolved

config_app = new_app("Settings of any target, and presets.")


@config_app.command("list")
def config_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Presets: what each is, and the command that uses it."""
    from avatarctl.config import presets

    registry: Registry = ctx.obj
    found = presets.listing(registry.presets())
    if as_json:
        keys = ("owner", "name", "path", "summary", "command")
        print_json({"presets": [{key: getattr(preset, key) for key in keys} for preset in found]})
        return
    for preset in found:
        pages.rows([(f"{preset.owner}/{preset.name}", preset.summary)])
        if preset.command:
            pages.say(f"  {preset.command}")
    if not found:
        pages.say("there are no presets")


@config_app.command("show")
def config_show(
    ctx: typer.Context,
    verb: Annotated[str, typer.Argument(metavar="VERB", help=f"One of {', '.join(VERBS)}.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A target of the verb.")],
    stage: Annotated[str, typer.Option("--stage", metavar="NAME", help="A stage of the target.")] = "",
    config: Annotated[
        list[str] | None, typer.Option("-c", "--config", metavar="NAME", help="Preset or file; repeatable.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="One setting; repeatable.")
    ] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="As a file to start from, for -c FILE.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting of a target: value, type, and where the value comes from."""
    from avatarctl.cli.main import find_target
    from avatarctl.cli.options import RunOptions
    from avatarctl.cli.target import Command, resolve, take_stage
    from avatarctl.config.explain import missing
    from avatarctl.config.layers import as_plain

    if verb not in VERBS:
        raise UsageError(
            f"no such verb '{verb}'{did_you_mean(verb, VERBS)}", hint=f"one of {', '.join(VERBS)}"
        )
    plugin, found = find_target(verb, target, ctx.obj)
    chosen, _ = take_stage(found, ["--stage", stage] if stage else [])
    command = Command(plugin, found, chosen)
    cls = command.settings()
    wanted: list[str] = []
    options = RunOptions(config=tuple(config or ()), sets=tuple(sets or ()))
    while True:
        # What is missing is asked for when the target is run; its name stands for it here.
        try:
            resolved = resolve(command, cls, ctx.obj, {name: name.upper() for name in wanted}, options)
            break
        except AvatarError as error:
            more = [name for name in missing(error.__cause__, cls) if name not in wanted]
            if not more:
                raise
            wanted += more  # and with these, others may be missing
    if as_yaml:
        pages.say(_yaml(command, resolved, wanted))
    elif as_json:
        settings = {
            name: {**item, "value": as_plain(item["value"])}
            for name, item in _about(resolved, wanted).items()
        }
        print_json({"command": f"avatarctl {command.words}", "settings": settings})
    else:
        _page(command, resolved, wanted)


def _about(resolved: Resolved, wanted: list[str]) -> dict[str, dict[str, Any]]:
    """Value, type, layer and help of every setting, by dotted name; what has no default has no value."""
    from avatarctl.config.explain import type_name
    from avatarctl.config.layers import leaves

    found = {}
    for name, value in leaves(resolved.settings).items():
        info = _field(type(resolved.settings), name)
        is_wanted = name in wanted
        found[name] = {
            "value": None if is_wanted else value,
            "type": type_name(info.annotation, info.metadata),
            "from": "asked for" if is_wanted else resolved.origin[name],
            "help": info.description or "",
        }
    return found


def _field(cls: type[BaseModel], name: str) -> FieldInfo:
    """The declaration of a setting by its dotted name."""
    from avatarctl.config.settings import group_of

    first, _, rest = name.partition(".")
    info = cls.model_fields[first]
    group = group_of(info.annotation) if rest else None
    return info if group is None else _field(group, rest)


def _yaml(command: Command, resolved: Resolved, wanted: list[str]) -> str:
    from avatarctl.cli.target import as_yaml
    from avatarctl.config.explain import option

    lines = [line for line in as_yaml(resolved).splitlines() if line.partition(":")[0] not in wanted]
    cls = type(resolved.settings)
    # An option with the name that stands for its value; an argument is that name.
    given = [" ".join(dict.fromkeys([option(name, cls), name.upper()])) for name in wanted]
    words = " ".join(["avatarctl", command.words, *given, "-c FILE"])
    return "\n".join([f"# {words}", *lines])


def _page(command: Command, resolved: Resolved, wanted: list[str]) -> None:
    from avatarctl.config.explain import shown

    rows = [
        (name, f"{shown(item['value'])}  ({item['type']}, {item['from']})")
        for name, item in _about(resolved, wanted).items()
    ]
    section(f"avatarctl {command.words}", rows)
