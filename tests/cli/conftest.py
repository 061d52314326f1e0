"""The command line in this process, with the sample plugin and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avatarctl.cli.main import main

SAMPLE = Path(__file__).with_name("sample.py")


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run `avatarctl WORDS` in an empty folder at 80 columns; the sample plugin is the only one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv(
        "AVATARCTL_PLUGINS_OFF", "core,sparse-tracking,audio2motion,ego-hmr,video-avatar,generative-avatar"
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("RUNS", "ASSETS", "BODY_MODELS", "DEVICE"):  # a command may set them from the user's file
        monkeypatch.setenv(f"AVATARCTL_{name}", "")
        monkeypatch.delenv(f"AVATARCTL_{name}")

    def run(*words: str, plugin: Path | None = SAMPLE) -> Answer:
        start = ["--plugin", str(plugin)] if plugin is not None else []
        capsys.readouterr()
        code = main([*start, *words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
