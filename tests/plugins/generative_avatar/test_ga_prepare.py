"""`prepare fashion`: photos with fitted bodies to a collection."""

import json
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import prepare, train
from avatarctl_generative_avatar import settings_train as train_settings
from avatarctl_generative_avatar.dataset import Photos
from avatarctl_generative_avatar.fits import Fits
from avatarctl_generative_avatar.fitted import coded_normals, overlay, seen_normals, vertices_of
from avatarctl_generative_avatar.label import camera_of
from avatarctl_generative_avatar.settings_prepare import PrepareFashion
from avatarctl_generative_avatar.synthetic_people import Studio, photo
from PIL import Image

from avatarctl.body import open_body
from avatarctl.cli.main import main
from avatarctl.errors import AvatarError, DataError
from avatarctl.render import rasterize
from avatarctl.runs import Run

sys.path.append(str(Path(__file__).resolve().parent))

SIDE = 64
BODY = "body_models/smpl/SMPL_NEUTRAL.pkl"


@pytest.fixture(scope="module")
def body(raw, make):
    """The miniature body."""
    return make.fashion().body_files.read(raw / BODY, gender="neutral")


@pytest.fixture(autouse=True)
def _read_once(body, monkeypatch):
    """Reading a licensed body's file takes a while."""
    monkeypatch.setattr(prepare, "load_body", lambda *_: body)


@pytest.fixture(scope="module")
def raw(make, tmp_path_factory):
    """The miniature raw data; not to be changed."""
    folder = tmp_path_factory.mktemp("raw")
    recipes = make.fashion()
    recipes.write_photos(folder, recipes.write_body(folder))
    recipes.write_fits(folder)
    return folder


def prepared(raw, place, **words):
    """Run the target; the zip, and the run."""
    words = {
        "images": raw / "photos", "smpl": raw / "fits.json", "into": place / "photos.zip", "resolution": SIDE,
        "body_models": raw / "body_models", "processes": 1, **words,
    }  # fmt: skip
    work = Run.standalone(place / "run")
    prepare.run(PrepareFashion(**words), work)
    return words["into"], work


def numbers_of(work):
    return json.loads((work.folder / "metrics.json").read_text())


def test_a_collection_is_made(raw, tmp_path):
    path, work = prepared(raw, tmp_path)
    photos, fits = Photos(path, SIDE), Fits(raw / "fits.json")
    assert photos.body == "smpl"
    assert photos.files.index()["photos"]["img/0000001.png"] == "more/back.png"
    assert numbers_of(work) == {"photos": 3, "left_out": 0, "drawn_normals": 3, "resolution": SIDE}
    for number, name in enumerate(["front.png", "more/back.png", "side.jpg"]):
        torch.testing.assert_close(photos.labels[number], fits.label(name))
    assert (work.folder / "check.png").is_file()
    body = photos[2].image  # padded to a square: 48 wide, 64 high
    assert (body[..., :8] > 250).all()
    with Image.open(raw / "photos" / "side.jpg") as source:
        wanted = torch.from_numpy(np.array(source)).permute(2, 0, 1)
    assert torch.equal(body[..., 8:-8], wanted)


def test_drawn_normals_are_those_of_the_photos_body(raw, body, make, tmp_path):
    photos = Photos(prepared(raw, tmp_path)[0], SIDE)
    recipes = make.fashion()
    for number, fit in ((0, 0), (1, 2), (2, 1)):
        coded = torch.from_numpy(recipes.draw(body, recipes.fit(fit))[1]).permute(2, 0, 1)
        found = photos[number].normals
        both = (coded > 0).any(dim=0) & (found < 255).any(dim=0)
        assert both.sum() > 0.8 * (coded > 0).any(dim=0).sum()
        cosine = torch.nn.functional.cosine_similarity(
            coded[:, both] / 127.5 - 1, found[:, both] / 127.5 - 1, dim=0
        )
        assert cosine.mean() > 0.95


def test_given_normals_are_taken_and_black_is_background(raw, tmp_path):
    with pytest.raises(DataError, match=r"1 of 3 photos cannot be used: .*: no normals of more/back\.png"):
        prepared(raw, tmp_path, normals=raw / "normals")
    path, work = prepared(raw, tmp_path, normals=raw / "normals", skip=True)
    assert numbers_of(work) == {"photos": 2, "left_out": 1, "drawn_normals": 0, "resolution": SIDE}
    found = Photos(path, SIDE)[0].normals
    with Image.open(raw / "normals" / "front.png") as source:
        coded = torch.from_numpy(np.array(source)).permute(2, 0, 1).float()
    is_there = (coded > 0).any(dim=0)
    assert torch.equal((found == 255).all(dim=0), ~is_there)
    assert (found - coded)[:, is_there].abs().max() < 3


