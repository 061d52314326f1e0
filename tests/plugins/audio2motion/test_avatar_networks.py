"""The avatar's networks against plain twins of the text (spec audio2motion 7.5, 7.6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avatarctl_audio2motion.avatar.avatar import Avatar, load
from avatarctl_audio2motion.avatar.layers import Conv, ConvBlock, Linear, Tensors, UpBlock
from avatarctl_audio2motion.avatar.names import NAMES
from small_avatar import COARSE, CODES, POSE, SIZE, network, write_avatar
from torch.nn import functional as F

from avatarctl.device import Noise

STATE = network()
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""float32, values of tens."""


def tensors(part: str, state: dict[str, torch.Tensor] | None = None) -> Tensors:
    """Tensors below a part, by our name of it."""
    return Tensors(STATE if state is None else state, "body_dec.ckpt", NAMES).inside(part)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random numbers."""
    return Noise.seeded(seed, "networks").normal(shape)


def weight(name: str) -> torch.Tensor:
    """A folded weight, from published names."""
    direction = STATE[f"{name}.weight_v"]
    return STATE[f"{name}.weight_g"] * direction / direction.square().sum().sqrt()


def conv(x: torch.Tensor, name: str, **words: int) -> torch.Tensor:
    """A convolution as the text has it."""
    bias = STATE[f"{name}.bias"]
    kernel = weight(name).shape[-1]
    bias = bias if bias.dim() == 3 else bias[:, None, None]
    return F.conv2d(x, weight(name), padding=(kernel - 1) // 2, **words) + bias


def rectified(x: torch.Tensor) -> torch.Tensor:
    """The leaky rectifier."""
    return F.leaky_relu(x, 0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_avatar(tmp_path_factory.mktemp("avatar"))


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def avatar(folder, _own_cache) -> Avatar:
    return load(folder)


def frame(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A pose and face codes."""
    return 0.2 * normal(1, POSE, seed=seed), normal(1, CODES, seed=seed)


def test_older_names_of_normalised_weights_are_read():
    old = {"mu.weight": torch.ones(2, 3), "mu.g": torch.full((2, 1), 6.0), "mu.bias": torch.zeros(2)}
    layer = Linear(Tensors(old, "body_dec.ckpt", NAMES).inside("mu"))
    torch.testing.assert_close(layer.weight, torch.full((2, 3), 6 / np.sqrt(6), dtype=torch.float32))


def test_a_convolution_has_as_many_groups_as_its_widths_say():
    x, name = normal(2, 16, 32, 32), "decoder.conv_blocks.0.conv1"
    halves = [
        F.conv2d(part, kernel, padding=1)
        for part, kernel in zip(x.chunk(2, dim=1), weight(name).chunk(2), strict=True)
    ]
    wanted = torch.cat(halves, dim=1) + STATE[f"{name}.bias"]
    torch.testing.assert_close(Conv(tensors("body_decoder.blocks.0.first"))(x), wanted, **CLOSE)


def test_a_halving_block_adds_a_strided_skip():
    x, name = normal(2, 3, 32, 32), "encoder.verts_conv"
    inner = rectified(conv(rectified(conv(x, f"{name}.conv1")), f"{name}.conv2", stride=2))
    wanted = inner + conv(x, f"{name}.conv_resize", stride=2)
    torch.testing.assert_close(ConvBlock(tensors("body_encoder.enter"), stride=2)(x), wanted, **CLOSE)


def test_an_up_block_is_a_block_on_the_grown_image():
    x, name = normal(2, 16, COARSE, COARSE), "decoder.conv_blocks.0"
    x = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=True)
    inner = rectified(conv(rectified(conv(x, f"{name}.conv1", groups=2)), f"{name}.conv2", groups=2))
    wanted = inner + conv(x, f"{name}.conv_resize", groups=2)
    found = UpBlock(tensors("body_decoder.blocks.0"))(normal(2, 16, COARSE, COARSE))
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_the_view_network_adds_its_skips(avatar):
    cosine, texture = normal(1, 1, SIZE, SIZE), normal(1, 3, SIZE, SIZE, seed=1)
    entered = torch.cat([cosine, texture], dim=1)
    images = [entered]
    for number in range(1, 4):
        name = f"decoder_view.unet.down{number}.0"
        down = F.conv2d(images[-1], weight(name), stride=2, padding=1) + STATE[f"{name}.bias"]
        images.append(rectified(down))
    up = images.pop()
    for number in range(1, 4):
        name = f"decoder_view.unet.up{number}.0"
        up = F.conv_transpose2d(up, weight(name), stride=2, padding=1) + STATE[f"{name}.bias"]
        up = rectified(up)
        if number < 3:
            up = up + images.pop()
    wanted = 0.1 * conv(torch.cat([up, entered], dim=1), "decoder_view.unet.out")
    with torch.no_grad():
        torch.testing.assert_close(avatar.view(cosine, texture), wanted, **CLOSE)


