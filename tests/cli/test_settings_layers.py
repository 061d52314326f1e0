"""Settings in layers: what wins, where it came from, and all mistakes at once."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError, field_validator

from avatarctl.cli.main import main
from avatarctl.config import StageSettings, layers
from avatarctl.errors import SettingsError


def dry(command, *words):
    answer = command("infer", "echo", "a", "--dry-run", "--json", *words)
    assert answer.code == 0, answer.err
    return answer.json


def test_later_layers_win_and_are_remembered(command, tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("batch_size: 10\npart: lower\npace:\n  rate: 3\nlimit: 1\n")
    (tmp_path / "b.yaml").write_text("batch_size: 11\n")
    monkeypatch.setenv("AVATARCTL_INFER_ECHO__PART", "no")
    monkeypatch.setenv("AVATARCTL_INFER_ECHO__PACE__RATE", "4e0")
    found = dry(
        command, "-c", "a.yaml", "-c", "b.yaml", "-s", "pace.rate=5", "--set", "limit=7", "--limit", "8"
    )
    settings, origin = found["settings"], found["origin"]
    assert (settings["batch_size"], origin["batch_size"]) == (11, "b.yaml")
    assert (settings["part"], origin["part"]) == ("no", "environment")
    assert (settings["pace"], origin["pace.rate"]) == ({"rate": 5.0, "marks": [1, 2]}, "--set")
    assert origin["pace.marks"] == "default"
    assert (settings["limit"], origin["limit"]) == (8, "--limit")
    assert origin["source"] == "SOURCE"


def test_a_group_keeps_the_defaults_of_the_class_around_it(command):
    assert dry(command, "-s", "pace.marks=[3]")["settings"]["pace"] == {"rate": 2.0, "marks": [3]}


def test_dry_run_prints_a_file_that_gives_the_same_settings(command, tmp_path):
    words = ("--part", "no", "--to", "bvh", "--to", "glb", "--video", "-s", "pace.rate=1e-4", "--limit", "3")
    (tmp_path / "again.yaml").write_text(command("infer", "echo", "a", "--dry-run", *words).out)
    assert dry(command, "-c", "again.yaml")["settings"] == dry(command, *words)["settings"]
    assert not (tmp_path / "runs").exists()


def test_texts_are_read_by_the_type_of_their_setting(command):
    found = dry(
        command, "-s", "part=no", "-s", "weights=007", "-s", "limit=null", "-s", "to=bvh,glb", "--no-video"
    )
    settings = found["settings"]
    assert (settings["part"], settings["weights"], settings["limit"]) == ("no", "007", None)
    assert (settings["to"], settings["video"]) == (["bvh", "glb"], False)
    assert dry(command, "-s", "to=[no, bvh]")["settings"]["to"] == ["no", "bvh"]


def test_yaml_words_are_those_of_yaml_1_2(command, tmp_path):
    (tmp_path / "a.yaml").write_text("part: no\npace: {rate: 1e-4}\nweights: 2020-01-01\nvideo: yes\n")
    settings = dry(command, "-c", "a.yaml")["settings"]
    assert (settings["part"], settings["pace"]["rate"]) == ("no", 1e-4)
    assert (settings["weights"], settings["video"]) == ("2020-01-01", True)


def test_all_mistakes_are_reported_at_once_with_their_source(command, tmp_path):
    (tmp_path / "a.yaml").write_text("batch_siz: 3\npace:\n  marks: [1, x]\n")
    answer = command(
        "infer", "echo", "a", "-c", "a.yaml", "--part", "uper", "-s", "pace.rate=-1", "-s", "pace.rat=1"
    )
    assert answer.code == 3
    assert answer.err.splitlines() == [
        "error  part: found uper, expected one of upper, lower, no; did you mean upper?  (--part)",
        "       pace.rate: found -1, expected greater than 0  (--set)",
        "       pace.marks[1]: found x, expected a valid integer  (a.yaml)",
        "       pace.rat: no such setting, did you mean rate?  (--set)",
        "       batch_siz: no such setting, did you mean batch_size?  (a.yaml)",
        "try    avatarctl config show infer echo",
    ]


def test_a_wrong_default_is_told_as_one_and_in_one_line():
    class Wrong(StageSettings):
        every: int = "abc"
        """Frames."""
        fps: int = 30
        """Rate."""

        @field_validator("fps")
        @classmethod
        def _even(cls, fps):
            raise ValueError("a bad\nthing")

    with pytest.raises(SettingsError) as caught:
        layers.resolve(Wrong, layers.Given("infer", "wrong", sets=["fps=25"]))
    assert caught.value.message.splitlines() == [
        "every: found abc, expected a valid integer  (the plugin's default)",
        "fps: found 25, a bad thing  (--set)",
    ]


def test_numbers_are_finite(command, tmp_path):
    for given in ("inf", "-inf", "nan", "1e999"):
        answer = command("infer", "echo", "a", "-s", f"pace.rate={given}")
        assert (answer.code, answer.err.splitlines()[0]) == (
            3,
            f"error  pace.rate: found {given}, expected a finite number  (--set)",
        )
    (tmp_path / "a.yaml").write_text("pace: {rate: .inf}\n")
    assert "found inf, expected a finite number" in command("infer", "echo", "a", "-c", "a.yaml").err

    class Far(StageSettings):
        place: float = 0.0
        """Metres."""

    with pytest.raises(ValidationError, match="finite number"):
        Far(place=float("nan"))


def test_stage_sections_of_a_preset_hold_for_that_stage_alone(command, tmp_path):
    (tmp_path / "a.yaml").write_text("size: 5\nsecond:\n  width: 6\n  size: 7\n")
    for stage, expected in (("first", {"size": 5}), ("second", {"width": 6, "size": 7})):
        answer = command("train", "chain", "--stage", stage, "-c", "a.yaml", "--dry-run", "--json")
        assert answer.json["settings"] == expected


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("- 1\n", 3, "a.yaml: found list, expected settings as KEY: VALUE"),
        ("a: [1\n", 5, "a.yaml: line 2: "),
        ("pace: 3\n", 3, "pace: found 3, expected a valid dictionary or instance of Pace  (a.yaml)"),
    ],
)
def test_broken_files_are_named_with_the_line(command, tmp_path, text, code, message):
    (tmp_path / "a.yaml").write_text(text)
    answer = command("infer", "echo", "a", "-c", "a.yaml")
    assert answer.code == code
    assert answer.err.startswith(f"error  {message}")


def test_lists_from_the_environment_are_json(command, monkeypatch):
    monkeypatch.setenv("AVATARCTL_INFER_ECHO__TO", json.dumps(["bvh"]))
    assert dry(command)["settings"]["to"] == ["bvh"]
    monkeypatch.setenv("AVATARCTL_INFER_ECHO__TO", "bvh")
    assert command("infer", "echo", "a").code == 3


def test_the_user_file_says_where_runs_go_and_the_environment_wins(command, tmp_path, monkeypatch):
    (tmp_path / "config" / "avatarctl").mkdir(parents=True)
    file = tmp_path / "config" / "avatarctl" / "config.yaml"
    file.write_text(f"runs: {tmp_path / 'elsewhere'}\ndevice: cpu\n")
    assert command("train", "chain", "--stage", "first").code == 0
    assert (tmp_path / "elsewhere" / "train-chain-first" / "001" / "manifest.json").is_file()
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "mine"))
    assert command("train", "chain", "--stage", "first").code == 0
    assert (tmp_path / "mine" / "train-chain-first" / "001").is_dir()
    file.write_text("rums: x\n")
    answer = command("train", "chain", "--stage", "first")
    assert (answer.code, "rums" in answer.err) == (3, True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("pace: &a {rate: *a}", 5),
        ("&a {pace: *a}", 5),
        ("source: !!timestamp 9", 5),
        ("[" * 20_000, 5),
        ("[1]", 3),
        ("pace: 3", 3),
    ],
)
def test_a_file_that_says_no_settings_is_one_line_with_a_remedy(command, tmp_path, content, code):
    (tmp_path / "meine ä.yaml").write_text(content)
    answer = command("infer", "echo", "a", "--dry-run", "-c", "meine ä.yaml")
    assert answer.code == code
    assert [line.split()[0] for line in answer.err.splitlines()] == ["error", "try"]
    assert "meine ä.yaml" in answer.err or "pace" in answer.err


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "echo", "a", "-c", "x" * 300),
        ("infer", "echo", "a", "--out", "x" * 300),
        ("inspect", "x" * 300),
        ("runs", "show", "x" * 300),
    ],
)
def test_a_name_that_no_file_can_have_is_a_data_error(command, words):
    answer = command(*words)
    assert answer.code == 5
    assert "the name is too long" in answer.err


@pytest.mark.parametrize("words", [("--grid", "2,3"), ("--grid", "2", "--grid", "3"), ("--grid", "[2, 3]")])
def test_pairs_are_typed_with_a_comma(words, capsys):
    assert main(["train", "generative-avatar", "--dry-run", "--json", "--data", "a", *words]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["grid"] == [2, 3]


def test_the_page_shows_pairs_as_they_are_typed_and_a_lone_number_is_refused(capsys):
    assert main(["train", "generative-avatar", "--help"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  --grid"))
    assert line.split()[:3] == ["--grid", "int,int", "8,8"]
    assert main(["train", "generative-avatar", "--dry-run", "--data", "a", "--grid", "2"]) != 0
    assert "grid[1]: is missing; give it with --grid\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [("--to", "glb, bvh"), ("--to", "glb", "--to", "bvh"), ("--to", "[glb, bvh]"), ("-s", "to=glb,bvh")],
)
def test_lists_are_typed_with_commas_as_option_and_with_set(command, words):
    assert dry(command, *words)["settings"]["to"] == ["glb", "bvh"]


def test_files_of_a_list_may_have_commas_in_their_names(capsys):
    words = ["--dry-run", "--json", "--data", "a", "--lpips", "a,b.pth", "--geometry-frames", "1,2"]
    assert main(["eval", "video-avatar", *words]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["lpips"], settings["geometry_frames"]) == (["a,b.pth"], [1, 2])
    assert main(["prepare", "headset", "a,b.txt", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["recording"] == ["a,b.txt"]
