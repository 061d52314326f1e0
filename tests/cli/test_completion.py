"""Completion: words from the registry, options from settings, and the script for bash in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from avatarctl.cli import completion


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("tra",), ["train"]),
        (("infer", ""), ["echo", "gone"]),
        (("train", "chain", ""), ["--stage"]),
        (("train", "chain", "--stage", ""), ["first", "second"]),
        (("train", "chain", "--stage", "second", "--w"), ["--width"]),
        (("infer", "echo", "--part", ""), ["upper", "lower", "no"]),
        (("infer", "echo", "a", "--dev"), ["--device"]),
        (("config", "show", "infer", "e"), ["echo"]),
        (("plugins", "check", "sam"), ["sample"]),
        (("infer", "nothing", "--x"), []),
    ],
)
def test_words_that_may_follow(command, words, expected):
    assert command(completion.COMPLETE, *words).out.split() == expected


def test_nothing_heavy_is_imported_before_a_target_is_typed():
    code = (
        "import sys; from avatarctl.cli.main import main; main(['--complete', 'train', '']);"
        "sys.exit(any(name in sys.modules for name in ('pydantic', 'torch', 'typer')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_bash_script_completes(tmp_path):
    program = tmp_path / "avatarctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m avatarctl "$@"\n')
    program.chmod(0o755)
    code = (
        f'{completion.script("bash")}\nCOMP_WORDS=(avatarctl train sparse --stage "")\nCOMP_CWORD=4\n'
        '_avatarctl\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout.split() == ["vqvae", "diffusion", "decoder", "refiner", "all"]


def test_zsh_and_fish_have_scripts_and_others_have_not(command):
    for shell in ("zsh", "fish"):
        assert completion.COMPLETE in completion.script(shell)
    answer = command("completion", "bsh")
    assert (answer.code, "did you mean bash?" in answer.err) == (2, True)
