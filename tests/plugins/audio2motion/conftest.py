"""A small prepared store for all tests of audio2motion."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import write_store


@pytest.fixture(scope="session")
def small_store(tmp_path_factory) -> Path:
    """A prepared store of five short made-up scenes."""
    return write_store(tmp_path_factory.mktemp("conversations") / "store")
