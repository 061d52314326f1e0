"""Import order and load-time rules (architecture 3), read off the syntax trees."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    "errors", "files", "terminal", "config", "plugin", "api", "device", "geometry", "nn", "diffusion",
    "quantize", "radiance", "audio", "assets", "checkpoints", "body", "motion", "data", "metrics", "render",
    "export", "runs", "engine", "builtin", "cli",
]  # fmt: skip
CORE, PLUGINS = ROOT / "avatarctl", ROOT / "plugins"
FILES = sorted(
    path for path in [*CORE.rglob("*.py"), *PLUGINS.rglob("*.py")] if "templates" not in path.parts
)
LIGHT, PAGES, SETTINGS, REST = range(4)
"""Groups of modules by what they may import when loaded; each may also import what the former may."""
MAY = {
    LIGHT: {"pluggy"},
    PAGES: {"rich"},
    SETTINGS: {"pydantic", "pydantic_core", "pydantic_settings", "yaml"},
    REST: {"numpy", "torch", "scipy", "trimesh", "h5py", "safetensors", "PIL"},
}
COMMAND_LINE = {"typer"}
"""What only the command's own pages may import on top."""
OPTIONAL = {"numba", "pytorch3d", "viser", "ray", "tensorboard", "gradio", "sklearn"}
"""A module that needs one of these when it is loaded is itself loaded only by functions."""


def module_of(path: Path) -> str:
    base = CORE.parent if path.is_relative_to(CORE) else PLUGINS
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imported(tree: ast.AST, *, loading: bool) -> Iterator[tuple[int, str]]:
    """Line and module of each import; with `loading`, only of those that run when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name if name in MODULES else str(node.module)) for name in names)
        elif not (loading and is_later(node)):
            yield from imported(node, loading=loading)


def is_later(node: ast.AST) -> bool:
    """Whether the imports inside a node do not run when the module is loaded."""
    is_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    return is_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def group(module: str) -> int:
    """What a module may import when it is loaded."""
    parts = module.split(".")
    if parts[0] != "avatarctl":
        if len(parts) == 1 or parts[1] == "plugin":
            return LIGHT
        return SETTINGS if parts[1].startswith("settings") else REST
    if len(parts) == 1 or parts[1] in ("errors", "files", "plugin", "api", "builtin", "__main__"):
        return LIGHT
    if module in ("avatarctl.cli", "avatarctl.cli.main"):
        return LIGHT
    if module in ("avatarctl.terminal", "avatarctl.cli.pages", "avatarctl.cli.target_page"):
        return PAGES
    return SETTINGS if parts[1] == "config" else REST


def place(module: str) -> int:
    """Where a core module stands in the order; the package itself comes first."""
    parts = module.split(".")
    return -1 if len(parts) == 1 else ORDER.index(parts[1]) if parts[1] != "__main__" else len(ORDER)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_left_and_load_lightly(path):
    module, tree = module_of(path), ast.parse(path.read_text(encoding="utf-8"))
    top = module.split(".")[0]
    for line, name in imported(tree, loading=False):
        where, first = f"{path.relative_to(ROOT)}:{line}: {name}", name.split(".")[0]
        assert first not in ("plugins", "configs", "fixtures", "tests"), f"{where}: is no package"
        if first == "avatarctl" and top == "avatarctl":
            assert place(name) <= place(module), f"{where}: stands to the right in the import order"
        elif first == "avatarctl":
            assert not name.startswith("avatarctl.cli"), f"{where}: plugins do not use the command line"
        elif first.startswith("avatarctl_"):
            assert first == top, f"{where}: belongs to another plugin"
    for line, name in imported(tree, loading=True):
        where, first = f"{path.relative_to(ROOT)}:{line}: {name}", name.split(".")[0]
        if first.startswith("avatarctl"):
            assert group(name) <= group(module), f"{where}: is too heavy to load here"
        elif first not in sys.stdlib_module_names | OPTIONAL:
            allowed = set().union(*(MAY[level] for level in range(group(module) + 1)))
            if module.startswith("avatarctl.cli.") and group(module) == REST:
                allowed |= COMMAND_LINE
            assert first in allowed, f"{where}: may not be loaded here; allowed: {sorted(allowed)}"


def test_no_modules_load_each_other_in_a_circle():
    loads = {
        module_of(path): {
            name for _, name in imported(ast.parse(path.read_text(encoding="utf-8")), loading=True)
        }
        for path in FILES
    }
    # Raises CycleError with the circle; a package's own files are part of it.
    order = list(
        graphlib.TopologicalSorter({name: deps & MODULES for name, deps in loads.items()}).static_order()
    )
    assert set(order) == MODULES


def test_modules_that_need_optional_packages_are_loaded_by_functions_alone():
    trees = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    loads = {module: {name for _, name in imported(tree, loading=True)} for module, tree in trees.items()}
    optional = {
        module for module, names in loads.items() if {name.split(".")[0] for name in names} & OPTIONAL
    }
    assert not {module: names & optional for module, names in loads.items() if names & optional}


def test_plugin_entry_modules_import_the_api_alone():
    for path in PLUGINS.glob("avatarctl_*/plugin.py"):
        names = {name for _, name in imported(ast.parse(path.read_text(encoding="utf-8")), loading=True)}
        assert {name for name in names if name.startswith("avatarctl")} == {"avatarctl.api"}
