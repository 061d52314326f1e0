"""A third party: a package made by new-plugin, installed with pip, beside broken ones that harm nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from avatarctl.motion import Motion

pytestmark = pytest.mark.slow

BROKEN = {
    "no_import.py": 'raise RuntimeError("the wheel is for another machine")\n',
    "raising.py": """
from avatarctl.api import Target, hookimpl

@hookimpl
def avatarctl_targets():
    raise KeyError("checkpoint")
""",
    "future.py": """
from avatarctl.api import hookimpl

@hookimpl
def avatarctl_holograms():
    return []
""",
    "claiming.py": """
from avatarctl.api import Target, hookimpl

@hookimpl
def avatarctl_targets():
    code = {"run": "avatarctl_broken.nowhere:run", "settings": "avatarctl_broken.nowhere:Settings"}
    yield Target(verb="train", name="sparse", summary="a better one", **code)
    yield Target(verb="infer", name="dangling", summary="its code is missing", **code)
""",
}
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "avatarctl-broken"
version = "0.3.1"

[project.entry-points.avatarctl]
a-no-import = "avatarctl_broken.no_import"
a-raising = "avatarctl_broken.raising"
a-future = "avatarctl_broken.future"
a-claiming = "avatarctl_broken.claiming"
"""


@dataclass(frozen=True)
class Place:
    """A working folder, and an environment in which the packages of `site` are installed."""

    folder: Path
    site: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`avatarctl WORDS` in a new process."""
        return self.python("-m", "avatarctl", *words)

    def python(self, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.site), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "80"}
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=folder or self.folder, env={**os.environ, **own}, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The scaffold and the broken package, installed as a user would, without the network."""
    folder = tmp_path_factory.mktemp("third party")
    place = Place(folder, folder / "site")
    made = place("new-plugin", "inbetween")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["avatarctl-inbetween"]
    package = folder / "avatarctl-broken" / "avatarctl_broken"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    for name, text in BROKEN.items():
        (package / name).write_text(text)
    words = ("--no-deps", "--no-build-isolation", "--no-index", "--target", str(place.site))
    done = place.python(
        "-m", "pip", "install", "--quiet", *words, "./avatarctl-inbetween", "./avatarctl-broken"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_the_listing_has_the_new_target_and_one_line_on_what_did_not_load(place: Place) -> None:
    done = place("--help")
    assert done.returncode == 0
    assert "fill the frames between key poses" in done.stdout
    assert done.stdout.splitlines()[0].startswith("avatarctl")
    line = done.stderr.strip()
    assert len(line.splitlines()) == 1
    assert "a-no-import" in line
    assert "a-raising" in line
    assert "a-future" in line


def test_plugins_says_what_is_wrong_with_each(place: Place) -> None:
    page = place("plugins")
    assert page.returncode == 0
    assert "the wheel is for another machine" in page.stdout
    done = place("plugins", "--json")
    found = {plugin["name"]: plugin for plugin in json.loads(done.stdout)["plugins"]}
    assert {
        name: found[name]["state"] for name in ("core", "sparse-tracking", "inbetween", "a-claiming")
    } == {
        "core": "ok",
        "sparse-tracking": "ok",
        "inbetween": "ok",
        "a-claiming": "ok",
    }
    for name, cause in (
        ("a-no-import", "another machine"),
        ("a-raising", "checkpoint"),
        ("a-future", "no such hook"),
    ):
        assert found[name]["state"] == "broken"
        assert cause in found[name]["troubles"][0]["cause"]
        assert found[name]["distribution"] == "avatarctl-broken"
    assert found["inbetween"]["targets"] == ["infer inbetween"]


def test_the_new_plugin_passes_the_check(place: Place) -> None:
    done = place("plugins", "check", "inbetween")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a-no-import", "a-raising", "a-future", "a-claiming"])
def test_a_broken_plugin_fails_the_check(place: Place, name: str) -> None:
    assert place("plugins", "check", name).returncode == 9


def test_the_new_target_runs_and_keeps_the_key_poses(place: Place) -> None:
    torch.manual_seed(0)
    motion = Motion(poses=0.3 * torch.randn(40, 22, 3), root=torch.randn(40, 3), fps=30.0)
    motion.write(place.folder / "walk.npz")
    done = place("infer", "inbetween", "walk.npz", "--every", "6", "--out", "filled")
    assert done.returncode == 0, done.stderr
    filled = Motion.read(place.folder / "filled" / "motion.npz")
    assert len(filled) == 37
    torch.testing.assert_close(filled.poses[::6, :22], motion.poses[::6][:7], rtol=0, atol=1e-4)
    torch.testing.assert_close(filled.root[2], torch.lerp(motion.root[0], motion.root[6], 1 / 3))


def test_the_commands_of_its_readme_run_as_typed(place: Place) -> None:
    page = (place.folder / "avatarctl-inbetween" / "README.md").read_text()
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("avatarctl ")]
    assert len(commands) == 4
    for words in commands:
        done = place(*words)
        assert done.returncode == 0, done.stderr


def test_the_preset_of_the_new_plugin_is_found(place: Place) -> None:
    done = place("config", "show", "infer", "inbetween", "-c", "coarse", "--json")
    assert json.loads(done.stdout)["settings"]["every"] == {
        "value": 30,
        "type": "int",
        "from": "coarse",
        "help": "Distance between key poses, in frames.",
    }


def test_the_tests_that_come_with_the_new_plugin_pass(place: Place) -> None:
    done = place.python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=place.folder / "avatarctl-inbetween"
    )
    assert done.returncode == 0, done.stdout


def test_a_target_that_two_plugins_claim_stays_with_its_first_owner(place: Place) -> None:
    done = place("train", "sparse", "--help")
    assert done.returncode == 0
    assert "vqvae" in done.stdout
    assert "a better one" not in done.stdout


@pytest.mark.parametrize(
    "words", [("infer", "a-no-import:anything"), ("infer", "dangling"), ("train", "a-claiming:sparse")]
)
def test_using_a_broken_target_exits_9_and_names_its_plugin(place: Place, words: tuple[str, ...]) -> None:
    done = place(*words)
    assert done.returncode == 9
    assert "avatarctl-broken 0.3.1" in done.stderr
    assert "avatarctl plugins check a-" in done.stderr
    assert "Traceback" not in done.stderr
