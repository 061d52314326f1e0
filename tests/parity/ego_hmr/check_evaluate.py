"""Both evaluations on the miniature EgoBody: what they find, save and print."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avatarctl_ego_hmr.collision.load import load_collision
from avatarctl_ego_hmr.egobody import prepared
from avatarctl_ego_hmr.egobody.annotations import Annotations
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.evaluate import Bodies, errors_of, pairs
from avatarctl_ego_hmr.items import Items
from avatarctl_ego_hmr.model.networks import load
from avatarctl_ego_hmr.pickles import write_pickle
from avatarctl_ego_hmr.pipeline import Pipeline
from avatarctl_ego_hmr.recovered import PUBLISHED, Results, read_results
from avatarctl_ego_hmr.sampling import Samples, Streams, sample
from avatarctl_ego_hmr.scores import PUBLISHED_CONTACT, nearest, place_errors, summary
from ego_hmr import inputs

from avatarctl.device import Noise

Arrays = dict[str, np.ndarray]
SAMPLES = 3
MM = 1000.0


@contextmanager
def egobody(folder: Path, clouds: np.ndarray, *, is_cube: bool) -> Iterator[EgoBody]:
    """The miniature data set with prepared scene points of the test split.

    Args:
        clouds: One for each frame [6, N, 3], or one for all [N, 3].
    """
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for path in inputs.mini(folder).iterdir():
            (root / path.name).symlink_to(path)
        frames = EgoBody(root).annotations("test")
        keys = [frames.key(index) for index in range(len(frames))]
        if is_cube:
            for key, cloud in zip(keys, clouds, strict=True):
                path = root / prepared.FOLDERS["cube-predicted"] / prepared.cube_file("test", key)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, cloud)
        else:
            mapping, file = (root / prepared.FOLDERS["front"] / name for name in prepared.front_files("test"))
            mapping.parent.mkdir()
            write_pickle(mapping, dict.fromkeys(keys, keys[0]))
            prepared.write_clouds(file, [(keys[0], clouds)])
        yield EgoBody(root)


def case_beside(case: dict[str, Any], name: str) -> Arrays:
    """The arrays of another case."""
    with np.load(Path(case["path"]).with_name(f"{name}.npz")) as file:
        return dict(file)


def bodies_of(found: Samples, transl: torch.Tensor) -> Bodies:
    """For scoring; nothing is known of the room."""
    nothing = np.full(found.betas.shape[:2], np.nan)
    arrays = (found.matrices.numpy(), found.betas.numpy(), transl.numpy())
    return Bodies(np.arange(len(transl)), *arrays, nothing, nothing, nothing)


def check_stage1(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The likeliest bodies, where they are, and the six printed numbers."""
    people = inputs.people(folder)
    network = load(inputs.official("stage1_53618", folder), "scene", torch.device("cpu"))
    model = Pipeline(people, torch.device("cpu"), scene=network)
    with egobody(folder, case_beside(case, "prepare_scene_s1")["test.points"], is_cube=False) as data:
        truth, size = data.annotations("test"), data.picture_size(data.annotations("test").names[0])
        items = Items(data, "test", people, points="front")
        parts = [items.batch(range(first, min(first + 4, 6)))[0] for first in (0, 4)]
    found = [model.likeliest(view) for view in parts]
    cameras = [network.predict(network.condition(view), view).camera for view in parts]
    matrices, betas = (torch.cat([getattr(one, name) for one, _ in found]) for name in ("matrices", "betas"))
    transl = torch.cat([place for _, place in found])
    errors: dict[str, list[torch.Tensor]] = {}
    for pair in pairs(people, bodies_of(Samples(matrices, betas), transl), truth, size):
        each = place_errors(pair.joints[:, 0], pair.vertices[:, 0], pair.true_joints, pair.true_vertices)
        for name, values in each.items():
            errors.setdefault(name, []).append(values)
    for name, wanted in case["metrics_mm"].items():
        ours = MM * float(torch.cat(errors[name.lower().replace("-", "_")]).mean())
        assert abs(ours - wanted) <= 0.002 * wanted, f"{name}: {ours}, expected {wanted}"
    return {
        "pred_cam_full_list": transl.numpy(),
        "mode.global_orient": matrices[:, 0, :1].numpy(),
        "mode.body_pose": matrices[:, 0, 1:].numpy(),
        "mode.betas": betas[:, 0].numpy(),
        "mode.cam": torch.cat(cameras).numpy(),
    }