@pytest.mark.slow
def test_synthetic_photos_have_the_normals_that_would_be_drawn():
    shot, body = Studio().shot(0, 3), open_body("smpl")
    _, clothed = photo(shot, SIDE)
    normals, is_there = seen_normals(vertices_of(body, shot.label), body.faces, shot.label, 2 * SIDE)
    bare = coded_normals(normals, is_there, SIDE)
    both = (clothed < 255).any(-1) & (bare < 255).any(-1)
    one, other = (part[both].astype(float) / 127.5 - 1 for part in (clothed, bare))
    assert (one * other).sum(-1).mean() > 0.9


def test_a_resized_photo_is_a_mean_of_it(raw, tmp_path):
    path, _ = prepared(raw, tmp_path, resolution=16)
    small = Photos(path, 16)[0].image.float()
    large = Photos(prepared(raw, tmp_path, resolution=SIDE, replace=True)[0], SIDE)[0].image.float()
    mean = torch.nn.functional.avg_pool2d(large[None], 4)[0]
    assert (small - mean).abs().mean() < 4


def test_check_writes_nothing_but_the_sheet(raw, tmp_path):
    path, work = prepared(raw, tmp_path, check=True)
    assert not path.exists()
    assert (work.folder / "check.png").is_file()
    assert numbers_of(work)["photos"] == 3


def test_a_finished_collection_is_looked_through(raw, tmp_path):
    path, _ = prepared(raw, tmp_path)
    _, work = prepared(raw, tmp_path / "again", images=path, smpl=None, check=True)
    assert numbers_of(work) == {"photos": 3}
    with Image.open(work.folder / "check.png") as sheet:
        assert sheet.size == (3 * SIDE, SIDE)


def test_what_will_fail_is_said(raw, tmp_path, caplog):
    fits = json.loads((raw / "fits.json").read_text())
    fits["front.png"]["transl"] = [0.9, 0.2, 0.5]
    fits["side.jpg"]["poses"][:3] = [0, 0, 0]
    (tmp_path / "fits.json").write_text(json.dumps(fits))
    photos = shutil.copytree(raw / "photos", tmp_path / "photos")
    Image.new("RGB", (40, 40), (90, 120, 60)).save(photos / "side.jpg")
    with caplog.at_level("WARNING", "avatarctl.run"):
        prepared(raw, tmp_path, images=photos, smpl=tmp_path / "fits.json")
    for words in (
        "1 of 3 bodies reach out of the picture",
        "1 of 3 bodies reach farther than 0.3 m",
        "1 of 3 photos have no white edge",
        "1 of 3 photos were enlarged",
        "2 of 3 bodies stand upright",
    ):
        assert words in caplog.text


