"""`prepare amass` with split lists of AMASS paths: made, taken, refused; and its word before long work."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
from avatarctl_sparse_tracking import prepare, splitting
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.cli.main import main
from avatarctl.data import Store
from avatarctl.data.store import manifest_digest
from avatarctl.errors import DataError
from avatarctl.runs.run import Run


@pytest.fixture(scope="module")
def raw(make, tmp_path_factory):
    return make.write_amass(tmp_path_factory.mktemp("lists") / "AMASS")


@pytest.fixture
def prepared(raw, tmp_path):
    """Prepare with other settings, below a folder of the test; returns the run."""

    def run(name="run", seed=0, **words):
        settings = PrepareAmass(**{"raw": raw, "store": tmp_path / "store"} | words)
        run = Run.standalone(tmp_path / name, seed, settings=settings)
        prepare.run_amass(settings, run)
        return run

    return run


def lines(run, split):
    return [
        line for line in (run.folder / f"{split}.txt").read_text().splitlines() if not line.startswith("#")
    ]


def sources_of(store, split):
    return Store(store).split(split).column("source")


NAMES = [f"KIT/{index % 60}/walk_{index:04d}_poses.npz" for index in range(13065)]


def test_a_made_split_depends_on_names_alone():
    whole = splitting.divide(NAMES, 0.9, 0)
    half = splitting.divide(NAMES[::-2], 0.9, 0)

    assert sorted(whole["train"] + whole["test"]) == sorted(NAMES)
    assert set(half["train"]) <= set(whole["train"])
    assert set(half["test"]) <= set(whole["test"])
    assert abs(len(whole["train"]) / len(NAMES) - 0.9) < 0.01
    # A larger part keeps what it had.
    assert set(whole["train"]) < set(splitting.divide(NAMES, 0.95, 0)["train"])
    other = splitting.divide(NAMES, 0.9, 1)
    shared = len(set(other["test"]) & set(whole["test"])) / len(whole["test"])
    assert 0.05 < shared < 0.15, "two seeds agree by chance only"


def test_a_made_split_is_the_same_in_every_version():
    names = [f"CMU/01/01_{index:02d}_poses.npz" for index in range(1, 15)]
    test = [name[10:12] for name in splitting.divide(names, 0.5, 0)["test"]]
    # printf '0 CMU/01/01_02_poses.npz' | sha256sum: the first digit is 8 or more.
    assert test == ["02", "04", "05", "06", "07", "09", "12", "13"]


def test_old_and_new_downloads_are_split_alike(raw, prepared, tmp_path):
    new = tmp_path / "new"
    shutil.copytree(raw, new)
    names = {"Transitions_mocap": "Transitions", "BMLrub": "BioMotionLab_NTroje", "HDM05": "MPI_HDM05"}
    for old, other in names.items():
        (new / old).rename(new / other)

    first, second = prepared("a", make_split=0.6), prepared("b", raw=new, make_split=0.6)

    for split in ("train", "test"):
        assert lines(first, split)
        assert lines(first, split) == lines(second, split)
    assert len(lines(first, "train") + lines(first, "test")) == 11
    assert not (tmp_path / "store").exists()


def test_made_lists_are_prepared_by_path(prepared, tmp_path):
    made = prepared("made", make_split=0.6)
    prepared("lists", protocol="lists", lists=made.folder)

    for split in ("train", "test"):
        wanted = [line for line in lines(made, split) if "too_short" not in line]
        assert sources_of(tmp_path / "store", split) == wanted
    names = Store(tmp_path / "store").split("train").names
    assert names == [source.removesuffix(".npz") for source in sources_of(tmp_path / "store", "train")]


def test_the_lists_that_every_preparation_saves_give_the_same_store(prepared, tmp_path):
    first = prepared("s3", protocol="S3")
    assert (first.folder / "train.txt").read_text().startswith("# S3: CMU, ")

    prepared("again", protocol="lists", lists=first.folder, store=tmp_path / "again")

    for split in ("train", "test"):
        assert sources_of(tmp_path / "again", split) == sources_of(tmp_path / "store", split)


def test_listed_sequences_that_are_not_there_are_counted(prepared, tmp_path, caplog):
    lists = tmp_path / "mine"
    lists.mkdir()
    (lists / "train.txt").write_text("CMU/01/01_01_poses.npz\nCMU/99/99_01_poses.npz\nGRAB/s1/a_poses.npz\n")
    (lists / "test.txt").write_text("hdm05/dg/HDM_dg_03-04_02_120_poses.npz\n")

    with caplog.at_level(logging.WARNING):
        run = prepared(protocol="lists", lists=lists)

    assert run.metrics["missing"] == 2
    assert "2 of the sequences listed in train.txt are not there (CMU/99/99_01_poses.npz, ...)" in caplog.text
    assert sources_of(tmp_path / "store", "test") == ["MPI_HDM05/dg/HDM_dg_03-04_02_120_poses.npz"]


def test_a_sequence_in_both_lists_is_refused(prepared, tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("BMLrub/rub001/0000_treadmill_norm_poses.npz\n")
    with pytest.raises(DataError, match=r"1 sequences stand in train\.txt and in test\.txt \(Bio"):
        prepared(protocol="lists", lists=tmp_path)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"protocol": "lists"}, "lists: expected a folder with train.txt and test.txt"),
        ({"protocol": "lists", "lists": "nowhere"}, "nowhere/train.txt: split list not found"),
        ({"raw": "open", "make_split": 0.9}, "open: no AMASS subsets in it"),
        ({"make_split": 1e-9}, "all 11 sequences fall to one side of 1e-09"),
    ],
)
def test_lists_that_cannot_be_had_are_refused(prepared, words, complaint):
    with pytest.raises(DataError, match=complaint):
        prepared(**words)


def test_a_relative_folder_is_the_same_as_its_absolute_path(raw, prepared, monkeypatch):
    prepared("first", protocol="S2")
    monkeypatch.chdir(raw.parent)
    monkeypatch.setattr(prepare, "run_all", None)
    prepared("second", protocol="S2", raw=raw.name)


def test_a_dead_link_is_a_bad_file_among_good_ones(raw, prepared, tmp_path):
    folder = tmp_path / "linked"
    shutil.copytree(raw, folder)
    (folder / "KIT" / "3" / "dead_poses.npz").symlink_to(tmp_path / "gone.npz")

    with pytest.raises(DataError, match=r"dead_poses\.npz: not found") as caught:
        prepared(raw=folder, protocol="S2")
    assert "--skip-bad" in caught.value.hint
    assert len(sources_of(tmp_path / "store", "train")) == 8


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda manifest: manifest["splits"].pop("train"), "no 'train'"),
        (lambda manifest: manifest.pop("left_out"), "no 'left_out'"),
        (lambda manifest: manifest.update(left_out=[{"source": "x"}]), "no 'status'"),
    ],
)
def test_a_forged_manifest_ends_with_5(raw, prepared, tmp_path, capsys, spoil, complaint):
    prepared()
    path = tmp_path / "store" / "manifest.json"
    manifest = json.loads(path.read_text())
    spoil(manifest)
    manifest["digest"] = manifest_digest(manifest)
    path.write_text(json.dumps(manifest))

    code = main(
        ["prepare", "amass", str(raw), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "o")]
    )

    assert code == 5
    assert f"manifest.json: {complaint}; expected splits" in " ".join(capsys.readouterr().err.split())


def test_long_work_is_announced_with_frames_gigabytes_and_minutes(prepared, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(prepare, "WORTH_AN_ESTIMATE", 1)
    with caplog.at_level(logging.INFO):
        prepared(layout=["store", "official"], official_out=tmp_path / "official", protocol="all")
    line = next(record.getMessage() for record in caplog.records if "hours of motion" in record.getMessage())
    assert "million frames" in line
    assert "with 1 processes" in line
