"""Broken plugins are kept apart: they are reported, and everything else works."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from avatarctl.plugin.check import check
from avatarctl.plugin.registry import Registry

GOOD = """
from avatarctl.api import Target, hookimpl

@hookimpl
def avatarctl_targets():
    yield Target(verb="{verb}", name="{name}", summary="s", run="x:y", settings="x:z")
"""
BROKEN = {
    "missing": ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    "syntax": ("def\n", "SyntaxError"),
    "leaves": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "raises": (
        "from avatarctl.api import hookimpl\n@hookimpl\ndef avatarctl_targets():\n    raise KeyError('x')\n",
        "KeyError: 'x'",
    ),
    "alien": (
        "from avatarctl.api import hookimpl\n@hookimpl\ndef avatarctl_target():\n    pass\n",
        "no such hook",
    ),
    "greedy": (
        "from avatarctl.api import hookimpl\n@hookimpl\ndef avatarctl_targets(registry):\n    return []\n",
        "PluginValidationError",
    ),
    "shapeless": (
        "from avatarctl.api import hookimpl\n@hookimpl\ndef avatarctl_targets():\n    return ['train']\n",
        "TypeError: gave a str, expected Target",
    ),
    "verbless": (GOOD.format(verb="fly", name="a"), "ValueError: target 'fly a': no such verb"),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a plugin: a module and the metadata of a distribution with its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    installed: list[str] = []

    def install(name: str, text: str, entry: str = "") -> None:
        module = f"third_{name}"
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"third_{name}-1.2.dist-info"
        info.mkdir()
        urls = "Project-URL: Issues, https://example.org/issues\n"
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: third-{name}\nVersion: 1.2\n{urls}")
        (info / "entry_points.txt").write_text(f"[avatarctl]\n{entry or name} = {module}\n")
        installed.append(module)

    yield install
    for module in installed:
        sys.modules.pop(module, None)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_and_the_others_work(install, name):
    text, cause = BROKEN[name]
    install(name, text)
    install("zebra", GOOD.format(verb="infer", name="zebra"))
    registry = Registry.load()
    plugin = registry.plugin(name)
    assert plugin.state == "broken"
    assert cause in plugin.troubles[0].cause
    assert (plugin.distribution, plugin.version, plugin.issues) == (
        f"third-{name}",
        "1.2",
        "https://example.org/issues",
    )
    assert registry.broken() == [plugin]
    assert registry.find("infer", "zebra") is not None
    assert registry.find("train", "sparse") is not None


def test_all_broken_plugins_together_harm_nobody(install, command, monkeypatch):
    for name, (text, _) in BROKEN.items():
        install(name, text)
    monkeypatch.setenv("AVATARCTL_PLUGINS_OFF", "")
    page = command()
    assert page.code == 0
    assert "\n         amass  " in page.out
    assert page.err.startswith("not loaded: ")
    assert set(page.err.removeprefix("not loaded: ").split(" (")[0].split(", ")) == set(BROKEN)
    assert command("infer", "echo", "a").code == 0
    answer = command("infer", "missing")
    assert answer.code == 9
    assert "plugin 'missing' (third-missing 1.2) cannot be used\n       third_missing: " in answer.err
    assert "\ntry    avatarctl plugins check missing" in answer.err


def test_a_target_name_stays_with_its_first_owner(install):
    install("taker", GOOD.format(verb="train", name="sparse"))
    registry = Registry.load()
    owner, _ = registry.find("train", "sparse")
    other, _ = registry.find("train", "taker:sparse")
    assert (owner.name, other.name) == ("sparse-tracking", "taker")
    taker = registry.plugin("taker")
    assert taker.state == "ok"
    assert taker.notes == ["'train sparse' belongs to 'sparse-tracking'; use train taker:sparse"]


def test_a_plugin_name_stays_with_its_first_owner(install):
    install("taker", GOOD.format(verb="infer", name="taken"), entry="sparse-tracking")
    registry = Registry.load()
    first, second = [plugin for plugin in registry.plugins if plugin.name == "sparse-tracking"]
    assert (first.distribution, second.distribution) == ("avatarctl", "third-taker")
    assert first.state == "ok"
    assert second.troubles[0].cause == "the name 'sparse-tracking' belongs to avatarctl already"
    assert registry.find("infer", "taken") is None
    declared = [item.name for item in registry.weights()]
    assert len(declared) == len(set(declared))


def test_plugins_can_be_switched_off(install, monkeypatch, command):
    install("zebra", GOOD.format(verb="infer", name="zebra"))
    monkeypatch.setenv("AVATARCTL_PLUGINS_OFF", "zebra")
    registry = Registry.load()
    assert registry.plugin("zebra").state == "off"
    assert registry.find("infer", "zebra") is None
    assert command("infer", "zebra").code == 9


def test_a_file_that_cannot_be_loaded_is_an_error(command, tmp_path):
    assert command(plugin=tmp_path / "nothing.py").code == 2
    (tmp_path / "rubbish.py").write_text("1 +\n")
    answer = command(plugin=tmp_path / "rubbish.py")
    assert (answer.code, "rubbish.py" in answer.err) == (9, True)
    (tmp_path / "json.py").write_text("")
    assert "'json' is no free module name" in command(plugin=tmp_path / "json.py").err


def test_check_finds_what_is_wrong_with_a_plugin(install, tmp_path):
    (tmp_path / "torch.py").write_text(
        ""
    )  # what stands for torch is imported in the check's own process alone
    (tmp_path / "third_bad_settings.py").write_text(
        "import torch\nfrom avatarctl.config import StageSettings\n"
        "class Bad(StageSettings):\n    size: int = 'large'\n"
    )
    install(
        "bad",
        "import numpy\nfrom avatarctl.api import Target, hookimpl\n@hookimpl\ndef avatarctl_targets():\n"
        "    yield Target(verb='infer', name='bad', summary='s', run='third_bad:run',\n"
        "                 settings='third_bad_settings:Bad', examples=('avatarctl infer bad --sise 3',))\n"
        "def run(settings):\n    pass\n",
    )
    troubles = {found.what: found.trouble for found in check("bad") if found.trouble}
    assert troubles["entry module"].startswith("imports numpy")
    assert troubles["settings modules"].startswith("import torch, numpy")
    assert troubles["avatarctl infer bad --sise 3"] == "no such option --sise, did you mean --size?"
    assert troubles["code third_bad:run"] == "cannot be called as run(settings, run)"
    assert "default of size" in troubles["settings third_bad_settings:Bad"]


CHECKED = """
from pathlib import Path
from avatarctl.api import Target, hookimpl

