"""Made-up photos: that labels, pictures and normals agree, and what is written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from avatarctl_generative_avatar import label, synthetic
from avatarctl_generative_avatar.body import scaled_body
from avatarctl_generative_avatar.dataset import Photos
from avatarctl_generative_avatar.deform.template import Template
from avatarctl_generative_avatar.label import camera_of
from avatarctl_generative_avatar.settings_synthetic import PrepareSynthetic
from avatarctl_generative_avatar.synthetic_people import DEPTH, ROOM, Shot, Studio, photo
from PIL import Image
from torch.nn.functional import normalize

from avatarctl.errors import DataError
from avatarctl.render import rasterize
from avatarctl.runs import Run

SIDE = 64


@pytest.fixture(scope="module")
def studio() -> Studio:
    return synthetic.studio()


@pytest.fixture(scope="module")
def shots(studio: Studio) -> list[Shot]:
    return [studio.shot(3, number) for number in range(12)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    settings = PrepareSynthetic(into=folder / "photos.zip", number=3, resolution=32)
    synthetic.run(settings, Run.standalone(folder / "run", seed=5))
    return settings.into


def test_progress_counts_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "draw", lambda _: None)
    monkeypatch.setattr(synthetic, "join", lambda *_: None)
    seen: list[tuple[list[int], int]] = []
    work = Run.standalone(tmp_path / "run")
    monkeypatch.setattr(work, "progress", lambda items, _, total: iter([seen.append((list(items), total))]))
    synthetic.write(PrepareSynthetic(into=tmp_path / "photos.zip", number=120), work)
    assert seen == [(list(range(120)), 120)]


def test_the_labels_body_is_inside_the_clothes(shots: list[Shot], studio: Studio) -> None:
    labels = torch.stack([shot.label for shot in shots])
    skin = scaled_body(studio.body, labels).vertices
    for shot, vertices in zip(shots, skin, strict=True):
        # The finer surface begins with the body's own vertices.
        far = (shot.surface[: len(vertices)] - vertices).norm(dim=-1)
        assert far.median() < 0.02
        assert far.max() < 0.06


def test_people_are_in_the_middle_upright_and_where_rays_are_sampled(
    shots: list[Shot], studio: Studio
) -> None:
    for shot in shots:
        low, high = shot.surface.aminmax(dim=0)
        assert torch.allclose(low, -high, atol=1e-5)
        assert (high <= torch.tensor([ROOM, ROOM, DEPTH])).all()
        joints = scaled_body(studio.body, shot.label[None]).joints[0]
        assert joints[15, 1] < joints[0, 1] - 0.4, "y points down"
        assert torch.equal(shot.label[: label.CAMERA], label.standard_camera())


def test_people_look_everywhere(shots: list[Shot], studio: Studio) -> None:
    joints = scaled_body(studio.body, torch.stack([shot.label for shot in shots])).joints
    ahead = joints[:, 24] - joints[:, 27:].mean(1)  # from the ears to the nose
    assert (ahead[:, 2] < -0.05).any(), "to the camera"
    assert (ahead[:, 2] > 0.05).any(), "away from it"
    assert (ahead[:, 0] < -0.05).any()
    assert (ahead[:, 0] > 0.05).any()


def test_pictures_show_the_surface_where_the_camera_sees_it(shots: list[Shot]) -> None:
    for shot in shots[:4]:
        picture, normals = photo(shot, SIDE)
        assert picture.shape == normals.shape == (SIDE, SIDE, 3)
        rows, columns = (normals < 255).any(axis=2).nonzero()
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        # The assumed camera is orthographic to a few percent: u = x / 2 + 1 / 2 (spec 2.2).
        low, high = shot.surface[:, :2].aminmax(dim=0)
        wanted = (torch.cat([low, high]) / 2 + 0.5).numpy() * SIDE
        assert np.abs(seen - wanted).max() < 2.2
        assert (picture[:, 0] == 255).all(), "white around"
        assert np.ptp(picture[rows, columns].astype(int), axis=1).max() > 80, "clothes are vivid"


def test_normals_are_those_that_the_generator_renders(shots: list[Shot], studio: Studio) -> None:
    body, template = studio.body, Template.of(studio.body)
    for shot in shots[:2]:
        scaled = scaled_body(body, shot.label[None])
        found = rasterize(scaled.vertices[0], body.faces, camera_of(shot.label, SIDE), (SIDE, SIDE))
        places = found.interpolate(template.vertices, body.faces)
        # Spec 4.9: skinned gradient of what is positive inside, x negated.
        gradient = template.sdf_gradient_at(places)[1]
        motions = (template.weights_at(places) @ (scaled.transforms[0] @ template.inverse).flatten(1)).view(
            -1, 4, 4
        )
        turned = (motions[:, :3, :3] @ gradient.unsqueeze(-1)).squeeze(-1)
        wanted = normalize(turned * torch.tensor([-1.0, 1.0, 1.0]), dim=-1)
        shown = torch.from_numpy(photo(shot, SIDE)[1][(found.face >= 0).numpy()]).float()
        is_covered = (shown < 255).any(dim=1)
        cosines = (normalize(shown / 127.5 - 1, dim=-1) * wanted).sum(-1)[is_covered]
        assert is_covered.float().mean() > 0.97
        assert cosines.median() > 0.9
        assert (cosines > 0.5).float().mean() > 0.9


def test_the_zip_holds_photos_normals_and_exact_labels(written: Path, studio: Studio) -> None:
    with zipfile.ZipFile(written) as archive:
        index = json.loads(archive.read("dataset.json"))
        assert [name for name, _ in index["labels"]] == [f"img/{number:07d}.png" for number in range(3)]
        shot = studio.shot(5, 1)
        camera, body = index["labels"][1][1]
        assert torch.equal(torch.tensor(camera + body), shot.label)
        for folder, pixels in zip(("img", "normal"), photo(shot, 32), strict=True):
            stored = Image.open(io.BytesIO(archive.read(f"{folder}/0000001.png")))
            assert np.array_equal(np.array(stored), pixels)
    assert not written.with_name("photos.zip.parts").exists()


def test_trainings_read_the_zip(written: Path, studio: Studio) -> None:
    photos = Photos(written, 32)
    assert (len(photos), photos.body) == (3, "open")
    shot = studio.shot(5, 2)
    picture, normals = photo(shot, 32)
    assert torch.equal(photos[2].label, shot.label)
    assert np.array_equal(photos[2].image, picture.transpose(2, 0, 1))
    assert np.abs(photos[2].normals.numpy() - normals.transpose(2, 0, 1)).max() < 2, "made unit again"


def test_what_is_there_is_kept_and_other_options_are_refused(written: Path, tmp_path: Path) -> None:
    same, before = PrepareSynthetic(into=written, number=3, resolution=32), written.read_bytes()
    stamp = written.stat().st_mtime_ns
    synthetic.write(same, Run.standalone(tmp_path, seed=5))
    assert written.stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match=r"other options \(version: 1, number: 3") as caught:
        synthetic.write(same, Run.standalone(tmp_path, seed=6))
    assert "--replace" in str(caught.value.hint)
    again = same.model_copy(update={"into": tmp_path / "again.zip"})
    synthetic.write(again, Run.standalone(tmp_path, seed=5))
    assert (tmp_path / "again.zip").read_bytes() == before


def test_parts_that_are_there_are_not_drawn_again(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PrepareSynthetic(into=tmp_path / "photos.zip", number=3, resolution=32)
    monkeypatch.setattr(synthetic, "PART", 2)
    drawn: list[range] = []
    draw = synthetic.draw

    def once(part: synthetic.Part) -> None:
        if drawn:
            raise KeyboardInterrupt
        drawn.append(part.numbers)
        draw(part)

    monkeypatch.setattr(synthetic, "draw", once)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write(settings, Run.standalone(tmp_path / "run", seed=5))
    assert not settings.into.exists()
    monkeypatch.setattr(synthetic, "draw", draw)
    shot, numbers = Studio.shot, []

    def counted(self: Studio, seed: int, number: int) -> Shot:
        numbers.append(number)
        return shot(self, seed, number)

    monkeypatch.setattr(Studio, "shot", counted)
    synthetic.write(settings, Run.standalone(tmp_path / "run", seed=5))
    assert numbers == [2]
    assert settings.into.read_bytes() == written.read_bytes()


def test_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        synthetic.write(PrepareSynthetic(into=tmp_path / "photos.zip"), Run.standalone(tmp_path / "run"))
    with pytest.raises(DataError, match="is a folder"):
        synthetic.write(PrepareSynthetic(into=tmp_path), Run.standalone(tmp_path / "run"))
