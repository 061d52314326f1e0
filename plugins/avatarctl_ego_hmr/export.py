"""The export target: recovered bodies in the formats that other programs read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from avatarctl.errors import DataError, SettingsError
from avatarctl.export import amass
from avatarctl.files import check_input_file
from avatarctl.geometry.rotations import axis_angle_from_matrix
from avatarctl.motion import Motion
from avatarctl.runs import manifest
from avatarctl.runs.folder import is_run
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.egobody.annotations import key_of
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.gallery import Axes, Gallery
from avatarctl_ego_hmr.pictures import TRUTH, colours_of
from avatarctl_ego_hmr.recovered import FILE, Recovered, Results, read_recovered, read_results

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_ego_hmr.egobody.annotations import Annotations
    from avatarctl_ego_hmr.settings import Export

FORMATS = ("glb", "ply", "obj", "npz", "motion", "png", "pkl")
GAMMA = 2.2
"""glTF has linear colours."""


def run(settings: Export, run: Run) -> None:
    """Write recovered bodies in each format."""
    check_formats(settings.to)
    found, data = opened(settings, run)
    found = chosen(found, settings.sample, settings.people, settings.source)
    kind_of_body = People.load(run.bodies, found.body, settings.body_models)
    gallery = Gallery(found, kind_of_body, data, settings.renderer)
    seed = seed_of(settings.source)
    save_formats(gallery, settings.to, run, axes=settings.axes, fps=settings.fps, seed=seed)
    run.report(people=len(found), samples=found.num_samples, formats=", ".join(dict.fromkeys(settings.to)))


def check_formats(wanted: Iterable[str]) -> None:
    """Refuse words that name no format.

    Raises:
        SettingsError: The first such word, with the nearest name.
    """
    for name in wanted:
        if name not in FORMATS:
            near = next(iter(get_close_matches(name, FORMATS, n=1)), FORMATS[0])
            raise SettingsError(
                f"to: '{name}' is no format; choose from {', '.join(FORMATS)}", hint=f"--to {near}"
            )


def opened(settings: Export, run: Run) -> tuple[Recovered, EgoBody | None]:
    """The bodies that a source holds, and the recordings that they are of.

    Raises:
        DataError: It is no source of bodies, or the recordings are not there.
        SettingsError: Published results without their recordings.
    """
    source = settings.source
    if source.suffix.lower() in (".pkl", ".pickle"):
        results = read_results(run.input(check_input_file(source, "published results"), "source"))
        if settings.data is None:
            raise SettingsError(
                f"data: missing; {source} does not say which pictures its bodies are of",
                hint=f"avatarctl export ego-hmr {source} --data EGOBODY --split {settings.split}",
            )
        data = EgoBody(settings.data)
        return of_results(results, data, settings.split, source), data
    found = read_recovered(source)
    run.input(source / FILE if source.is_dir() else source, "source")
    folder = settings.data or (Path(found.data) if found.data else None)
    if settings.data is not None and not found.data:
        raise SettingsError(
            f"data: {source} is of pictures of one's own, not of recordings", hint="leave out --data"
        )
    return found, None if folder is None else EgoBody(folder)


def seed_of(source: Path) -> int | None:
    """The seed with which bodies were drawn: in the name of published results, or of the run beside."""
    if named := re.fullmatch(r"results_seed_(\d+)", source.stem):
        return int(named[1])
    folder = source if source.is_dir() else source.parent
    is_drawn = source.is_dir() or source.name == FILE
    return manifest.read(folder).seed if is_drawn and is_run(folder) else None


def chosen(found: Recovered, sample: int, people: int, source: Path) -> Recovered:
    """One of the samples (-1 takes all) of so many people, evenly spread (0 takes all).

    Raises:
        SettingsError: There is no such sample.
    """
    if sample >= found.num_samples or sample < -1:
        raise SettingsError(
            f"sample: found {sample}; {source} holds {found.num_samples}, counted from 0; -1 takes all",
            hint=f"--sample {found.num_samples - 1}",
        )
    if 0 < people < len(found):
        found = found[np.linspace(0, len(found) - 1, people).round().astype(np.int64)]
    if sample < 0:
        return found
    arrays = ("betas", "matrices", "collision", "contact", "gap")
    return replace(found, **{name: getattr(found, name)[:, [sample]] for name in arrays})


def of_results(results: Results, data: EgoBody, split: str, path: Path) -> Recovered:
    """Published results with what the annotations say of their pictures.

    Raises:
        DataError: They are of stage 1, or of another number of frames than the split has.
    """
    if results.betas is None:
        raise DataError(
            f"{path}: holds places alone, of stage 1; bodies need poses",
            hint="name a results_seed_N.pkl of stage 2, or: avatarctl infer ego-hmr --data EGOBODY "
            f"--translations {path}",
        )
    frames = data.annotations(split)
    if len(frames) != len(results.transl):
        raise DataError(
            f"{path}: holds {len(results.transl)} frames; the {split} split of {data.root} has {len(frames)}",
            hint="name the split that it is of: --split val",
        )
    count, samples = results.betas.shape[:2]
    nothing = np.full((count, samples), np.nan)
    columns, rows = data.picture_size(frames.names[0])
    return Recovered(
        names=np.array(frames.names),
        rooms=np.array([data.scene_of(frames.recording(row)) for row in range(count)]),
        betas=np.float32(results.betas),
        matrices=np.float32(results.matrices),
        transl=np.float32(results.transl),
        focal=np.float32(frames.fx),
        centre=np.float32(np.stack([frames.cx, frames.cy], axis=1)),
        box_centre=np.float32(frames.centre),
        box_size=np.float32(frames.scale * 1.2 * 200),  # parity: the published crop is so much larger (3.5)
        size=np.tile([columns, rows], (count, 1)),
        camera_from_scene=_cameras(frames, data),
        collision=nothing if results.collision is None else results.collision,
        contact=nothing if results.contact is None else results.contact,
        true_transl=np.float32(frames.transl),
        body=data.kind,
        data=str(data.root),
    )


def _cameras(frames: Annotations, data: EgoBody) -> np.ndarray:
    """Of each frame, from the scene to its camera, float64 [n, 4, 4]."""
    transforms = data.transforms()
    every = [
        transforms.camera_from_scene(frames.recording(row), frames.timestamp(row))
        for row in range(len(frames))
    ]
    return np.stack(every)


def save_formats(
    gallery: Gallery,
    to: Iterable[str],
    run: Run,
    *,
    axes: Axes = "scene",
    fps: float = 30.0,
    seed: int | None = None,
) -> None:
    """Write people of a gallery into a run's folder.

    Args:
        to: Some of `FORMATS`.
        axes: Of meshes and npz.
        fps: Rate of motions.
        seed: With which bodies were drawn, for the name of published results; None where nothing tells it.

    Raises:
        DataError: Where the cameras stood is not known, and the axes are not theirs.
    """
    for name in dict.fromkeys(to):
        if name == "glb":
            for stem, rows in groups(gallery, axes).items():
                content = scene(gallery, rows, axes).export(file_type="glb", include_normals=True)
                run.save(f"{stem}.glb", content, "mesh")
        elif name in ("ply", "obj"):
            _save_meshes(gallery, name, run, axes)
        elif name == "npz":
            run.save("smpl.npz", parameters(gallery, axes))
        elif name == "motion":
            _save_motions(gallery, run, fps)
        elif name == "png":
            for row in run.progress(range(len(gallery)), "drawing", len(gallery)):
                run.save(f"{gallery.stems[row]}.png", gallery.sheet(row))
        else:
            name = "results.pkl" if seed is None else f"results_seed_{seed}.pkl"
            run.save(name, gallery.found.results())


def groups(gallery: Gallery, axes: Axes) -> dict[str, list[int]]:
    """The people that have axes in common, by the name of their file: those in one room, else each alone."""
    if axes != "scene":
        return {stem: [row] for row, stem in enumerate(gallery.stems)}
    found: dict[str, list[int]] = {}
    for row, room in enumerate(gallery.found.rooms):
        found.setdefault(str(room) or gallery.stems[row], []).append(row)
    if len(found) == 1:
        return {"people": next(iter(found.values()))}
    return {f"people_{PurePath(name).stem}": rows for name, rows in found.items()}


def scene(gallery: Gallery, rows: Sequence[int], axes: Axes, truth: Sequence[tuple[str, Tensor]] = ()) -> Any:
    """Bodies of some people, and the room around them where it is known, as a `trimesh.Scene`.

    Args:
        rows: People that have these axes in common.
        truth: Names and vertices [V, 3] of true bodies, in these axes.
    """
    import trimesh

    made = trimesh.Scene()
    if gallery.has_room(rows[0]):
        made.add_geometry(_room(gallery, rows[0], axes), geom_name="room", node_name="room")
    bodies = [
        (_body_name(gallery, row, sample), body, colour)
        for row in rows
        for sample, (body, colour) in enumerate(
            zip(vertices_of(gallery, row, axes), colours_of(gallery.found.num_samples), strict=True)
        )
    ]
    for name, body, colour in [*bodies, *((name, body, TRUTH) for name, body in truth)]:
        mesh = trimesh.Trimesh(body.numpy(), gallery.people.neutral.faces.numpy(), process=False)
        mesh.visual = trimesh.visual.TextureVisuals(  # type: ignore[no-untyped-call]
            material=trimesh.visual.material.PBRMaterial(  # type: ignore[no-untyped-call]
                name=name,
                baseColorFactor=[*(part**GAMMA for part in colour), 1.0],
                metallicFactor=0.0,
                roughnessFactor=0.8,
            )
        )
        made.add_geometry(mesh, geom_name=name, node_name=name)
    return made


def _room(gallery: Gallery, row: int, axes: Axes) -> Any:
    import trimesh

    mesh = gallery.mesh(row)
    matrix = gallery.matrix(row, axes) @ gallery.found.camera_from_scene[row]
    vertices = mesh.vertices if axes == "scene" else mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    colours = None if mesh.colours is None else np.uint8(255 * mesh.colours**GAMMA + 0.5)
    if not len(mesh.faces):
        return trimesh.PointCloud(vertices, colours)  # type: ignore[no-untyped-call]
    return trimesh.Trimesh(vertices, mesh.faces, vertex_colors=colours, process=False)


def _body_name(gallery: Gallery, row: int, sample: int) -> str:
    is_alone = gallery.found.num_samples == 1
    return gallery.stems[row] if is_alone else f"{gallery.stems[row]}_{sample}"


def vertices_of(gallery: Gallery, row: int, axes: Axes) -> Tensor:
    """Vertices of all samples of a person, metres [S, V, 3]."""
    return gallery.moved(row, axes, gallery.body(row).vertices)


def _save_meshes(gallery: Gallery, suffix: str, run: Run, axes: Axes) -> None:
    """A file for each body, with the vertices in SMPL's order."""
    import trimesh

    faces = gallery.people.neutral.faces.numpy()
    for row in run.progress(range(len(gallery)), f"writing {suffix}", len(gallery)):
        for sample, body in enumerate(vertices_of(gallery, row, axes)):
            mesh = trimesh.Trimesh(body.numpy(), faces, process=False)
            run.save(f"{_body_name(gallery, row, sample)}.{suffix}", mesh)


