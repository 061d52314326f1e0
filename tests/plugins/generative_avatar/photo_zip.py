"""Small collections of photos for tests."""

import io
import json
import zipfile

import numpy as np
import torch
from avatarctl_generative_avatar import label
from PIL import Image

SIDE = 16


def png(pixels):
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def labels(count, seed=0):
    """Labels of upright people [count, 111]."""
    noise = torch.Generator().manual_seed(seed)
    poses = 0.2 * torch.randn(count, label.JOINTS, 3, generator=noise)
    poses[:, 0] = torch.tensor([torch.pi, 0, 0])
    return label.made(poses, torch.randn(count, 10, generator=noise), transl=torch.tensor([0.1, 0.2, 0.0]))


def index_of(names, rows):
    """The content of dataset.json."""
    return {"labels": [[name, [row[:25], row[25:]]] for name, row in zip(names, rows.tolist(), strict=True)]}


def contents(count=3, side=SIDE, alpha=False):
    """Files by name: photos and normals of noise, and their labels."""
    random = np.random.default_rng(side)
    names = [f"{number // 2:05d}/img{number:08d}.png" for number in range(count)]
    files = {"dataset.json": json.dumps(index_of(names, labels(count))).encode()}
    for name in names:
        files[name] = png(random.integers(0, 256, (side, side, 3 + alpha), np.uint8))
        normals = random.integers(0, 256, (side, side, 3), np.uint8)
        normals[:2] = 255
        files[name.replace("img", "normal")] = png(normals)
    return files


def write(path, files):
    """A zip, or a folder where the name has no ending."""
    if not path.suffix:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