def check_stage2(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The sampled bodies, the saved results, and the printed numbers."""
    people, given = inputs.people(folder), case_beside(case, "prepare_scene_s2_pred")
    network = load(inputs.official("stage2_91453", folder), "diffusion", torch.device("cpu"))
    collision = load_collision(inputs.official("coap_smpl_neutral", folder), people)
    model = Pipeline(people, torch.device("cpu"), diffusion=network, collision=collision)
    places = torch.from_numpy(given["stage1"]).float()
    found, ratios, gaps = [], [], []
    with egobody(folder, given["points"], is_cube=True) as data:
        truth, size = data.annotations("test"), data.picture_size(data.annotations("test").names[0])
        items = Items(data, "test", people, points="cube-pred")
        for batch, rows in enumerate((range(4), range(4, 6))):
            view = items.batch(rows)[0]
            transl = places[list(rows)]
            with torch.no_grad():
                condition = network.condition(view, transl, loosen=True)
            starts = [arrays[f"noise_batch{batch}_sample{index}"] for index in range(SAMPLES)]
            noises = [
                Streams(Noise.replay([torch.from_numpy(start[row])]), Noise.replay([]))
                for row in range(len(rows))
                for start in starts
            ]
            points = view.points - transl[:, None]
            made = sample(network, condition, points, noises, spacing="ddim5")
            found.append(made)
            ratios.append(model.collisions(made, points, names=[f"{row}" for row in rows]))
            for row in range(len(rows)):
                vertices = people.posed(made.matrices[row], made.betas[row]).vertices
                gaps.append(nearest(vertices.numpy(), points[row].numpy()))
    matrices, betas = (torch.cat([getattr(one, name) for one in found]) for name in ("matrices", "betas"))
    bodies = bodies_of(Samples(matrices, betas), places)
    check_printed(case, summary(errors_of(people, bodies, truth, size)))
    collisions = torch.cat(ratios).double().numpy()
    printed = re.search(r"ratio: ([\d.]+) / ([\d.]+)", " ".join(case["printed_final"]))
    assert printed is not None
    assert abs(collisions.mean() - float(printed[1])) <= 0.004
    return results(bodies, collisions, np.stack(gaps) < PUBLISHED_CONTACT, truth)


def check_printed(case: dict[str, Any], numbers: dict[str, float]) -> None:
    """Compare with what the published code prints, within half a millimetre."""
    names = {"G-MPJPE": "g_mpjpe", "MPJPE": "mpjpe", "PA-MPJPE": "pa_mpjpe", "V2V": "v2v",
             "std-joints": "std", "apd-joints": "apd"}  # fmt: skip
    seen = 0
    for line in case["printed_final"]:
        title, _, values = line.partition(" all/vis/invis: ")
        if title in names:
            for which, value in zip(("all", "visible", "hidden"), values.split(" / "), strict=True):
                ours = MM * numbers[f"{names[title]}.{which}"]
                assert abs(ours - float(value)) <= 0.5, f"{title} {which}: {ours}, expected {value}"
                seen += 1
        elif line.startswith("MPJPE-invis: "):
            ours, wanted = MM * numbers["mpjpe_best.hidden"], float(line.removeprefix("MPJPE-invis: "))
            assert abs(ours - wanted) <= 0.5, f"best of the samples: {ours}, expected {wanted}"
            seen += 1
    assert seen == 3 * len(names) + 1


def results(bodies: Bodies, collisions: np.ndarray, contact: np.ndarray, truth: Annotations) -> Arrays:
    """The arrays of the published file, written and read again."""
    made = Results(
        bodies.transl, bodies.betas, bodies.matrices[:, :, :1], bodies.matrices[:, :, 1:], collisions,
        contact.astype(np.float64), truth.transl,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        found = read_results(made.write(Path(place) / "results_seed_0.pkl"))
    return {f"out.{theirs}": getattr(found, ours) for ours, (theirs, _) in PUBLISHED.items()}


KINDS = {"eval_stage1": check_stage1, "eval_stage2": check_stage2}
INPUTS = {"eval_stage2": ("noise_*",)}
TOLERANCES = {"eval_stage2": {"out.collision_ratio_list": {"rtol": 0.0, "atol": 0.002}}}
