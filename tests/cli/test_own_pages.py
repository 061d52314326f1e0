"""The command's own words as a user types them: plugins, doctor, config, assets, new-plugin, help pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from avatarctl.cli import doctor
from avatarctl.cli.main import OWN, main
from avatarctl.plugin.registry import Registry

Say = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say(WORDS...)` types a command in an empty folder: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("AVATARCTL_BODY_MODELS", raising=False)

    def typed(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        got = capsys.readouterr()
        return code, got.out, got.err

    return typed


def said(say: Say, *words: str) -> Any:
    """The JSON object that a command prints."""
    code, out, _ = say(*words)
    assert code == 0
    return json.loads(out)


HELPED = (
    *((word,) for word in OWN), ("plugins", "check"), ("config", "show"), ("config", "list"),
    ("assets", "add"), ("runs", "show"),
)  # fmt: skip


@pytest.mark.parametrize("words", HELPED, ids=" ".join)
def test_every_own_word_has_a_help_page_of_80_columns(words: tuple[str, ...], say: Say) -> None:
    code, out, err = say(*words, "--help")
    assert code == 0
    assert out.startswith(f"Usage: avatarctl {' '.join(words)}")
    assert max(map(len, out.splitlines())) <= 80
    assert err == ""
    assert say(*words, "-h")[1] == out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("config", "shwo"), "did you mean 'show'"),
        (("doctor", "--jsn"), "--json"),
        (("inspect",), "missing argument 'file'"),
        (("plugins", "check", "sparse-trackin"), "did you mean sparse-tracking"),
        (("config", "show", "trian", "sparse"), "did you mean train"),
        (("config", "show", "infer", "spars"), "did you mean sparse"),
        (("config", "show", "train", "sparse", "--stage", "vqva"), "did you mean vqvae"),
        (("config", "show", "train", "sparse"), "vqvae"),
        (("train", "sparse", "--stage", "vqvae", "-c", "open-smal"), "did you mean open-small"),
        (("infer", "sparse", "walk_2", "-c", "open-toy"), "this is a preset of audio2motion"),
        (("train", "sparse", "--stage", "vqvae", "-c", "audio2motion/open-toy"), "preset of audio2motion"),
        (("completion", "zhs"), "did you mean zsh"),
    ],
)
def test_wrong_words_get_the_nearest_right_one(words: tuple[str, ...], told: str, say: Say) -> None:
    code, out, err = say(*words)
    assert code == 2
    assert out == ""
    assert told in err.lower()
    assert "\ntry " in err


def test_plugins_names_each_with_its_targets_and_state(say: Say) -> None:
    page = say("plugins")[1]
    assert max(map(len, page.splitlines())) <= 80
    found = {plugin["name"]: plugin for plugin in said(say, "plugins", "--json")["plugins"]}
    assert next(iter(found)) == "core"
    assert found["sparse-tracking"]["state"] == "ok"
    assert "train sparse" in found["sparse-tracking"]["targets"]
    assert all(name in page for name in found)


def test_a_plugin_that_is_switched_off_says_so(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARCTL_PLUGINS_OFF", "sparse-tracking")
    states = {plugin["name"]: plugin["state"] for plugin in said(say, "plugins", "--json")["plugins"]}
    assert states["sparse-tracking"] == "off"


@pytest.mark.slow
def test_check_says_what_is_wrong_and_ends_with_9(say: Say, tmp_path: Path) -> None:
    (tmp_path / "toy_thing.py").write_text(
        "from avatarctl.api import Target, hookimpl\n"
        "@hookimpl\n"
        "def avatarctl_targets():\n"
        "    code = {'run': 'toy_thing:run', 'settings': 'toy_thing:Toy'}\n"
        "    yield Target(verb='infer', name='toy', summary='a toy', **code)\n"
    )
    words = ("--plugin", "toy_thing.py", "plugins", "check", "toy-thing")
    code, out, _ = say(*words)
    assert code == 9
    assert re.search(r"^wrong +settings toy_thing:Toy\n +.*Toy", out, re.M)
    assert re.search(r"^ok +entry module", out, re.M)


def test_settings_of_all_targets_load_without_torch() -> None:
    code = (
        "import sys\n"
        "from avatarctl.plugin.registry import Registry\n"
        "for plugin in Registry.load([]).plugins:\n"
        "    for step in (step for target in plugin.targets for step in target.steps):\n"
        "        plugin.settings(step.settings)\n"
        "        assert not {'torch', 'numpy'} & set(sys.modules), step.settings\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_shows_versions_devices_extras_assets_and_disk(say: Say) -> None:
    code, out, _ = say("doctor")
    assert code == 0
    for title in ("versions", "devices", "optional packages", "assets", "free disk"):
        assert f"\n{title}\n" in f"\n{out}"
    found = said(say, "doctor", "--json")
    assert found["devices"][0]["device"] == "cpu"
    assert found["devices"][0]["total"] >= found["devices"][0]["free"] > 0
    assert all(free > 0 for free in found["disk"].values())
    assert found["versions"]["torch"].startswith("2.")


def test_doctor_lists_exactly_the_extras_of_the_project(say: Say) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    assert set(said(say, "doctor", "--json")["extras"]) == set(re.findall(r"^([\w-]+) = \[", block, re.M))


def test_doctor_names_the_command_that_adds_a_missing_package(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.version_of
    monkeypatch.setattr(doctor, "version_of", lambda name: "" if name in ("numba", "scipy") else real(name))
    out = say("doctor")[1]
    assert 'numba missing: pip install "avatarctl[fast]"' in re.sub(r"\n +", " ", out)
    assert "the package 'scipy' is missing\n  try  pip install avatarctl" in out


def test_doctor_detects_a_torchvision_without_its_operators(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "wrong" / "torchvision"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(str(fake.parent))
    monkeypatch.setenv("PYTHONPATH", str(fake.parent))
    problems = said(say, "doctor", "--json")["problems"]
    assert [problem["try"] for problem in problems] == ["pip uninstall torchvision"]
    assert "operator torchvision::nms does not exist" in problems[0]["problem"]


def test_config_show_says_value_type_and_origin(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARCTL_TRAIN_SPARSE__OPTIM__LR", "3e-4")
    words = ("config", "show", "train", "sparse", "--stage", "vqvae", "-s", "batch_size=7")
    settings = said(say, *words, "--json")["settings"]
    assert (settings["optim.lr"]["value"], settings["optim.lr"]["from"]) == (3e-4, "environment")
    assert (settings["batch_size"]["value"], settings["batch_size"]["from"]) == (7, "--set")
    assert (settings["part"]["value"], settings["part"]["from"]) == ("upper", "default")
    assert all(setting["type"] and setting["help"] for setting in settings.values())
    page = say(*words)[1]
    assert re.search(r"^  optim\.lr +0\.0003  \(float, environment\)$", page, re.M)
    assert max(map(len, page.splitlines())) <= 80


def test_config_show_leaves_open_what_the_user_must_give(say: Say) -> None:
    recording = said(say, "config", "show", "infer", "sparse", "--json")["settings"]["recording"]
    assert (recording["value"], recording["from"]) == (None, "asked for")


def test_config_show_shows_every_target_and_stage(say: Say) -> None:
    for _, target in Registry.load().targets():
        for step in target.steps:
            stage = () if step is target else ("--stage", step.name)
            code, out, err = say("config", "show", target.verb, target.name, *stage)
            assert (code, err) == (0, ""), (target.verb, target.name, stage)
            assert out.startswith(f"avatarctl {target.verb} {target.name}")


def test_config_show_leaves_open_what_is_needed_beside_what_the_user_must_give(say: Say) -> None:
    words = ("config", "show", "infer", "ego-hmr")
    settings = said(say, *words, "--json")["settings"]
    asked = [name for name in settings if settings[name]["from"] == "asked for"]
    assert asked == ["images", "scene", "camera"]
    header = say(*words, "--yaml")[1].splitlines()[0]
    assert header == "# avatarctl infer ego-hmr IMAGES --scene SCENE --camera CAMERA -c FILE"
    settings = said(say, *words, "-s", "data=EgoBody", "--json")["settings"]
    assert not [name for name in settings if settings[name]["from"] == "asked for"]


def test_config_show_refuses_a_wrong_value(say: Say) -> None:
    code, _, err = say("config", "show", "infer", "sparse", "-s", "batch_size=0")
    assert code == 3
    assert "batch_size" in err


def test_the_file_that_config_show_writes_gives_the_same_settings_back(say: Say, tmp_path: Path) -> None:
    words = ("config", "show", "train", "sparse", "--stage", "vqvae")
    code, out, _ = say(*words, "-s", "optim.lr=3e-4", "-s", "schedule.milestones=1,2", "--yaml")
    assert code == 0
    (tmp_path / "mine.yaml").write_text(out)
    again = said(say, *words, "-c", "mine.yaml", "--json")["settings"]
    plain = said(say, *words, "--json")["settings"]
    changed = {name for name in again if again[name]["value"] != plain[name]["value"]}
    assert changed == {"optim.lr", "schedule.milestones"}
    assert again["schedule.milestones"]["value"] == [1, 2]


@pytest.mark.parametrize("words", ["nope", "open-tyo", "open-smal"])
def test_presets_that_do_not_suit_the_target_are_not_proposed(say: Say, words: str) -> None:
    code, _, err = say("infer", "sparse", "walk_2", "-c", words)
    assert (code, "did you mean" in err) == (2, False)
    assert f"-c {words}: no preset or file of this name" in err


THEIRS = """
from pathlib import Path
from avatarctl.api import Weights, hookimpl

