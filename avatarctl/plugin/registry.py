"""Every installed plugin, loaded one by one so that a broken one harms nobody, and who owns (verb, name)."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from avatarctl.errors import PluginError, UsageError
from avatarctl.plugin import spec
from avatarctl.plugin.target import Asset, Checkup, Format, Layout, Target, Weights, resolve

if TYPE_CHECKING:
    from avatarctl.config import StageSettings

log = logging.getLogger(__name__)
Item = TypeVar("Item")

OFF = "AVATARCTL_PLUGINS_OFF"
"""Environment variable with the names of plugins that are not loaded."""
_HOOKS: dict[type, str] = {
    Asset: "avatarctl_assets",
    Weights: "avatarctl_weights",
    Layout: "avatarctl_layouts",
    Format: "avatarctl_formats",
    Checkup: "avatarctl_checkups",
}
HOME = "avatarctl"
"""The distribution of the core and the first-party plugins, which come first."""


@dataclass(frozen=True)
class Trouble:
    """One thing about a plugin that does not work."""

    where: str
    """The entry point, hook or ref."""
    cause: str
    """The exception in one line."""
    trace: str = ""


@dataclass
class Plugin:
    """One plugin: where it comes from, what it declares, and what is wrong with it."""

    name: str
    ref: str
    """The entry module, or the file given with --plugin."""
    source: Any = None
    """Its `importlib.metadata.Distribution`; None for a file."""
    module: Any = None
    """The entry module, once it is registered."""
    is_off: bool = False
    load_ms: float = 0.0
    targets: list[Target] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no failure: names that belong to another plugin."""

    @property
    def state(self) -> str:
        """ok, off, or broken (something of it does not work)."""
        return "off" if self.is_off else "broken" if self.troubles else "ok"

    @property
    def target_names(self) -> set[str]:
        """What its targets are called, aliases included."""
        return {name for target in self.targets for name in (target.name, *target.aliases)}

    @property
    def distribution(self) -> str:
        """Name of the distribution that brings it; the file's path for a --plugin file."""
        return str(self.source.name) if self.source is not None else self.ref

    @property
    def version(self) -> str:
        """Version of its distribution."""
        return str(self.source.version) if self.source is not None else ""

    @cached_property
    def issues(self) -> str:
        """Where its distribution takes reports, from the metadata; empty where it does not say."""
        urls = (self.source.metadata.get_all("Project-URL") or []) if self.source is not None else []
        found = {
            label.strip().lower(): url.strip() for label, _, url in (line.partition(",") for line in urls)
        }
        ranked = [
            url for word in ("issue", "bug", "tracker") for label, url in found.items() if word in label
        ]
        return next(iter([*ranked, *found.values()]), "")

    @property
    def about(self) -> str:
        """Name, distribution and version, for messages."""
        return (
            f"plugin '{self.name}' ({' '.join(word for word in (self.distribution, self.version) if word)})"
        )

    def fail(self, where: str, error: BaseException) -> None:
        """Keep what was raised."""
        trouble = Trouble(where, one_line(error), "".join(traceback.format_exception(error)))
        if (where, trouble.cause) not in [(known.where, known.cause) for known in self.troubles]:
            self.troubles.append(trouble)

    def resolve(self, ref: str) -> Any:
        """The object that a ref of this plugin names.

        Raises:
            PluginError: It cannot be imported; plugin, ref and cause are named.
        """
        try:
            return resolve(ref)
        except (Exception, SystemExit) as error:
            raise self.error(ref, one_line(error)) from error

    def settings(self, ref: str) -> type[StageSettings]:
        """The settings class that a ref of this plugin names.

        Raises:
            PluginError: It cannot be imported, or is none.
        """
        from avatarctl.config import StageSettings

        found = self.resolve(ref)
        if not (isinstance(found, type) and issubclass(found, StageSettings)):
            raise self.error(ref, "is no class of settings (avatarctl.config.StageSettings)")
        return found

    def error(self, where: str, cause: str) -> PluginError:
        """The failure of this plugin at a ref or hook."""
        return PluginError(
            f"{self.about} cannot be used\n{where}: {cause}", hint=f"avatarctl plugins check {self.name}"
        )


