"""`avatarctl doctor ego-hmr`: which published files are there, and which zip is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from avatarctl_ego_hmr import checkup
from egobody_mini import RECORDINGS, arrays_of, bodies, egobody, spoil, zipped

from avatarctl.errors import DataError

PICKLE = "transf_matrices_all_seqs.pkl"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A copy of the miniature EgoBody, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    egobody(tmp_path / "egobody")
    return Path("egobody")


def examined(data, weights=None, body_models="bodies"):
    found = checkup.run(data, weights, bodies() if body_models == "bodies" else body_models)
    return found, {row["item"]: row["state"] for row in found.tables.get(f"EgoBody in {data}", [])}


@pytest.mark.parametrize("is_zipped", [False, True])
def test_a_whole_copy_has_nothing_wrong(root, is_zipped):
    if is_zipped:
        zipped(root, [path.name for path in root.iterdir()])
    found, items = examined(root)
    assert found.problems == []
    assert set(items.values()) == {"there"}
    assert [(row["split"], row["frames"], row["pictures"]) for row in found.tables["splits"]] == [
        ("train", 6, 6), ("val", 6, 6), ("test", 6, 6),
    ]  # fmt: skip
    assert found.next == ["avatarctl prepare egobody egobody --step front --split train"]


@pytest.mark.parametrize(
    ("item", "state", "download"),
    [
        ("egocentric_color", "not there", "egocentric_color.zip of"),
        ("scene_mesh", "not there", "scene_mesh.zip of"),
        ("calibrations", "not there", "calibrations.zip of"),
        ("kinect_cam_params", "not there", "kinect_cam_params.zip of"),
        ("data_info_release.csv", "not there", "data_info_release.csv of"),
        (PICKLE, "not there", f"{PICKLE} of"),
    ],
)
def test_what_is_missing_is_named_with_its_zip(root, item, state, download):
    path = root / item
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found, items = examined(root)
    assert items[item] == state
    assert any(item in words and download in remedy for words, remedy in found.problems)
    assert all("\n" not in words for words, _ in found.problems)
    assert found.next == ["avatarctl doctor ego-hmr --data egobody"]


def test_what_single_recordings_lack_is_counted(root):
    shutil.rmtree(root / "calibrations" / RECORDINGS["val"])
    (root / arrays_of(root, "test")["imgname"][3]).unlink()
    found, items = examined(root)
    assert items["calibrations"] == "lacks 1"
    told = [words for words, _ in found.problems]
    assert f"calibrations: 1 missing ({RECORDINGS['val']})" in told
    assert any(words.startswith("test: 1 of 6 pictures are missing (egocentric_color/") for words in told)


def test_broken_annotations_and_zips_are_problems_and_the_rest_is_looked_at(root):
    spoil(root, "val", scale=None)
    (root / "scene_mesh.zip").write_bytes(b"PK no zip")
    found, _ = examined(root)
    told = [words for words, _ in found.problems]
    assert "egobody/annotation_egocentric_smpl_npz/egocapture_val_smpl.npz: scale: missing" in told
    assert "egobody/scene_mesh.zip: not a readable zip" in told
    assert [row["frames"] for row in found.tables["splits"]] == [6, 0, 6]


def test_points_lead_to_the_next_step(root):
    for folder in ("s1_release", "cube_s2_from_gt", "cube_s2_from_pred"):
        for split in ("train", "val", "test"):
            place = root / f"Egohmr_scene_preprocess_{folder}"
            (place / split).mkdir(parents=True)
            for name in (f"map_dict_{split}.pkl", f"pcd_verts_dict_{split}.pkl"):
                (place / name).touch()
    found, _ = examined(root)
    assert [row["front"] for row in found.tables["splits"]] == ["released"] * 3
    assert [row["cube-gt"] for row in found.tables["splits"]] == ["own"] * 3
    assert found.next == ["avatarctl train ego-hmr --stage scene --data egobody"]


def test_bodies_and_other_files_are_looked_for(root):
    found, _ = examined(root, body_models=None)
    assert [row["found"] for row in found.tables["body models"]] == ["not there"] * 3
    assert any("SMPL, neutral; SMPL, male; SMPL, female" in words for words, _ in found.problems)

    weights = Path("downloads")
    for name in (
        "91453/best_model_mpjpe_vis.pt",
        "checkpoints_prohmr/checkpoints.pt",
        "smpl_mean_params.npz",
    ):
        (weights / name).parent.mkdir(parents=True, exist_ok=True)
        (weights / name).touch()
    found, _ = examined(root, weights)
    rows = {row["file"]: str(row["found"]) for row in found.tables["other files"]}
    assert rows["stage 2, 91453"] == "downloads/91453/best_model_mpjpe_vis.pt"
    assert rows["ProHMR"] == "downloads/checkpoints_prohmr/checkpoints.pt"
    assert rows["SMPL mean"] == "downloads/smpl_mean_params.npz"
    assert rows["stage 1, 53618"].startswith("not there")


def test_without_data_only_bodies_and_weights_are_looked_at(root):
    found = checkup.run(None, None, bodies())
    assert found.problems == []
    assert checkup.run(None, None, Path()).problems == [], "no data that would need bodies"
    assert found.next == ["avatarctl doctor ego-hmr --data EGOBODY"]
    json.dumps(found.tables)


@pytest.mark.parametrize("words", [(Path("nowhere"), None), (None, Path("nowhere.pt"))])
def test_what_is_named_and_not_there_is_one_line(root, words):
    with pytest.raises(DataError, match="nowhere"):
        checkup.run(*words, None)
