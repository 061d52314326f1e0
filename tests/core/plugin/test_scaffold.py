"""What new-plugin writes, and the names it refuses."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from avatarctl.errors import DataError, UsageError
from avatarctl.motion.clips import clips
from avatarctl.plugin import scaffold


def test_the_package_is_complete_and_names_itself_throughout(tmp_path: Path) -> None:
    folder = scaffold.write("foot-contact2", tmp_path)
    assert folder == tmp_path / "avatarctl-foot-contact2"
    written = {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }
    package = "avatarctl_foot_contact2"
    assert set(written) == {
        "pyproject.toml",
        "README.md",
        "tests/test_plugin.py",
        *(f"{package}/{name}" for name in ("__init__.py", "settings.py", "infer.py", "presets/coarse.yaml")),
    }
    assert not [name for name, text in written.items() if "$" in text or "inbetween" in text]
    assert f'foot-contact2 = "{package}"' in written["pyproject.toml"]
    for name, text in written.items():
        if name.endswith(".py"):
            ast.parse(text)
    assert yaml.safe_load(written[f"{package}/presets/coarse.yaml"]) == {"every": 30}


def test_its_commands_name_an_embedded_clip(tmp_path: Path) -> None:
    folder = scaffold.write("inbetween", tmp_path)
    files = ("README.md", "avatarctl_inbetween/__init__.py", "avatarctl_inbetween/presets/coarse.yaml")
    for name in files:
        motions = re.findall(r"avatarctl infer inbetween (\w\S*)", (folder / name).read_text())
        assert motions
        assert set(motions) <= set(clips())


def test_the_entry_module_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = scaffold.write("inbetween", tmp_path)
    tree = ast.parse((folder / "avatarctl_inbetween" / "__init__.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in modules if name and name.split(".")[0] not in sys.stdlib_module_names} == {
        "avatarctl.api"
    }


BAD = ("", "In-Between", "in between", "in_between", "2d", "-a", "a-", "a--b", "../x", "a/b", "avatarctl-x")


@pytest.mark.parametrize("name", [*BAD, "x" * 41, "füße"])
def test_a_bad_name_is_refused_with_a_good_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scaffold.write(name, tmp_path)
    scaffold.check_name(caught.value.hint.removeprefix("avatarctl new-plugin "))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link"])
def test_what_is_there_is_never_overwritten(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "avatarctl-inbetween"
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir()
    if kind == "folder":
        (place / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        scaffold.write("inbetween", tmp_path)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == (
        ["mine"] if kind in ("folder", "file") else []
    )


def test_a_folder_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        scaffold.write("inbetween", tmp_path / "not there")


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *args: object, **kwargs: object) -> int:
        if path.name == "settings.py":
            raise OSError(28, "No space left on device")
        return path.write_bytes(b"")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left"):
        scaffold.write("inbetween", tmp_path)
    assert not list(tmp_path.iterdir())
