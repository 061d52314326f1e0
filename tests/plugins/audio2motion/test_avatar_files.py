"""A person's published files: found, read, and named where missing or wrong (spec audio2motion 7.1, 7.2)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avatarctl_audio2motion.avatar.assets import NETWORK, find_folder, find_views, read_files, read_views
from avatarctl_audio2motion.avatar.avatar import Avatar, load
from avatarctl_audio2motion.avatar.layers import Tensors
from avatarctl_audio2motion.avatar.names import NAMES
from small_avatar import COARSE, SIZE, network, write_avatar
from torch.nn import functional as F

from avatarctl.errors import AssetError, AvatarError, CheckpointError, DataError

MANIFEST = Path(__file__).parents[3] / "fixtures/parity/audio2motion/manifests/ca_body.json"
UNUSED = ("encoder.logvar", "encoder_face.logvar", "pixel_cal", "learn_blur", "cal")
"""Of training, and of the calibration of cameras that a drawing does not have (spec 7.1)."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def rewrite(folder: Path, **tensors: torch.Tensor) -> None:
    """Put tensors into a checkpoint; dots are written as two underscores."""
    state = network() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    torch.save({"model": state}, folder / NETWORK)


def test_names_are_one_to_one_over_the_manifest():
    names = list(json.loads(MANIFEST.read_text())["tensors"])
    ours = [NAMES.ours(name) for name in names]
    assert len(set(ours)) == len(names)
    assert [NAMES.theirs(name) for name in ours] == names


def test_the_small_person_has_only_names_of_the_manifest():
    assert set(network()) <= json.loads(MANIFEST.read_text())["tensors"].keys()


class Counted(dict):
    """A checkpoint that knows what was read."""

    def __init__(self, state):
        super().__init__(state)
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("from_pose", [True, False])
def test_every_tensor_that_draws_is_read(tmp_path, from_pose):
    files = read_files(write_avatar(tmp_path, from_pose=from_pose))
    counted = Counted(files.tensors.found)
    Avatar(replace(files, tensors=Tensors(counted, "body_dec.ckpt", NAMES)))
    other = "shadow_net" if from_pose else "pose_to_shadow"
    left = {name for name in counted if name not in counted.read}
    assert left == {name for name in counted if name.startswith((*UNUSED, other))}


@pytest.mark.parametrize(
    "inside", ["", "checkpoints", "checkpoints/ca_body", "checkpoints/ca_body/data/PXB184"]
)
def test_a_person_is_found_from_every_folder_above(tmp_path, inside):
    folder = write_avatar(tmp_path)
    assert find_folder(tmp_path / inside) == folder


def test_two_persons_have_to_be_named(tmp_path):
    write_avatar(tmp_path)
    write_avatar(tmp_path, "RLW104")
    with pytest.raises(AssetError, match="holds 2 persons: PXB184, RLW104"):
        read_files(tmp_path)


@pytest.mark.parametrize(
    "missing", [("body_dec.ckpt",), ("static_assets.pt",), ("config.yml",), ("body_dec.ckpt", "config.yml")]
)
def test_missing_files_are_named(tmp_path, missing):
    folder = write_avatar(tmp_path)
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(AssetError, match=f"{' and '.join(missing)} missing"):
        read_files(folder)


def test_a_folder_without_any_of_them_is_no_person(tmp_path):
    with pytest.raises(AssetError, match="no Codec Avatar Body"):
        read_files(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["tex_mean", "face_cond_mask", "pose_cond_mask", "head_cond_mask", "face_mask", "mugsy_face_mask",
     "face_frontal_view", "topology", f"seam_data_{SIZE}", f"seam_data_{2 * SIZE}", "lbs_scale"],
)  # fmt: skip
def test_missing_assets_are_named(tmp_path, name):
    folder = write_avatar(tmp_path, **{name: None})
    with pytest.raises(DataError, match=f"static_assets.pt: '{name}") as caught:
        load(folder)
    assert "is missing" in caught.value.message


def test_default_views_are_found_beside_the_files_or_above(tmp_path):
    folder = write_avatar(tmp_path)
    above = tmp_path / "assets" / "render_defaults_PXB184.pth"
    assert find_views(folder) == above
    views = read_views(above, (48, 32))
    torch.testing.assert_close(views.camera.centre, views.places)
    beside = folder / above.name
    above.rename(beside)
    assert find_views(folder) == beside
    beside.unlink()
    with pytest.raises(AssetError, match=r"render_defaults_PXB184.pth is missing"):
        find_views(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"K": torch.eye(3)[None]}, "'Rt' is missing"),
        ({"K": torch.eye(3), "Rt": torch.zeros(1, 3, 4)}, "'K' has shape"),
        ({"K": torch.ones(1, 3, 3), "Rt": torch.zeros(1, 3, 4)}, "'K': intrinsics have a skew"),
        ([1], "'Rt' is missing"),
    ],
)
def test_views_that_are_none_are_refused(tmp_path, content, words):
    path = tmp_path / "render_defaults_X.pth"
    torch.save(content, path)
    with pytest.raises(DataError) as caught:
        read_views(path, (48, 32))
    assert words in caught.value.message


