"""Fixtures for all tests."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Give freed memory back after long tests: glibc keeps gigabytes, and two processes fill a machine."""
    if sys.platform == "linux" and item.get_closest_marker("slow"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fixtures_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def in_two_processes() -> Callable[..., None]:
    """`in_two_processes(WORDS..., NAME=VALUE...)`: a command in two processes, as SLURM would start it."""

    def run(*words: str, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        known = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
        both = [
            subprocess.Popen(
                [sys.executable, "-m", "avatarctl", *words],
                env={**os.environ, **known, **variables, "RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        for process in both:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors

    return run


@pytest.fixture(scope="session")
def make() -> ModuleType:
    """Recipes of fixtures that imitate licensed files: `fixtures/make.py`."""
    return _module(FIXTURES / "make.py")


@pytest.fixture(scope="session")
def golden_recipes() -> ModuleType:
    """Recipes of the golden cases of sparse-tracking: the stand-in body and checkpoint layouts."""
    return _module(FIXTURES / "parity" / "sparse-tracking" / "fixtures.py")


@pytest.fixture(scope="session")
def published_preparation() -> ModuleType:
    """The published preparation as a plain reference."""
    return _module(Path(__file__).with_name("reference_prepare.py"))