@hookimpl
def avatarctl_targets():
    for verb in ("train", "{verb}"):
        yield Target(verb=verb, name="{name}", summary="s", run="third_{of}_code:run",
                     settings=f"third_{of}_code:{{verb.title()}}",
                     examples={examples} if verb != "train" else ())

@hookimpl
def avatarctl_presets():
    yield Path(__file__).parent / "presets"
"""
CODE = """
from pydantic import field_validator
from avatarctl.config import StageSettings

class Train(StageSettings):
    lr: float = 1.0
    '''Step.'''

class Infer(StageSettings):
    every: int = 15
    '''Frames.'''
    fps: int = 30
    '''Rate.'''

    @field_validator("every")
    @classmethod
    def _even(cls, every):
        if every < 0:
            raise ValueError("a bad\\nthing")
        return every

def run(settings, run):
    pass
"""


@pytest.fixture
def troubles(install, tmp_path):
    """What the check says is wrong with a plugin of two targets and one preset, by what was looked at."""

    def troubles(of: str, *, code: str = CODE, preset: str = "every: 5", **words) -> dict[str, str]:
        install(of, CHECKED.format(**{"of": of, "verb": "infer", "name": of, "examples": ()} | words))
        (tmp_path / f"third_{of}_code.py").write_text(code)
        (tmp_path / "presets").mkdir(exist_ok=True)
        (tmp_path / "presets" / "coarse.yaml").write_text(preset)
        return {found.what: found.trouble for found in check(of) if found.trouble}

    return troubles


def test_check_refuses_an_example_that_runs_a_target_of_another_plugin(troubles):
    examples = ("avatarctl infer thief:sparse", "avatarctl infer sparse walk_2")
    cause = "runs a target of 'sparse-tracking'; write avatarctl infer thief:sparse"
    assert troubles("thief", name="sparse", examples=examples) == {"avatarctl infer sparse walk_2": cause}


def test_check_tells_names_that_belong_to_others_without_failing(install, command, tmp_path):
    for name in ("first", "second"):
        install(name, GOOD.format(verb="infer", name="taken"))
    (tmp_path / "x.py").write_text(
        "from avatarctl.config import StageSettings as z\ndef y(settings, run):\n    pass\n"
    )
    answer = command("plugins", "check", "second", plugin=None)
    assert answer.code == 0, answer.out
    assert "\n'infer taken' belongs to 'first'; use infer second:taken\n" in answer.out


@pytest.mark.parametrize(
    ("name", "preset", "cause"),
    [
        ("a", "everyy: 5", "everyy: no such setting, did you mean every?  (coarse)"),
        (
            "b",
            "every: x\neveri: 5",
            "every: found x, expected a valid integer  (coarse); "
            "everi: no such setting, did you mean every?  (coarse)",
        ),
        ("c", "every: -1", "every: found -1, a bad thing  (coarse)"),
        ("d", "", "fits no target of the plugin"),
    ],
)
def test_check_says_in_one_line_what_is_wrong_with_a_preset(troubles, name, preset, cause):
    assert troubles(name, preset=preset) == {f"preset {name}/coarse": cause}


def test_check_names_a_broken_target_once(troubles):
    gone = troubles("gone", code=CODE.replace("Infer", "Infr"), examples=("avatarctl infer gone",))
    cause = "AttributeError: module 'third_gone_code' has no attribute 'Infer'"
    assert gone == {"settings third_gone_code:Infer": cause}
    assert list(troubles("verb", verb="inferr")) == ["hook avatarctl_targets"]
    wrong = troubles("wrong", code=CODE.replace("= 15", "= 'abc'"), preset="fps: 25")
    assert list(wrong) == ["settings third_wrong_code:Infer"]


def test_check_asks_for_presets(install):
    install(
        "folders",
        "from avatarctl.api import hookimpl\n@hookimpl\ndef avatarctl_presets():\n    return 1 / 0\n",
    )
    troubles = {found.what: found.trouble for found in check("folders") if found.trouble}
    assert troubles == {"hook avatarctl_presets": "ZeroDivisionError: division by zero"}


def test_check_finds_nothing_wrong_with_the_sample(monkeypatch):
    sample = Path(__file__).with_name("sample.py")
    troubles = {found.what: found.trouble for found in check("sample", [sample]) if found.trouble}
    # The file holds its settings itself, and one target is broken on purpose.
    assert set(troubles) == {"entry module", "code sample:gone"}
