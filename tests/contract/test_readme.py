"""Every avatarctl command in a README is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from avatarctl.cli.main import OWN, main
from avatarctl.plugin.target import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("plugins/**/README.md")])


def commands(page: Path) -> list[list[str]]:
    """The command lines in code blocks and between back quotes, without their comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.search(r"avatarctl (?:[a-z]|--).*", line.partition("  #")[0]) for line in lines]
    return [shlex.split(match[0].partition("&&")[0])[1:] for match in found if match]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=f"{page.parent.name}: {' '.join(words)}")
        for page in PAGES
        for words in commands(page)
    ],
)
def test_a_command_of_a_readme_is_taken(words, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))
    if words[0] in OWN:
        assert main([words[0], "--help"]) == 0
        return
    is_run = words[0] in VERBS and not {"--help", "--resume"} & set(words) and words[-1] != "..."
    if is_run:
        words = [*words, "--dry-run"]
    elif "--resume" in words:
        words = [*words[: words.index("--resume")], "--help"]
    elif words[-1] == "...":
        words = [*words[:-1], "--help"]

    assert main(words) == 0, capsys.readouterr().err


def test_the_readmes_show_commands():
    assert len([words for page in PAGES for words in commands(page)]) > 30
