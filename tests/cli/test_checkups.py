"""`avatarctl doctor NAME`: checkups that plugins declare, shown, refused, and their faults told apart."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from avatarctl.cli.main import main

PLUGIN = """
from avatarctl.api import Checkup, Diagnosis, hookimpl

@hookimpl
def avatarctl_checkups():
    yield Checkup(name="toy", summary="a toy's parts", run="toy_checkups:run")
    yield Checkup(name="faulty", summary="fails", run="toy_checkups:fail")
    yield Checkup(name="lost", summary="is not there", run="toy_checkups:nothing")

def run(data, weights, body_models):
    rows = [{"part": "wheels", "found": 3, "where": str(data)}]
    wrong = [("a wheel is missing", "look under the sofa")] if data else []
    return Diagnosis({"parts": rows}, wrong, ["avatarctl infer toy"])

def fail(data, weights, body_models):
    raise ValueError("no such sofa")
"""


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`say(WORDS...)` types a command with the toy plugin: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delitem(sys.modules, "toy_checkups", raising=False)
    (tmp_path / "toy_checkups.py").write_text(PLUGIN)

    def typed(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--plugin", "toy_checkups.py", *words])
        got = capsys.readouterr()
        return code, got.out, got.err

    return typed


def test_a_checkup_shows_tables_problems_and_the_next_command(say):
    code, out, _ = say("doctor", "toy", "--data", "sofa")
    assert code == 5
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines == [
        "parts",
        "part    found  where",
        "wheels  3      sofa",
        "a wheel is missing",
        "  try  look under the sofa",
        "next  avatarctl infer toy",
    ]


def test_a_checkup_without_problems_ends_with_0_and_speaks_json(say):
    code, out, _ = say("doctor", "toy", "--json")
    assert code == 0
    assert json.loads(out) == {
        "checkup": "toy",
        "tables": {"parts": [{"part": "wheels", "found": 3, "where": "None"}]},
        "problems": [],
        "next": ["avatarctl infer toy"],
    }


def test_the_plain_page_names_the_checkups(say):
    out = say("doctor")[1]
    assert "checkups, avatarctl doctor NAME\n" in out
    assert re.search(r"^  toy +a toy's parts$", out, re.M)
    assert json.loads(say("doctor", "--json")[1])["checkups"]["toy"] == "a toy's parts"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("doctor", "tyo"), 2, "no checkup is called 'tyo', did you mean toy?"),
        (("doctor", "--data", "sofa"), 2, "doctor: name what the files are for"),
        (("doctor", "faulty"), 9, "toy_checkups:fail: ValueError: no such sofa"),
        (("doctor", "lost"), 9, "toy_checkups:nothing: AttributeError"),
    ],
)
def test_what_goes_wrong_is_told_apart(say, words, code, told):
    found, out, err = say(*words)
    assert (found, out) == (code, "")
    assert told in err
    assert "\ntry " in err


def test_completion_offers_checkups_and_their_options(say):
    assert {"toy", "faulty", "sparse-tracking"} <= set(say("--complete", "doctor", "")[1].split())
    assert say("--complete", "doctor", "toy", "--d")[1].split() == ["--data"]


@pytest.mark.slow
def test_the_check_of_a_plugin_looks_at_its_checkups(say):
    out = say("plugins", "check", "toy-checkups")[1]
    assert "ok     code toy_checkups:run" in out
    assert "wrong  code toy_checkups:nothing" in out
