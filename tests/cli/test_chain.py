"""`--stage all`: settings of each training, what is refused, and what is found afterwards."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from avatarctl.api import Link, Stage, Target
from avatarctl.config.presets import VERBS as SECTIONS
from avatarctl.plugin.target import VERBS


@pytest.fixture
def command(command):
    """Run `avatarctl WORDS` with the plugin of these tests."""
    return partial(command, plugin=Path(__file__).with_name("sample_chain.py"))


def settings_of(tmp_path, name, number="001"):
    folder = tmp_path / "runs" / "train-chain-all" / number / name
    return json.loads((folder / "manifest.json").read_text())["settings"]


def test_every_training_runs_with_its_own_settings_and_the_weights_of_those_before(command, tmp_path):
    answer = command("train", "chain", "--stage", "all", "-s", "two.width=3", "--set", "first.size=7")
    assert answer.code == 0, answer.err
    assert "training 2 of 2: two" in answer.err
    assert settings_of(tmp_path, "one")["size"] == 7
    two = settings_of(tmp_path, "two")
    assert (two["width"], two["mood"], two["size"]) == (3, "fast", 5)
    assert two["earlier"] == "runs/train-chain-all/001/one"
    assert "train-chain-all/001/two  finished" in command("runs").out


def test_only_the_last_training_answers_in_json(command):
    answer = command("train", "chain", "--stage", "all", "--json")
    assert answer.json["metrics"] == {"size": 5}


def test_settings_are_checked_before_the_first_training_begins(command, tmp_path):
    answer = command("train", "chain", "--stage", "all", "-s", "two.size=many")
    assert answer.code == 3
    assert not (tmp_path / "runs").exists()
    answer = command("train", "chain", "--stage", "all", "--width", "3")
    assert answer.code == 2
    assert "--stage all: one: no such option --width" in answer.err
    assert "--set one.NAME=VALUE" in answer.err


@pytest.mark.parametrize(
    ("sets", "message", "hint"),
    [
        (
            (" width =3", "pace.rate=4"),
            "width: the training 'one' of the chain has no such setting; second has it  (--set)\n"
            "       pace.rate: the training 'one'",
            "try    --set second.width=3 --set second.pace.rate=4\n",
        ),
        (
            ("frist.size=3", "size=4"),
            "error  frist: no such setting or training of the chain, did you mean first?  (--set)\n",
            "try    --set first.size=3\n",
        ),
        (
            ("two-x.size=3",),
            "error  two-x: no such setting or training of the chain, did you mean two?",
            "try    --set two.size=3\n",
        ),
        (
            ("much=3",),
            "error  much: no such setting or training of the chain  (--set)\n",
            "try    avatarctl train chain --stage all --dry-run\n",
        ),
    ],
)
def test_a_name_that_not_every_training_has_is_told_with_the_prefix_to_type(command, sets, message, hint):
    answer = command("train", "chain", "--stage", "all", *[word for one in sets for word in ("--set", one)])
    assert answer.code == 3
    assert message in answer.err
    assert hint in answer.err


def test_a_resumed_chain_takes_settings_that_only_the_trainings_left_have(command, tmp_path):
    assert command("train", "chain", "--stage", "all").code == 0
    shutil.rmtree(tmp_path / "runs" / "train-chain-all" / "001" / "two")
    answer = command("train", "chain", "--stage", "all", "--resume", "last", "--set", "width=3")
    assert answer.code == 0, answer.err
    assert settings_of(tmp_path, "two")["width"] == 3


def test_a_chain_is_resumed_where_it_failed_with_the_words_it_began_with(command, tmp_path):
    words = ("train", "chain", "--stage", "all", "-s", "two.width=3")
    assert command(*words).code == 0
    chain = tmp_path / "runs" / "train-chain-all" / "001"
    assert command("train", "chain", "--stage", "all", "--resume", "last").code == 2
    for file in (chain / "two").iterdir():
        file.unlink()
    (chain / "two" / "settings.yaml").write_text("")  # killed between two files
    answer = command("train", "chain", "--stage", "all", "--resume", "last")
    assert answer.code == 0, answer.err
    assert "training 1 of 2" not in answer.err
    assert settings_of(tmp_path, "two")["width"] == 3


def test_a_chain_made_with_out_is_resumed_and_its_runs_are_listed_once(command, tmp_path):
    assert command("train", "chain", "--stage", "all").code == 0
    assert command("train", "chain", "--stage", "all", "--out", "mine").code == 0
    shutil.rmtree(tmp_path / "mine" / "two")
    answer = command("train", "chain", "--stage", "all", "--resume", "mine", "--out", "other")
    assert (answer.code, "--out other: what is resumed" in answer.err) == (2, True)
    assert command("train", "chain", "--stage", "all", "--resume", "last").code == 0
    runs = [run["run"] for run in command("runs", "--json").json["runs"]]
    numbered = [str(Path(run).relative_to("runs")) for run in runs if not Path(run).is_absolute()]
    assert numbered == ["train-chain-all/001/one", "train-chain-all/001/two"]
    assert runs[2:] == [str(tmp_path / "mine" / name) for name in ("one", "two")]


def test_a_chain_that_never_began_is_not_in_the_way(command, tmp_path):
    answer = command("train", "chain", "--stage", "all", "-s", "one.size=0")
    assert (answer.code, "nothing has this size" in answer.err) == (5, True)
    assert not list((tmp_path / "runs" / "train-chain-all").iterdir())


def test_what_is_no_chain_is_not_resumed(command, tmp_path):
    assert command("train", "chain", "--stage", "first").code == 0
    for words in ("runs/train-chain-first/001", "last", "nowhere"):
        answer = command("train", "chain", "--stage", "all", "--resume", words)
        assert answer.code == 2
        assert "chain" in answer.err
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "chain.json").write_text("[]")
    assert command("train", "chain", "--stage", "all", "--resume", "broken").code == 5


def test_several_processes_are_refused(command, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process" in command("train", "chain", "--stage", "all").err


def test_dry_run_shows_every_training_and_leaves_nothing(command, tmp_path):
    answer = command("train", "chain", "--stage", "all", "--dry-run")
    assert "# one" in answer.out
    assert "earlier: CHAIN/one  # --earlier" in answer.out
    assert not (tmp_path / "runs").exists()


def test_a_target_with_a_run_function_and_stages_does_either(command):
    assert command("eval", "both", "--json").json["metrics"] == {"size": 1}
    assert command("eval", "both", "--stage", "second", "--json").json["metrics"] == {"size": 2}
    assert "--stage all: no such stage" in command("eval", "both", "--stage", "all").err
    page = command("eval", "both", "--help").out
    assert "stages, by --stage NAME" in page
    assert "--size" in page


def test_defaults_that_belong_to_a_value_give_way_to_everything_said(command, tmp_path):
    def dry(*words):
        answer = command("train", "chain", "--stage", "second", "--dry-run", "--json", *words)
        return answer.json

    assert dry()["settings"]["size"] == 2
    found = dry("--mood", "fast")
    assert (found["settings"]["size"], found["settings"]["pace"]) == (5, {"rate": 9.0, "marks": [1, 2]})
    assert found["origin"]["size"] == "default"
    (tmp_path / "a.yaml").write_text("mood: fast\nsize: 4\n")
    assert dry("-c", "a.yaml")["settings"]["size"] == 4
    assert dry("-c", "a.yaml", "--mood", "slow", "--size", "8")["settings"]["pace"]["rate"] == 2.0


def test_a_preset_has_sections_of_verbs_with_sections_of_stages_inside(command, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "size: 1\ntrain:\n  size: 2\n  second: {size: 3}\neval: {size: 4}\ninfer: {unknown: 1}\n"
    )

    def size(*words):
        return command(*words, "-c", "a.yaml", "--dry-run", "--json").json["settings"]["size"]

    assert size("train", "chain", "--stage", "first") == 2
    assert size("train", "chain", "--stage", "second") == 3
    assert size("eval", "both") == 4
    (tmp_path / "a.yaml").write_text("train: 3\n")
    answer = command("train", "chain", "--stage", "first", "-c", "a.yaml")
    assert answer.code == 3
    assert "train: found 3, expected settings of this name" in answer.err


def test_sections_of_presets_are_the_verbs():
    assert tuple(VERBS) == SECTIONS


@pytest.mark.parametrize(
    "chain",
    [
        (Link(name="a", stage="second"),),
        (Link(name="a", stage="first"), Link(name="a", stage="first")),
        (Link(name="a", stage="first", inputs={"x": "b"}), Link(name="b", stage="first")),
    ],
)
def test_a_chain_that_cannot_run_is_no_declaration(chain):
    stages = (Stage(name="first", summary="one", run="a:b", settings="a:c"),)
    with pytest.raises(ValueError, match="chain"):
        Target(verb="train", name="x", summary="x", stages=stages, chain=chain)
