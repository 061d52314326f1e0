"""People of earlier runs: read from files, picked, and shown again as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import small_people
import torch
from avatarctl_generative_avatar import label, people
from avatarctl_generative_avatar.people import Origin

from avatarctl.cli.main import main
from avatarctl.errors import DataError

Typed = Callable[..., tuple[int, Path, str]]
QUICK = ("--set", "sampling.depth_resolution=6", "--set", "sampling.depth_resolution_importance=6")
NUM_WS = 2 * 3
ORIGIN = Origin(7, 0.5, "small.safetensors", "sha256:0")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return small_people.weights().write(tmp_path_factory.mktemp("weights") / "small.safetensors")


@pytest.fixture
def say(weights, tmp_path, monkeypatch, capsys) -> Typed:
    """`say(VERB, WORDS...)`: exit code, folder of the run, what was said."""
    monkeypatch.chdir(tmp_path)
    runs = iter(range(100))

    def typed(verb: str, *words: object) -> tuple[int, Path, str]:
        out = tmp_path / f"out{next(runs)}"
        capsys.readouterr()
        known = [verb, "generative-avatar", "--weights", weights, *QUICK, "--out", out]
        code = main([str(word) for word in (*known, *words)])
        got = capsys.readouterr()
        return code, out, " ".join((got.out + got.err).split())

    return typed


def some(count: int = 3, num_ws: int = NUM_WS) -> dict[str, np.ndarray]:
    """Arrays of people.npz."""
    poses = torch.arange(count)[:, None, None] * torch.full((count, label.JOINTS, 3), 0.1)
    ws = torch.randn(count, num_ws, 8, generator=torch.Generator().manual_seed(1))
    made = people.arrays(ws, label.made(poses), range(count), ORIGIN)
    return {name: np.asarray(value) for name, value in made.items()}


def written(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def one_of(arrays: dict[str, np.ndarray], row: int, origin: Origin = ORIGIN) -> dict[str, object]:
    return people.arrays_of_one(arrays["ws"][row], arrays["labels"][row], row, origin)


def test_people_are_read_as_they_were_written(tmp_path):
    made = some()
    found = people.read(written(tmp_path / "people.npz", **made))
    assert (found.numbers, found.origin) == ((0, 1, 2), ORIGIN)
    np.testing.assert_array_equal(found.ws, made["ws"])
    np.testing.assert_array_equal(found.labels, made["labels"])
    two = found.only([2, 0])
    assert two.numbers == (2, 0)
    np.testing.assert_array_equal(two.ws, made["ws"][[2, 0]])
    np.testing.assert_array_equal(two.labels, made["labels"][[2, 0]])


def test_a_folder_of_single_people_is_read_whole(tmp_path):
    made = some()
    (tmp_path / "people").mkdir()
    for row in (0, 2):
        written(tmp_path / "people" / f"{row:05d}.npz", **one_of(made, row))
    for path in (tmp_path, tmp_path / "people"):
        found = people.read(path)
        assert (found.numbers, found.origin) == ((0, 2), ORIGIN)
        np.testing.assert_array_equal(found.ws, made["ws"][[0, 2]])
    assert people.read(tmp_path / "people" / "00002.npz").numbers == (2,)


def test_files_of_earlier_versions_are_read(tmp_path):
    made = some()
    found = people.read(written(tmp_path / "people.npz", ws=made["ws"], labels=made["labels"]))
    assert (found.numbers, found.origin) == ((0, 1, 2), Origin())
    single = {"ws": made["ws"][1], "label": made["labels"][1]}
    assert people.read(written(tmp_path / "00004.npz", **single)).numbers == (4,)
    assert people.read(written(tmp_path / "somebody.npz", **single)).numbers == (0,)


def changed(**arrays: object) -> dict[str, object]:
    return {name: value for name, value in {**some(), **arrays}.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"poses": np.zeros(3)}, "holds poses; expected ws and labels of people"),
        (changed(labels=None), "holds about, numbers, ws; expected"),
        (changed(ws=np.zeros((2, NUM_WS, 8), np.float32)), r"ws \[2, 6, 8\] and labels \[3, 111\]"),
        (
            changed(labels=np.zeros((3, 86), np.float32)),
            r"labels \[3, 86\]; expected ws \[N, num_ws, w_dim\]",
        ),
        (changed(ws=np.zeros((0, 6, 8), np.float32), labels=np.zeros((0, 111))), r"ws \[0, 6, 8\]"),
        (changed(ws=np.full((3, 6, 8), np.nan)), "ws: 144 of 144 numbers are not finite"),
        (changed(labels=np.full((3, 111), 1e60)), "labels: 333 of 333 numbers are not finite"),
        (changed(ws=np.zeros((3, 6, 8), np.int64)), "ws: holds int64"),
        (changed(numbers=np.array([0, 1])), r"numbers: found int64 \[2\]"),
        (changed(numbers=np.array([0, -1, 2])), "expected a whole number from 0 for each of 3"),
        (changed(numbers=np.array([0, 2, 2])), "person 2 is in it twice"),
        (changed(about=np.array("{")), "about: does not say what drew the people"),
        (changed(about=np.array('{"seed": "seven"}')), "about: does not say"),
        (changed(about=np.zeros(2)), "about: does not say"),
    ],
)
def test_what_is_no_people_is_told(arrays, said, tmp_path):
    with pytest.raises(DataError, match=said):
        people.read(written(tmp_path / "people.npz", **arrays))


def test_a_broken_file_an_empty_folder_and_people_of_two_runs_are_told(tmp_path):
    path = written(tmp_path / "people.npz", **some())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="not a readable"):
        people.read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has neither people\.npz nor people/NNNNN\.npz"):
        people.read(tmp_path / "empty")
    for row, seed in ((0, 1), (1, 2)):
        written(tmp_path / "empty" / f"{row:05d}.npz", **one_of(some(), row, Origin(seed)))
    with pytest.raises(
        DataError, match=r"00001.npz: its people were drawn otherwise than those of 00000.npz"
    ):
        people.read(tmp_path / "empty")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--pick", "1,9"), 3, "pick: found 9, expected one of 0, 1, 2 (people.npz)"),
        (("--pick", "-1"), 3, "pick"),
        (("--number", "1"), 3, "number: all people of --people are shown; --pick chooses some"),
        (("--set", "poses=clips"), 3, "poses: the people of --people have their poses"),
        (("--truncation", "0.7"), 3, "truncation: the styles of --people are already truncated"),
        (("--seed", "0"), 3, "seed: the people of --people are drawn already"),
        (("--seed=4",), 3, "leave out --seed, or --people"),
        (("--mode", "interp", "--pick", "1,1"), 3, "from one person to another; there is 1"),
        (("--people", "nowhere.npz"), 5, "nowhere.npz: not found"),
        (("--people", "run:infer-generative-avatar/9"), 5, "there is no run"),
    ],
)
def test_words_that_do_not_go_with_people_end_with_one_clear_line(words, code, said, say, tmp_path):
    written(tmp_path / "people.npz", **some())
    ended, _, text = say("infer", "--people", "people.npz", *words)
    assert ended == code, text
    assert said in text
    assert "Traceback" not in text


def test_new_people_can_be_picked_only_if_they_are_drawn(say):
    code, _, text = say("infer", "--number", 2, "--pick", 2)
    assert code == 3
    assert "pick: found 2, expected one of 0, 1 (--number)" in text


@pytest.mark.parametrize("verb", ["infer", "export"])
def test_people_of_a_generator_of_other_sizes_are_told(verb, say, tmp_path):
    written(tmp_path / "people.npz", **some(num_ws=NUM_WS + 2))
    code, _, text = say(verb, "--people", "people.npz")
    assert code == 5
    assert "people.npz: styles of [8, 8], expected [6, 8] for" in text
    assert "--weights small.safetensors" in text


def test_inspect_says_what_people_are(say, tmp_path, capsys):
    written(tmp_path / "people.npz", **some())
    written(tmp_path / "00001.npz", **one_of(some(), 1))
    assert main(["inspect", "people.npz", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what"] == "people of a generator: styles and labels"
    assert found["facts"] == {
        "people": 3,
        "numbers": "0, 1, 2",
        "styles": "6 x 8, after truncation",
        "weights": "small.safetensors",
        "generator": "sha256:0",
        "seed": 7,
        "truncation": 0.5,
    }
    given = "generative-avatar --people people.npz --weights small.safetensors"
    assert found["read_by"] == [f"avatarctl infer {given}", f"avatarctl export {given}"]
    assert main(["inspect", "00001.npz", "--json"]) == 0
    single = json.loads(capsys.readouterr().out)
    assert (single["what"], single["facts"]["numbers"]) == (
        "a person of a generator: styles and label",
        "1",
    )


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["const", "random", "published"])
def test_a_picked_person_has_the_pixels_of_the_run_that_drew_it(noise, say):
    code, drawn, said = say("infer", "--number", 4, "--seed", 5, "--truncation", 0.9, "--noise", noise)
    assert code == 0, said
    words = ("--people", drawn, "--pick", "3,1", "--noise", noise, "--mode", "samples,interp")
    code, again, said = say("infer", *words, "--steps", 2)
    assert code == 0, said
    assert "another generator" not in said
    for number in (1, 3):
        assert (again / f"{number:05d}.png").read_bytes() == (drawn / f"{number:05d}.png").read_bytes()
    assert (again / "00003_interp.png").is_file()
    assert not (again / "00000.png").exists()
    first, kept = people.read(drawn), people.read(again)
    assert (kept.numbers, kept.origin) == ((3, 1), first.origin)
    assert (kept.origin.seed, kept.origin.truncation) == (5, 0.9)
    manifest = json.loads((again / "manifest.json").read_text())
    assert "people" in {record.get("setting") for record in manifest["inputs"]}
    code, fresh, said = say(
        "infer", "--number", 4, "--seed", 5, "--truncation", 0.9, "--noise", noise, "--pick", 3
    )
    assert code == 0, said
    assert [path.name for path in fresh.glob("*.png")] == ["00003.png"]
    assert (fresh / "00003.png").read_bytes() == (drawn / "00003.png").read_bytes()


@pytest.mark.slow
def test_a_person_moves_and_turns_as_in_the_run_that_drew_it(say):
    words = ("--mode", "views,animate", "--motion", "walk_2", "--frames", 2, "--panels", "rgb,normal")
    code, drawn, said = say("infer", "--number", 2, *words)
    assert code == 0, said
    code, again, said = say("infer", "--people", drawn / "people.npz", "--pick", 1, *words)
    assert code == 0, said
    for name in ("00001.mp4", "00001_anim.mp4"):
        assert (again / name).read_bytes() == (drawn / name).read_bytes()


@pytest.mark.slow
def test_infer_and_export_take_each_others_people(say):
    code, drawn, said = say("infer", "--number", 3, "--seed", 2)
    assert code == 0, said
    mesh = ("--voxels", 32, "--to", "ply")
    code, exported, said = say("export", "--number", 3, "--seed", 2, *mesh)
    assert code == 0, said
    code, picked, said = say("export", "--people", drawn, "--pick", 2, *mesh)
    assert code == 0, said
    assert [path.name for path in (picked / "meshes").iterdir()] == ["00002_canonical.ply"]
    for name in ("meshes/00002_canonical.ply", "people/00002.npz", "people/00002.json"):
        assert (picked / name).read_bytes() == (exported / name).read_bytes()
    for path in (exported, exported / "people" / "00002.npz"):
        code, again, said = say("infer", "--people", path, "--pick", 2)
        assert code == 0, said
        assert (again / "00002.png").read_bytes() == (drawn / "00002.png").read_bytes()


@pytest.mark.slow
def test_people_of_another_generator_or_without_a_seed_are_told(say, tmp_path):
    made = some()
    written(tmp_path / "people.npz", **made)
    code, _, text = say("infer", "--people", "people.npz", "--pick", 0)
    assert code == 0, text
    assert "people.npz: drawn by another generator, of small.safetensors" in text
    written(tmp_path / "old.npz", ws=made["ws"], labels=made["labels"])
    code, _, text = say("infer", "--people", "old.npz", "--pick", 0, "--noise", "random")
    assert code == 0, text
    assert "old.npz: does not say its seed; noise is that of seed 0" in text
    assert "another generator" not in text
