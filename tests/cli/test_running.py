"""A target from its words to its run folder; exit codes and failure pages as users see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from avatarctl.api import Stage, Target
from avatarctl.cli.target import Command, check_needs
from avatarctl.config import StageSettings
from avatarctl.errors import DependencyError
from avatarctl.plugin.registry import Plugin

CODES = {
    "UsageError": 2, "SettingsError": 3, "AssetError": 4, "DataError": 5, "CheckpointError": 6,
    "DependencyError": 7, "DeviceError": 8, "PluginError": 9,
}  # fmt: skip


def test_a_run_leaves_results_on_stdout_and_a_manifest_with_origins(command, tmp_path):
    answer = command("infer", "echo", "hello", "--seed", "3", "-s", "pace.rate=5")
    assert answer.code == 0
    assert "rate" in answer.out
    assert answer.out.splitlines()[-1] == str(Path("runs/infer-echo/001/said.txt"))
    assert "running in runs/infer-echo/001" in answer.err
    manifest = json.loads((tmp_path / "runs/infer-echo/001/manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["seed"] == 3
    assert manifest["origin"]["pace.rate"] == "--set"
    assert manifest["plugin"]["name"] == "sample"
    assert manifest["argv"][1:3] == ["--plugin", str(Path(__file__).with_name("sample.py"))]


def test_json_is_one_object_on_stdout_whatever_happens(command, tmp_path):
    good = command("infer", "echo", "hello", "--json").json
    assert (good["status"], good["metrics"]) == ("finished", {"rate": 2.0})
    assert good["outputs"] == [str(Path("runs/infer-echo/001/said.txt"))]
    failed = command("infer", "echo", "hello", "--json", "--fail", "DataError")
    assert (failed.code, failed.json["status"]) == (5, "failed")
    refused = command("infer", "echo", "hello", "--json", "--batch-size", "0")
    assert failed.json["error"] == "asked to fail"
    reason = "batch_size: found 0, expected greater than 0  (--batch-size)"
    assert (refused.code, refused.json) == (
        3,
        {"run": None, "status": "failed", "error": reason, "outputs": [], "metrics": {}},
    )


@pytest.mark.parametrize("name", CODES)
def test_each_error_class_has_its_exit_code_and_page(command, name):
    answer = command("infer", "echo", "a", "--fail", name, "-q")
    assert (answer.code, answer.out) == (CODES[name], "")
    assert answer.err == "error  asked to fail\ntry    do not ask\n"


def test_a_bug_of_a_plugin_is_told_with_its_name_and_the_log(command, tmp_path):
    answer = command("infer", "echo", "a", "--fail", "strange", "-q")
    assert answer.code == 1
    first, second, last = answer.err.splitlines()
    assert (
        first
        == f"error  plugin 'sample' ({Path(__file__).with_name('sample.py')}) failed: ValueError: strange"
    )
    log = tmp_path / "runs/infer-echo/001/log.txt"
    assert second.endswith(str(log.relative_to(tmp_path)))
    assert last.startswith("try    ")
    assert "Traceback" not in answer.err
    assert "ValueError: strange" in log.read_text()
    assert "Traceback" in command("infer", "echo", "a", "--fail", "strange", "-v").err


def test_a_bug_is_told_in_one_line(command):
    answer = command("infer", "echo", "a", "--fail", "a bad\nthing", "-q")
    assert answer.err.splitlines()[0].endswith(" failed: ValueError: a bad")
    assert len(answer.err.splitlines()) == 3


def test_a_file_that_the_system_refuses_is_no_bug(command, tmp_path):
    (tmp_path / "folder").mkdir()
    for name, words in (("nowhere/x.zip", "No such file or directory"), ("folder", "Is a directory")):
        answer = command("infer", "echo", name, "--fail", "open", "-q")
        assert answer.code == 5
        line, remedy = answer.err.splitlines()
        assert line == f"error  {name}: {words}"
        assert remedy.startswith("try    ")
    answer = command("infer", "echo", "a", "--fail", "socket", "-q")
    assert (answer.code, "this is a bug of the plugin" in answer.err) == (1, True)


def test_code_that_is_missing_is_a_plugin_error_before_any_folder_is_made(command, tmp_path):
    answer = command("infer", "gone")
    assert answer.code == 9
    assert "plugin 'sample' (" in answer.err
    assert "sample:gone: AttributeError: module 'sample' has no attribute 'gone'" in answer.err
    assert "\ntry    avatarctl plugins check sample" in answer.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("of_target", "of_stage"), [(("x",), ()), ((), ("x",))])
def test_a_missing_extra_of_a_target_or_stage_is_named_with_the_command_that_adds_it(of_target, of_stage):
    stage = Stage(name="first", summary="", run="a:b", settings="a:c", needs=of_stage)
    target = Target(verb="train", name="toy", summary="", stages=(stage,), needs=of_target)
    source = SimpleNamespace(
        name="their-toy",
        version="1",
        requires=["numpy", "no-such-package>=2; extra == 'x'", "other; extra == 'y'"],
    )
    with pytest.raises(DependencyError, match="train toy needs no-such-package, which") as caught:
        check_needs(Command(Plugin("toy", "their_toy", source), target, stage))
    assert caught.value.hint == 'pip install "their-toy[x]"'


def test_a_missing_extra_of_a_switch_is_named_where_it_is_on():
    class Toy(StageSettings):
        """A toy."""

        with_sound: bool = False
        """Plays."""
        switch_extras: ClassVar[Mapping[str, str]] = {"with_sound": "x"}

    source = SimpleNamespace(name="toy", version="1", requires=["no-such-package; extra == 'x'"])
    command = Command(
        Plugin("toy", "toy", source), Target(verb="infer", name="toy", summary="", run="a:b", settings="a:c")
    )
    check_needs(command, Toy())
    with pytest.raises(DependencyError, match="infer toy --with-sound needs no-such-package") as caught:
        check_needs(command, Toy(with_sound=True))
    assert caught.value.hint == 'pip install "toy[x]"'


def test_wrong_device_and_precision_are_refused(command):
    assert command("infer", "echo", "a", "--device", "cuda:99").code == 8
    assert command("infer", "echo", "a", "--precision", "fp8").code == 2


def test_out_takes_an_empty_folder_only(command, tmp_path):
    assert command("infer", "echo", "a", "--out", "here").code == 0
    assert (tmp_path / "here/said.txt").read_text() == "a"
    answer = command("infer", "echo", "a", "--out", "here")
    assert (answer.code, "not empty" in answer.err) == (2, True)
    assert command("infer", "echo", "a", "--out", "there", "--fail", "DataError").code == 5
    assert command("infer", "echo", "a", "--out", "there").code == 0
    answer = command("infer", "echo", "a", "--out", "")
    assert (answer.code, "--out: found an empty name" in answer.err) == (2, True)


def test_resume_takes_the_settings_of_the_run_and_lists_changes(command, tmp_path):
    assert command("infer", "echo", "a", "--part", "lower", "-s", "pace.rate=9").code == 0
    path = tmp_path / "runs" / "infer-echo" / "001" / "manifest.json"
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    assert command("infer", "echo", "--resume", "last", "--batch-size", "5").code == 0
    manifest = json.loads((tmp_path / "runs/infer-echo/001/manifest.json").read_text())
    assert manifest["settings"]["part"] == "lower"
    assert manifest["settings"]["pace"]["rate"] == 9.0
    assert manifest["resumed"][0]["changed"] == {"batch_size": [4, 5]}
    assert manifest["origin"]["part"] == "--part"
    assert not (tmp_path / "runs/infer-echo/002").exists()
    assert command("train", "chain", "--stage", "first", "--resume", "last").code == 2


def test_a_resumed_run_stays_in_its_folder(command, tmp_path):
    assert command("infer", "echo", "a", "--out", "here").code == 0
    path = tmp_path / "here" / "manifest.json"
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    answer = command("infer", "echo", "--resume", "here", "--out", "there")
    assert (answer.code, "--out there: what is resumed goes on in its own folder" in answer.err) == (2, True)
    assert command("infer", "echo", "--resume", "here", "--out", "here/").code == 0
    assert json.loads(path.read_text())["status"] == "finished"


def test_quiet_says_nothing_but_failures(command):
    answer = command("infer", "echo", "a", "-q")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_a_reader_that_goes_away_changes_nothing():
    process = subprocess.Popen(
        [sys.executable, "-m", "avatarctl", "config", "show", "train", "sparse", "--stage", "vqvae"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()

    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
