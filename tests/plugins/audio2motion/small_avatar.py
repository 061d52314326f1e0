"""A small person of the published renderer, in its published files, with random numbers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

COARSE, SIZE = 16, 64
"""Rows of the conditioning masks, and of the decoder's texture."""
POSE, CODES, JOINTS, SCALES = 104, 8, 3, 2
SIDE = 5
"""Vertices along each side of the mesh, a square."""
FACE = 3 * 20
"""Numbers of the face's vertices."""


class State:
    """Tensors of a checkpoint under published names, made layer by layer."""

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.tensors: dict[str, Tensor] = {}

    def normal(self, *shape: int) -> Tensor:
        """Random numbers."""
        return torch.randn(shape, generator=self.draw)

    def layer(self, name: str, shape: tuple[int, ...], bias: tuple[int, ...], *, up: bool = False) -> None:
        """A weight of a shape, its gains, and a bias."""
        gains = [1] * len(shape)
        gains[1 if up else 0] = shape[1 if up else 0]
        self.tensors[f"{name}.weight_v"] = self.normal(*shape)
        self.tensors[f"{name}.weight_g"] = 1 + 0.1 * self.normal(*gains)
        self.tensors[f"{name}.bias"] = 0.1 * self.normal(*bias)

    def linear(self, name: str, wide: int, out: int) -> None:
        """An affine map."""
        self.layer(name, (out, wide), (out,))

    def conv(self, name: str, wide: int, out: int, kernel: int, size: int) -> None:
        """A convolution with a bias map."""
        self.layer(name, (out, wide, kernel, kernel), (out, size, size))

    def ups(self, name: str, widths: list[int], size: int = 8) -> None:
        """Transposed convolutions with something between them."""
        for number, (wide, out) in enumerate(pairwise(widths)):
            grown = size << number
            self.layer(f"{name}.{2 * number}", (wide, out, 4, 4), (out, grown, grown), up=True)

    def block(
        self, name: str, wide: int, out: int, size: int, *, kernel: int = 3, half: bool = False
    ) -> None:
        """Two convolutions beside a 1x1 one."""
        self.layer(f"{name}.conv_resize", (out, wide, 1, 1), (out,))
        self.conv(f"{name}.conv1", wide, wide, kernel, size)
        self.conv(f"{name}.conv2", wide, out, kernel, size // 2 if half else size)

    def twin(self, name: str, wide: int, out: int, size: int) -> None:
        """A block of two groups, widths of one of them."""
        self.layer(f"{name}.conv_resize", (2 * out, wide, 1, 1), (2 * out,))
        self.layer(f"{name}.conv1", (2 * wide, wide, 3, 3), (2 * wide, size, size))
        self.layer(f"{name}.conv2", (2 * out, wide, 3, 3), (2 * out, size, size))


def network(seed: int = 0) -> dict[str, Tensor]:
    """The content of body_dec.ckpt under "model"."""
    state = State(seed)
    state.block("encoder.verts_conv", 3, 4, 32, half=True)
    state.block("encoder.joint_conv_blocks.0", 4, 6, 16, half=True)
    state.block("encoder.joint_conv_blocks.1", 6, 8, 8, half=True)
    state.linear("encoder.mu", 8 * 16, 12)
    state.linear("encoder.logvar", 8 * 16, 12)
    for number, (wide, out) in enumerate(((3, 4), (4, 6), (6, 8))):
        state.block(f"encoder_face.conv_blocks.{number}", wide, out, 32 >> number, half=True)
    state.linear("encoder_face.geommod.0", FACE, 10)
    state.linear("encoder_face.jointmod.0", 8 * 16 + 10, 16)
    state.linear("encoder_face.mu", 16, 9)
    state.linear("decoder_face.encmod.0", CODES, 12)
    state.linear("decoder_face.geommod.0", 12, FACE)
    state.linear("decoder_face.viewmod.0", 3, 4)
    state.linear("decoder_face.texmod2.0", 12 + 4, 8 * 16)
    state.ups("decoder_face.texmod", [8, 8, 6, 4, 3])
    state.tensors["decoder_face.bias"] = 0.1 * state.normal(3, SIZE, SIZE)
    state.block("decoder.local_pose_conv_block", POSE - 6, 5, COARSE, kernel=1)
    state.linear("decoder.embs_fc.0", 12, 8 * 16)
    state.block("decoder.embs_conv_block.0", 8, 8, 8)
    state.block("decoder.embs_conv_block.1", 8, 6, COARSE)
    state.linear("decoder.face_embs_fc.0", 9, 4 * 16)
    state.block("decoder.face_embs_conv_block.0", 4, 6, 8)
    state.block("decoder.joint_conv_block", 5 + 6, 8, COARSE)
    state.twin("decoder.conv_blocks.0", 8, 6, 32)
    state.twin("decoder.conv_blocks.1", 6, 4, SIZE)
    state.conv("decoder.verts_conv", 4, 3, 3, SIZE)
    state.conv("decoder.tex_conv", 4, 3, 3, SIZE)
    for number, (wide, out) in enumerate(((4, 4), (4, 6), (6, 8)), 1):
        state.conv(f"decoder_view.unet.down{number}.0", wide, out, 4, SIZE >> number)
    for number, (wide, out) in enumerate(((8, 6), (6, 4), (4, 4)), 1):
        grown = SIZE >> (3 - number)
        state.layer(f"decoder_view.unet.up{number}.0", (wide, out, 4, 4), (out, grown, grown), up=True)
    state.conv("decoder_view.unet.out", 4 + 4, 3, 1, SIZE)
    for number in range(4):
        state.conv(f"shadow_net.enc_layers.{number}.0", 2 if number else 1, 2, 3, 32 >> number)
        state.conv(f"shadow_net.dec_layers.{number}.0", 4 if number else 2, 2, 3, 4 << number)
    state.layer("shadow_net.shadow_pred", (1, 2, 3, 3), (1,))
    state.linear("pose_to_shadow.fc_block.0", POSE, 8 * 16)
    state.ups("pose_to_shadow.conv_block", [8, 4, 1])
    state.conv("upscale_net.conv_block.0", 6, 5, 3, SIZE)
    state.conv("upscale_net.out_block", 5, 12, 1, SIZE)
    return state.tensors


def skeleton(seed: int = 0) -> dict[str, Any]:
    """The skeleton's part of static_assets.pt: a chain of joints and a square of vertices."""
    random = np.random.default_rng(seed)
    rotations = random.normal(size=(JOINTS, 4))
    rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
    bones = [
        {
            "Name": f"b{joint}",
            "Parent": joint - 1 if joint else 2**32 - 1,
            "PreRotation": rotations[joint].tolist(),
            "TranslationOffset": random.normal(0, 0.2, 3).tolist(),
        }
        for joint in range(JOINTS)
    ]
    line = np.linspace(-1, 1, SIDE)
    template = np.stack([*np.meshgrid(line, line), np.zeros((SIDE, SIDE))], axis=-1).reshape(-1, 3)
    count = len(template)
    pairs = [[vertex % JOINTS, 0.75] for vertex in range(count)]
    weights = [pair for joint, share in pairs for pair in ([joint, share], [(joint + 1) % JOINTS, 1 - share])]
    transform = np.zeros((7 * JOINTS, POSE + SCALES))
    transform[:6, :6] = np.eye(6)
    transform[7:, 6:] = 0.2 * random.normal(size=(7 * JOINTS - 7, POSE + SCALES - 6))
    return {
        "lbs_model_json": {
            "Skeleton": {"Bones": bones},
            "SkinnedModel": {
                "SkinningWeights": weights,
                "SkinningOffsets": list(range(0, 2 * count + 1, 2)),
            },
        },
        "lbs_config_dict": {
            "transform": transform.tolist(),
            "transform_offsets": (0.01 * random.normal(size=(1, 7 * JOINTS))).tolist(),
        },
        "lbs_template_verts": template.astype(np.float32),
        "lbs_scale": np.array([0.1, -0.1], np.float32),
        "global_scaling": [10.0],
    }


def assets(seed: int = 0) -> dict[str, Any]:
    """The content of static_assets.pt."""
    random = np.random.default_rng(seed)
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    line = np.linspace(0.02, 0.98, SIDE)
    uvs = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32)

    def seams(size: int) -> dict[str, np.ndarray]:
        return {
            "uvs": random.uniform(size=(size, size, 2)).astype(np.float32),
            "weights": random.uniform(size=(size, size)) * (random.uniform(size=(size, size)) < 0.05),
            "dst_ij": random.permutation(size * size)[:20, None] // [size, 1] % size,
            "src_ij": random.integers(0, size, (20, 2)),
        }

    def mask(*shape: int) -> np.ndarray:
        return random.uniform(size=shape).astype(np.float32)

    return skeleton(seed) | {
        "topology": {
            "vi": faces,
            "vti": faces,
            "vt": uvs,
            "v2uv": np.repeat(index.reshape(-1, 1), 2, axis=1),
        },
        f"seam_data_{SIZE}": seams(SIZE),
        f"seam_data_{2 * SIZE}": seams(2 * SIZE),
        "tex_mean": 100 * mask(3, SIZE, SIZE),
        "face_cond_mask": mask(COARSE, COARSE),
        "body_cond_mask": mask(COARSE, COARSE),
        "head_cond_mask": (mask(COARSE, COARSE) > 0.5).astype(np.int32),
        "pose_cond_mask": (mask(POSE - 6, COARSE, COARSE) > 0.5).astype(np.int32),
        "face_mask": np.pad(np.ones((20, 20), np.float32), ((4, 40), (4, 40))),
        "mugsy_face_mask": mask(SIZE, SIZE, 3),
        "face_frontal_view": np.array([0.1, -0.2, 0.97], np.float32),
        "ao_mean": mask(1, SIZE, SIZE),
    }


