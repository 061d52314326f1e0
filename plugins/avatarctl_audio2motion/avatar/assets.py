"""A person's published files: network, mesh, masks, seams and default views (spec 7.1, 7.2).

PERSON/body_dec.ckpt        {"model": tensors}; where it holds finished maps and masks, these are taken
PERSON/static_assets.pt     mesh, skeleton, masks, seams
PERSON/config.yml           sizes of the picture
render_defaults_PERSON.pth  the two default views; also searched in `assets/` of the folders above
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from avatarctl.checkpoints.pickle_reader import load_torch
from avatarctl.config import presets
from avatarctl.errors import AssetError, CheckpointError, DataError
from avatarctl.files import check_input_file
from avatarctl.geometry.cameras import Camera
from avatarctl_audio2motion.avatar.fields import HINT, Fields
from avatarctl_audio2motion.avatar.layers import Tensors, resized
from avatarctl_audio2motion.avatar.names import NAMES
from avatarctl_audio2motion.avatar.seams import Seams, read_seams
from avatarctl_audio2motion.avatar.texture import nearest
from avatarctl_audio2motion.avatar.uv import TexelMaps, Topology, made_maps, read_topology

NETWORK, ASSETS, CONFIG = "body_dec.ckpt", "static_assets.pt", "config.yml"
BLUR_RADIUS, BLUR_SIGMA = 5, 2.0
"""Of the mean texture, texels."""
TEXTURE_STD = 64.0
"""Where the assets have no `tex_var`, which is used as it stands."""


@dataclass(frozen=True)
class Views:
    """Cameras of V pictures: `camera` [V], their `places` [V, 3] in the mesh's unit, rows and columns."""

    camera: Camera
    places: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class AvatarFiles:
    """The content of a person's folder."""

    folder: Path
    config: Fields
    assets: Fields
    tensors: Tensors

    @property
    def name(self) -> str:
        """The person."""
        return self.folder.name

    def size_of(self, layer: str) -> int:
        """Rows and columns of a layer's image, which are those of its bias map."""
        return self.tensors.inside(layer).tensor("bias").shape[-1]

    def stored(self, *names: str) -> Tensor | None:
        """The first of some finished maps that the checkpoint holds."""
        return next((self.tensors.found[name] for name in names if name in self.tensors.found), None)

    def mask(self, stored: str, asset: str, shape: str) -> Tensor:
        """A mask of the checkpoint, or else of the assets, as one image [1, C, H, W]."""
        found = self.stored(stored)
        mask = self.assets.array(asset, shape) if found is None else found.float()
        return mask.reshape((1,) * (4 - mask.dim()) + mask.shape)

    def decoder_masks(self) -> dict[str, Tensor]:
        """Where in the coarse texture the body decoder sees what: pose [1, D, S, S], others [1, 1, S, S]."""
        return {
            "pose": self.mask("decoder.pose_cond_mask", "pose_cond_mask", "D S S"),
            "head": self.assets.array("head_cond_mask", "S S")[None, None],
            "body": self.mask("decoder.body_cond_mask", "body_cond_mask", "S S"),
            "face": self.mask("decoder.face_cond_mask", "face_cond_mask", "S S"),
        }

    def body_mask(self, size: int) -> Tensor:
        """Where the body encoder looks [1, 1, size, size]: at all that is not wholly face."""
        found = self.stored("encoder.mask")
        if found is not None:
            return found.float()
        rest = 1 - self.assets.array("face_mask", "H W")[None, None]
        return (resized(rest, size) != 0).float()

    def face_mask(self, size: int) -> Tensor:
        """Where the face encoder looks in the face's own texture [1, 1, size, size]."""
        found = self.stored("encoder_face.tex_cond_mask")
        if found is not None:
            return found.float()
        mask = self.assets.array("mugsy_face_mask", "H W C")[None, None, ..., 0]
        return resized(mask, size, align_corners=True)

    def mean_texture(self, size: int) -> Tensor:
        """The blurred mean texture, 0 to 255 [1, 3, size, size]."""
        found = self.stored("tex_mean")
        if found is not None:
            return found.float()
        places = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=torch.float32)
        kernel = (-0.5 * (places / BLUR_SIGMA).square()).exp()
        kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
        image = pad(self.assets.array("tex_mean", "3 H W")[None], (BLUR_RADIUS,) * 4, mode="reflect")
        blurred = conv2d(conv2d(image, kernel, groups=3), kernel.mT, groups=3)
        return resized(blurred, size)

    def texture_std(self) -> float:
        """What the networks' textures are multiplied with."""
        return self.assets.number("tex_var") if "tex_var" in self.assets else TEXTURE_STD

    def mean_occlusion(self, size: int) -> Tensor:
        """The mean map of ambient occlusion [1, size, size]."""
        found = self.stored("shadow_net.ao_mean")
        if found is not None:
            return found.float()
        return nearest(self.assets.array("ao_mean", "1 H W")[None], size)[0]

    def topology(self) -> Topology:
        """The mesh and its unwrapping."""
        stored = {name: self.stored(*_mesh(name)) for name in ("vi", "vti", "vt", "v2uv")}
        if any(value is None for value in stored.values()):
            return read_topology(self.assets)
        return read_topology(Fields({"topology": stored}, self.tensors.source))

    def texel_maps(self, size: int) -> TexelMaps:
        """What the texels of a texture of size x size show; made where the checkpoint lacks it."""
        vertices, shares = self.stored(*_mesh("index_image")), self.stored(*_mesh("bary_image"))
        if vertices is None or shares is None or vertices.shape != (size, size, 3):
            return made_maps(self.topology(), size)
        return TexelMaps(vertices, shares.float())

    def seams(self, stored: str, size: int) -> Seams:
        """The seams of a texture of size x size, of the checkpoint's buffers or else of the assets."""
        parts = {name: self.stored(f"{stored}.{name}") for name in ("dst_ij", "src_ij", "uvs", "weights")}
        if any(value is None for value in parts.values()):
            return read_seams(self.assets, f"seam_data_{size}")
        return read_seams(Fields({stored: parts}, self.tensors.source), stored)

    def frontal_view(self) -> Tensor:
        """Direction from which the face's texture is seen [3]."""
        found = self.stored("decoder_face.frontal_view")
        return self.assets.array("face_frontal_view", "3") if found is None else found.float()

    def picture_size(self) -> tuple[int, int]:
        """Rows and columns of a picture."""
        return self.config.count("renderer.image_height"), self.config.count("renderer.image_width")


