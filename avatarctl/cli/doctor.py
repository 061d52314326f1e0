"""What `avatarctl doctor` looks at: versions, devices, optional packages, assets, plugins and free disk."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import avatarctl
from avatarctl.assets import added_folder, catalogue
from avatarctl.errors import AvatarError, UsageError
from avatarctl.plugin.registry import HOME, did_you_mean, one_line

if TYPE_CHECKING:
    from avatarctl.plugin.registry import Registry
    from avatarctl.plugin.target import Diagnosis

GIB = 2**30
TORCHVISION_FAULT = (
    "torchvision is installed but its operators are missing, as happens beside a torch build that it was not "
    "made for; packages that import it fail. avatarctl does not need it"
)


def examine(registry: Registry) -> dict[str, Any]:
    """Everything the page shows, as plain values; `problems` says what is wrong and what mends it."""
    packages, extras = requirements()
    assets = {item.name: [str(path) for path in catalogue.found(item)] for item in all_assets(registry)}
    problems = [
        {"problem": f"the package '{name}' is missing", "try": f"pip install {HOME}"}
        for name, version in packages.items()
        if not version
    ]
    if fault := torchvision_fault():
        problems.append({"problem": fault, "try": "pip uninstall torchvision"})
    for plugin in registry.broken():
        trouble = plugin.troubles[0]
        problems.append(
            {
                "problem": f"{plugin.about}: {trouble.where}: {trouble.cause}",
                "try": f"avatarctl plugins check {plugin.name}",
            }
        )
    return {
        "versions": {"avatarctl": avatarctl.__version__, "python": platform.python_version(), **packages},
        "platform": platform.platform(),
        "devices": devices(),
        "extras": extras,
        "assets": assets,
        "checkups": {item.name: item.summary for _, item in registry.checkups()},
        "disk": {str(folder): disk_free(folder) for folder in (Path.cwd(), added_folder())},
        "problems": problems,
    }


def checkup(
    registry: Registry, name: str, data: Path | None, weights: Path | None, body_models: Path | None
) -> Diagnosis:
    """What a plugin's checkup finds.

    Raises:
        UsageError: No plugin declares one of this name.
        PluginError: It failed.
    """
    declared = {item.name: (plugin, item) for plugin, item in registry.checkups()}
    if name not in declared:
        known = f"; there is {', '.join(declared)}" if declared else ""
        raise UsageError(
            f"no checkup is called '{name}'{did_you_mean(name, declared) or known}", hint="avatarctl doctor"
        )
    plugin, item = declared[name]
    try:
        found: Diagnosis = plugin.resolve(item.run)(data, weights, body_models)
    except AvatarError:
        raise
    except Exception as error:
        raise plugin.error(item.run, one_line(error)) from error
    return found


def all_assets(registry: Registry) -> list[Any]:
    """The licensed body models, and what plugins declare on top."""
    known = {item.name for item in catalogue.BODIES}
    return [*catalogue.BODIES, *(item for item in registry.assets() if item.name not in known)]


def requirements() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Installed versions ("" where missing) of the packages that are needed, and of those of each extra."""
    needed: dict[str, str] = {}
    extras: dict[str, dict[str, str]] = {}
    for line in metadata.requires(HOME) or []:
        requirement, _, marker = line.partition(";")
        found = re.match(r"[\w.-]+", requirement.strip())
        name = found[0] if found else requirement.strip()
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        if name == HOME:
            continue
        group = extras.setdefault(extra[1], {}) if extra else needed
        group[name] = version_of(name)
    return needed, extras


def version_of(distribution: str) -> str:
    """The installed version; empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def devices() -> list[dict[str, Any]]:
    """The devices that `--device` takes, each with its name and memory in bytes."""
    import torch

    from avatarctl.device.choose import available, cores

    found: list[dict[str, Any]] = []
    for name in available():
        is_cuda = name.startswith("cuda")
        free, total = torch.cuda.mem_get_info(name) if is_cuda else memory()
        label = torch.cuda.get_device_name(name) if is_cuda else f"{platform.machine()}, {cores()} cores"
        found.append({"device": name, "name": label, "free": free, "total": total})
    return found


def memory() -> tuple[int | None, int | None]:
    """Available and total main memory in bytes, where the system says."""
    try:
        size = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * size, os.sysconf("SC_PHYS_PAGES") * size
    except (AttributeError, ValueError, OSError):
        return None, None


def disk_free(folder: Path) -> int:
    """Free bytes of the disk that holds a folder, or would hold it."""
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


def torchvision_fault() -> str:
    """What is wrong with an installed torchvision; empty when it works or is not there (ecosystem 9).

    It is looked at in a process of its own, since a wrong binary may take the process down.
    """
    if importlib.util.find_spec("torchvision") is None:
        return ""
    code = "import torchvision, torch; torch.ops.torchvision.nms"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return f"{TORCHVISION_FAULT} ({lines[-1][:160] if lines else f'it ended with {done.returncode}'})"


def shown(report: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The report as titled lines of two columns."""
    extras = [(name, _extra(name, packages)) for name, packages in report["extras"].items()]
    assets = [
        (
            name,
            f"{len(paths)} files, {Path(paths[0]).parent}" if paths else "not found, see avatarctl assets",
        )
        for name, paths in report["assets"].items()
    ]
    return [
        ("versions", [(name, version or "missing") for name, version in report["versions"].items()]),
        ("system", [("platform", report["platform"])]),
        ("devices", [(item["device"], _device(item)) for item in report["devices"]]),
        ("optional packages", extras),
        ("assets", assets),
        ("checkups, avatarctl doctor NAME", list(report["checkups"].items())),
        ("free disk", [(f"{free / GIB:.1f} GiB", folder) for folder, free in report["disk"].items()]),
    ]


def _device(item: dict[str, Any]) -> str:
    if item["total"] is None:
        return str(item["name"])
    return f"{item['name']}, {item['free'] / GIB:.1f} of {item['total'] / GIB:.1f} GiB free"


def _extra(name: str, packages: dict[str, str]) -> str:
    missing = [package for package, version in packages.items() if not version]
    if missing:
        return f'{", ".join(missing)} missing: pip install "avatarctl[{name}]"'
    return ", ".join(f"{package} {version}" for package, version in packages.items())
