"""Fixtures of the run tests."""

import pytest

from avatarctl.runs import open_run


@pytest.fixture(autouse=True)
def runs_root(tmp_path, monkeypatch):
    """A runs folder of the test's own."""
    root = tmp_path / "runs"
    monkeypatch.setenv("AVATARCTL_RUNS", str(root))
    return root


@pytest.fixture
def opened():
    """Opens a run of `train tiny --stage first` on the processor; what is given replaces that."""

    def go(**words):
        settings = {"lr": 0.1, "network": {"width": 3}}
        return open_run(
            **{
                "verb": "train",
                "target": "tiny",
                "stage": "first",
                "settings": settings,
                "device": "cpu",
                **words,
            }
        )

    return go
