"""Fixtures of the training tests."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """The small stage of `tiny_stage.py`, which also runs as a program."""
    spec = importlib.util.spec_from_file_location("tiny_stage", Path(__file__).with_name("tiny_stage.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
