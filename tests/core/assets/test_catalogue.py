"""The licensed body models: published layouts are found, adding keeps checked copies of what is right."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from avatarctl.assets import catalogue
from avatarctl.body.adding import add_bodies
from avatarctl.body.files import candidates
from avatarctl.errors import AssetError, DataError

ASSETS = {asset.name: asset for asset in catalogue.BODIES}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARCTL_ASSETS", str(tmp_path / "added"))
    monkeypatch.delenv("AVATARCTL_BODY_MODELS", raising=False)


@pytest.mark.parametrize("family", ["smpl", "smplh", "smplx"])
@pytest.mark.parametrize("gender", ["male", "female", "neutral"])
def test_every_layout_that_bodies_are_loaded_from_is_listed_as_found(
    family: str, gender: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [name for name in candidates(family, gender) if family in name.lower() or "basic" in name]
    for number, name in enumerate(named):
        folder = tmp_path / str(number)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
        monkeypatch.setenv("AVATARCTL_BODY_MODELS", str(folder))
        assert catalogue.found(ASSETS[family]) == [folder / name]
        assert not [other for key, other in ASSETS.items() if key != family and catalogue.found(other)]


def test_nothing_is_found_in_folders_that_are_not_there() -> None:
    assert not any(catalogue.found(asset) for asset in catalogue.BODIES)


def test_adding_a_folder_keeps_each_body_where_it_is_found_again(tmp_path: Path, make: ModuleType) -> None:
    make.write_body(tmp_path / "down load", "smplh", "male")
    make.write_body(tmp_path / "down load", "smpl", "female", form="chumpy")
    make.write_dmpl(tmp_path / "down load")
    added = tmp_path / "added"
    assert sorted(add_bodies(tmp_path / "down load")) == [
        added / "dmpls" / "male" / "model.npz",
        added / "smpl" / "SMPL_FEMALE.pkl",
        added / "smplh" / "SMPLH_MALE.npz",
    ]
    assert catalogue.found(ASSETS["smplh"]) == [added / "smplh" / "SMPLH_MALE.npz"]
    assert catalogue.found(ASSETS["dmpl"]) == [added / "dmpls" / "male" / "model.npz"]


def test_a_file_that_is_no_body_is_left_out_with_a_warning(
    tmp_path: Path, make: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    make.write_body(tmp_path / "in", "smplh", "male")
    np.savez(tmp_path / "in" / "MANO_LEFT.npz", v_template=np.zeros((4, 3)))
    with caplog.at_level(logging.WARNING):
        assert len(add_bodies(tmp_path / "in")) == 1
    assert "MANO_LEFT.npz" in caplog.text


def test_a_broken_body_named_by_its_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "SMPLH_MALE.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match=r"SMPLH_MALE\.npz"):
        add_bodies(tmp_path / "SMPLH_MALE.npz")


def test_a_folder_of_broken_bodies_names_each(tmp_path: Path) -> None:
    for name in ("SMPLH_MALE.npz", "SMPLH_FEMALE.pkl"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError) as caught:
        add_bodies(tmp_path)
    assert [line.split(":")[0] for line in caught.value.message.splitlines()] == [
        str(tmp_path / "SMPLH_FEMALE.pkl"),
        str(tmp_path / "SMPLH_MALE.npz"),
    ]


def test_a_folder_without_bodies_is_an_asset_error(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="no body model"):
        add_bodies(tmp_path)
