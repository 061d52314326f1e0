"""What is found in AMASS folders as users have them: names, links, levels, lists, wrong downloads."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict

import numpy as np
import pytest
from avatarctl_sparse_tracking import amass, sources
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.errors import DataError


@pytest.fixture
def raw(make, tmp_path):
    return make.write_amass(tmp_path / "AMASS")


def found_in(folder):
    return [(one.subset, one.number, one.source) for one in amass.survey(folder).sequences]


def test_the_counts_of_a_complete_copy_are_what_the_s3_lists_reveal():
    numbers = defaultdict(set)
    for line in amass.read_list("train_full_rand0") + amass.read_list("test_full_rand0"):
        _, subset, file = line.split("/")
        numbers[subset].add(int(file.removesuffix(".pt")))

    assert {subset: max(known) for subset, known in numbers.items()} == amass.COMPLETE
    gaps = {subset: set(range(1, max(known))) - known for subset, known in numbers.items()}
    assert {subset: gap for subset, gap in gaps.items() if gap} == {"EKUT": {199}, "KIT": {3595}}
    for subset in amass.needed_subsets("S1"):
        assert len(amass.read_paths(subset, base=amass.base_of(subset))) == amass.COMPLETE[subset]


@pytest.mark.parametrize(
    ("protocol", "train", "test"),
    [("S1", 4814, 536), ("S2", 12927, 138), ("S3", 11756, 1307), ("S3-certain", 4805, 1307 - 762)],
)
def test_a_complete_copy_is_split_as_published(protocol, train, test):
    splits = Counter(
        amass.split_of(subset, number, protocol)
        for subset, count in amass.COMPLETE.items()
        for number in range(1, count + 1)
    )
    assert (splits["train"], splits["test"]) == (train, test)


@pytest.mark.parametrize("name", ["HDM05", "MPI_HDM05", "hdm05", "mpi_hdm05"])
def test_a_subset_is_found_under_each_of_its_names(raw, name):
    wanted = found_in(raw)
    (raw / "HDM05").rename(raw / name)
    assert found_in(raw) == wanted


def test_of_two_folders_of_a_subset_the_canonical_one_is_taken_and_it_is_said(raw):
    shutil.copytree(raw / "BMLrub", raw / "BioMotionLab_NTroje")
    (raw / "BMLrub" / "rub001" / "0000_treadmill_norm_poses.npz").unlink()

    found = amass.survey(raw)

    assert found.folders["BioMotionLab_NTroje"].name == "BioMotionLab_NTroje"
    assert found.passed_over == [
        "BMLrub and BioMotionLab_NTroje are the same subset; BioMotionLab_NTroje is taken"
    ]
    assert found.counts["BioMotionLab_NTroje_train"] == 1


def test_a_link_from_one_name_to_the_other_is_one_folder(raw):
    (raw / "BioMotionLab_NTroje").symlink_to(raw / "BMLrub")
    assert amass.survey(raw).passed_over == []


def test_linked_subsets_and_subjects_are_gone_into_and_circles_end(raw, tmp_path):
    wanted = found_in(raw)
    for name in ("KIT", "CMU/01"):
        moved = tmp_path / f"elsewhere {name.replace('/', ' ')}"
        (raw / name).rename(moved)
        (raw / name).symlink_to(moved)
    (raw / "ACCAD" / "again").symlink_to(raw / "ACCAD")
    (raw / "ACCAD" / "whole").symlink_to(raw)

    assert found_in(raw) == wanted


def test_an_archive_unpacked_in_a_folder_of_its_own_name_is_found(raw):
    wanted = found_in(raw)
    (raw / "BMLrub").rename(raw / "inner")
    (raw / "BMLrub").mkdir()
    (raw / "inner").rename(raw / "BMLrub" / "BioMotionLab_NTroje")
    assert found_in(raw) == wanted


def test_the_folder_above_amass_and_a_single_subset_are_refused_with_the_right_folder(raw):
    with pytest.raises(DataError, match="the AMASS subsets are one folder deeper") as caught:
        sources.find(PrepareAmass(raw=raw.parent))
    assert caught.value.hint == f"name {raw}"
    with pytest.raises(DataError, match="is one subset of AMASS") as caught:
        sources.find(PrepareAmass(raw=raw / "CMU"))
    assert caught.value.hint == f"name {raw}"


def test_a_folder_that_cannot_be_read_is_named(raw, monkeypatch):
    locked, scan = raw / "KIT" / "3", os.scandir

    def scandir(path):
        if os.fspath(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(locked))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="KIT/3: cannot be read: Permission denied"):
        amass.survey(raw)


def test_listed_sequences_of_the_wrong_download_are_recognised(raw):
    for path in (raw / "CMU").rglob("*_poses.npz"):
        path.rename(path.with_name(path.name.replace("_poses", "_stageii")))

    found = amass.survey(raw)

    assert found.wrong_download == [
        "CMU/01/01_01_stageii.npz", "CMU/01/01_02_stageii.npz", "CMU/05/05_04_stageii.npz"
    ]  # fmt: skip
    assert len(found.missing_files["CMU_train"]) == 1866
    notes = sources.find(PrepareAmass(raw=raw)).notes
    assert any("3 files left out (CMU/01/01_01_stageii.npz, ...)" in note for note in notes)


def test_what_is_missing_is_said_with_an_example(raw):
    notes = sources.find(PrepareAmass(raw=raw, protocol="S3")).notes
    assert "KIT: 2 sequences; a complete copy has 4232" in notes
    listed = "CMU: 1866 of the sequences listed in CMU_train.txt are not there (CMU/01/01_03_poses.npz, ...)"
    assert listed in notes
    assert "KIT: 2 sequences, not 4232: its numbers, and with them its S3 membership, are shifted" in notes
    assert any("S3 membership is approximate" in note and "--protocol S3-certain" in note for note in notes)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"CMU/01/a_poses.npz\n# note\nCMU/01/a_poses.npz", "line 3: 'CMU/01/a_poses.npz' stands twice"),
        (b"\nHDM05/a_poses.npz", "line 2: found 'HDM05/a_poses.npz'; expected CMU/SUBJECT/NAME_poses.npz"),
        (b"CMU/../../a_poses.npz", "line 1: found 'CMU/../../a_poses.npz'; expected CMU/SUBJECT"),
        (b"/data/CMU/01/01_01_poses.npz", "line 1: found '/data/CMU/01/01_01_poses.npz'"),
        (b"01_01_poses.npz", "line 1: found '01_01_poses.npz'"),
        (b"dataset/CMU_train/1.pt", "line 1: found 'dataset/CMU_train/1.pt'"),
        (b"CMU/\xff\xfe", "cannot be read: 'utf-8' codec"),
    ],
)  # fmt: skip
def test_a_wrong_list_names_file_and_line(tmp_path, content, complaint):
    (tmp_path / "CMU_train.txt").write_bytes(content)
    with pytest.raises(DataError) as caught:
        amass.read_paths("CMU_train", tmp_path, "CMU")
    assert str(tmp_path / "CMU_train.txt") in caught.value.message
    assert complaint in caught.value.message


def test_lists_may_come_from_windows_and_use_the_websites_names(tmp_path):
    text = "\ufeffBMLrub\\rub001\\a_poses.npz\r\n\r\nbmlrub/rub002/b_poses.npz\r\n"
    (tmp_path / "BioMotionLab_NTroje_train.txt").write_text(text, encoding="utf-8", newline="")
    assert amass.read_paths("BioMotionLab_NTroje_train", tmp_path, "BioMotionLab_NTroje") == [
        "BioMotionLab_NTroje/rub001/a_poses.npz",
        "BioMotionLab_NTroje/rub002/b_poses.npz",
    ]


def test_shape_files_in_a_list_take_no_number(raw, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for subset in amass.needed_subsets("S1"):
        (lists / f"{subset}.txt").write_text("")
    (lists / "CMU_train.txt").write_text("CMU/01/shape.npz\nCMU/01/01_01_poses.npz\n")

    found = amass.survey(raw, lists, ("CMU_train",))

    assert [(one.number, one.source) for one in found.sequences] == [(1, "CMU/01/01_01_poses.npz")]
    assert found.unnumbered == ["CMU/01/shape.npz"]


def test_archives_that_cannot_be_opened_are_counted_and_named(raw):
    path = raw / "KIT" / "3" / "a_poses.npz"
    path.write_bytes(b"cut off")
    np.savez(raw / "KIT" / "3" / "b_poses.npz", poses=np.zeros(3))

    found = amass.survey(raw, subsets=("KIT",))

    assert found.broken == ["KIT/3/a_poses.npz"]
    assert found.sequences[0].source == "KIT/3/a_poses.npz"
    assert "KIT/3/b_poses.npz" in found.unnumbered