def test_broken_photos_are_told_or_left_out(raw, tmp_path):
    photos = shutil.copytree(raw / "photos", tmp_path / "photos")
    (photos / "junk.png").write_bytes(b"junk")
    shutil.copy(photos / "front.png", photos / "stranger.png")
    with pytest.raises(DataError) as caught:
        prepared(raw, tmp_path, images=photos)
    assert "2 of 5 photos cannot be used" in caught.value.message
    assert "no fit of stranger.png" in caught.value.message
    content = (photos / "side.jpg").read_bytes()
    (photos / "side.jpg").write_bytes(content[: len(content) // 2])  # its head is whole
    with pytest.raises(DataError, match=r"side\.jpg: is no readable picture"):
        prepared(raw, tmp_path, images=photos, skip=False, smpl=fits_of(raw, photos, tmp_path))
    path, work = prepared(raw, tmp_path, images=photos, skip=True)
    assert len(Photos(path, SIDE)) == 2
    assert numbers_of(work)["left_out"] == 2
    assert not list(tmp_path.glob(".*"))


def fits_of(raw, photos, place):
    """The fits with one for the stranger; the junk is taken away."""
    (photos / "junk.png").unlink()
    fits = json.loads((raw / "fits.json").read_text())
    fits["stranger"] = fits["front.png"]
    (place / "more.json").write_text(json.dumps(fits))
    return place / "more.json"


def test_the_licensed_body_is_asked_for(raw, tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(AvatarError, match="nowhere"):
        prepared(raw, tmp_path, body_models=Path("nowhere"))
    assert prepared(raw, tmp_path, check=True)[1].metrics["photos"] == 3


def test_missing_files_are_told_before_the_body(raw, tmp_path, monkeypatch):
    monkeypatch.undo()
    for words, message in (
        ({"images": Path("nowhere")}, "nowhere: not found; expected a folder"),
        ({"smpl": Path("nowhere.json")}, r"nowhere\.json: not found"),
    ):
        with pytest.raises(DataError, match=message):
            prepared(raw, tmp_path, body_models=Path("no models"), **words)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, ("smpl", 512)),
        ({"body": "open"}, ("open", 512)),
        ({"body": "open", "resolution": 200}, ("open", 128)),
        ({"body_models": "some models", "resolution": 100}, ("smpl", 64)),
        ({"body": "open", "resolution": 40}, ("open", 32)),
        ({"resolution": 16}, ("smpl", 32)),
    ],
)
def test_the_next_command_is_one_that_trains(given, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = PrepareFashion(images="photos", into="my photos.zip", **given)
    words = shlex.split(prepare.next_command(settings))
    assert main([*words[1:], "--dry-run", "--json"]) == 0
    found = train_settings.Train(**json.loads(capsys.readouterr().out)["settings"])
    train.check(found, Run.standalone(tmp_path / "run"))
    assert (found.body, found.network.img_resolution) == wanted
    assert found.data == Path("my photos.zip")
    assert found.body_models == settings.body_models


def test_a_label_without_a_photo_is_named(raw, tmp_path, caplog):
    path, _ = prepared(raw, tmp_path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "less.zip", "w") as less:
        for name in source.namelist():
            if "0000001" not in name:
                less.writestr(name, source.read(name))
    for images, said, unsaid in (
        (path, "nothing is missing", "without a photo"),
        (tmp_path / "less.zip", "labels without a photo: img/0000001.png", "nothing is missing"),
    ):
        caplog.clear()
        with caplog.at_level("INFO", "avatarctl.run"):
            prepared(raw, tmp_path / "again", images=images, smpl=None, check=True)
        assert said in caplog.text
        assert unsaid not in caplog.text


def test_a_collection_is_looked_through_with_the_open_body_where_it_is_asked_for(
    raw, tmp_path, monkeypatch, caplog
):
    path, _ = prepared(raw, tmp_path)
    monkeypatch.undo()
    with caplog.at_level("WARNING", "avatarctl.run"):
        prepared(raw, tmp_path / "again", images=path, check=True, body="open", body_models=Path("nowhere"))
    assert "looked at with the open body" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"smpl": None}, "smpl: missing; it names the fitted bodies"),
        ({"images": Path("nowhere")}, "nowhere: not found; expected a folder of pictures"),
        ({"smpl": Path("nowhere.json")}, "nowhere.json: not found"),
    ],
)
def test_what_is_missing_is_named(raw, words, message, tmp_path):
    with pytest.raises(AvatarError) as caught:
        prepared(raw, tmp_path, **words)
    assert message in caught.value.message


def test_a_file_that_is_there_stays(raw, tmp_path):
    (tmp_path / "photos.zip").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"photos\.zip: is there"):
        prepared(raw, tmp_path)
    assert (tmp_path / "photos.zip").read_bytes() == b"mine"


@pytest.mark.slow
def test_processes_make_the_same_bytes(raw, tmp_path, monkeypatch):
    alone, _ = prepared(raw, tmp_path / "a")
    monkeypatch.setattr(prepare, "WORTH_IT", 1)
    shared, _ = prepared(raw, tmp_path / "b", processes=2)
    assert alone.read_bytes() == shared.read_bytes()


def test_the_overlay_lies_on_the_body(raw, body):
    one = Fits(raw / "fits.json").label("front.png")
    made = overlay(np.full((SIDE, SIDE, 3), 255, np.uint8), body, one)
    found = rasterize(vertices_of(body, one), body.faces, camera_of(one, SIDE), (SIDE, SIDE), is_closed=True)
    framed = (made == (230, 120, 20)).all(-1)
    assert framed.any()
    assert ((made < 255).any(-1) == (found.face >= 0).numpy())[~framed].all()
