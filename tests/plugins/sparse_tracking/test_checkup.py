"""`avatarctl doctor sparse-tracking` on copies of AMASS as users have them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from avatarctl_sparse_tracking import amass

from avatarctl.cli.main import main


@pytest.fixture
def raw(make, tmp_path, monkeypatch):
    """A miniature copy, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    monkeypatch.setenv("COLUMNS", "80")
    return make.write_amass(tmp_path / "AMASS")


def examined(capsys, *words):
    """The exit code and the JSON object of a checkup."""
    capsys.readouterr()
    code = main(["doctor", "sparse-tracking", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def rows(found):
    table = next(rows for title, rows in found["tables"].items() if title.startswith("AMASS in "))
    return {row["subset"]: row for row in table}


def test_an_incomplete_copy_is_counted_under_the_websites_names(raw, capsys):
    code, found = examined(capsys, "--data", "AMASS")
    table = rows(found)

    assert code == 5
    assert list(table)[:3] == ["ACCAD", "BMLrub", "BMLmovi"]
    assert sum(row["complete"] for row in table.values()) == sum(amass.COMPLETE.values())
    assert (table["CMU"]["sequences"], table["CMU"]["state"]) == (3, "2071 missing")
    assert (table["Transitions"]["folder"], table["Transitions"]["state"]) == (
        "Transitions_mocap",
        "109 missing",
    )
    assert (table["SFU"]["folder"], table["SFU"]["state"]) == ("-", "not there")
    told = [one["problem"] for one in found["problems"]]
    assert "CMU: 2071 of 2074 sequences are missing (CMU/01/01_03_poses.npz, ...)" in told
    assert not any("SFU" in words for words in told), "S1 does not need it"
    states = {row["setting"]: row["state"] for row in found["tables"]["published settings"]}
    assert states["S1"] == "not as published: BMLrub, CMU, HDM05"
    assert states["S2"].startswith("lacks BMLmovi, EKUT")
    assert found["next"] == ["avatarctl prepare amass AMASS -c sparse-tracking/s1"]


def test_wrong_downloads_broken_archives_and_second_folders_are_told(raw, capsys):
    for path in (raw / "CMU").rglob("*_poses.npz"):
        path.rename(path.with_name(path.name.replace("_poses", "_stageii")))
    (raw / "KIT" / "3" / "too_short_poses.npz").write_bytes(b"PK")
    (raw / "MPI_HDM05").mkdir()
    code, found = examined(capsys, "--data", raw)
    told = {one["problem"]: one["try"] for one in found["problems"]}

    assert code == 5
    assert rows(found)["CMU"]["state"] == "wrong download"
    assert "'SMPL+H G'" in told["CMU: 3 files are of the 'SMPL-X G' download (CMU/01/01_01_stageii.npz, ...)"]
    assert "KIT: 1 archives cannot be opened (KIT/3/too_short_poses.npz, ...)" in told
    assert "HDM05 and MPI_HDM05 are the same subset; MPI_HDM05 is taken" in told
    assert found["next"] == ["avatarctl prepare amass open --store data/open"]


def test_a_missing_subset_that_every_setting_needs_is_a_problem(raw, capsys):
    (raw / "CMU").rename(raw / "cmu old")
    found = examined(capsys, "--data", raw)[1]
    assert "CMU: not there; every setting needs it" in [one["problem"] for one in found["problems"]]


def test_the_page_has_every_table_in_80_columns(raw, make, capsys):
    make.write_body(raw.parent / "bodies", "smplh", "male")
    assert main(["doctor", "sparse-tracking", "--data", "AMASS", "--body-models", "bodies"]) == 5
    page = capsys.readouterr().out
    for words in (
        "AMASS in AMASS",
        "published settings",
        "bodies/smplh/male/model.npz",
        "open-small",
        "next  ",
    ):
        assert words in page
    tables = page.partition("ACCAD: 251")[0]
    assert max(map(len, tables.splitlines())) <= 80


def test_a_prepared_store_leads_to_training_and_scores(raw, capsys):
    assert main(["prepare", "amass", "AMASS", "-c", "sparse-tracking/s1", "--quiet"]) == 0
    found = examined(capsys, "--data", "AMASS")[1]
    stores = {row["preset"]: row["holds"] for row in found["tables"]["prepared stores"]}
    assert stores["sparse-tracking/s1"] == "S1: test 3 clips, train 3 clips"
    assert "avatarctl train sparse --stage all -c sparse-tracking/s1" in found["next"]
    assert "avatarctl eval sparse -c sparse-tracking/s1 --weights open-small" in found["next"]


def test_without_data_nothing_is_wrong(raw, tiny_weights, capsys):
    code, found = examined(capsys, "--weights", tiny_weights)
    assert code == 0
    assert found["problems"] == []
    assert found["next"] == ["avatarctl doctor sparse-tracking --data AMASS"]
    assert found["tables"]["weights"][0]["weights"] == str(tiny_weights)


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--data", "nowhere"), 5, "nowhere: no such folder"),
        (("--data", "."), 5, ".: the AMASS subsets are one folder deeper"),
        (("--data", "AMASS/KIT/3"), 5, "AMASS/KIT/3: none of the AMASS subsets"),
        (("--weights", "nowhere.pt"), 6, "nowhere.pt: not found"),
        (("--body-models", "AMASS"), 4, "body model 'smplh' for gender 'male' was not found"),
    ],
)
def test_what_is_named_and_not_there_is_one_line(raw, capsys, words, code, complaint):
    assert main(["doctor", "sparse-tracking", *words]) == code
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_a_complete_copy_passes(raw, capsys, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    np.savez(tmp_path / "one.npz", mocap_framerate=np.array(120.0))
    for subset, count in amass.COMPLETE.items():
        name = amass.website_name(subset)
        inside = [f"s{index % 9}/{index}_poses.npz" for index in range(count)]
        if amass.is_listed(subset):
            inside = [line.partition("/")[2] for line in amass.read_list(subset)]
        for path in inside:
            (whole / name / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(tmp_path / "one.npz", whole / name / path)

    code, found = examined(capsys, "--data", whole)

    assert code == 0
    assert {row["state"] for row in rows(found).values()} == {"complete"}
    states = [row["state"] for row in found["tables"]["published settings"]]
    assert states == ["complete", "complete", "membership approximate, see the README"]
