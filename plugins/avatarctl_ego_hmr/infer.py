"""The infer target: pictures of people and the scan of the room, to several bodies of each person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avatarctl.checkpoints import Weights
from avatarctl.errors import DataError
from avatarctl_ego_hmr import export, pipeline
from avatarctl_ego_hmr.blocks import in_blocks
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.collision.load import PART
from avatarctl_ego_hmr.egobody.files import FPS, EgoBody
from avatarctl_ego_hmr.gallery import Gallery
from avatarctl_ego_hmr.own import OwnPictures
from avatarctl_ego_hmr.pipeline import Part, Pipeline, body_of, check_parts, with_part
from avatarctl_ego_hmr.recordings import Recordings
from avatarctl_ego_hmr.recovered import FILE, Recovered, Results, joined
from avatarctl_ego_hmr.sampling import Samples
from avatarctl_ego_hmr.scores import PUBLISHED_CONTACT, nearest
from avatarctl_ego_hmr.sightings import Sightings, Window

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.settings import Infer, Networks
    from avatarctl_ego_hmr.settings_evaluate import Evaluate

OVERRIDES: dict[str, Part] = {
    "scene_network": "scene",
    "diffusion_network": "diffusion",
    "collision": "collision",
}
"""Settings that name other weights for one network, and that network's part."""
PLACES = "results.pkl"
"""Where bodies are, as stage 2 and its preparation take it from stage 1."""


def run(settings: Infer, run: Run) -> None:
    """Find the bodies of all people in pictures or recordings."""
    formats = chosen_formats(settings)
    export.check_formats(formats)
    own = None if settings.data is not None else OwnPictures(settings, run)
    if own is not None:
        own.check()
    weights = weights_of(settings, run, needed(settings))
    people = people_of(settings, weights, run)
    sightings: Sightings = own or Recordings(settings, run, people)
    model = load(settings, weights, people, run)
    if not settings.places:
        model.guide(settings)  # which says at once what cannot be
    began = time.perf_counter()
    work = Work(settings, run, model, sightings)
    found = work.recovered()
    took = time.perf_counter() - began
    run.save(FILE, found, "recovered")
    if settings.places:
        run.save(PLACES, Results(transl=found.transl), "results")
    show(
        settings,
        run,
        Gallery(found, people.to("cpu"), None if own else _data(sightings), settings.renderer),
        formats,
    )
    run.report(**numbers(found, work, took))


def chosen_formats(settings: Infer) -> list[str]:
    """The formats that are written: those that were named, else a scene to open, or motions."""
    if settings.to is not None:
        return settings.to
    if settings.places:
        return []
    is_sequence = settings.data is not None or bool(settings.fps)
    return ["motion"] if is_sequence else ["glb"]


def needed(settings: Infer | Evaluate) -> list[Part]:
    """The networks without which nothing can be found."""
    parts: list[Part] = [] if settings.translations is not None else ["scene"]
    return parts if settings.places else [*parts, "diffusion"]


def weights_of(settings: Networks, run: Run, parts: Sequence[Part] = ("scene", "diffusion")) -> Weights:
    """The weights that the settings name, each network from its own place.

    Args:
        parts: Networks that are needed; `latest` is the latest training of each.
    """
    weights = run.weights(settings.weights, target="ego-hmr", stage=parts[-1])
    for name, part in OVERRIDES.items():
        words = getattr(settings, name)
        if words is None and settings.weights == "latest" and part in parts[:-1]:
            words = settings.weights
        if words is not None:
            weights = with_part(weights, part, run.weights(words, target="ego-hmr", stage=part))
    check_parts(weights, parts)
    return weights


def people_of(settings: Networks, weights: Weights, run: Run) -> People:
    """The bodies that the settings name: those of the weights, else others, with a warning."""
    known = body_of(weights)
    kind = known if settings.body == "auto" else settings.body
    if kind != known:
        run.log.warning(
            "%s knows %s bodies; with %s ones poses hold, and shapes mean little", weights.path, known, kind
        )
    return People.load(run.bodies, kind, settings.body_models)


def load(settings: Infer, weights: Weights, people: People, run: Run) -> Pipeline:
    """The networks that are needed, and what pushes bodies out of the room."""
    parts = needed(settings)
    is_pushed = settings.guidance not in ("auto", "none") or (
        weights.holds(PART) and settings.guidance == "auto"
    )
    if is_pushed and not settings.places:
        parts.append("collision")
    return pipeline.load(weights, run.device, people=people, parts=parts, precision=run.precision)


