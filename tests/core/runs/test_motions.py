"""Motions by the words that users type."""

from __future__ import annotations

import pytest
import torch

from avatarctl.errors import DataError
from avatarctl.motion.clips import clips
from avatarctl.runs.manifest import Manifest
from avatarctl.runs.motions import motion_file, read_motion


def test_motions_come_from_files_runs_and_clips(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    motion = clips()["walk_2"].motion()[::60]
    run = tmp_path / "runs" / "infer-sparse" / "002"
    run.mkdir(parents=True)
    motion.write(run / "motion.npz")
    (run / "manifest.json").write_text("{}")
    (run / "settings.yaml").write_text("")
    for words in (str(run / "motion.npz"), str(run), "run:infer-sparse/2"):
        assert motion_file(words).samefile(run / "motion.npz"), words
        torch.testing.assert_close(read_motion(words).root, motion.root)
    assert motion_file("walk_2") is None
    assert len(read_motion("walk_2")) == len(clips()["walk_2"].motion())
    (tmp_path / "walk_2").mkdir()  # a folder does not hide a clip
    assert motion_file("walk_2") is None


def test_a_run_without_motion_npz_gives_its_only_motion_or_names_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "made"
    run.mkdir()
    (run / "settings.yaml").write_text("")
    outputs = [{"path": "walk.glb", "kind": "glb"}, {"path": "walk.bvh", "kind": "bvh"}]
    Manifest({}, outputs=outputs).write(run)
    assert str(motion_file("made")) == "made/walk.bvh"
    Manifest({}, outputs=[*outputs, {"path": "walk.pkl", "kind": "pkl"}]).write(run)
    with pytest.raises(DataError, match=r"made: no motion\.npz in it") as caught:
        motion_file("made")
    assert caught.value.hint == "name one: made/walk.bvh made/walk.pkl"


def test_a_folder_that_is_no_run_gives_its_only_file_of_a_motion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    for name in ("walk.bvh", "walk.mp4"):
        (tmp_path / "kept" / name).write_text("")
    assert str(motion_file("kept")) == "kept/walk.bvh"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nothing", "'nothing' is no motion file, no run and no embedded clip"),
        ("wolk_2", "no embedded clip, did you mean walk_2?"),
        ("nothing.npz", "nothing.npz: not found; expected a motion file, run:NAME/N or an embedded clip"),
        ("some/where", "some/where: not found"),
        ("run:infer-sparse/7", "there is no run 'infer-sparse/7'"),
        ("empty", "empty: no motion.npz in it; there is a.txt"),
    ],
)
def test_a_missing_motion_is_named(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("")
    with pytest.raises(DataError) as caught:
        read_motion(words)
    assert said in caught.value.message
    assert caught.value.hint


def test_an_unknown_name_is_told_what_else_is_taken_and_where_clips_are_listed():
    with pytest.raises(
        DataError, match="'log' is no headset log, no motion file, no run and no emb"
    ) as caught:
        motion_file("log", also=("headset log",))
    assert "avatarctl inspect clips" in caught.value.hint
