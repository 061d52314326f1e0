"""The presets say what the published configurations say (spec 4.12)."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from avatarctl_video_avatar.settings import Infer
from avatarctl_video_avatar.settings_evaluate import Evaluate
from avatarctl_video_avatar.settings_export import Export
from avatarctl_video_avatar.settings_train import Train

from avatarctl.config.layers import Given, leaves, resolve
from avatarctl.config.presets import Preset, own_folder

FOLDER = own_folder() / "video-avatar"
PUBLISHED = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "toy")
BESIDE = [str(view) for view in range(23) if view not in (0, 6, 12, 18)]
H36M = ["54138969", "55011271", "58860488"]
ONE = {"views": ["0"], "validate_views": ["0"]}
HALF = {"loop.log_every": 1, "validate_epochs": 2, "epochs": 500, "losses.mse": 0.01, "losses.nssim": 0.01,
        "rendering.n_samples": 64}  # fmt: skip
SNAPSHOT = ONE | {"epochs": 2000, "dataset": "people-snapshot", "offset": "published"}
SELFRECON = ONE | {"epochs": 5000, "dataset": "selfrecon", "offset": "published"}
NEVER = 2_500_000_000_000_000
MEGAN = ["0", *map(str, range(2, 10))]


def skinning(kick_out: float, end: float = 1e10, mask: float = 1.0) -> dict[str, float]:
    return {"losses.kick_out_iter": kick_out, "losses.weight_decay_end": end, "losses.mask": mask}


def refined(step: int) -> dict[str, int]:
    return {"rendering.kick_in_iter": step}


def frames(train: str, validate: str) -> dict[str, str]:
    return {"frames": train, "validate_frames": validate}


TABLE: dict[str, dict[str, Any]] = {
    "zju-377": {},
    "zju-377-mono": HALF | frames("0:50", "500:-1:100")
    | {"views": ["0"], "validate_views": ["7"], "batch_size": 1, "losses.mask": 0},
    "zju-386": {"validate_frames": "0:300:100"} | skinning(30000) | refined(30000),
    "zju-387": {"validate_frames": "0:300:100"} | skinning(30000) | refined(30000),
    "zju-390": HALF | frames("0:500", "500:-1:100"),
    "zju-392": HALF | frames("0:500", "500:-1:100"),
    "zju-393": {"validate_frames": "0:300:100000"},
    "zju-394": {"validate_frames": "0:300:100"},
    "h36m-s6": frames("0:150", "0:150:10") | skinning(5e12, 1e6, 10)
    | {"views": H36M, "validate_views": ["60457274"], "epochs": 2000, "rendering.inner_sampling": False},
    "h36m-s9": frames("0:260", "0:260:20") | refined(6_000_000_000_000)
    | {"views": H36M, "validate_views": ["60457274"], "epochs": 2000, "rendering.inner_sampling": False,
       "rendering.n_iter_backward": 1},
    "people-snapshot-female-3-casual": SNAPSHOT | frames("0:445", "446:-1:200"),
    "people-snapshot-female-4-casual": SNAPSHOT | frames("0:335", "335:-1:200"),
    "people-snapshot-male-3-casual": SNAPSHOT | frames("0:455", "456:-1:200") | refined(40000)
    | skinning(30000),
    "people-snapshot-male-4-casual": SNAPSHOT | frames("50:350", "350:-1:200"),
    "selfrecon-female-outfit1": SELFRECON | frames("0:-1", "50:200:10") | refined(20000) | skinning(20000),
    "selfrecon-female-outfit2": SELFRECON | frames("0:-1", "50:200:10") | refined(20000) | skinning(20000),
    "selfrecon-male-outfit2": SELFRECON | frames("0:-1", "50:200:10") | refined(20000) | skinning(20000),
    "selfrecon-female-outfit3": SELFRECON | frames("0:-1", "50:200:10") | refined(20000)
    | skinning(2e14, 1e6, 10),
    "selfrecon-male-outfit1": SELFRECON | frames("0:200", "0:200:10") | refined(40000)
    | skinning(3e12, 1e6, 10),
    "synthetic-human-jody": frames("0:-1", "0:-1:20") | refined(25000) | skinning(20000)
    | {"views": ["1"], "validate_views": MEGAN, "epochs": 5000, "rendering.non_rigid_full_band_iter": NEVER},
    "synthetic-human-malcolm": frames("0:70", "0:70:20") | refined(NEVER) | skinning(20000)
    | {"views": ["1", "4", "7", "9"], "validate_views": ["0", "2", "3", "5", "6", "8"], "epochs": 5000},
    "synthetic-human-manuel": frames("10:300", "10:300:100") | refined(NEVER) | skinning(20000, mask=0)
    | {"views": ["1", "4", "7", "9"], "validate_views": ["0", "2", "3", "5", "6", "8"], "epochs": 500,
       "rendering.n_iter_backward": 1},
    "synthetic-human-megan": frames("0:100", "0:100:30") | refined(30000) | skinning(3e20, 1e6, 10)
    | {"views": ["1"], "validate_views": MEGAN, "epochs": 10000},
    "monocap-olek": frames("0:200", "0:200:2000") | refined(40000) | skinning(30000, 5e5, 10)
    | {"views": ["44"], "validate_views": [*map(str, range(0, 50, 5)), "49"], "epochs": 5000},
    "monocap-vlad": frames("0:300", "0:300:3000") | refined(2_000_000_000_000) | skinning(20000)
    | {"views": ["66"], "validate_views": [*map(str, range(0, 101, 10))], "epochs": 2000},
}  # fmt: skip
"""By preset, what differs from the published base."""
OURS = ("zju-313", "zju-315")
"""Presets of people without a published configuration."""


def settings_of(cls: type[Any], verb: str, path: Path, **options: Any) -> Any:
    preset = Preset("video-avatar", path.stem, path)
    return resolve(cls, Given(verb, "video-avatar", presets=[preset], options=options)).settings


def test_the_base_is_that_of_subject_377() -> None:
    base = leaves(Train(data=Path()))
    assert (base["views"], base["validate_views"]) == (["0", "6", "12", "18"], BESIDE)
    assert (base["frames"], base["validate_frames"], base["res_level"]) == ("0:300", "100:300:100000", 4)
    assert (base["batch_size"], base["epochs"], base["loop.log_every"]) == (4, 1000, 10)
    assert (base["validate_epochs"], base["save_epochs"], base["optim.decade"]) == (10, 10, 5e6)
    weights = {"rgb": 10, "perceptual": 1, "mse": 1, "nssim": 1, "eikonal": 0.1, "skinning": 1, "mask": 1}
    assert {name: base[f"losses.{name}"] for name in weights} == weights
    assert base["losses.rgb_type"] == "l1"
    rates = [base[f"optim.{name}"] for name in ("lr", "lr_pose_decoder", "lr_skinning_model")]
    assert [*rates, base["optim.weight_decay"]] == [5e-4, 5e-5, 1e-4, 0.0]
    assert [base[f"patches.{name}"] for name in ("n_patches", "patch_size", "sample_subject_ratio")] == [
        4, 32, 0.8,
    ]  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_differs_from_the_base_where_the_published_one_does(name: str) -> None:
    found, base = leaves(settings_of(Train, "train", FOLDER / f"{name}.yaml")), leaves(Train(data=Path()))
    changed = {key: value for key, value in found.items() if value != base[key] and key != "data"}
    assert changed == {key: value for key, value in TABLE[name].items() if value != base[key]}


def test_there_is_a_preset_for_every_row() -> None:
    assert {path.stem for path in PUBLISHED} == {*TABLE, *OURS}


def test_people_without_a_published_configuration_have_that_of_377() -> None:
    for name, last in (("zju-313", 60), ("zju-315", 400)):
        found, base = leaves(settings_of(Train, "train", FOLDER / f"{name}.yaml")), leaves(Train(data=Path()))
        changed = {key for key in found if found[key] != base[key]}
        assert changed == {"data", "frames", "validate_views", "validate_frames"}
        assert found["frames"] == f"0:{last}"
        assert set(found["validate_views"]) <= set(map(str, range(21)))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_preset_serves_all_verbs(path: Path) -> None:
    train = settings_of(Train, "train", path)
    for cls, verb in ((Infer, "infer"), (Evaluate, "eval"), (Export, "export")):
        found = settings_of(cls, verb, path)
        assert (found.data, found.rendering, found.dataset, found.offset) == (
            train.data, train.rendering, train.dataset, train.offset,
        )  # fmt: skip


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_preset_opens_with_commands_that_are_true(path: Path) -> None:
    first, *rest = (line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#"))
    assert first == f"avatarctl train video-avatar -c {path.stem}"
    (test,) = (line.partition(": ")[2] for line in rest if line.startswith("Its test split"))
    words = shlex.split(test)
    assert words[:5] == ["avatarctl", "eval", "video-avatar", "-c", path.stem]
    options = dict(zip((word.removeprefix("--") for word in words[5::2]), words[6::2], strict=True))
    found = settings_of(Evaluate, "eval", path, **options)
    assert found.mode == "unseen"
    assert found.start is not None
