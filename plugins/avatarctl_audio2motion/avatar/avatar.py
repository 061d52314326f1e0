"""A Codec Avatar Body: pose and face codes to a textured mesh, seen from several places (spec 7.6).

What no frame changes is computed once for a person, what no view changes once for a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from avatarctl.errors import CheckpointError
from avatarctl.geometry.shapes import expect
from avatarctl_audio2motion.avatar.assets import AvatarFiles, read_files
from avatarctl_audio2motion.avatar.body import ROOT, BodyDecoder, BodyEncoder
from avatarctl_audio2motion.avatar.face import FaceDecoder, FaceEncoder
from avatarctl_audio2motion.avatar.layers import resized
from avatarctl_audio2motion.avatar.skeleton import read_skeleton
from avatarctl_audio2motion.avatar.texture import ShadowFromOcclusion, ShadowFromPose, Upscale, ViewNet
from avatarctl_audio2motion.avatar.uv import UvMaps

FINE = 2
"""Texels of the drawn texture along one of the decoder's."""


@dataclass(frozen=True)
class Body:
    """Frames before they are seen from somewhere.

    `vertices` [B, N, 3] are in the renderer's unit, `texture` [B, 3, S, S] is the decoder's, and `light`
    [B, 1, 2S, 2S] is what shadows leave.
    """

    vertices: Tensor
    texture: Tensor
    light: Tensor

    def frames(self) -> list[Body]:
        """Each alone."""
        parts = (self.vertices.split(1), self.texture.split(1), self.light.split(1))
        return [Body(*one) for one in zip(*parts, strict=True)]