def parameters(gallery: Gallery, axes: Axes) -> dict[str, np.ndarray]:
    """SMPL parameters of all bodies in some axes: `betas` [n, S, 10], `global_orient` [n, S, 3], `body_pose`
    [n, S, 69] (axis-angle), `transl` [n, S, 3] metres, `names` [n]."""
    found = gallery.found
    transl = np.empty((*found.betas.shape[:2], 3), np.float32)
    matrices = torch.from_numpy(found.matrices).double()  # near half turns the axis needs it
    for row in range(len(found)):
        turn = torch.from_numpy(gallery.matrix(row, axes))[:3, :3]
        matrices[row, :, 0] = turn @ matrices[row, :, 0]
        pelvis = _rest_pelvis(gallery, torch.from_numpy(found.betas[row]))
        places = gallery.moved(row, axes, pelvis + torch.from_numpy(found.transl[row]))
        transl[row] = (places - pelvis).numpy()  # SMPL turns about its pelvis, not about the origin
    poses = axis_angle_from_matrix(matrices).float()
    return {
        "names": found.names,
        "betas": found.betas,
        "global_orient": poses[:, :, 0].numpy(),
        "body_pose": poses[:, :, 1:].flatten(2).numpy(),
        "transl": transl,
    }


def _rest_pelvis(gallery: Gallery, betas: Tensor) -> Tensor:
    """Where shapes [..., 10] have their pelvis at rest, metres [..., 3]."""
    body = gallery.people.neutral  # whose whole bodies of many shapes would fill the memory
    directions = torch.einsum("v,vck->kc", body.regressor[0], body.shape_directions[..., : betas.shape[-1]])
    return body.rest_joints[0] + betas @ directions