def test_shadows_from_occlusion_are_those_of_the_text(tmp_path):
    avatar, occlusion = load(write_avatar(tmp_path, from_pose=False)), normal(1, 1, SIZE, SIZE).sigmoid()
    assert avatar.needs_occlusion
    x = F.interpolate(occlusion, size=(32, 32)) - avatar.shadow.mean
    skips = []
    for level in range(4):
        if level:
            x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)
        x = rectified(conv(x, f"shadow_net.enc_layers.{level}.0"))
        skips.append(x)
    x = rectified(conv(skips[3], "shadow_net.dec_layers.0.0"))
    for level in range(1, 4):
        skip = skips[3 - level]
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
        x = rectified(conv(torch.cat([x, skip], dim=1), f"shadow_net.dec_layers.{level}.0"))
    wanted = torch.sigmoid(conv(x, "shadow_net.shadow_pred") + 1)
    torch.testing.assert_close(avatar.shadow(occlusion), wanted, **CLOSE)
    with pytest.raises(ValueError, match="ambient occlusion"):
        avatar.body(*frame())


def test_a_colour_of_the_detail_is_that_of_the_whole_shuffle(avatar):
    texture, view = normal(2, 3, SIZE, SIZE), normal(2, 3, SIZE, SIZE, seed=1)
    hidden = rectified(conv(torch.cat([texture, view], dim=1), "upscale_net.conv_block.0"))
    wanted = F.pixel_shuffle(conv(hidden, "upscale_net.out_block"), 2)
    own = avatar.upscale.hidden(texture, view)
    found = torch.cat([avatar.upscale(own, colour) for colour in range(3)], dim=1)
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_the_texture_is_assembled_as_in_the_text(avatar):
    body = avatar.body(*frame())
    place = torch.tensor([[1.0, 2.0, -30.0]])
    cosine = avatar.maps.to_uv(avatar.maps.view_cosine(body.vertices, place)[..., None])
    with torch.no_grad():
        view = avatar.view(cosine, body.texture)
    hidden = avatar.upscale.hidden(body.texture, view)
    detail = torch.cat([avatar.upscale(hidden, colour) for colour in range(3)], dim=1)
    image = avatar.seams.resample(avatar.seams.impaint(body.texture + view))
    image = F.interpolate(image, size=(2 * SIZE, 2 * SIZE), mode="bilinear") + detail
    image = (image * 64 + avatar.mean_texture) * body.light
    fine = avatar.fine_seams
    wanted = fine.resample(fine.resample(fine.impaint(image)))
    torch.testing.assert_close(avatar.texture(body, place), wanted, **CLOSE)


def test_frames_and_views_do_not_depend_on_what_is_beside_them(avatar):
    first, second = frame(1), frame(2)
    both = avatar.body(torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
    alone = avatar.body(*second)
    torch.testing.assert_close(both.vertices[1:], alone.vertices, **CLOSE)
    places = torch.tensor([[0.0, 0, -40], [9, 0, -40]])
    texture = avatar.texture(both, places)
    torch.testing.assert_close(texture[1:], avatar.texture(alone, places[1:]), **CLOSE)
    torch.testing.assert_close(avatar.texture(alone, places)[1:], texture[1:], **CLOSE)
    assert (avatar.texture(alone, places)[0] - texture[1]).abs().max() > 1e-3


def test_the_body_embedding_of_the_template_is_the_same_in_every_pose(avatar):
    embeddings = [avatar.embedding(avatar.skeleton.posed(pose), pose) for pose, _ in map(frame, range(3))]
    torch.testing.assert_close(embeddings[1], embeddings[0], rtol=0, atol=1e-5)
    moved = avatar.embedding(avatar.skeleton.posed(frame()[0]) + 1, frame()[0])
    assert (moved - embeddings[0]).abs().max() > 1e-3


def test_the_body_encoder_does_not_see_what_is_wholly_face(avatar):
    offsets, changed = normal(1, 3, SIZE, SIZE), normal(1, 3, SIZE, SIZE)
    changed[..., 6:22, 6:22] = 9.0  # inside rows and columns 4 to 23, which the mask of the face fills
    torch.testing.assert_close(avatar.encoder(changed), avatar.encoder(offsets), rtol=0, atol=0)
    changed[..., 40, 40] = 9.0
    assert (avatar.encoder(changed) - avatar.encoder(offsets)).abs().max() > 0


def test_the_face_moves_only_its_quadrant_of_the_embedding(avatar):
    face = normal(2, avatar.face_encoder.mean.weight.shape[0])
    with torch.no_grad():
        one, other = avatar.decoder.faced(face, avatar.embedded)
    same = (one == other).all(0)
    half = COARSE // 2
    assert same[:half].all()
    assert same[:, half:].all()
    assert not same[half:, :half].any()


def test_the_first_six_parameters_move_the_mesh_only(avatar):
    pose, codes = frame()
    turned = pose.clone()
    turned[:, :6] += 0.5
    body, other = avatar.body(pose, codes), avatar.body(turned, codes)
    torch.testing.assert_close(body.texture, other.texture, rtol=0, atol=0)
    assert (body.vertices - other.vertices).abs().max() > 1e-2