@hookimpl
def avatarctl_presets():
    yield Path(__file__).parent / "presets"

@hookimpl
def avatarctl_weights():
    yield Weights(name="theirs-toy", summary="theirs", path=str(Path(__file__).parent / "toy.safetensors"))
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Path]:
    """A plugin in a file, which brings presets and weights."""
    path = tmp_path / "theirs.py"
    path.write_text(THEIRS)
    yield path
    sys.modules.pop("theirs", None)


def test_presets_of_third_parties_for_a_target_of_another_plugin_are_taken(
    say: Say, tmp_path: Path, theirs: Path
) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "big.yaml").write_text("train:\n  vqvae: {batch_size: 3}\n")
    start = ("--plugin", str(theirs))
    for stage, name, size in (("vqvae", "big", 3), ("vqvae", "theirs/big", 3), ("decoder", "big", 300)):
        shown = said(say, *start, "config", "show", "train", "sparse", "--stage", stage, "-c", name, "--json")
        assert shown["settings"]["batch_size"]["value"] == size
    code, _, err = say(*start, "infer", "sparse", "walk_2", "-c", "big")
    assert (code, "-c big: this is a preset of theirs" in err) == (2, True)


def test_weights_are_foreign_to_plugins_that_have_their_own(theirs: Path) -> None:
    registry = Registry.load([theirs])
    foreign = registry.foreign_weights("sparse-tracking")
    assert (foreign["theirs-toy"].name, foreign["fashion-toy"].name) == ("theirs", "generative-avatar")
    assert "open-small" not in foreign
    assert registry.foreign_weights("theirs").keys() == foreign.keys() - {"theirs-toy"} | {"open-small"}
    assert registry.foreign_weights("core") == {}  # export checkpoint takes those of every plugin


