import json
import shutil

import pytest
import torch

from avatarctl.checkpoints import native
from avatarctl.errors import DataError, Stopped
from avatarctl.runs import index, manifest


def weights(folder, value=1.0):
    return native.save(folder / "weights.safetensors", {"w": torch.tensor([value])}, {})


@pytest.fixture
def three(opened):
    """Two finished runs and a stopped one of a stage."""
    folders = []
    for width in (3, 4):
        with opened(settings={"network": {"width": width}}) as run:
            run.output(weights(run.folder, width), "weights")
        folders.append(run.folder)
    with pytest.raises(Stopped), opened() as run:
        raise Stopped("by the test")
    return [*folders, run.folder]


def test_words_find_runs(three, runs_root, monkeypatch):
    first, _, last = three
    for words in ("train-tiny-first/001", "run:train-tiny-first/1", str(first), f"{first}/"):
        assert index.find(words) == first
    assert index.find("last") == last
    assert index.find("train-tiny-first") == last
    monkeypatch.chdir(runs_root.parent)
    assert index.find("runs/train-tiny-first/001").resolve() == first


def test_a_wrong_name_gets_the_nearest(three):
    with pytest.raises(DataError, match=r"did you mean train-tiny-first/00") as caught:
        index.find("train-tyni-first/002x")
    assert caught.value.hint == "avatarctl runs lists them"
    with pytest.raises(DataError, match="there is no run"):
        index.find("train-tiny-first/²")


def test_latest_is_the_newest_finished_run_that_is_accepted(three):
    assert index.latest("train", "tiny", "first") == three[1]
    accepted = index.latest("train", "tiny", "first", lambda settings: settings["network"]["width"] == 3)
    assert accepted == three[0]
    with pytest.raises(DataError, match=r"003 \(interrupted\).*002 \(other settings\)") as caught:
        index.latest("train", "tiny", "first", lambda settings: False)
    assert "avatarctl train tiny --stage first" in caught.value.hint


def test_a_run_whose_process_was_killed_is_an_interrupted_one(three, opened):
    with opened() as run:
        assert index.read(run.folder).status == "running"
    about = manifest.read(three[0])
    about.status = "running"
    about.write(three[0])  # and nobody holds its lock
    assert (index.read(three[0]).status, index.read(three[0]).error) == (
        "interrupted",
        "its process was killed",
    )
    assert next(found.status for _, found in index.runs()) == "interrupted"


def test_trainings_made_with_out_are_found_like_numbered_ones(three, opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened(out="mine") as run:
        run.output(weights(run.folder), "weights")
    place = tmp_path / "mine"
    assert [folder for folder, _ in index.runs()] == [*three, place]
    assert index.newest("train", "tiny", "first") == place
    assert index.latest("train", "tiny", "first") == place
    assert index.find("last") == index.find("train-tiny-first") == place
    assert index.find(index.name_of(place)) == place
    shutil.rmtree(place)
    assert [folder for folder, _ in index.runs()] == three
    with opened(out="mine"):
        pass
    assert [folder for folder, _ in index.runs()] == [*three, place]


def test_only_trainings_elsewhere_are_written_down(opened, tmp_path, runs_root):
    with opened(verb="infer", stage="", out=tmp_path / "pictures"):
        pass
    assert not runs_root.exists()
    with opened(out=runs_root / "train-tiny-first" / "named"):
        pass
    assert [index.name_of(folder) for folder, _ in index.runs()] == ["train-tiny-first/named"]
    assert not list(runs_root.rglob("elsewhere.txt"))


def test_a_training_goes_on_where_its_place_cannot_be_written_down(opened, tmp_path, runs_root, caplog):
    runs_root.write_text("a file")
    with opened(out=tmp_path / "mine") as run:
        pass
    assert manifest.read(run.folder).status == "finished"
    assert "--resume last and latest will not find" in caplog.text


def test_a_record_that_is_no_text_is_named(three, runs_root):
    (runs_root / "train-tiny-first" / "elsewhere.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"elsewhere\.txt: cannot be read"):
        index.runs()


def test_broken_runs_are_passed_over(three, runs_root):
    (three[2] / "manifest.json").write_text("{")
    (runs_root / "stray.txt").touch()
    assert [folder for folder, _ in index.runs()] == three[:2]


def test_weights_of_a_run_are_the_final_else_the_best_else_the_last(three):
    folder = three[2]
    with pytest.raises(DataError, match="holds no weights yet"):
        index.weights_file(folder)
    (folder / "checkpoints").mkdir()
    for name, step in (("last", 8), ("best", 4)):
        native.save(folder / "checkpoints" / f"step-{step}.safetensors", {}, {})
        pointer = folder / "checkpoints" / f"{name}.pt"
        pointer.write_text(json.dumps({"file": f"step-{step}.safetensors", "step": step}))
        assert index.weights_file(folder).name == f"step-{step}.safetensors"
    assert index.weights_file(three[0]).name == "weights.safetensors"


def test_a_run_that_failed_is_no_source_of_weights(opened):
    with pytest.raises(DataError, match="broken"), opened() as run:
        raise DataError("broken")
    with pytest.raises(DataError, match=r"train-tiny-first that failed \(broken\)"):
        index.weights_file(run.folder)


def test_a_pointer_never_leads_out_of_its_folder(three):
    folder = three[2]
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.pt").write_text(json.dumps({"file": "../../001/weights.safetensors"}))
    assert index.pointed(folder, "best") is None
    (folder / "checkpoints" / "best.pt").write_text("not json")
    with pytest.raises(DataError, match=r"best\.pt: found no JSON"):
        index.pointed(folder, "best")


def test_a_pointer_can_be_named_as_weights(three, opened):
    folder = three[0]
    (folder / "checkpoints").mkdir()
    native.save(folder / "checkpoints" / "step-4.safetensors", {"w": torch.zeros(1)}, {})
    (folder / "checkpoints" / "best.pt").write_text(json.dumps({"file": "step-4.safetensors"}))
    with opened() as run:
        found = run.weights(folder / "checkpoints" / "best.pt")
    assert found.path.name == "step-4.safetensors"


def test_the_chain_leads_back_to_the_raw_data(opened, tmp_path):
    raw = tmp_path / "raw.npz"
    raw.write_text("raw")
    store = tmp_path / "store.h5"
    with opened(verb="prepare", target="amass", stage="") as prepare:
        prepare.input(raw)
        store.write_text("store")
        prepare.output(store, "store")
    with opened() as train:
        train.input(store)
        train.output(weights(train.folder), "weights")
    with opened(verb="infer", target="tiny", stage="") as infer:
        infer.weights("latest", stage="first")
    lines = index.chain(infer.folder)
    assert [(depth, path) for depth, path, _ in lines] == [
        (0, str(infer.folder)),
        (1, str(train.folder)),
        (2, str(prepare.folder)),
        (3, str(raw)),
    ]
    assert lines[1][2] == "train-tiny-first, finished"
    (item,) = manifest.read(infer.folder).inputs
    assert item["run"] == str(train.folder)
    assert item["manifest"].startswith("sha256:")
    assert item["setting"] == "latest"
