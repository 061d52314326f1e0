"""Fixtures for all tests."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
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
