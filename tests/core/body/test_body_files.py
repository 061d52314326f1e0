"""Body files: every container, every published place, and broken ones."""

from __future__ import annotations

import io
import pickle
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch

from avatarctl.body import Bodies
from avatarctl.body.files import read
from avatarctl.errors import AssetError, DataError

FIELDS = ("template", "shape_directions", "pose_directions", "regressor", "weights", "faces")


@pytest.mark.parametrize("family", ["smpl", "smplh", "smplx"])
@pytest.mark.parametrize("form", ["pkl", "chumpy"])
def test_a_pickle_gives_the_arrays_of_the_npz(make, tmp_path, family, form):
    archive = read(make.write_body(tmp_path, family))

    pickled = read(make.write_body(tmp_path, family, form=form))

    assert pickled.parents == archive.parents
    for name in FIELDS:
        assert torch.equal(getattr(pickled, name), getattr(archive, name)), name


def test_arrays_are_those_of_the_file(make, tmp_path):
    arrays = make.body("smplh")

    body = read(make.write_body(tmp_path, "smplh", "female"))

    assert (body.family, body.gender, body.parents[:2]) == ("smplh", "female", (-1, 0))
    np.testing.assert_array_equal(body.template, arrays["v_template"].astype(np.float32))
    np.testing.assert_array_equal(body.faces, arrays["f"])
    flat = arrays["posedirs"].astype(np.float32).reshape(len(body.template) * 3, -1).T
    np.testing.assert_array_equal(body.pose_directions, flat)
    np.testing.assert_array_equal(body.hands_mean[:15].flatten(), arrays["hands_meanl"].astype(np.float32))


def test_expressions_of_smplx_stand_after_the_shapes(make, tmp_path):
    body = read(make.write_body(tmp_path, "smplx"))
    expression = torch.zeros(100)
    expression[2] = 1.5

    moved = body.shape(expression=expression).vertices - body.template

    assert (body.num_betas, body.expressions) == (300, 100)
    wanted = 1.5 * make.body("smplx")["shapedirs"][..., 302]
    np.testing.assert_allclose(moved, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "place",
    [
        "smplh/male/model.npz",
        "male/model.npz",
        "smplh/SMPLH_MALE.npz",
        "SMPLH_MALE.npz",
        "models/smplh/SMPLH_MALE.npz",
    ],
)
def test_every_published_place_is_found(make, tmp_path, place):
    written = make.write_body(tmp_path / "made", "smplh", "male")
    target = tmp_path / "Körper modelle" / place
    target.parent.mkdir(parents=True)
    written.rename(target)

    body = Bodies().load("smplh", "male", tmp_path / "Körper modelle")

    assert (body.family, body.gender, body.source) == ("smplh", "male", str(target))


def test_a_folder_without_the_model_says_where_it_looked(tmp_path):
    with pytest.raises(AssetError, match="body model 'smplh' for gender 'male' was not found") as caught:
        Bodies().load("smplh", "male", tmp_path)

    assert str(tmp_path) in caught.value.message
    assert "avatarctl assets" in caught.value.hint


def test_the_open_body_stands_in(monkeypatch):
    monkeypatch.setattr("avatarctl.body.service.asset_folders", list)

    body = Bodies().load("smplh", "male")

    assert body.is_open
    assert body.num_joints == 52


def changed(name, value):
    return lambda arrays: arrays | {name: value(arrays[name])}


BROKEN = {
    "posedirs: missing": lambda arrays: {key: value for key, value in arrays.items() if key != "posedirs"},
    "v_template: found": changed("v_template", lambda array: array[:, :2]),
    "weights: holds numbers that are not finite": changed("weights", lambda array: array * np.nan),
    "J_regressor: found": changed("J_regressor", lambda array: array[:-1]),
    "v_template: holds numbers beyond 1e+06": changed("v_template", lambda array: array * 1e300),
    "f: a face names vertex": changed("f", lambda array: array + 1),
    "f: no faces": changed("f", lambda array: array[:0]),
    "hands_meanl: found": changed("hands_meanl", lambda array: array.astype(str)),
    "hands_componentsl: found": changed("hands_componentsl", lambda array: array.astype(str)),
    "vt: found": lambda arrays: arrays | {"vt": np.zeros((4, 3)), "ft": arrays["f"]},
    "ft: names a place": lambda arrays: arrays | {"vt": np.zeros((4, 2)), "ft": arrays["f"]},
    "kintree_table: 51 joints": changed("kintree_table", lambda array: array[:, :-1]),
    "kintree_table: a parent": changed("kintree_table", lambda array: np.roll(array, 1, axis=1)),
    "shapedirs: found": changed("shapedirs", lambda array: array.astype(str)),
}