class Avatar(nn.Module):
    """A person's mesh, skeleton and networks.

    Raises:
        AvatarError: Files lack something, or do not fit together.
    """

    mean_texture: Tensor
    embedded: Tensor

    def __init__(self, files: AvatarFiles, device: torch.device | str = "cpu") -> None:
        super().__init__()
        tensors = files.tensors
        size = files.size_of("body_decoder.texture")
        self.skeleton = read_skeleton(files.assets).to(torch.device(device))
        self.maps = UvMaps(files.topology(), files.texel_maps(size))
        self.seams = files.seams("seam_sampler", size)
        self.fine_seams = files.seams("seam_sampler_2k", FINE * size)
        self.texture_std = files.texture_std()
        self.register_buffer("mean_texture", files.mean_texture(FINE * size))
        self.face_decoder = FaceDecoder(tensors.inside("face_decoder"), files.frontal_view())
        face_mask = files.face_mask(files.size_of("face_encoder.blocks.0.first"))
        self.face_encoder = FaceEncoder(tensors.inside("face_encoder"), face_mask)
        body_mask = files.body_mask(files.size_of("body_encoder.enter.first"))
        self.encoder = BodyEncoder(tensors.inside("body_encoder"), body_mask)
        self.decoder = BodyDecoder(tensors.inside("body_decoder"), files.decoder_masks(), self.seams)
        self.view = ViewNet(tensors.inside("view"))
        self.shadow = _shadow(files)
        self.upscale = Upscale(tensors.inside("upscale"))
        self.to(device)
        self._check(files.folder)
        pose = self.mean_texture.new_zeros(1, self.skeleton.num_pose)
        with torch.no_grad():
            embedding = self.embedding(self.skeleton.posed(pose), pose)
            self.register_buffer("embedded", self.decoder.embedded(embedding))

    @property
    def needs_occlusion(self) -> bool:
        """Whether each frame has to bring a map of ambient occlusion, from which shadows are made."""
        return isinstance(self.shadow, ShadowFromOcclusion)

    @property
    def num_codes(self) -> int:
        """Face codes of a frame (published: 256)."""
        return self.face_decoder.code.weight.shape[1]

    def embedding(self, vertices: Tensor, pose: Tensor) -> Tensor:
        """The body embedding [B, 1024] of vertices [B, N, 3] posed by body parameters [B, 104].

        Of the template it is the same in every pose, up to rounding.
        """
        embedding: Tensor = self.encoder(self.maps.to_uv(self.skeleton.unposed(vertices, pose)))
        return embedding

    @torch.no_grad()
    def body(self, pose: Tensor, codes: Tensor, occlusion: Tensor | None = None) -> Body:
        """Frames of body parameters [B, 104] and face codes [B, 256].

        Args:
            occlusion: Maps of ambient occlusion where `needs_occlusion` [B, 1, H, W].
        """
        if self.needs_occlusion != (occlusion is not None):
            raise ValueError("a map of ambient occlusion is needed exactly where `needs_occlusion`")
        expect(pose, f"B {self.skeleton.num_pose}", "pose")
        expect(codes, f"{len(pose)} {self.num_codes}", "codes")
        face = self.face_encoder(*self.face_decoder(codes))
        image = self.decoder.faced(face, self.embedded)
        offsets, texture = self.decoder(self.decoder.posed(pose), image)
        vertices = self.skeleton.posed(pose, self.maps.from_uv(offsets))
        light = self.shadow(pose if occlusion is None else occlusion)
        light = self.fine_seams.impaint(resized(light, FINE * self.maps.size))
        light = self.fine_seams.resample(self.fine_seams.resample(light))
        return Body(vertices, texture, light)

    @torch.no_grad()
    def texture(self, body: Body, places: Tensor) -> Tensor:
        """The texture, about 0 to 255, as it is seen from places [V, 3] [V, 3, 2S, 2S].

        Args:
            body: One frame for all places, or one for each.
        """
        bodies = [body] * len(places) if len(body.vertices) == 1 else body.frames()
        # One after the other: what is larger than a processor's memory beside it takes much longer.
        seen = [self._seen(one, place) for one, place in zip(bodies, places.split(1), strict=True)]
        return torch.cat(seen)

    def _seen(self, body: Body, place: Tensor) -> Tensor:
        """The texture of one frame seen from one place [1, 3, 2S, 2S]."""
        plain, size = body.texture, FINE * self.maps.size
        cosine = self.maps.view_cosine(body.vertices, place)
        change = self.view(self.maps.to_uv(cosine.unsqueeze(-1)), plain)
        image = self.seams.resample(self.seams.impaint((plain + change).contiguous()))
        hidden = self.upscale.hidden(plain, change)
        seen = image.new_empty(1, 3, size, size)
        for colour in range(3):
            fine = resized(image[:, colour, None], size).add_(self.upscale(hidden, colour))
            fine = fine.mul_(self.texture_std).add_(self.mean_texture[:, colour]).mul_(body.light)
            fine = self.fine_seams.resample(self.fine_seams.resample(self.fine_seams.impaint(fine)))
            seen[:, colour, None] = fine
        return seen

    def _check(self, folder: Path) -> None:
        vertices, dimensions = len(self.skeleton.template), self.decoder.pose.first.weight.shape[1] + ROOT
        shown, unwrapped = int(self.maps.corners.max()) + 1, len(self.maps.vertex_uvs)
        if dimensions != self.skeleton.num_pose:
            why = f"the decoder takes {dimensions} body parameters, the skeleton has {self.skeleton.num_pose}"
        elif shown > vertices or unwrapped != vertices:
            why = f"the texture shows {max(shown, unwrapped)} vertices, the skeleton moves {vertices}"
        else:
            return
        raise CheckpointError(
            f"{folder}: its files are not of one person: {why}",
            hint="use the person's body_dec.ckpt and static_assets.pt as published",
        )


def _shadow(files: AvatarFiles) -> ShadowFromPose | ShadowFromOcclusion:
    if "pose_to_shadow" in files.config:
        return ShadowFromPose(files.tensors.inside("shadow_from_pose"))
    mean = files.mean_occlusion(files.size_of("shadow_from_occlusion.down.0"))
    return ShadowFromOcclusion(files.tensors.inside("shadow_from_occlusion"), mean)


def load(path: str | Path, device: torch.device | str = "cpu") -> Avatar:
    """The person in a published folder, or in the only one inside.

    Raises:
        AvatarError: Files are missing, broken, or do not fit together.
    """
    return Avatar(read_files(Path(path)), device)
