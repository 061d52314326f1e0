"""Fixtures of the checkpoint tests."""

import resource
from contextlib import contextmanager

import pytest


@pytest.fixture
def small_files():
    """A context in which no file may grow beyond a size: what a full disk does to a writer."""

    @contextmanager
    def limited(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
