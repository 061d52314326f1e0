"""`avatarctl export checkpoint`: layouts, and that what it writes is taken as weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.plugin.registry import Registry
from avatarctl.runs.index import weights_file

REFINER = {
    "recurrent.weight_ih_l0": torch.randn(12, 132), "recurrent.weight_hh_l0": torch.randn(12, 4),
    "recurrent.bias_ih_l0": torch.zeros(12), "recurrent.bias_hh_l0": torch.zeros(12),
    "change.weight": torch.randn(132, 4), "change.bias": torch.zeros(132),
}  # fmt: skip
CONFIG = {"networks": {"refiner": {"layers": 1, "width": 4}}, "frame": "world"}


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`say(WORDS...)` types a command beside a native file, w.safetensors: exit code, JSON, stderr."""
    monkeypatch.chdir(tmp_path)
    Weights({"refiner": REFINER}, CONFIG, "net", tmp_path).write(tmp_path / "w.safetensors")

    def typed(*words: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = main([*words, "--json"])
        got = capsys.readouterr()
        return code, json.loads(got.out), got.err

    return typed


def test_a_published_layout_and_back_are_the_same_tensors(say: Callable[..., Any]) -> None:
    code, answer, err = say("export", "checkpoint", "w.safetensors", "--to", "sage-net", "--out", "a")
    assert code == 0, err
    assert answer["outputs"] == ["a/refiner/best.pth.tar"]
    assert answer["metrics"]["tensors"] == len(REFINER)
    names = torch.load("a/refiner/best.pth.tar", weights_only=True).keys()
    assert {"refine_net.weight_ih_l0", "linear.weight"} <= names
    assert say("export", "checkpoint", "a", "--out", "b")[0] == 0
    found = open_weights(weights_file(Path("b")))
    assert found.parts["refiner"].keys() == REFINER.keys()
    assert all(torch.equal(found.parts["refiner"][name], tensor) for name, tensor in REFINER.items())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("w.safetensors", "--to", "sagenet"),
            3,
            "'sagenet' is no layout; choose from safetensors, audio2photoreal, egohmr, sage-net, hfavatar",
        ),
        (("latest",), 2, "latest of which training?"),
        (("gone.pth",), 5, "gone.pth: no such weights file or folder"),
        (("several",), 6, "2 files hold 'refiner' weights"),
    ],
)
def test_what_cannot_be_exported_is_named_and_leaves_no_weights(
    words: tuple[str, ...], code: int, message: str, say: Callable[..., Any]
) -> None:
    for name in ("one", "two"):
        Weights({"refiner": REFINER}, CONFIG, "net", Path()).write(Path("several", name, "best.safetensors"))
    found, _, err = say("export", "checkpoint", *words, "--out", "a")
    assert found == code
    assert message in err
    assert not list(Path("a").rglob("*.safetensors")) + list(Path("a").rglob("*.tar"))


def test_axes_that_the_published_code_does_not_know_are_refused(say: Callable[..., Any]) -> None:
    turned = CONFIG | {"frame": "heading"}
    Weights({"refiner": REFINER}, turned, "net", Path()).write("turned.safetensors")
    code, _, err = say("export", "checkpoint", "turned.safetensors", "--to", "sage-net", "--out", "a")
    assert code == 6
    assert "axes 'heading'" in err
    assert not list(Path("a").rglob("*.tar"))


def test_the_help_names_no_layout_that_a_plugin_has_to_bring(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "checkpoint", "--help"]) == 0
    page = capsys.readouterr().out
    written = [item.name for item in Registry.load().weights() if item.write]
    assert "sage-net" in written
    assert [name for name in written if name in page] == []
