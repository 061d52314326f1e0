"""The eval target: Fréchet distances of pictures, normals and faces to those of photos (spec 7)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints.arrays import read_npz
from avatarctl.config.user import cache_folder
from avatarctl.errors import DataError, SettingsError
from avatarctl.files import atomic, digest, is_file
from avatarctl.metrics import Column, Row, Table
from avatarctl.metrics.detectors import Detector, load_detector
from avatarctl.metrics.fid import FeatureStats, fid
from avatarctl.runs.page import Page
from avatarctl_generative_avatar import pipeline
from avatarctl_generative_avatar.body import FACE_SHARE, crops, face_centres
from avatarctl_generative_avatar.dataset import Photos
from avatarctl_generative_avatar.deform.posing import Posing
from avatarctl_generative_avatar.model.layers import resize
from avatarctl_generative_avatar.panels import sheet
from avatarctl_generative_avatar.pictures import bytes_of, levels
from avatarctl_generative_avatar.pipeline import People

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_generative_avatar.settings_evaluate import Evaluate, Metric

Kinds = dict[str, Tensor]
"""Pictures of 0 to 255 by kind: img, normal, face [N, 3, H, W]."""
COUNTS: dict[Metric, int] = {
    "fid5k_full": 5000, "fid50k_full": 50000, "fid5k_face": 5000, "fid50k": 50000,
}  # fmt: skip
SEEN: dict[Metric, tuple[str, ...]] = {
    "fid5k_full": ("img", "normal", "face"),
    "fid50k_full": ("img", "normal", "face"),
    "fid5k_face": ("face",),
    "fid50k": ("img",),
}
DETECTED = 64
"""Pictures that the network of features looks at together, as published."""
FEWEST = 2
"""Pictures on each side, at least."""
SHOWN = 64
"""Pictures on a sheet."""
NAMES = {"inception": "fid", "efflite0": "fd-efflite0"}
FORM = "generative-avatar statistics 1"
"""Changes with what is computed here, so that nothing older is taken from the cache."""
NOTES = {
    "inception": "FID; comparable with published numbers only at the same photos, sizes and number of people",
    "efflite0": "features of EfficientNet-Lite0: this is not FID, and not comparable with published numbers",
}


def run(settings: Evaluate, run: Run) -> None:
    """Statistics of the photos, of as many new people as the metrics ask for, and their distances."""
    if settings.inception is not None:
        run.input(settings.inception, "inception")
    detector = load_detector(settings.features, settings.inception)
    people = pipeline.of_settings(settings, run)
    photos = Photos(
        run.input(settings.data, "data"),
        settings.resolution or people.generator.sizes.img_resolution,
    )
    if len(photos) < FEWEST:
        raise DataError(
            f"{settings.data}: {len(photos)} photo; a Fréchet distance needs {FEWEST} or more",
            hint="name a larger collection: --data",
        )
    wanted = planned(settings.metrics, settings.number)
    kinds = list(dict.fromkeys(kind for _, _, found in wanted for kind in found))
    judge = Judge(settings, run, people, photos, detector)
    real = judge.real(kinds)
    counts = sorted({count for _, count, _ in wanted})
    made = judge.generated(kinds, counts)
    found = {
        f"{NAMES[settings.features]}{name}_{kind}": fid(real[kind], made[count][kind], settings.sums)
        for name, count, seen in wanted
        for kind in seen
    }
    publish(settings, run, found, {"photos": len(photos), "people": counts})


def planned(metrics: Sequence[Metric], number: int) -> list[tuple[str, int, tuple[str, ...]]]:
    """Name, people and kinds of pictures of each metric; the name says how many people there are."""
    found = []
    for metric in metrics:
        count = number or COUNTS[metric]
        name = f"{count // 1000}k" if count % 1000 == 0 else str(count)
        found.append((name, count, SEEN[metric]))
    return found


@dataclass(frozen=True)
class Judge:
    """What both sides are looked at with."""

    settings: Evaluate
    run: Run
    people: People
    photos: Photos
    detector: Detector

    def real(self, kinds: Sequence[str]) -> dict[str, FeatureStats]:
        """Statistics of all photos, from the cache where they are there."""
        path = cache_folder() / "generative-avatar" / f"statistics-{self._key()}.npz"
        kept = read_statistics(path, self.settings.sums) if self.settings.cache else {}
        if all(kind in kept for kind in kinds):
            self.run.log.info("statistics of the photos: %s", path)
            return kept
        stats = {kind: FeatureStats(precision=self.settings.sums) for kind in kinds}
        rows = range(0, len(self.photos), DETECTED)
        for first in self.run.progress(rows, f"looking at photos, {DETECTED} at a time", len(rows)):
            batch = self._photos(list(range(first, min(first + DETECTED, len(self.photos)))))
            if first == 0:
                self._show(batch, "real")
            for kind in kinds:
                stats[kind].add(self._features(batch[kind]))
        if self.settings.cache:
            write_statistics(path, kept | stats, self.run)
        return stats

    def generated(self, kinds: Sequence[str], counts: Sequence[int]) -> dict[int, dict[str, FeatureStats]]:
        """Statistics of so many people each."""
        stats = {count: {kind: FeatureStats(count, self.settings.sums) for kind in kinds} for count in counts}
        for number, batch in enumerate(self._batches(max(counts))):
            if number == 0:
                self._show(batch, "made")
            for kind in kinds:
                features = self._features(batch[kind])
                for own in stats.values():
                    own[kind].add(features)
        return stats

    def _batches(self, count: int) -> Iterator[Kinds]:
        """New people, as many together as the network of features looks at."""
        waiting: list[Kinds] = []
        held = seen = 0
        for made in self._made(count):
            waiting.append(made)
            held, seen = held + len(made["img"]), seen + len(made["img"])
            if held >= DETECTED or seen == count:
                yield {kind: torch.cat([one[kind] for one in waiting]) for kind in made}
                waiting, held = [], 0

    @torch.no_grad()
    def _made(self, count: int) -> Iterator[Kinds]:
        """Pictures of new people, so many together as the settings say."""
        settings, people, run = self.settings, self.people, self.run
        sizes = people.generator.sizes
        every = self.photos.labels
        if settings.poses is not None:
            every = pipeline.labels_of(settings.poses, people, run)
        z, rows = pipeline.drawn(count, run.seed, sizes.z_dim, len(every))
        labels, noise = every[rows], run.noise("people")
        look = pipeline.Look(settings.noise, settings.jitter)
        starts = range(0, count, settings.batch)
        for first in run.progress(starts, f"making people, {settings.batch} at a time", len(starts)):
            part = slice(first, min(first + settings.batch, count))
            one = labels[part].to(people.device)
            ws = people.generator.mapping(
                z[part].to(people.device), one, settings.truncation, rendering=people.rendering
            )
            planes = people.generator.planes(ws, "const" if look.noise == "const" else "random", noise)
            made = people.generator.render(
                planes,
                ws,
                one,
                Posing(people.template, one),
                people.rendering,
                rays=people.rays,
                noise=noise if look.has_jitter else None,
                wants_normals=True,
            )
            assert made.image_normal is not None
            image = levels(made.image).trunc()
            yield {"img": image, "normal": levels(made.image_normal).trunc(), "face": self._faces(image, one)}

    def _photos(self, rows: list[int]) -> Kinds:
        """Pictures of photos; normals are not rounded, as published."""
        batch = self.photos.take(rows)
        side = self.people.generator.sizes.rays
        image = batch.image.float()
        normals = resize(batch.normals.double(), side, antialias=True)
        return {"img": image, "normal": normals, "face": self._faces(image, batch.label)}

    def _faces(self, images: Tensor, labels: Tensor) -> Tensor:
        """The faces of pictures of 0 to 255, cut off to whole numbers."""
        centres = face_centres(self.people.template.body, labels.to(self.people.device))
        size = self.people.generator.sizes.img_resolution // FACE_SHARE
        return crops(images.float(), centres.to(images), size).clamp(0, 255).trunc()

    def _features(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.detector(part) for part in pictures.split(DETECTED)])

    def _show(self, batch: Kinds, name: str) -> None:
        for kind, pictures in batch.items():
            shown = list(bytes_of(pictures[:SHOWN].float() / 127.5 - 1))
            self.run.save(f"{kind}_{name}.png", sheet(shown))

    def _key(self) -> str:
        """Of all that the photos' statistics depend on."""
        settings, sizes = self.settings, self.people.generator.sizes
        network = "" if settings.inception is None else digest(settings.inception)
        parts = (
            FORM, digest(settings.data), settings.features, network, settings.sums,
            str(self.photos.resolution), str(sizes.rays), str(sizes.img_resolution),
            digest_of(self.people.template.body.template),
        )  # fmt: skip
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def digest_of(tensor: Tensor) -> str:
    """A tensor's content in a word."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def read_statistics(path: Path, precision: str) -> dict[str, FeatureStats]:
    """Statistics by kind; none where the file is not there or broken."""
    if not is_file(path):
        return {}
    try:
        arrays = read_npz(path)
        kinds = {name.partition(".")[0] for name in arrays}
        return {
            kind: FeatureStats(
                precision="published" if precision == "published" else "float64",
                count=int(arrays[f"{kind}.count"]),
                total=arrays[f"{kind}.total"],
                products=arrays[f"{kind}.products"],
            )
            for kind in kinds
        }
    except (DataError, KeyError, TypeError, ValueError):
        return {}


def write_statistics(path: Path, stats: dict[str, FeatureStats], run: Run) -> None:
    """Keep statistics; a folder that cannot be written to is only said."""
    arrays: dict[str, np.ndarray] = {}
    for kind, one in stats.items():
        arrays |= {f"{kind}.count": np.asarray(one.count), f"{kind}.total": one.total}
        arrays[f"{kind}.products"] = one.products
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except (DataError, OSError) as error:
        run.log.warning("%s: the statistics are not kept: %s", path, error)


def publish(settings: Evaluate, run: Run, found: dict[str, float], about: dict[str, object]) -> None:
    """The table, the report, and the numbers.

    Raises:
        SettingsError: A distance is no number.
    """
    if bad := [name for name, value in found.items() if not math.isfinite(value)]:
        raise SettingsError(f"number {settings.number}: {bad[0]} is not finite", hint="take more people")
    columns = [Column(name, name, "", 1.0, 3) for name in found]
    table = Table(columns, [Row("generated", found)], "Distances to the photos", NOTES[settings.features])
    page = Page(
        "avatarctl eval generative-avatar", f"{about['people']} new people, {about['photos']} photos."
    )
    page.table(table)
    for name, words in (("real", "Photos, their normals and faces."), ("made", "New people.")):
        for kind in ("img", "normal", "face"):
            if run.path(f"{kind}_{name}.png").is_file():
                page.picture(run.path(f"{kind}_{name}.png"), words)
    page.provenance(run)
    run.save("report.html", page)
    run.report(table.rich(), **found, **{key: str(value) for key, value in about.items()})
