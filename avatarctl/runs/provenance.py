"""By what and from what: versions, commit, hardware, and the digest and maker of each input."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import avatarctl
from avatarctl.files import WHOLE, digest
from avatarctl.runs.folder import MANIFEST, is_run

PACKAGES = ("numpy", "torch", "safetensors", "h5py", "pydantic")


def versions() -> dict[str, Any]:
    """Versions of Python, the main packages, CUDA and driver, and the commit of a checkout."""
    found: dict[str, Any] = {"avatarctl": avatarctl.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    found["platform"] = platform.platform()
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda or ""
        found["driver"] = _driver()
    return found | _commit(Path(avatarctl.__file__).resolve().parent.parent)


def _driver() -> str:
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split("Kernel Module")[1].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[0].isdigit()), "")


def _commit(checkout: Path) -> dict[str, Any]:
    """The commit of the checkout that runs, and whether files differ from it; nothing when installed."""
    if not (checkout / ".git").exists() or not (checkout / "pyproject.toml").is_file():
        return {}
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(checkout, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def hardware(device: torch.device, reason: str) -> dict[str, Any]:
    """The device that computes, by name."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {"device": str(device), "name": name, "reason": reason, "threads": torch.get_num_threads()}


def record(path: Path) -> dict[str, Any]:
    """Path, size and hash of a file or folder, and the run that made it where that is known."""
    path = Path(path)
    found: dict[str, Any] = {"path": str(path)}
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        found |= {"bytes": sum(p.stat().st_size for p in files), "hash": _folder_digest(path, files)}
    else:
        found |= {"bytes": path.stat().st_size, "hash": digest(path)}
    return found | maker(path)


def _folder_digest(folder: Path, files: list[Path]) -> str:
    """Hash of a folder: its manifest where it has one, all content when small, else the names and sizes."""
    if (folder / MANIFEST).is_file():
        return "manifest-" + digest(folder / MANIFEST)
    if sum(p.stat().st_size for p in files) <= WHOLE:
        return digest(folder)
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
    return f"sha256-names:{total.hexdigest()}"


def maker(path: Path) -> dict[str, Any]:
    """The run whose folder holds `path`, with the digest of its manifest; empty when there is none."""
    for folder in (path, *path.parents):
        if is_run(folder):
            return {"run": str(folder), "manifest": digest(folder / MANIFEST)}
    return {}