def test_weights_of_another_plugin_are_said_to_be_its_own(say: Say) -> None:
    code, _, err = say("infer", "sparse", "walk_2", "--weights", "fashion-toy", "--out", "a")
    assert code == 5
    assert "fashion-toy: these are weights of generative-avatar" in err
    code, _, err = say("infer", "sparse", "walk_2", "--weights", "nope", "--out", "b")
    assert (code, "one of latest, run:NAME/N, open-small\n" in err) == (5, True)


def test_config_list_names_every_preset_of_the_project(say: Say) -> None:
    found = said(say, "config", "list", "--json")["presets"]
    names = {f"{preset['owner']}/{preset['name']}" for preset in found}
    folder = ROOT / "configs"
    assert names >= {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    page = say("config", "list")[1]
    assert all(name in page for name in names)


def test_assets_says_how_to_get_what_is_missing_and_where_what_is_there_lies(
    say: Say, tmp_path: Path, make: ModuleType
) -> None:
    code, out, _ = say("assets")
    assert code == 0
    assert "https://smpl-x.is.tue.mpg.de" in out
    assert out.count("avatarctl assets add FOLDER") == 5
    make.write_body(tmp_path / "from mano", "smplh", "female")
    code, out, _ = say("assets", "add", "from mano")
    kept = tmp_path / "added" / "smplh" / "SMPLH_FEMALE.npz"
    assert (code, out.strip()) == (0, str(kept))
    found = {asset["name"]: asset["found"] for asset in said(say, "assets", "--json")["assets"]}
    others: dict[str, list[str]] = {name: [] for name in ("smpl", "smplx", "dmpl", "ag3d-sdf")}
    assert found == {"smplh": [str(kept)], **others}


@pytest.mark.parametrize(("folder", "code"), [(".", 4), ("nowhere", 5)])
def test_assets_add_of_a_folder_without_models_is_refused(folder: str, code: int, say: Say) -> None:
    assert say("assets", "add", folder)[0] == code


@pytest.mark.parametrize("content", [b"RIFF$e\x04\x00WAVEfmt ", b"hello, some words"])
def test_assets_add_of_a_file_of_another_kind_says_that_it_is_no_body_model(
    content: bytes, say: Say, tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    code, _, err = say("assets", "add", "a.wav")
    assert code == 5
    first = "error a.wav: is no body model; expected .npz or .pkl of SMPL, SMPL-H or SMPL-X "
    assert " ".join(err.split()) == first + "try avatarctl assets lists what is wanted"


def test_new_plugin_prints_what_to_type_next_and_refuses_taken_names(say: Say, tmp_path: Path) -> None:
    code, out, err = say("new-plugin", "inbetween")
    assert (code, out.strip()) == (0, "avatarctl-inbetween")
    assert "pip install -e avatarctl-inbetween" in err
    assert (tmp_path / "avatarctl-inbetween" / "pyproject.toml").is_file()
    assert say("new-plugin", "inbetween")[0] == 2
    assert say("new-plugin", "sparse-tracking")[0] == 2
    code, _, err = say("new-plugin", "In Between")
    assert code == 2
    assert "avatarctl new-plugin in-between" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, say: Say) -> None:
    code, out, _ = say("completion", shell)
    assert code == 0
    assert "avatarctl" in out