def write_avatar(place: Path, person: str = "PXB184", *, from_pose: bool = True, **changes: Any) -> Path:
    """A person's folder below a folder, as published, and its default views.

    Args:
        from_pose: Shadows from the pose, not from maps of ambient occlusion.
        changes: Of the content of static_assets.pt; None takes something out.
    """
    folder = place / "checkpoints" / "ca_body" / "data" / person
    folder.mkdir(parents=True)
    config: dict[str, Any] = {"renderer": {"image_height": 48, "image_width": 32}}
    if from_pose:
        config["pose_to_shadow"] = {"n_pose_dims": POSE}
    (folder / "config.yml").write_text(yaml.safe_dump({"model": config}), encoding="utf-8")
    content = {name: value for name, value in (assets() | changes).items() if value is not None}
    torch.save(content, folder / "static_assets.pt")
    torch.save({"model": network()}, folder / "body_dec.ckpt")
    views = {
        "K": torch.tensor([[60.0, 0, 16], [0, 60, 24], [0, 0, 1]]).expand(2, 3, 3).clone(),
        "Rt": torch.cat([torch.eye(3), torch.tensor([[0.0], [0], [40]])], dim=1).expand(2, 3, 4).clone(),
        "campos": torch.tensor([[0.0, 0, -40]]).expand(2, 3).clone(),
    }
    views["Rt"][1, 0, 3], views["campos"][1, 0] = 3.0, -3.0
    (place / "assets").mkdir(exist_ok=True)
    torch.save(views, place / "assets" / f"render_defaults_{person}.pth")
    return folder
