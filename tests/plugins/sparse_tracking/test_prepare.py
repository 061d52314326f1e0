"""`prepare amass`: what it makes of AMASS, of loose archives, of BVH clips and of the embedded ones."""

from __future__ import annotations

import gzip
import shutil

import numpy as np
import pytest
import torch
from avatarctl_sparse_tracking import amass, features, sources
from avatarctl_sparse_tracking.prepare import run_amass
from avatarctl_sparse_tracking.preparing import read_raw
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.body import open_body
from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.data import Store
from avatarctl.errors import DataError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import Tracking
from avatarctl.runs.run import Run


@pytest.fixture(scope="module")
def raw(make, tmp_path_factory):
    return make.write_amass(tmp_path_factory.mktemp("mein AMASS"))


@pytest.fixture
def prepared(raw, tmp_path):
    """Prepare with other settings, below a folder of the test; returns the folder and the run."""

    def prepare(**words):
        words = {"raw": raw, "store": tmp_path / "store", "official_out": tmp_path / "official"} | words
        settings = PrepareAmass(**words)
        run = Run.standalone(tmp_path / "run", settings=settings)
        run_amass(settings, run)
        return run

    return prepare


def sources_of(store, split):
    return Store(store).split(split).column("source")


def test_the_protocols_choose_their_subsets(prepared, tmp_path):
    prepared(protocol="S1")
    assert sources_of(tmp_path / "store", "train") == [
        "BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz",
        "CMU/01/01_01_poses.npz",
        "MPI_HDM05/dg/HDM_dg_03-04_02_120_poses.npz",
    ]
    assert sources_of(tmp_path / "store", "test") == [
        "BioMotionLab_NTroje/rub098/0004_motorcycle_poses.npz",
        "CMU/01/01_02_poses.npz",
        "CMU/05/05_04_poses.npz",
    ]

    prepared(protocol="S2", replace=True)
    assert sources_of(tmp_path / "store", "test") == [
        "HumanEva/S1/Box_1_poses.npz",
        "Transitions_mocap/mazen_c3d/jog_stand_poses.npz",
    ]
    assert len(sources_of(tmp_path / "store", "train")) == 8


