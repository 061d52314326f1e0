import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from avatarctl.checkpoints import native
from avatarctl.errors import DataError
from avatarctl.render.video import Film
from avatarctl.runs import Run, manifest, report


@pytest.fixture
def run(tmp_path):
    return Run.standalone(tmp_path / "mine", seed=2, settings={"lr": 0.5})


def test_a_standalone_run_has_folder_manifest_settings_and_streams(run):
    assert manifest.read(run.folder).settings == {"lr": 0.5}
    assert torch.equal(
        run.noise("a").normal((2,)), Run.standalone(run.folder, seed=2).noise("a").normal((2,))
    )
    assert run.device == torch.device("cpu")
    assert (run.rank, run.world, run.is_writer) == (0, 1, True)
    assert list(run.progress([1, 2], "counting")) == [1, 2]
    run.report(error=1.0)
    assert json.loads((run.folder / "metrics.json").read_text()) == {"error": 1.0}
    assert run.bodies is run.bodies


class Clip:
    """A thing that writes itself."""

    def write(self, path):
        path.write_text("clip")


def test_things_are_written_by_what_they_are_and_recorded(run):
    run.save("deep/er/arrays.npz", {"a": torch.ones(2), "b": np.arange(3)})
    run.save("one.npy", torch.ones(2))
    run.save("values.json", {"x": np.float32(1)})
    run.save("picture.png", np.full((2, 3, 3), 0.5))
    run.save("text.txt", "words")
    run.save("page.html", "<p>")
    run.save("clip.bvh", Clip())
    run.save("weights.safetensors", {"w": torch.ones(1)})
    run.save("bytes.bin", b"\x01", "raw")
    kinds = {item["path"]: item["kind"] for item in run.manifest.outputs}
    assert kinds == {
        "deep/er/arrays.npz": "arrays", "one.npy": "array", "values.json": "values", "picture.png": "picture",
        "text.txt": "text", "page.html": "page", "clip.bvh": "clip", "weights.safetensors": "weights",
        "bytes.bin": "raw",
    }  # fmt: skip
    with np.load(run.folder / "deep/er/arrays.npz") as found:
        np.testing.assert_array_equal(found["b"], [0, 1, 2])
    assert np.asarray(Image.open(run.folder / "picture.png")).tolist() == [[[128] * 3] * 3] * 2
    assert native.load(run.folder / "weights.safetensors")[0].keys() == {"w"}


def test_what_cannot_be_written_is_refused_and_nothing_is_left(run):
    before = sorted(run.folder.iterdir())
    with pytest.raises(DataError, match=r"a dict cannot be written to a '\.xyz' file"):
        run.save("a.xyz", {})
    with pytest.raises(DataError, match=r"^a\.npz: a: holds numbers that are not finite"):
        run.save("a.npz", {"a": np.array([np.nan])})
    with pytest.raises(DataError, match=r"^a\.png: a picture of"):
        run.save("a.png", np.zeros((2, 2, 3, 1)))
    assert sorted(run.folder.iterdir()) == before


def test_a_film_is_shown_by_its_own_name_while_it_is_written(run):
    seen = []

    def progress(frames, what, total):
        seen.append(what)
        return frames

    still = np.zeros((16, 16, 3), np.uint8)
    run.save("dance.mp4", Film(lambda: iter([still, still]), 2, 10.0, progress))
    assert seen == ["rendering dance.mp4"]
    assert [(item["path"], item["kind"]) for item in run.manifest.outputs] == [("dance.mp4", "film")]


def test_an_input_is_recorded_with_hash_size_and_setting(run, tmp_path):
    file = tmp_path / "clip ü.bvh"
    file.write_text("abc")
    run.input(file, "motion")
    (item,) = run.manifest.inputs
    assert item["path"] == str(file)
    assert item["bytes"] == 3
    assert item["hash"].startswith("sha256:ba7816bf")
    assert item["setting"] == "motion"
    with pytest.raises(DataError, match="not found"):
        run.input(tmp_path / "none")


def test_steps_of_a_killed_run_are_cut_before_they_are_written_again(run):
    for step in (1, 2, 3):
        run.step_metrics(step, "train", {"loss": 1.0 / step})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "spl')
    assert [line["step"] for line in report.steps(run.folder)] == [1, 2, 3]
    report.cut_steps(run.folder, 2)
    run.step_metrics(3, "train", {"loss": 0.25})
    assert [(line["step"], line["loss"]) for line in report.steps(run.folder)] == [
        (1, 1.0),
        (2, 0.5),
        (3, 0.25),
    ]


def test_a_broken_line_in_the_middle_is_named(run):
    (run.folder / "metrics.jsonl").write_text('{"step": 1}\nrubbish\n{"step": 2}\n')
    with pytest.raises(DataError, match="line 2"):
        report.steps(run.folder)


def test_weights_come_from_a_path_a_run_or_an_embedded_name(run, tmp_path):
    file = native.save(tmp_path / "open.safetensors", {"w": torch.ones(1)}, {})
    run.declared_weights = (SimpleNamespace(name="open-small", path=str(file), read="", sniff=""),)
    assert run.weights("open-small").path == file
    assert run.weights(file).parts[""].keys() == {"w"}
    assert {item["setting"] for item in run.manifest.inputs} == {str(file)}
    with pytest.raises(DataError, match="no such weights file") as caught:
        run.weights("nothing")
    assert "latest, run:NAME/N, open-small" in caught.value.hint
    with pytest.raises(DataError, match="there is no finished run") as caught:
        run.weights("latest")
    assert caught.value.hint.endswith("or name weights: open-small, a file")


def test_embedded_weights_of_another_plugin_are_taken_for_its_targets_alone(run, tmp_path):
    file = native.save(tmp_path / "open.safetensors", {"w": torch.ones(1)}, {})
    run.declared_weights = (SimpleNamespace(name="theirs-toy", path=str(file), read="", sniff=""),)
    run.foreign_weights = {"theirs-toy": SimpleNamespace(name="theirs", target_names={"their-target"})}
    with pytest.raises(DataError, match="theirs-toy: these are weights of theirs"):
        run.weights("theirs-toy")
    assert run.weights("theirs-toy", target="their-target").path == file
    assert run.weights(file).path == file