@dataclass
class Work:
    """One run over all people; counts those without a room around them."""

    settings: Infer | Evaluate
    run: Run
    model: Pipeline
    sightings: Sightings
    left_out: int = 0

    def recovered(self) -> Recovered:
        """The bodies of all people.

        Raises:
            DataError: There is nobody.
        """
        parts = in_blocks(self._parts(), joined)
        if not parts:
            raise self._nobody()
        return joined(parts)

    def _parts(self) -> Iterator[Recovered]:
        """The bodies of each window that has some."""
        for window in self.sightings.windows(self.settings.batch_size):
            made = self._likeliest(window) if self.settings.places else self._sampled(window)
            if made is not None:
                yield made

    def _nobody(self) -> DataError:
        """Why there is not a single body."""
        count = self.sightings.count
        pictures = "1 picture" if count == 1 else f"{count} pictures"
        if not self.left_out:
            return DataError(f"nobody was found in {pictures}", hint="--box, or --keypoints")
        hint = "check transforms and scan"
        if self.settings.data is None:
            hint = "look at scene_check.png; do room and camera agree?"
        return DataError(
            f"none of the bodies in {pictures} has a point of the room within a metre", hint=hint
        )

    def _likeliest(self, window: Window) -> Recovered:
        """What stage 1 says by itself."""
        found, transl = self.model.likeliest(window.view)
        return self._recovered(window, found, transl, None)

    def _sampled(self, window: Window) -> Recovered | None:
        is_known = bool(np.isfinite(window.known_transl).all())
        transl = torch.from_numpy(window.known_transl) if is_known else self.model.place(window.view).cpu()
        view = window.view
        if not is_known:
            points = [self.sightings.around(window, row, place) for row, place in enumerate(transl.numpy())]
            kept = [row for row, cloud in enumerate(points) if len(cloud)]
            for row in sorted(set(range(len(window))) - set(kept)):
                self._leave_out(window, row, transl[row])
            if not kept:
                return None
            window, transl = window[kept], transl[kept]
            view = window.with_points([points[row] for row in kept])
        options = {"names": window.keys, "seed": self.run.seed}
        found = self.model.bodies(view, transl, self.settings, **options)  # type: ignore[arg-type]
        return self._recovered(window, found, transl, view.points - transl[:, None])

    def _leave_out(self, window: Window, row: int, transl: Tensor) -> None:
        self.left_out += 1
        x, y, z = transl.tolist()
        self.run.log.warning(
            "%s: no point of the room within a metre of the body, which is at (%.1f, %.1f, %.1f) m from the "
            "camera: it is left out", window.keys[row], x, y, z,
        )  # fmt: skip

    def _recovered(self, window: Window, found: Samples, transl: Tensor, points: Tensor | None) -> Recovered:
        """The bodies of a window.

        Args:
            points: The room around each body, in its axes [B, N, 3].
        """
        count = found.betas.shape[1]
        collision = gap = np.full((len(window), count), np.nan)
        if points is not None:
            gap = self._gap(found, points)
            if self.model.collision is not None:
                shares = self.model.collisions(found, points, names=window.keys, seed=self.run.seed)
                collision = shares.double().cpu().numpy()
        view = window.view
        return Recovered(
            names=np.array(window.names),
            rooms=np.array(window.rooms),
            betas=found.betas.float().cpu().numpy(),
            matrices=found.matrices.float().cpu().numpy(),
            transl=transl.float().cpu().numpy(),
            focal=view.focal.numpy(),
            centre=view.centre.numpy(),
            box_centre=view.box_centre.numpy(),
            box_size=view.box_size.numpy(),
            size=window.sizes,
            camera_from_scene=window.camera_from_scene,
            collision=collision,
            contact=np.where(np.isnan(gap), np.nan, gap < PUBLISHED_CONTACT),
            gap=gap,
            true_transl=window.true_transl,
            body="open" if self.model.people.neutral.is_open else "smpl",
            data="" if self.settings.data is None else str(self.settings.data.absolute()),
        )

    def _gap(self, found: Samples, points: Tensor) -> np.ndarray:
        """The smallest distance between body and room, metres, float64 [B, S]."""
        rows = [
            nearest(
                self.model.people.posed(matrices, betas).vertices.cpu().numpy(),
                cloud.numpy(),
            )
            for matrices, betas, cloud in zip(found.matrices, found.betas, points, strict=True)
        ]
        return np.stack(rows)


def show(settings: Infer, run: Run, gallery: Gallery, formats: Sequence[str]) -> None:
    """Write formats, and pictures of some people."""
    rate = settings.fps or FPS / settings.every
    export.save_formats(gallery, formats, run, fps=rate, seed=run.seed)
    count = min(settings.pictures, len(gallery))
    rows = np.linspace(0, len(gallery) - 1, count).round().astype(int) if count else []
    for row in run.progress(rows, "drawing", count):
        run.save(f"{gallery.stems[row]}_bodies.jpg", gallery.sheet(int(row)))


def numbers(found: Recovered, work: Work, took: float) -> dict[str, object]:
    """What the run says at its end."""
    places = np.linalg.norm(found.transl, axis=1)
    said: dict[str, object] = {
        "people": len(found),
        "samples": found.num_samples,
        "left_out": work.left_out,
        "nearest_m": round(float(places.min()), 2),
        "farthest_m": round(float(places.max()), 2),
        "seconds": round(took, 2),
        "seconds_per_body": round(took / found.betas[..., 0].size, 3),
    }
    if np.isfinite(found.collision).any():
        said["collision"] = round(float(np.nanmean(found.collision)), 5)
    if np.isfinite(found.contact).any():
        said["contact"] = round(float(np.nanmean(found.contact)), 3)
    if np.isfinite(found.true_transl).any():
        errors = np.linalg.norm(found.transl - found.true_transl, axis=1)
        said["place_error_mm"] = round(1000 * float(np.nanmean(errors)), 1)
    return said


def _data(sightings: Sightings) -> EgoBody:
    assert isinstance(sightings, Recordings)
    return sightings.data
