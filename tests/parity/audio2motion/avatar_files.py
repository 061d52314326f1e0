"""A stand-in person in the published file layout, from the recipes of the case `ca_body_forward`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import golden
import numpy as np
import torch
import yaml
from avatarctl_audio2motion.avatar.fields import Fields
from avatarctl_audio2motion.avatar.uv import inpainted, read_topology, texel_maps
from torch import Tensor
from torch.nn.functional import interpolate

inputs = golden.module(Path(__file__).with_name("inputs.py"))
PERSON = "PXB184"


class Recipes:
    """The assets that a case describes in words."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.path = Path(case["path"])
        self.config = str(case["config"])
        self.words: dict[str, Any] = case["assets"]["recipes"]
        self.seed = int(re.findall(r'"embedding",(\d+)\)', self.words["smooth(name,c,n,size)"])[0])

    def beside(self, name: str) -> Any:
        """Another file of the case's folder."""
        path = self.path.with_name(name)
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}

    def value(self, name: str, shape: list[int]) -> np.ndarray:
        """Normal numbers."""
        entry = {"weights.value": [f"ca/{name}", shape, "float32", "embedding", self.seed]}
        return np.asarray(inputs.value_of(entry))

    def smooth(self, name: str, channels: int, coarse: int, size: int) -> Tensor:
        """A smooth image with values 0 to 1 [C, S, S]."""
        values = torch.from_numpy(self.value(name, [1, channels, coarse, coarse]))
        fine = interpolate(torch.sigmoid(2 * values), size=(size, size), mode="bilinear", align_corners=True)
        return fine[0]

    def named(self, key: str) -> Tensor:
        """The smooth image in the words of an asset."""
        name, *numbers = re.findall(r'smooth\("(\w+)",(\d+),(\d+),(\d+)\)', self.words[key])[0]
        return self.smooth(name, *map(int, numbers))

    def seams(self, size: int) -> dict[str, np.ndarray]:
        """Seam data of a texture size."""
        row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        grid = torch.stack([(column + 0.5) / size, (row + 0.5) / size], dim=-1)
        uvs = (grid + 0.03 * self.smooth(f"seam_uv{size}", 2, 9, size).permute(1, 2, 0)).clip(0, 1)
        i = np.arange(200)
        return {
            "uvs": uvs.numpy(),
            "weights": self.smooth(f"seam_w{size}", 1, 9, size)[0].numpy(),
            "dst_ij": np.stack([3 * i % size, (7 * i + 11) % size], axis=1),
            "src_ij": np.stack([(5 * i + 2) % size, (3 * i + 50) % size], axis=1),
        }

    def assets(self) -> dict[str, Any]:
        """The content of static_assets.pt."""
        mesh = self.beside("uv_geometry.npz")
        vertices = len(mesh["v2uv"])
        return self.beside("body_assets.json") | {
            "topology": {name: mesh[name] for name in ("vi", "vti", "vt", "v2uv")},
            "seam_data_1024": self.seams(1024),
            "seam_data_2048": self.seams(2048),
            "tex_mean": 100 * self.named("tex_mean"),
            "face_cond_mask": self.named("face_cond_mask")[0],
            "body_cond_mask": self.named("body_cond_mask")[0],
            "head_cond_mask": (self.named("head_cond_mask")[0] > 0.5).int(),
            "pose_cond_mask": (self.value("pcm", [98, 64, 64]) > 0).astype(np.int32),
            "mouth_eyes_mask_geom": np.abs(self.value("meye", [vertices])).clip(0, 1),
            "face_mask": self.named("face_mask")[0],
            "mugsy_face_mask": self.named("mugsy_face_mask").permute(1, 2, 0),
            "face_frontal_view": np.array(self.words["face_frontal_view"], np.float32),
            "ao_mean": self.named("ao_mean"),
            "camera_ids": self.words["camera_ids"],
        }

    def finished_maps(self, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """Texel maps as the checkpoint holds them, with the case's choice where texels are equally near."""
        topology = read_topology(Fields({"topology": self.beside("uv_geometry.npz")}, "uv_geometry.npz"))
        maps = inpainted(texel_maps(topology, self.beside(self.config)["decoder"]["uv_size"]))
        for image in (maps.vertices, maps.barycentric):
            flat = image.flatten(0, 1)
            flat[arrays["uv_tie_dst"]] = flat[arrays["uv_tie_src"]]
        return {"geo_fn.index_image": maps.vertices, "geo_fn.bary_image": maps.barycentric}


@dataclass
class Files:
    """The content of a person's files."""

    config: dict[str, Any]
    assets: dict[str, Any]
    tensors: dict[str, Tensor]
    views: dict[str, Tensor]


def person_files(case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> Files:
    """The stand-in person, whose default views are those of the case.

    Args:
        arrays: Of the case; the cameras and the choice among near texels are taken.
        folder: With the manifests.
    """
    recipes = Recipes(case)
    model = recipes.beside(recipes.config)
    if not case["inputs"]["pose_to_shadow"]:
        del model["pose_to_shadow"]
    state = inputs.state(case["manifest"], folder, case["weights_seed"])
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    return Files(
        {"model": {"class_name": "ca_body.models.mesh_vae_drivable.AutoEncoder", **model}},
        recipes.assets(),
        tensors | recipes.finished_maps(arrays),
        {name: torch.from_numpy(arrays[name]) for name in ("K", "Rt", "campos")},
    )


def write_files(place: Path, person: str, files: Files) -> Path:
    """A person's folder below a folder, as published, and the default views."""
    folder = place / "checkpoints" / "ca_body" / "data" / person
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(yaml.safe_dump(files.config), encoding="utf-8")
    torch.save(files.assets, folder / "static_assets.pt")
    torch.save({"model": files.tensors, "iteration": 1}, folder / "body_dec.ckpt")
    (place / "assets").mkdir(exist_ok=True)
    torch.save(files.views, place / "assets" / f"render_defaults_{person}.pth")
    return folder


def write_person(place: Path, case: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> Path:
    """The folder of the case's person, from the folder with the manifests."""
    return write_files(place, PERSON, person_files(case, arrays, folder))