def _mesh(name: str) -> tuple[str, ...]:
    """Where the checkpoint may hold a part of the mesh: parts of the network have copies of it."""
    return tuple(f"{part}geo_fn.{name}" for part in ("", "decoder.", "encoder.", "decoder_view."))


def find_folder(path: Path) -> Path:
    """The person's folder in a folder, which may be one of all published models.

    Raises:
        AssetError: There is none, or several.
    """
    patterns = ("", "data/*", "ca_body/data/*", "checkpoints/ca_body/data/*")
    places = [place for pattern in patterns for place in (sorted(path.glob(pattern)) if pattern else [path])]
    names = (NETWORK, ASSETS, CONFIG)
    found = [place for place in places if any((place / name).is_file() for name in names)]
    if len(found) == 1:
        return found[0]
    if found:
        raise AssetError(
            f"{path}: holds {len(found)} persons: {', '.join(place.name for place in found)}",
            hint=f"name one: {found[0]}",
        )
    raise AssetError(
        f"{path}: no Codec Avatar Body; expected {', '.join(names)}",
        hint="unpack PERSON.tar.gz of the published renderer, and name the folder",
    )


def read_files(path: Path) -> AvatarFiles:
    """The content of a person's folder, or of the one person's inside.

    Raises:
        AssetError: Files are missing.
        DataError: A file is broken or no such file.
        CheckpointError: The network is broken, or another one.
    """
    folder = find_folder(path)
    missing = [name for name in (NETWORK, ASSETS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise AssetError(
            f"{folder}: {' and '.join(missing)} missing; a person needs {NETWORK}, {ASSETS} and {CONFIG}",
            hint="unpack PERSON.tar.gz of the published renderer again",
        )
    config = Fields(presets.read(folder / CONFIG), str(folder / CONFIG))
    model = config.value("model")
    content = load_torch(folder / ASSETS)
    if not isinstance(content, dict):
        raise DataError(
            f"{folder / ASSETS}: found {type(content).__name__}, expected a dictionary", hint=HINT
        )
    return AvatarFiles(
        folder=folder,
        config=Fields(model if isinstance(model, dict) else {}, config.source),
        assets=Fields(content, str(folder / ASSETS)),
        tensors=_network(folder / NETWORK),
    )


def _network(path: Path) -> Tensors:
    content = load_torch(path)
    state = content.get("model") if isinstance(content, dict) else None
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)} if state else {}
    if not any(name.startswith("decoder.") for name in tensors):
        found = ", ".join(map(str, list(tensors or content)[:3])) if isinstance(content, dict) else ""
        raise CheckpointError(
            f"{path}: found {found or type(content).__name__}, expected a Codec Avatar Body under 'model'",
            hint="use the person's body_dec.ckpt as published",
        )
    # Another skinning implementation's tensors; the skeleton comes from the assets (spec 7.1).
    kept = {name: value for name, value in tensors.items() if not name.startswith("lbs_fn.")}
    return Tensors(kept, str(path), NAMES)


def find_views(folder: Path) -> Path:
    """The default views of a person: beside the files, or in `assets/` of the folders above.

    Raises:
        AssetError: There are none.
    """
    name = f"render_defaults_{folder.resolve().name}.pth"
    above = folder.resolve().parents
    for place in (folder / name, *(parent / "assets" / name for parent in above)):
        if place.is_file():
            return place
    raise AssetError(
        f"{folder}: {name} is missing: no view to draw the person from",
        hint=f"put {name} of the published code's assets folder into {folder}",
    )


def read_views(path: Path, size: tuple[int, int]) -> Views:
    """The views in a file of render defaults, or in a .json of the same names.

    `campos` may be left out: it follows from the cameras; `size` [2] is taken where the file has it.

    Args:
        size: Rows and columns of a picture.

    Raises:
        DataError: It lacks K or Rt, or they are no cameras.
    """
    content = _json(path) if path.suffix.lower() == ".json" else load_torch(path)
    fields = Fields(content if isinstance(content, dict) else {}, str(path))
    rigid = fields.array("Rt", "V 3 4")
    intrinsics = fields.array("K", f"{len(rigid)} 3 3")
    try:
        camera = Camera(intrinsics, rigid[..., :3], rigid[..., 3])
    except ValueError as error:
        raise DataError(f"{path}: 'K': {error}", hint=HINT) from error
    places = fields.array("campos", f"{len(rigid)} 3") if "campos" in fields else camera.centre
    if "size" in fields:
        size = fields.count("size.0"), fields.count("size.1")
    return Views(camera, places, size)


def _json(path: Path) -> Any:
    try:
        return json.loads(check_input_file(path, "a file of cameras").read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: no JSON: {error}", hint="it holds K [V, 3, 3] and Rt [V, 3, 4]") from error