def test_finished_maps_and_masks_of_the_checkpoint_are_taken(tmp_path):
    folder = write_avatar(tmp_path)
    before = load(folder)
    index = torch.zeros(SIZE, SIZE, 3, dtype=torch.int64)
    rewrite(
        folder,
        tex_mean=torch.full((1, 3, 2 * SIZE, 2 * SIZE), 7.0),
        geo_fn__index_image=index,
        geo_fn__bary_image=torch.ones(SIZE, SIZE, 3),
        decoder__face_cond_mask=torch.zeros(1, 1, COARSE, COARSE),
        seam_sampler__dst_ij=torch.tensor([[0, 0]]),
        seam_sampler__src_ij=torch.tensor([[5, 6]]),
        seam_sampler__uvs=torch.full((SIZE, SIZE, 2), 0.5),
        seam_sampler__weights=torch.zeros(SIZE, SIZE),
        lbs_fn__lbs_scale=torch.full((2,), 9.0),
    )
    after = load(folder)
    assert (after.mean_texture == 7).all()
    assert (after.maps.to_uv(torch.ones(1, 25, 1)) == 3).all()
    assert (after.decoder.face_mask == 0).all()
    image = torch.rand(1, 1, SIZE, SIZE)
    assert (after.seams.impaint(image.clone())[0, 0, 0, 0] == image[0, 0, 5, 6]).all()
    torch.testing.assert_close(after.skeleton.scale, before.skeleton.scale)


def test_the_mean_texture_is_blurred_and_then_grown(tmp_path):
    spot = torch.zeros(3, SIZE, SIZE)
    spot[:, 30, 20] = 1.0
    files = read_files(write_avatar(tmp_path, tex_mean=spot))
    places = torch.arange(-5.0, 6.0)
    bell = torch.exp(-places.square() / 8)
    bell = bell / bell.sum()
    wanted = torch.zeros(1, 3, SIZE, SIZE)
    wanted[..., 25:36, 15:26] = bell[:, None] * bell
    wanted = F.interpolate(wanted, size=(2 * SIZE, 2 * SIZE), mode="bilinear")
    torch.testing.assert_close(files.mean_texture(2 * SIZE), wanted, rtol=1e-5, atol=1e-7)


def test_the_scale_of_the_texture_is_taken_as_it_stands(tmp_path):
    assert read_files(write_avatar(tmp_path, "A")).texture_std() == 64
    assert read_files(write_avatar(tmp_path, "B", tex_var=[49.0])).texture_std() == 49


def test_files_of_two_persons_are_refused(tmp_path):
    folder = write_avatar(tmp_path)
    rewrite(
        folder,
        geo_fn__index_image=torch.full((SIZE, SIZE, 3), 25),
        geo_fn__bary_image=torch.ones(SIZE, SIZE, 3),
    )
    with pytest.raises(CheckpointError, match="shows 26 vertices, the skeleton moves 25"):
        load(folder)
    config = torch.load(folder / "static_assets.pt", weights_only=False)
    config["lbs_scale"] = config["lbs_scale"][:1]
    torch.save(config, folder / "static_assets.pt")
    with pytest.raises(CheckpointError, match="the decoder takes 104 body parameters, the skeleton has 105"):
        load(folder)


def picture_size(folder: Path) -> tuple[int, int]:
    """Everything that is read before a picture."""
    load(folder)
    return read_files(folder).picture_size()


def spoil(folder: Path, how: str) -> None:
    """Break one of the files."""
    if how == "truncated":
        (folder / NETWORK).write_bytes((folder / NETWORK).read_bytes()[:5000])
    elif how == "another network":
        torch.save({"model": {"encoder.weight": torch.ones(2)}}, folder / NETWORK)
    elif how == "no network":
        torch.save([1, 2], folder / NETWORK)
    elif how == "part of it":
        state = {name: tensor for name, tensor in network().items() if "texmod2" not in name}
        torch.save({"model": state}, folder / NETWORK)
    elif how == "not finite":
        rewrite(folder, decoder__tex_conv__bias=torch.full((3, SIZE, SIZE), float("nan")))
    elif how == "assets":
        torch.save([1], folder / "static_assets.pt")
    elif how == "no size":
        (folder / "config.yml").write_text("model:\n  renderer: {image_height: 0}\n")
    else:
        (folder / "config.yml").write_text("model: [1")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "body_dec.ckpt: torch file: refused"),
        ("another network", "found encoder.weight, expected a Codec Avatar Body under 'model'"),
        ("no network", "found list, expected a Codec Avatar Body"),
        ("part of it", "tensor 'decoder_face.texmod2.0.weight_v' is missing"),
        ("not finite", "tensor 'decoder.tex_conv.bias' holds numbers that are not finite"),
        ("assets", "found list, expected a dictionary"),
        ("no size", "'renderer.image_height' is 0, expected a whole number from 1"),
        ("no yaml", "config.yml: line 1"),
    ],
)
def test_broken_files_are_named(tmp_path, how, words):
    folder = write_avatar(tmp_path)
    spoil(folder, how)
    with pytest.raises(AvatarError) as caught:
        picture_size(folder)
    assert words in caught.value.message
    assert caught.value.hint