@pytest.mark.parametrize("reason", BROKEN)
@pytest.mark.parametrize("form", ["npz", "pkl"])
def test_a_wrong_field_is_named_in_one_line(make, tmp_path, reason, form):
    path = tmp_path / f"model.{form}"
    arrays = BROKEN[reason](make.body("smplh"))
    if form == "npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays))

    with pytest.raises(DataError) as caught:
        read(path)

    assert caught.value.message.startswith(f"{path}: {reason}")
    assert "\n" not in caught.value.message


def test_numbers_in_the_other_byte_order_are_read(make, tmp_path):
    arrays = make.body("smplh")
    np.savez(tmp_path / "model.npz", **arrays)
    np.savez(
        tmp_path / "big.npz", **{name: a.astype(a.dtype.newbyteorder(">")) for name, a in arrays.items()}
    )
    small, big = read(tmp_path / "model.npz"), read(tmp_path / "big.npz")
    assert torch.equal(small.pose_directions, big.pose_directions)
    assert all(torch.equal(values, big.extras[name]) for name, values in small.extras.items())


@pytest.mark.parametrize("form", ["npz", "pkl", "chumpy"])
def test_truncated_files_are_refused_at_every_length(make, tmp_path, form):
    whole = make.write_body(tmp_path, "smpl", form=form).read_bytes()
    path = tmp_path / ("model.npz" if form == "npz" else "model.pkl")

    for length in (0, 1, 50, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(path) in caught.value.message


def test_flipped_bits_in_an_archive_are_found(make, tmp_path):
    whole = bytearray(make.write_body(tmp_path, "smpl").read_bytes())
    path = tmp_path / "model.npz"
    path.write_bytes(whole)
    sound = read(path)

    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        whole[place] ^= 0x10
        path.write_bytes(whole)
        whole[place] ^= 0x10
        with suppress(DataError):  # a flip in a time stamp harms nothing
            body = read(path)
            assert torch.equal(body.template, sound.template)
            assert torch.equal(body.pose_directions, sound.pose_directions)


def test_other_things_than_bodies_are_refused(tmp_path):
    for name, content in (
        ("list.pkl", pickle.dumps([1, 2])),
        ("text.npz", b"no archive"),
        ("a.pkl", b"garbage"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)
    with pytest.raises(DataError, match="is a folder; expected a body model"):
        read(tmp_path)
    with pytest.raises(DataError, match="not found; expected a body model"):
        read(tmp_path / "none.npz")


def test_an_array_that_claims_more_than_the_archive_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (20_000_000_000,)}
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("v_template.npy", header.getvalue() + b"0" * 64)

    with pytest.raises(DataError, match="an array of"):
        read(tmp_path / "bomb.npz")


def test_unknown_words_are_refused():
    with pytest.raises(DataError, match="body family 'smil'; expected one of smpl, smplh, smplx"):
        Bodies().load("smil")
    with pytest.raises(DataError, match="gender 'man'"):
        Bodies().load("smplh", "man")


def test_a_file_of_another_family_is_passed_over(make, tmp_path):
    made = make.write_body(tmp_path / "made", "smplh", "female")
    (tmp_path / "bodies" / "female").mkdir(parents=True)
    made.rename(tmp_path / "bodies" / "female" / "model.npz")

    assert Bodies().load("smplh", "female", tmp_path / "bodies").family == "smplh"
    with pytest.raises(AssetError, match="body model 'smplx' for gender 'female' was not found"):
        Bodies().load("smplx", "female", tmp_path / "bodies")