def one_line(error: BaseException) -> str:
    """An exception's class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class Registry:
    """The plugins, and the targets by verb and name.

    Use `Registry.load()`. Nothing here imports more than the plugins' entry modules.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(spec.PROJECT)
        self.manager.add_hookspecs(spec)
        self.plugins: list[Plugin] = []
        self.files: tuple[Path, ...] = ()
        """Files given with --plugin."""
        self._owners: dict[tuple[str, str], tuple[Plugin, Target]] = {}

    @classmethod
    def load(cls, files: Sequence[str | Path] = ()) -> Registry:
        """All installed plugins, first-party ones first, then by name; then the given files.

        Raises:
            UsageError: A file is not there.
            PluginError: A file that was asked for cannot be used.
        """
        registry = cls()
        off = {name.strip() for name in os.environ.get(OFF, "").split(",") if name.strip()}
        for entry in _entries():
            plugin = Plugin(entry.name, entry.value, entry.dist, is_off=entry.name in off)
            registry.plugins.append(plugin)
            if not plugin.is_off:
                registry._add(plugin, entry.load)
        registry.files = tuple(Path(file) for file in files)
        for path in registry.files:
            plugin = Plugin(path.stem.replace("_", "-"), str(path))
            registry.plugins.append(plugin)
            registry._add(plugin, partial(_from_file, path))
            if plugin.troubles:
                raise plugin.error(plugin.troubles[0].where, plugin.troubles[0].cause)
        return registry

    def _add(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        """Import a plugin's entry module and take what it declares; what goes wrong is kept on the plugin."""
        others = [other for other in self.plugins if other is not plugin and other.name == plugin.name]
        if others:
            cause = f"the name '{plugin.name}' belongs to {others[0].distribution} already"
            plugin.troubles.append(Trouble(plugin.ref, cause))
            return
        began = time.perf_counter()
        try:
            module = load()
            self.manager.register(module, plugin.name)
            plugin.module = module
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            plugin.fail(plugin.ref, error)
            if self.manager.has_plugin(plugin.name):
                self.manager.unregister(name=plugin.name)
        else:
            self._check_hooks(plugin)
            self._take_targets(plugin)
        finally:
            plugin.load_ms = (time.perf_counter() - began) * 1e3

    def _check_hooks(self, plugin: Plugin) -> None:
        """Hooks that this version does not know are reported; the others work."""
        known = [name for name in vars(spec) if name.startswith("avatarctl_")]
        for caller in self.manager.get_hookcallers(plugin.module) or []:
            if not caller.has_spec():
                near = did_you_mean(caller.name, known)
                plugin.troubles.append(Trouble(f"hook {caller.name}", f"this version has no such hook{near}"))

    def _take_targets(self, plugin: Plugin) -> None:
        for target in self._ask(plugin, "avatarctl_targets", Target):
            plugin.targets.append(target)
            for name in (target.name, *target.aliases):
                key = (target.verb, name)
                owner = self._owners.setdefault(key, (plugin, target))[0]
                if owner is not plugin:
                    plugin.notes.append(
                        f"'{target.verb} {name}' belongs to '{owner.name}'; "
                        f"use {target.verb} {plugin.name}:{name}"
                    )

    def _ask(self, plugin: Plugin, hook: str, kind: type[Item]) -> list[Item]:
        """What one plugin's implementation of a hook returns; a failure is kept on the plugin."""
        found: list[Item] = []
        # Each implementation on its own: pluggy's call would stop at the first exception.
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            if plugin.module is None or implementation.plugin is not plugin.module:
                continue
            try:
                for item in implementation.function() or ():
                    if not isinstance(item, kind):
                        raise TypeError(f"gave a {type(item).__name__}, expected {kind.__name__}")
                    found.append(item)
            except (Exception, SystemExit) as error:
                plugin.fail(f"hook {hook}", error)
        return found

    def _collect(self, hook: str, kind: type[Item]) -> list[tuple[Plugin, Item]]:
        found: list[tuple[Plugin, Item]] = []
        for plugin in self.plugins:
            known = len(plugin.troubles)
            found += [(plugin, item) for item in self._ask(plugin, hook, kind)]
            for trouble in plugin.troubles[known:]:
                log.warning("%s: %s: %s", plugin.about, trouble.where, trouble.cause)
        return found

    def declared(self, plugin: Plugin, kind: type[Item]) -> list[Item]:
        """What one plugin declares of a kind (`Asset`, `Weights`, ...); a failing hook is kept on it."""
        return self._ask(plugin, _HOOKS[kind], kind)

    def assets(self) -> list[Asset]:
        """All declared assets."""
        return [item for _, item in self._collect("avatarctl_assets", Asset)]

    def weights(self) -> list[Weights]:
        """All declared layouts of weights and embedded weights."""
        return [item for _, item in self._collect("avatarctl_weights", Weights)]

    def foreign_weights(self, owner: str) -> dict[str, Plugin]:
        """Embedded weights of other plugins by name; none for a plugin without its own, which takes any."""
        embedded = [
            (plugin, item.name) for plugin, item in self._collect("avatarctl_weights", Weights) if item.path
        ]
        own = {name for plugin, name in embedded if plugin.name == owner}
        return {name: plugin for plugin, name in embedded if own and name not in own}

    def layouts(self) -> list[tuple[Plugin, Layout]]:
        """All declared layouts of data, with their plugins."""
        return self._collect("avatarctl_layouts", Layout)

    def formats(self) -> list[Format]:
        """All declared file formats."""
        return [item for _, item in self._collect("avatarctl_formats", Format)]

    def checkups(self) -> list[tuple[Plugin, Checkup]]:
        """All declared checkups, with their plugins."""
        return self._collect("avatarctl_checkups", Checkup)

    def presets(self) -> list[tuple[str, Path]]:
        """Folders of presets that plugins bring, each with the plugin's name (see `config.presets`)."""
        return [
            (plugin.name, Path(str(folder))) for plugin, folder in self._collect("avatarctl_presets", object)
        ]

    def targets(self, verb: str = "") -> list[tuple[Plugin, Target]]:
        """The targets that own their name, of one verb or of all, in registration order; no aliases."""
        return [
            (plugin, target)
            for (owned, name), (plugin, target) in self._owners.items()
            if name == target.name and verb in ("", owned)
        ]

    def find(self, verb: str, name: str) -> tuple[Plugin, Target] | None:
        """The owner of a target: by name, by alias, or as `plugin:name`."""
        owner, _, inner = name.rpartition(":")
        if not owner:
            return self._owners.get((verb, name))
        for plugin in self.plugins:
            if plugin.name == owner:
                mine = [target for target in plugin.targets if target.verb == verb]
                return next(((plugin, t) for t in mine if inner in (t.name, *t.aliases)), None)
        return None

    def names(self, verb: str) -> list[str]:
        """Every word that `find` takes after a verb, aliases included."""
        return [name for owned, name in self._owners if owned == verb]

    def verbs_of(self, name: str) -> list[str]:
        """Verbs that a target name can be used with."""
        return [verb for verb, owned in self._owners if owned == name]

    def broken(self) -> list[Plugin]:
        """Plugins of which something does not work."""
        return [plugin for plugin in self.plugins if plugin.troubles]

    def plugin(self, name: str) -> Plugin:
        """The plugin of this name.

        Raises:
            UsageError: There is none.
        """
        for plugin in self.plugins:
            if plugin.name == name:
                return plugin
        raise UsageError(
            f"no plugin is called '{name}'{did_you_mean(name, [p.name for p in self.plugins])}",
            hint="avatarctl plugins lists them",
        )


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """', did you mean X?' where a word is near enough, else nothing."""
    near = nearest(word, words)
    return f", did you mean {near}?" if near else ""


def nearest(word: str, words: Iterable[str]) -> str:
    """The word most like the given one; empty when none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(words), n=1, cutoff=0.6)), "")


def _entries() -> list[metadata.EntryPoint]:
    found = metadata.entry_points(group=spec.PROJECT)

    @cache  # a name is parsed from a long file at each look
    def name_of(distribution: metadata.Distribution) -> str:
        return distribution.name

    def order(entry: metadata.EntryPoint) -> tuple[bool, bool, str]:
        is_home = entry.dist is not None and name_of(entry.dist) == HOME
        return (not is_home, not (is_home and entry.name == "core"), entry.name)

    return sorted(found, key=order)


def _from_file(path: Path) -> ModuleType:
    """A plugin from a file that is not installed; its refs name it by the file's stem."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such file", hint="name a Python file with hooks in it")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and _is_same(getattr(known, "__file__", None), path):
        return known
    if known is not None or not name.isidentifier() or _is_elsewhere(name, path):
        raise ValueError(f"'{name}' is no free module name; rename the file")
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise ValueError("is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_same(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path.resolve()


def _is_elsewhere(name: str, path: Path) -> bool:
    """Whether a module of this name is found that is not the file itself, as it is in the working folder."""
    found = importlib.util.find_spec(name)
    return found is not None and not _is_same(found.origin, path)
