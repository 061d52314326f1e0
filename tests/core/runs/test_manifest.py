import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarctl.errors import DataError
from avatarctl.runs import manifest
from avatarctl.runs.manifest import Manifest, as_json, plain


def whole():
    return Manifest(
        {"verb": "train", "target": "tiny", "stage": ""},
        started=manifest.now(),
        settings={"lr": 0.1, "name": "ü"},
    )


def test_a_manifest_comes_back_equal_and_is_replaced_whole(tmp_path):
    about = whole()
    about.write(tmp_path)
    assert manifest.read(tmp_path) == about
    later = replace(about, status="finished", outputs=[{"path": "a", "hash": "h"}])
    later.write(tmp_path)
    assert manifest.read(tmp_path) == later
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "avatarctl-run/9"}, "schema: found 'avatarctl-run/9'"),
        ({"schema": None}, "schema: found None"),
        ({"settings": []}, "settings: found list, expected dict"),
        ({"seed": "1"}, "seed: found str, expected int"),
        ({"outputs": {}}, "outputs: found dict, expected list"),
        ({"outputs": ["a"]}, "outputs: record 0: found a"),
        ({"inputs": [{"hash": "h"}]}, "inputs: record 0: found {'hash': 'h'}"),
        ({"inputs": [{"path": "a", "bytes": None}]}, "inputs: record 0"),
        ({"what": {"verb": 3}}, "what: verb: found 3, expected text"),
        ({"status": "done"}, "status: found 'done', expected one of running, finished"),
    ],
)
def test_another_schema_is_refused_with_field_and_remedy(tmp_path, change, words):
    whole().write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="manifest") as caught:
        manifest.read(tmp_path)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": "avatarctl-run/1"', "\xff"])
def test_a_broken_manifest_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content.encode("latin1"))
    with pytest.raises(DataError) as caught:
        manifest.read(tmp_path)
    assert "\n" not in caught.value.message


def test_a_folder_without_one_is_no_run(tmp_path):
    with pytest.raises(DataError, match="is no run folder"):
        manifest.read(tmp_path)


def test_values_become_plain_and_json_has_no_nan():
    value = {
        "array": np.arange(3), "tensor": torch.tensor([[1.5]]), "number": np.float32(0.5),
        "path": Path("a/b"), "nan": float("nan"), "inside": [np.float64("inf"), (True, None)], 3: {"x"},
    }  # fmt: skip
    assert plain(value) == {
        "array": [0, 1, 2], "tensor": [[1.5]], "number": 0.5, "path": "a/b", "nan": None,
        "inside": [None, [True, None]], "3": ["x"],
    }  # fmt: skip
    assert json.loads(as_json(value))["nan"] is None


def test_a_path_is_recorded_once_with_its_last_record():
    about = whole()
    about.add("outputs", {"path": "a", "hash": "1"})
    about.add("outputs", {"path": "b", "hash": "2"})
    about.add("outputs", {"path": "a", "hash": "3"})
    assert [(item["path"], item["hash"]) for item in about.outputs] == [("b", "2"), ("a", "3")]
