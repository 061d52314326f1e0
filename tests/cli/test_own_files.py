"""`avatarctl inspect` on every kind of file, whole and broken, and `avatarctl runs`."""

from __future__ import annotations

import json
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from avatarctl.api import Layout
from avatarctl.audio.wave import Sound
from avatarctl.checkpoints import native
from avatarctl.cli.main import main
from avatarctl.data.writer import StoreWriter, write_part
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.render.video import Film
from avatarctl.runs.folder import SETTINGS, create
from avatarctl.runs.manifest import Manifest
from avatarctl.runs.provenance import record

Say = Callable[..., tuple[int, str, str]]
LINE = (
    "FPS:72.0;Headset-Position: (0.0, 1.6, 0.0);Headset-Rotation: (0.0, 0.0, 0.0, 1.0);"
    "LeftController-Position: (-0.6, 1.2, 0.0);LeftController-Rotation: (0.0, 0.0, 0.0, 1.0);"
    "RightController-Position: (0.6, 1.2, 0.0);RightController-Rotation: (0.0, 0.0, 0.0, 1.0);\n\n"
)


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say(WORDS...)` types a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "runs"))

    def typed(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        got = capsys.readouterr()
        return code, got.out, got.err

    return typed


def inspected(say: Say, path: str | Path) -> dict[str, Any]:
    """What `inspect --json` says of a file, once the page was seen to agree."""
    code, page, err = say("inspect", str(path))
    assert code == 0, err
    found: dict[str, Any] = json.loads(say("inspect", str(path), "--json")[1])
    assert found["what"] in page
    page = " ".join(page.split())
    assert all(command in page for command in found["read_by"])
    return found


def motion() -> Motion:
    torch.manual_seed(0)
    return Motion(poses=0.2 * torch.randn(9, 22, 3), root=torch.zeros(9, 3), fps=30.0)


def test_a_motion_archive_has_its_frames_shapes_and_readers(say: Say, tmp_path: Path) -> None:
    motion().write(tmp_path / "walk.npz")
    found = inspected(say, "walk.npz")
    assert (found["kind"], found["facts"]["frames"], found["facts"]["fps"]) == ("motion", 9, 30.0)
    assert found["arrays"]["poses"] == "float32 [9, 156]"
    assert {"avatarctl export motion", "avatarctl infer sparse"} <= set(found["read_by"])


def test_a_bvh_is_a_motion_packed_or_not(say: Say) -> None:
    clip = clips()["run_2"]
    found = inspected(say, clip.path)
    assert (found["what"], found["kind"]) == ("BVH motion", "motion")
    assert found["facts"]["seconds"] == pytest.approx(clip.seconds, abs=0.05)


def test_an_animation_pickle_is_a_motion(say: Say, tmp_path: Path) -> None:
    content = {"poses": np.zeros((7, 66), np.float32), "trans": np.zeros((7, 3), np.float32)}
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(content, protocol=2))
    found = inspected(say, "clip.pkl")
    assert (found["what"], found["facts"]["frames"]) == ("animation pickle", 7)


def test_embedded_clips_are_described_and_listed(say):
    found = inspected(say, "walk_2")
    assert (found["what"], found["facts"]["action"]) == ("embedded clip", "walk")
    assert found["facts"]["frames"] == len(clips()["walk_2"].motion())
    assert "avatarctl infer sparse" in found["read_by"]
    listed = inspected(say, "clips")["facts"]
    assert sorted(name for names in listed.values() for name in names) == list(clips())
    code, _, err = say("inspect", "wolk_2")
    assert (code, "did you mean walk_2?" in err, "avatarctl inspect clips" in err) == (5, True, True)


def test_embedded_weights_are_described_by_their_name(say):
    for name in ("fashion-toy", "open-small"):
        found = inspected(say, name)
        assert (found["kind"], found["path"]) == ("weights", name)
        assert found["facts"]["file"].endswith(f"{name}.safetensors")
    assert "avatarctl infer sparse" in found["read_by"]
    assert "--weights fashion-toy" in inspected(say, "fashion-toy")["read_by"][0]
    code, _, err = say("inspect", "fashon-toy")
    assert (code, "did you mean fashion-toy?" in err, "embedded weights: " in err) == (5, True, True)


@pytest.mark.parametrize(("family", "form"), [("smplh", "npz"), ("smpl", "chumpy"), ("smplx", "pkl")])
def test_a_body_model_has_its_family_and_sizes(
    family: str, form: str, say: Say, tmp_path: Path, make: ModuleType
) -> None:
    found = inspected(say, make.write_body(tmp_path, family, "female", form=form))
    joints = {"smpl": 24, "smplh": 52, "smplx": 55}[family]
    assert (found["kind"], found["facts"]["family"], found["facts"]["gender"]) == ("body", family, "female")
    assert found["facts"]["joints"] == joints
    assert found["arrays"]["J_regressor"].endswith(f"[{joints}, {found['facts']['vertices']}]")


def test_a_headset_log_goes_to_infer(say: Say, tmp_path: Path) -> None:
    (tmp_path / "12345.txt").write_text(LINE * 73)
    found = inspected(say, "12345.txt")
    assert (found["kind"], found["facts"]["frames"], found["facts"]["seconds"]) == ("headset", 73, 1.0)
    assert "avatarctl infer sparse" in found["read_by"]


def test_a_store_has_its_splits_and_fields(say: Say, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", {"sparse": 4}, {"fps": 60}) as writer:
        for key, frames in (("a", 5), ("b", 8)):
            write_part(writer.part(key), {"sparse": np.ones((frames, 4), np.float32)}, {"names": key})
        writer.finish({"train": ["a", "b"]}, "inputs")
    found = inspected(say, "store")
    assert found["facts"]["split train"] == "2 clips, 13 frames, longest clip 8"
    assert found["arrays"] == {"sparse": "float32 [frames, 4]"}
    assert "avatarctl train sparse" in found["read_by"]
    shard = next((tmp_path / "store").glob("*.h5"))
    assert inspected(say, shard)["kind"] == "store"
    shard.write_bytes(shard.read_bytes()[:-3])
    code, _, err = say("inspect", "store")
    assert code == 5
    assert shard.name in err


def test_published_weights_are_recognised_by_the_plugin_that_reads_them(say: Say, tmp_path: Path) -> None:
    shapes = {
        "refine_net.weight_ih_l0": (48, 132),
        "refine_net.weight_hh_l0": (48, 16),
        "linear.weight": (132, 16),
    }
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    torch.save({"epoch": 4, "state_dict": tensors}, tmp_path / "refiner.pth")
    found = inspected(say, "refiner.pth")
    assert found["reader"] == "sage-net"
    assert found["what"] == "SAGE Net, refiner"
    assert found["facts"]["refiner"] == "9,216 parameters, 1 blocks, width 16"
    assert found["facts"]["sizes"] == "of no published setting"
    assert found["facts"]["epoch"] == "4"
    torch.save(tensors | {"linear.weight": torch.full((132, 16), torch.nan)}, tmp_path / "refiner.pth")
    assert inspected(say, "refiner.pth")["facts"]["not finite"] == "numbers in refiner.change.weight"


def test_our_weights_are_read_by_the_target_that_was_trained(say: Say) -> None:
    run = made_run("train", "sparse", "vqvae")
    native.save(run / "weights.safetensors", {"net.a": torch.ones(2)}, {"kind": "train-sparse-vqvae"})
    found = inspected(say, run / "weights.safetensors")
    assert found["read_by"] == ["avatarctl infer sparse", "avatarctl eval sparse"]
    assert inspected(say, run)["what"] == "run folder"


def test_a_run_is_read_by_the_targets_that_go_on_from_its_kind(say: Say) -> None:
    exports = "avatarctl export sparse"
    made = [{"path": "motion.npz", "kind": "motion"}]
    assert exports in inspected(say, made_run("infer", "sparse", outputs=made))["read_by"]
    assert exports not in inspected(say, made_run("prepare", "headset", outputs=made))["read_by"]
    failed = made_run("infer", "sparse", status="failed")  # which holds nothing to go on from
    assert inspected(say, failed)["read_by"] == ["avatarctl runs show"]


def test_a_folder_of_runs_lists_them(say: Say) -> None:
    made_run("infer", "sparse", "")
    made_run("train", "sparse", "vqvae")
    found = inspected(say, "runs")
    assert found["what"] == "folder of runs"
    assert found["facts"].keys() == {"infer-sparse/001", "train-sparse-vqvae/001"}


def test_prepared_tracker_features_are_known_in_both_layouts(say: Say, tmp_path: Path) -> None:
    np.savez(tmp_path / "log.npz", sparse=np.zeros((7, 54)), fps=np.array(60.0))
    torch.save(torch.zeros(7, 54, dtype=torch.float64), tmp_path / "log.pt")
    for name in ("log.npz", "log.pt"):
        found = inspected(say, name)
        assert found["what"] == "tracker features: head and two hands"
        assert found["facts"]["frames"] == 7
        assert found["read_by"] == ["avatarctl infer sparse"]


def test_a_glb_is_described_by_its_scene(say: Say, tmp_path: Path) -> None:
    scene = {"meshes": [{}], "nodes": [{}] * 3, "skins": [{"joints": [0, 1]}], "animations": [{}]}
    words = json.dumps(scene).encode()
    words += b" " * (-len(words) % 4)
    content = struct.pack("<4sIIII", b"glTF", 2, 20 + len(words), len(words), 0x4E4F534A) + words
    (tmp_path / "a.glb").write_bytes(content)
    found = inspected(say, "a.glb")
    assert found["what"] == "binary glTF, skinned and animated"
    assert found["facts"] == {"meshes": 1, "nodes": 3, "skins": 1, "animations": 1, "joints": 2}
    (tmp_path / "a.glb").write_bytes(content[:-4])
    assert say("inspect", "a.glb")[0] == 5


def test_arrays_of_no_known_kind_are_listed(say: Say, tmp_path: Path) -> None:
    np.savez(tmp_path / "any.npz", **{f"array_{number}": np.zeros(number) for number in range(30)})
    assert inspected(say, "any.npz")["kind"] == "arrays"
    assert "and 6 more; --json lists all" in say("inspect", "any.npz")[1]
    with h5py.File(tmp_path / "any.h5", "w") as file:
        file["group/values"] = np.zeros((2, 3))
    assert inspected(say, "any.h5")["arrays"] == {"group/values": "float64 [2, 3]"}


def test_meshes_pictures_and_films_are_described(say: Say, tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    found = inspected(say, "a.obj")
    assert found["facts"] == {"vertices": 3, "faces": 1, "colours": "none"}
    mesh = trimesh.load(tmp_path / "a.obj", force="mesh")
    mesh.visual.vertex_colors = [[255, 0, 0, 255]] * 3
    mesh.export(tmp_path / "a.ply")
    assert inspected(say, "a.ply")["facts"] == {"vertices": 3, "faces": 1, "colours": "of vertices"}
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    assert inspected(say, "a.png")["facts"]["size"] == "6 x 4 pixels"
    Film(lambda: iter(np.zeros((3, 64, 32, 3), np.uint8)), 3, fps=30).write(tmp_path / "a.mp4")
    facts = {"size": "32 x 64 pixels", "frames": 3, "fps": 30.0, "sound": "no"}
    assert inspected(say, "a.mp4")["facts"] == facts
    for name in ("a.ply", "a.png", "a.mp4"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 3])
        code, _, err = say("inspect", name)
        assert (code, f"{name}: not a readable" in err) == (5, True), err


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a flac without its suffix"])
def test_a_sound_has_its_length_and_goes_to_infer(name: str, say: Say, tmp_path: Path) -> None:
    path = tmp_path / name
    Sound(0.1 * torch.ones(12_000, 2), 48_000).write(path.with_suffix(path.suffix or ".flac"))
    if not path.suffix:
        path.with_suffix(".flac").rename(path)
    found = inspected(say, path)
    assert (found["kind"], found["what"]) == ("sound", "sound")
    assert found["facts"] == {"seconds": 0.25, "channels": 2, "rate": "48,000 Hz"}
    assert found["read_by"] == ["avatarctl infer audio2motion"]


def test_a_silent_sound_is_said_to_be_odd_and_text_to_be_none(say: Say, tmp_path: Path) -> None:
    Sound(torch.zeros(12_000, 1), 48_000).write(tmp_path / "a.wav")
    assert inspected(say, "a.wav")["facts"]["odd"][0].startswith("is silent")
    (tmp_path / "text.wav").write_text("some words")
    code, _, err = say("inspect", "text.wav")
    assert (code, "text.wav: no sound that can be decoded" in err) == (5, True)


def test_a_blender_script_of_ours_is_known_and_how_it_is_run(say: Say, tmp_path: Path) -> None:
    motion().write(tmp_path / "walk.npz")
    assert say("export", "motion", "walk.npz", "--to", "blender", "--out", "made")[0] == 0
    found = inspected(say, "made/walk.py")
    assert found["what"] == "script that builds the animation inside Blender"
    assert found["facts"]["motion"].startswith("walk: 9 frames at 30 a second")
    assert found["facts"]["run it with"] == "blender --python made/walk.py"
    assert found["read_by"] == []


def test_a_zip_is_known_by_its_files_or_said_to_be_no_known_one(say, tmp_path, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "toy_layouts", raising=False)
    (tmp_path / "toy_layouts.py").write_text(LAYOUTS.replace('(path / "toys.txt").read_text()', "0"))
    with zipfile.ZipFile(tmp_path / "box.zip", "w") as archive:
        archive.writestr("toys.txt", "3")
        archive.writestr("lid/top.txt", "")
    typed = ("--plugin", "toy_layouts.py", "inspect", "box.zip", "--json")
    assert json.loads(say(*typed)[1])["what"] == "box of toys"
    code, _, err = say("inspect", "box.zip")
    assert (code, "is a zip of 2 files that is nothing known (toys.txt, lid/top.txt)" in err) == (5, True)


def test_poses_without_a_path_or_a_rate_are_no_motion(say: Say, tmp_path: Path) -> None:
    np.savez(tmp_path / "means.npz", pose=np.zeros(144), shape=np.zeros(10))
    (tmp_path / "means.pkl").write_bytes(pickle.dumps({"pose": np.zeros(144)}, protocol=2))
    assert inspected(say, "means.npz")["what"] == "archive of arrays"
    assert inspected(say, "means.pkl")["what"] == "pickle"


LAYOUTS = """
from avatarctl.api import Layout, hookimpl

@hookimpl
def avatarctl_layouts():
    yield Layout(name="toys", summary="box of toys", describe="toy_layouts:box", files=("toys.txt", "lid"))
    yield Layout(name="wheels", summary="wheels", describe="toy_layouts:wheels", arrays=("rims", "poses"))

def box(path):
    return {"toys": (path / "toys.txt").read_text()}, [f"avatarctl train toy --data {path}"]

def wheels(path):
    return {}, []
"""


def test_a_plugin_says_what_its_data_are(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "toy_layouts", raising=False)
    (tmp_path / "toy_layouts.py").write_text(LAYOUTS)
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "toys.txt").write_text("bear")
    typed = ("--plugin", "toy_layouts.py", "inspect", "box", "--json")
    assert say(*typed)[0] == 5  # without its lid it is no box of toys
    (tmp_path / "box" / "lid").mkdir()
    found = json.loads(say(*typed)[1])
    assert (found["kind"], found["what"], found["facts"]) == ("data", "box of toys", {"toys": "bear"})
    assert found["read_by"] == ["avatarctl train toy --data box"]
    (tmp_path / "empty").mkdir()
    found = json.loads(say(*typed[:-2], ".", "--json")[1])
    assert (found["what"], found["facts"]) == ("folder of data", {"box": "box of toys"})
    assert found["read_by"] == ["avatarctl train toy --data box"]
    np.savez(tmp_path / "motion.npz", poses=np.zeros((2, 66)), rims=np.ones(4))
    found = json.loads(say("--plugin", "toy_layouts.py", "inspect", "motion.npz", "--json")[1])
    assert (found["what"], found["arrays"]["rims"]) == ("wheels", "float64 [4]")


@pytest.mark.parametrize("given", [{}, {"files": ("a",), "arrays": ("b",)}])
def test_a_layout_is_of_a_folder_or_of_an_archive(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="layout 'toys': expected files of a folder, or arrays"):
        Layout(name="toys", summary="box of toys", describe="toys:box", **given)


BROKEN = {
    "cut.npz": (b"PK\x03\x04" + b"\0" * 40, 5),
    "cut.h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 20, 5),
    "cut.bvh": (b"HIERARCHY\nROOT Hips\n{\n", 5),
    "cut.bvh.gz": (b"\x1f\x8b\x08\0\0\0", 5),
    "cut.pkl": (pickle.dumps({"poses": list(range(99))}, protocol=2)[:-20], 5),
    "cut.txt": (LINE[:90].encode(), 5),
    "cut.glb": (b"glTF\x02\0\0\0", 5),
    "cut.safetensors": (struct.pack("<Q", 400) + b'{"a', 6),
    "cut.pth": (b"\x80\x02}q\x00X", 6),
    "best.pt": (b'{"file": 3', 6),
    "empty.npz": (b"", 5),
    "notes.md": (b"# nothing of the kind\n", 5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_with_its_name(name: str, say: Say, tmp_path: Path) -> None:
    content, expected = BROKEN[name]
    (tmp_path / f"mein {name}").write_bytes(content)
    code, out, err = say("inspect", f"mein {name}")
    assert (code, out) == (expected, "")
    lines = err.splitlines()
    assert lines[0].startswith("error  mein ")
    assert [line.split()[0] for line in lines] == ["error", "try"]


@pytest.mark.parametrize("path", ["nowhere.npz", "."])
def test_what_is_not_there_or_holds_nothing_is_a_data_error(path: str, say: Say) -> None:
    assert say("inspect", path)[0] == 5


def test_a_motion_with_numbers_that_are_not_finite_is_refused(say: Say, tmp_path: Path) -> None:
    poses = np.zeros((4, 156))
    poses[2, 7] = np.nan
    np.savez(tmp_path / "nan.npz", poses=poses, trans=np.zeros((4, 3)), mocap_framerate=60.0)
    code, _, err = say("inspect", "nan.npz")
    assert code == 5
    assert "poses: frame 2" in err


def made_run(verb: str, target: str, stage: str = "", **fields: Any) -> Path:
    """A run folder as a finished command leaves it."""
    folder = create(verb, target, stage)
    about = Manifest(
        {"verb": verb, "target": target, "stage": stage}, status="finished", started="2025-01-02T03:04:05"
    )
    for name, value in fields.items():
        setattr(about, name, value)
    about.write(folder)
    (folder / SETTINGS).write_text("{}\n")
    return folder


def test_runs_lists_every_run_with_its_state(say: Say) -> None:
    assert say("runs")[:2] == (0, "")
    made_run("train", "sparse", "vqvae")
    made_run("infer", "sparse", status="failed", error="it went wrong\nin detail")
    code, page, _ = say("runs")
    assert code == 0
    assert "train-sparse-vqvae/001" in page
    assert "it went wrong" in page
    assert "in detail" not in page
    found = json.loads(say("runs", "--json")[1])["runs"]
    assert [(run["what"]["verb"], run["status"]) for run in found] == [
        ("infer", "failed"),
        ("train", "finished"),
    ]


def test_a_run_is_one_line_however_long_its_error(say: Say, tmp_path: Path) -> None:
    made_run("train", "sparse", "vqvae", status="failed", error="poses: " + "too long " * 40)
    made_run("infer", "sparse")
    lines = say("runs")[1].splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) == 80
    assert sum("poses: too" in line and line.endswith("…") for line in lines) == 1
    assert not any(line != line.rstrip() for line in lines)
    made_run("infer", "a" * 90, status="failed", error="wrong")
    assert len(say("runs")[1].splitlines()) == 4
    assert "too long " * 40 in " ".join(say("runs", "show", "train-sparse-vqvae")[1].split()) + " "


def test_runs_show_tells_a_run_by_number_name_or_last(say: Say) -> None:
    folder = made_run(
        "infer",
        "sparse",
        settings={"batch_size": 7, "optim": {"lr": 0.1}},
        origin={"batch_size": "--set"},
        argv=["avatarctl", "infer", "sparse", "my log.txt"],
    )
    (folder / "metrics.json").write_text('{"mpjpe": 41.5}')
    for words in ("infer-sparse/001", "infer-sparse", "last", str(folder)):
        code, page, _ = say("runs", "show", words)
        assert code == 0
        assert "batch_size        7  (--set)" in page
        assert "optim.lr          0.1  (default)" in page
        assert "avatarctl infer sparse 'my log.txt'" in page
        assert "mpjpe             41.5" in page
    found = json.loads(say("runs", "show", "last", "--json")[1])
    assert (found["metrics"], found["settings"]["batch_size"]) == ({"mpjpe": 41.5}, 7)


def test_the_chain_of_a_run_goes_back_to_what_it_was_made_from(say: Say, tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("raw")
    first = made_run("prepare", "headset", inputs=[record(tmp_path / "raw.txt")])
    (first / "features.npz").write_text("made")
    made_run("infer", "sparse", inputs=[record(first / "features.npz")])
    code, page, _ = say("runs", "show", "infer-sparse", "--chain")
    assert code == 0
    lines = page.splitlines()
    assert [len(line) - len(line.lstrip()) for line in lines] == [0, 2, 4]
    assert "prepare-headset, finished" in lines[1]
    assert "raw.txt" in lines[2]
    depths = [
        link["depth"]
        for link in json.loads(say("runs", "show", "infer-sparse", "--chain", "--json")[1])["chain"]
    ]
    assert depths == [0, 1, 2]


def test_a_run_that_is_not_there_gets_the_nearest_one(say: Say) -> None:
    made_run("infer", "sparse")
    code, _, err = say("runs", "show", "infer-spars/001")
    assert code == 5
    assert "did you mean infer-sparse/001" in err