def _save_motions(gallery: Gallery, run: Run, fps: float) -> None:
    """A motion of each sample for each recording; people of one's own pictures are one recording."""
    recordings: dict[str, list[int]] = {}
    for row, name in enumerate(gallery.found.names):
        recording = "motion" if gallery.data is None else key_of(str(name)).split("/")[1]
        recordings.setdefault(recording, []).append(row)
    if gallery.data is None and len(set(gallery.found.names)) < len(gallery):
        run.log.warning("motion: people of one picture follow each other in it as if they were one")
    count = gallery.found.num_samples
    for recording, rows in recordings.items():
        for sample in range(count):
            name = recording if count == 1 else f"{recording}_{sample}"
            path = run.path(f"{name}.npz")
            amass.write_npz(motion(gallery, rows, sample, fps), gallery.people.neutral, path)
            run.output(path, "motion")


def motion(gallery: Gallery, rows: Sequence[int], sample: int, fps: float) -> Motion:
    """One of the samples of people as frames of one motion, in scene axes, with their mean shape."""
    found = gallery.found[np.asarray(rows)]
    found = replace(found, betas=found.betas[:, [sample]], matrices=found.matrices[:, [sample]])
    values = parameters(replace(gallery, found=found), "scene")
    one = {name: torch.from_numpy(values[name][:, 0]) for name in values if name != "names"}
    betas = one["betas"].mean(dim=0)
    pelvis = one["transl"] + _rest_pelvis(gallery, one["betas"])
    poses = torch.cat([one["global_orient"], one["body_pose"]], dim=1).unflatten(1, (24, 3))
    root = pelvis - _rest_pelvis(gallery, betas)
    return Motion(poses, root, fps, betas, skeleton="smpl", up="y")