def test_the_official_files_equal_the_published_preparation(
    prepared, raw, make, tmp_path, published_preparation
):
    path = make.write_body(tmp_path / "bodies", "smplh", "male")
    prepared(layout=["store", "official"], protocol="all", body_models=tmp_path / "bodies")
    body = published_preparation.WholeBody(path)

    made = sorted((tmp_path / "official").rglob("*.pt"))
    assert len(made) == 10
    for file in made:
        found = load_torch(file)
        source = raw / found["filepath"].replace("BioMotionLab_NTroje", "BMLrub").replace(
            "MPI_HDM05", "HDM05"
        )
        wanted = published_preparation.prepare(source, body)
        flat, flat_wanted = (one.pop("body_parms_list") | one for one in (found, wanted))
        assert str(flat.pop("gender")) == str(flat_wanted.pop("gender"))
        del flat["filepath"], flat_wanted["filepath"]
        assert flat.keys() == flat_wanted.keys()
        assert flat.pop("framerate") == flat_wanted.pop("framerate")
        for name, tensor in flat.items():
            # the tolerance of the golden case
            torch.testing.assert_close(
                tensor, flat_wanted[name], rtol=1e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_the_store_holds_the_official_files_numbers(prepared, tmp_path):
    prepared(layout=["store", "official"], protocol="S1")

    split = Store(tmp_path / "store").split("train")
    for index, name in enumerate(split.names):
        official = load_torch(tmp_path / "official" / f"{name}.pt")
        blocks = official["hmd_position_global_full_gt_list"].split([132, 132, 66, 66], dim=1)
        wide = [block.unflatten(1, (22, -1))[:, [15, 20, 21]] for block in blocks]
        np.testing.assert_array_equal(split.clip("sparse", index), torch.cat(wide, dim=-1).flatten(1).float())
        np.testing.assert_array_equal(split.clip("sixd", index), official["rotation_local_full_gt_list"])
        np.testing.assert_array_equal(split.clip("head", index), official["head_global_trans_list"][:, :3, 3])
        body = official["body_parms_list"]
        np.testing.assert_array_equal(split.clip("poses", index)[:, 3:], body["pose_body"][1:])
        np.testing.assert_array_equal(split.clip("trans", index), body["trans"][1:])


def test_numbers_of_an_incomplete_copy_are_those_of_a_complete_one(raw):
    found = amass.survey(raw)

    numbers = {one.source: one.number for one in found.sequences}
    assert numbers["CMU/01/01_02_poses.npz"] == 1
    assert numbers["CMU/05/05_04_poses.npz"] == 2
    assert numbers["BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz"] == 1436
    assert numbers["KIT/3/walking_slow01_poses.npz"] == 2
    assert len(found.missing_files["CMU_train"]) == 1866
    assert "KIT/3/shape.npz" in found.unnumbered
    assert "EKUT" in found.missing_subsets


@pytest.mark.parametrize(
    ("rate", "stride"),
    [(120.0, 2), (60.0, 1), (100.0, 2), (150.0, 2), (250.0, 4), (59.94, 1), (30.0, 0), (25.0, 0)],
)
def test_strides_are_the_published_ones(rate, stride):
    assert amass.stride(rate) == stride


def test_s3_takes_prepared_numbers(raw):
    lists = {name: set(amass.read_list(name)) for name in ("train_full_rand0", "test_full_rand0")}
    for number in (1, 2, 3, 4):
        line = f"dataset/CMU_train/{number}.pt"
        wanted = [name for name, lines in lists.items() if line in lines]
        assert amass.split_of("CMU_train", number, "S3") == (wanted[0].split("_")[0] if wanted else "")


def test_slow_recordings_are_resampled_where_the_published_stride_is_zero(make, tmp_path, prepared):
    folder = tmp_path / "slow"
    folder.mkdir()
    arrays = make.sequence(31, 30.0, "male")
    np.savez(folder / "one.npz", **arrays)
    np.savez(folder / "two.npz", **arrays)

    prepared(raw=folder)

    split = Store(tmp_path / "store").split("train")
    assert split.lengths.tolist() == [60]  # one second and a frame, less the first
    assert split.column("fps") == [60.0]
    # Every second frame is one of the recording.
    np.testing.assert_allclose(split.clip("trans", 0)[1::2], arrays["trans"][1:], rtol=0, atol=1e-6)
    poses = Motion(torch.tensor(split.clip("poses", 0)).unflatten(1, (22, 3)), torch.zeros(60, 3), 60.0)
    wanted = Motion(torch.tensor(arrays["poses"][1:, :66]).unflatten(1, (22, 3)), torch.zeros(30, 3), 30.0)
    np.testing.assert_allclose(poses.poses[1::2], wanted.poses, rtol=0, atol=1e-5)


def test_loose_clips_of_every_kind_are_prepared(make, tmp_path, prepared):
    folder = tmp_path / "lose Clips"
    folder.mkdir()
    shutil.copy(clips()["jump_1"].path, folder / "sprung ä.bvh.gz")
    np.savez(folder / "walk.npz", **make.sequence(40, 60.0, "female"))
    (folder / "held out.txt").write_text("# for testing\nsprung ä\n", encoding="utf-8")

    prepared(raw=folder, held_out=folder / "held out.txt")

    store = Store(tmp_path / "store")
    assert store.split("train").column("source") == ["walk.npz"]
    assert store.split("train").column("gender") == ["female"]
    assert store.split("test").names == ["sprung ä"]


def test_a_clip_in_two_formats_counts_once_and_the_other_file_is_named(tmp_path):
    clip = clips()["dab"]
    shutil.copy(clip.path, tmp_path)
    (tmp_path / "dab.bvh").write_bytes(gzip.decompress(clip.path.read_bytes()))
    found = sources.find(PrepareAmass(raw=tmp_path))
    assert [one.source for one in found.clips] == ["dab.bvh.gz"]
    assert any("1 files left out (dab.bvh, ...)" in note for note in found.notes)


def test_a_held_out_name_that_is_no_clip_is_refused(make, tmp_path, prepared):
    np.savez(tmp_path / "walk.npz", **make.sequence(40, 60.0, "female"))
    (tmp_path / "list.txt").write_text("wlak\n")

    with pytest.raises(DataError, match="'wlak': no such clip; there is walk"):
        prepared(raw=tmp_path, held_out=tmp_path / "list.txt")


def test_the_embedded_clips_have_a_fixed_split_by_family():
    found = sources.find(PrepareAmass(raw="open"))

    test = [clip for clip in found.clips if clip.split == "test"]
    train = [clip for clip in found.clips if clip.split == "train"]
    assert len(test) + len(train) == len(clips())
    assert {"walk", "salsa", "martial"} <= {clip.name.split("_")[0] for clip in test}
    takes = [{clips()[clip.name].take for clip in part} for part in (test, train)]
    assert not takes[0] & takes[1], "a take stands on both sides"


def test_trackers_in_the_store_are_those_of_the_motion(make, tmp_path, prepared):
    arrays = make.sequence(40, 60.0, "male")
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", **arrays)

    prepared(raw=tmp_path, body_models=None)

    poses = torch.tensor(arrays["poses"][:, :66]).unflatten(1, (22, 3))
    rest = open_body().rest_joints[0].double()
    motion = Motion(poses=poses, root=torch.tensor(arrays["trans"]), fps=60.0)
    tracking = Tracking.from_motion(motion)
    found = Store(tmp_path / "store").split("train").clip("sparse", 0)
    assert rest.abs().max() > 1e-3  # the pelvis is not the origin: place = trans + rest
    np.testing.assert_allclose(found, tracking.features(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("frames", [5, 1023, 1024, 1025, 1026, 2500])
def test_features_in_pieces_equal_those_at_once(make, frames, monkeypatch):
    arrays = make.sequence(frames, 60.0, "male")
    given = (
        torch.tensor(arrays["poses"][:, :66]),
        torch.tensor(arrays["trans"]),
        open_body().rest_joints[:22],
    )

    pieces = features.compute(*given)
    monkeypatch.setattr(features, "PIECE", 1 << 20)
    whole = features.compute(*given)

    assert len(pieces.sixd) == frames - 1
    for name in ("sixd", "world", "step", "places", "place_steps"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=0, atol=1e-6)


def test_the_step_is_a_general_inverse():
    matrices = torch.randn(50, 3, 3, dtype=torch.float64)

    found = features._inverse(matrices)

    torch.testing.assert_close(found, torch.linalg.inv(matrices), rtol=1e-9, atol=1e-9)


def test_a_rerun_does_nothing(prepared, tmp_path, monkeypatch):
    prepared(protocol="S1", layout=["store", "official"])
    kept = [*(tmp_path / "store").rglob("*.*"), *(tmp_path / "official").rglob("*.*")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    monkeypatch.setattr("avatarctl_sparse_tracking.prepare.run_all", None)

    run = prepared(protocol="S1", layout=["store", "official"])

    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run.metrics["rows"][0]["clips"] == 3


def test_a_rerun_adds_the_layout_that_is_missing(prepared, tmp_path):
    prepared(protocol="S1")
    before = (tmp_path / "store" / "manifest.json").stat()

    prepared(protocol="S1", layout=["store", "official"])

    assert len(list((tmp_path / "official").rglob("*.pt"))) == 10
    assert (tmp_path / "store" / "manifest.json").stat() == before


def test_another_store_is_replaced_only_when_told(prepared, tmp_path):
    prepared(protocol="S1")

    with pytest.raises(DataError, match="made in another way \\(protocol differ") as caught:
        prepared(protocol="S2")
    assert "--replace" in caught.value.hint
    assert sources_of(tmp_path / "store", "test")[0].startswith("BioMotionLab")
    prepared(protocol="S2", replace=True)
    assert sources_of(tmp_path / "store", "test")[0].startswith("HumanEva")


def test_a_damaged_store_is_made_again(prepared, tmp_path):
    prepared(protocol="S1")
    shard = tmp_path / "store" / "train-00000.h5"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5] + b"XXXXX")

    prepared(protocol="S1")

    assert shard.read_bytes() == whole


def test_what_is_missing_has_the_websites_names(prepared):
    run = prepared(protocol="S1")

    assert run.metrics["missing"] == sum(amass.COMPLETE[subset] for subset in amass.needed_subsets("S1")) - 6


def test_an_embedded_clip_is_read_as_its_file_is(tmp_path):
    clip = clips()["walk_1"]
    shutil.copy(clip.path, tmp_path / clip.path.name)

    embedded, loose = read_raw("open:walk_1"), read_raw(str(tmp_path / clip.path.name))

    torch.testing.assert_close(embedded.poses, loose.poses, rtol=0, atol=0)
    torch.testing.assert_close(embedded.trans, loose.trans, rtol=0, atol=0)
