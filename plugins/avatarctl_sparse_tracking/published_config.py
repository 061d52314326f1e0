"""The published YAML files as settings (spec 4.8).

Keys are known by their names and by the block that they stand in, wherever the file nests them. Of each:

    SETTINGS    where its value goes, for the stage that the file trains
    FOLDERS     it names a folder of weights, which is taken where it exists
    FIXED       the published code computes with it, and no other value can be taken here
    IDLE        read by nothing, in the published code or here; said once when it is changed
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from avatarctl.config import StageSettings, presets
from avatarctl.errors import SettingsError

log = logging.getLogger("avatarctl.config")
PLUGIN = "sparse-tracking"
BLOCKS = ("vqvae", "diffusion", "decoder", "refiner")
"""Blocks in which equal names mean different things."""
_OPTIM = {"lr": "optim.lr", "weight_decay": "optim.weight_decay"}
_SCHEDULE = {"milestones": "schedule.milestones", "gamma": "schedule.gamma"}
_WINDOWS = {"batch_size": "batch_size", "train_dataset_repeat_times": "repeat"}
SETTINGS: dict[str, dict[str, str]] = {
    "vqvae": {
        **_OPTIM, **_SCHEDULE, **_WINDOWS, "part": "part", "epoch": "epochs", "mask_ratio": "mask_ratio",
        "alpha_codebook": "losses.codebook", "fk_loss": "losses.fk", "hand_align_loss": "losses.hand",
        "vqvae.n_layers": "network.layers", "vqvae.hid_dim": "network.width", "vqvae.heads": "network.heads",
        "vqvae.n_codebook": "network.books", "vqvae.n_e": "network.codes", "vqvae.e_dim": "network.latent",
    },
    "diffusion": {**_OPTIM, **_SCHEDULE, **_WINDOWS, "mask_num": "mask_rows"},
    "decoder": {
        **_WINDOWS, "lr_1": "optim.lr", "lr_2": "lr_joint", "weight_decay": "optim.weight_decay",
        "epoch_decoder": "epochs_decoder", "epoch_all": "epochs", "decoder.n_layers": "network.layers",
        "decoder.hid_dim": "network.width", "decoder.heads": "network.heads", "decoder.root": "losses.root",
        "decoder.other_joints": "losses.other", "decoder.body_fk": "losses.align",
    },
    "refiner": {
        **_OPTIM, **_SCHEDULE, "full_motion_length": "frames", "refiner.n_layers": "network.layers",
        "refiner.hidden_dim": "network.width", "refiner.recons": "losses.recons",
        "refiner.vel_1": "losses.vel_1", "refiner.vel_2": "losses.vel_2", "refiner.fk_loss": "losses.fk",
        "refiner.hand_align": "losses.hand_align", "refiner.jitter": "losses.jitter",
    },
}  # fmt: skip
FOLDERS = ("upper_vq_dir", "lower_vq_dir", "upper_dif_dir", "lower_dif_dir", "decoder_dir", "finetune_dir",
           "refiner_dir")  # fmt: skip
FIXED: dict[str, Any] = {
    "input_motion_length": 20, "fps": 60, "rootloss": True, "vqvae.dropout": 0, "vqvae.beta": 1.0,
    "init_noise_sigma": 0.01, "num_inference_timesteps": 5, "eta": 0.0, "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 0,
}  # fmt: skip
IDLE: dict[str, tuple[Any, ...]] = {
    "cuda": (True,), "device": (0,), "sparse_dim": (54,), "motion_nfeat": (132,),
    "overlapping_test": (False,), "mask_training": (True,), "last_frame": (True,), "loss_func": ("l1",),
    "epoch": (200, 40),
    "num_per_batch": (1024, 512), "mask_ratio": (0.5,), "gamma": (0.2, 0.25), "beta_start": (0.00085,),
    "beta_end": (0.012,), "decoder.upper": (0.1,), "decoder.lower": (0.5,), "save_gt": (False,),
}  # fmt: skip
OTHERS = ("protocol", "dataset_path", "support_dir", "seed", "num_workers", "save_dir", "vis", "mask_traing",
          "layers_upper", "layers_lower", "decoder.e_dim", "decoder.dropout", "refiner.dropout")  # fmt: skip
"""Keys with a rule of their own below, or none that a result depends on."""
KNOWN = {*FOLDERS, *FIXED, *IDLE, *OTHERS, *(key for keys in SETTINGS.values() for key in keys)}
PROTOCOLS = {"1_small_dataset": "s1", "2_full_dataset": "s2", "3_full_dataset": "s2", "randomsplit_0": "s3"}
"""The preset of each published setting."""


def translate(
    path: Path, content: Mapping[str, Any], verb: str, stage: str, cls: type[StageSettings]
) -> dict[str, Any] | None:
    """The settings that a published file gives a target or stage; None where it is no published file.

    Args:
        cls: The settings class; the file's keys for others are left out.

    Raises:
        SettingsError: A key is misspelt, asks for what cannot be done, or the file is another stage's.
    """
    if not any(key.isupper() and key.lower() in KNOWN for key in content):
        return None
    given = _flat(path, content)
    kind = _check_kind(path, given, verb, stage)
    found = _trained(path, given, kind) if verb == "train" else {}
    _check_fixed(path, given, kind if verb == "train" else "")
    found |= _weights(path, given, verb, stage, _half(given, kind)) | _data(path, given, verb, stage)
    if given.get("vis") is True:
        found["video"] = True
    if (verb, stage) == ("eval", "vqvae") and "num_per_batch" in given:
        found["batch_size"] = given.pop("num_per_batch")
    if "part" in cls.model_fields:
        found["part"] = _half(given, kind)
    _say_idle(path, given, SETTINGS[kind] if verb == "train" else ())
    return _nested(
        {name: value for name, value in found.items() if name.partition(".")[0] in cls.model_fields}
    )


def _flat(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The values by known name, with the block before it where that decides."""
    given: dict[str, Any] = {}
    unknown: list[str] = []

    def visit(block: str, inside: Mapping[Any, Any], at: str) -> None:
        for raw, value in inside.items():
            key, shown = str(raw).lower(), f"{at}{raw}"
            if isinstance(value, Mapping):
                visit(key if key in BLOCKS else block, value, f"{shown}.")
            elif name := _known(block, key):
                given[name] = value
            else:
                unknown.append(shown)

    visit("", content, "")
    lines, others = [], []
    for shown in unknown:
        near = get_close_matches(shown.rpartition(".")[2].lower(), _leaves(), n=1, cutoff=0.75)
        if near:
            word = near[0] if not shown.rpartition(".")[2].isupper() else near[0].upper()
            lines.append(f"{path}: {shown}: no such key in the published files, did you mean {word}?")
        else:
            others.append(shown)
    if lines:
        raise SettingsError("\n".join(lines), hint="settings of ours go into a file of their own: -c A -c B")
    if others:
        log.warning("%s: left out, as no published file has them: %s", path, ", ".join(others))
    return given


def _known(block: str, key: str) -> str:
    """The name of a key in a block; of one outside of them, the only one of this name; else nothing."""
    for name in (f"{block}.{key}", key):
        if name in KNOWN:
            return name
    nested = [name for name in KNOWN if name.rpartition(".")[2] == key]
    return nested[0] if len(nested) == 1 else ""


def _leaves() -> list[str]:
    return sorted({name.rpartition(".")[2] for name in KNOWN})


def _check_kind(path: Path, given: Mapping[str, Any], verb: str, stage: str) -> str:
    """The stage that a file is the configuration of, which must be the one that is asked for."""
    blocks = {name.partition(".")[0] for name in given}
    kind = next((name for name in ("refiner", "decoder") if name in blocks), "")
    if not kind:
        is_diffusion = "mask_num" in given or "init_noise_sigma" in given or "upper_vq_dir" in given
        kind = "diffusion" if is_diffusion else "vqvae"
    whole = ("decoder", "refiner")
    allowed = whole if verb in ("eval", "infer") and stage in ("", *whole) else (stage,)
    if kind not in allowed:
        words = {"train": f"train sparse --stage {kind}", "eval": f"eval sparse --stage {kind}"}
        asked = " ".join(word for word in (verb, "sparse", f"--stage {stage}" if stage else "") if word)
        raise SettingsError(
            f"{path}: is the published configuration of stage {kind}, and does not go with {asked}",
            hint=f"avatarctl {words[verb]} -c {path}" if verb in words else "name a refiner's configuration",
        )
    return kind


def _half(given: Mapping[str, Any], kind: str) -> str:
    """The body half: a VQ-VAE's file says it, a diffusion model's by the folders that it needs."""
    if kind == "vqvae":
        return str(given.get("part", "upper"))
    return "lower" if {"lower_vq_dir", "upper_dif_dir"} & given.keys() else "upper"


def _trained(path: Path, given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Settings of a training stage."""
    found = {setting: given[key] for key, setting in SETTINGS[kind].items() if key in given}
    if kind == "vqvae":
        layers, books = given.get("vqvae.n_layers"), given.get("vqvae.n_codebook", 8)
        if isinstance(layers, list):
            if len(set(layers)) != 1:
                raise SettingsError(
                    f"{path}: VQVAE.n_layers: found {layers}, expected two equal numbers",
                    hint="encoder and decoder have as many blocks",
                )
            found["network.layers"] = layers[0]
        if "vqvae.n_e" in given:
            codes = given["vqvae.n_e"]
            if not isinstance(codes, int) or not isinstance(books, int) or books < 1 or codes % books:
                raise SettingsError(
                    f"{path}: VQVAE.n_e: found {codes}, expected a multiple of n_codebook, {books}",
                    hint="n_e counts the codes of all books",
                )
            found["network.codes"] = codes // books
    if kind == "diffusion":
        layers = given.get(f"layers_{_half(given, kind)}")
        found |= {"network.depth": layers} if layers is not None else {}
        found |= {"mask_rows": 0} if given.get("mask_traing") is False else {}
    return found


def _check_fixed(path: Path, given: Mapping[str, Any], trained: str) -> None:
    """Refuse values that results would depend on, and that cannot be taken."""
    fixed = FIXED | ({"batch_size": 1} if trained == "refiner" else {})
    wrong = [
        f"{path}: {key.rpartition('.')[2]}: found {given[key]}, expected {value}: it is no setting here"
        for key, value in fixed.items()
        if key in given and given[key] != value
    ]
    if wrong:
        raise SettingsError("\n".join(wrong), hint="put the published value back")


def _weights(path: Path, given: Mapping[str, Any], verb: str, stage: str, half: str) -> dict[str, Any]:
    """Settings that name weights: the folders that exist; else the newest run."""
    decoder = "finetune_dir" if "finetune_dir" in given else "decoder_dir"
    if verb == "train":
        wanted = {
            "diffusion": {"vqvae": f"{half}_vq_dir"}
            | ({"upper": "upper_dif_dir"} if half == "lower" else {}),
            "decoder": {"upper": "upper_dif_dir", "lower": "lower_dif_dir"},
            "refiner": {"decoder": decoder},
        }.get(stage, {})
        return {setting: _folder(path, given, [key]) for setting, key in wanted.items() if key in given}
    several = {
        "vqvae": [f"{half}_vq_dir"], "decoder": [decoder],
        "diffusion": ["upper_vq_dir", "lower_vq_dir", "upper_dif_dir", "lower_dif_dir"],
    }.get(stage, [decoder, "refiner_dir"])  # fmt: skip
    keys = [key for key in several if key in given]
    return {"weights": _folder(path, given, keys)} if keys else {}


def _folder(path: Path, given: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The folders that keys name, joined by commas; `latest` where the first is not there."""
    found: list[str] = []
    for key in keys:
        place = _place(path, given[key])
        if place is None:
            log.warning(
                "%s: %s %s: no such folder; %s",
                path, key.upper(), given[key], "left out" if found else "the newest run is taken",
            )  # fmt: skip
            if not found:
                return "latest"
        else:
            found.append(str(place))
    return ",".join(found)


def _place(path: Path, words: Any) -> Path | None:
    """A folder from where the command is run, else from the folder that the published code lies in."""
    places = (Path(str(words)), path.resolve().parent.parent / str(words))
    return next((place for place in places if place.is_dir()), None)


def _data(path: Path, given: Mapping[str, Any], verb: str, stage: str) -> dict[str, Any]:
    """Store and protocol of the published setting, and the body models."""
    found: dict[str, Any] = {}
    protocol = given.get("protocol")
    if protocol in PROTOCOLS:
        preset = presets.find(f"{PLUGIN}/{PROTOCOLS[str(protocol)]}", PLUGIN)
        for section in presets.sections(preset.path, verb, stage, tuple(SETTINGS)):
            found |= {key: section[key] for key in ("store", "protocol") if key in section}
    elif protocol not in (None, "real"):
        raise SettingsError(
            f"{path}: PROTOCOL: found {protocol}, expected one of {', '.join([*PROTOCOLS, 'real'])}",
            hint="1_small_dataset is S1, 2_full_dataset S2, randomsplit_0 S3",
        )
    data = given.get("dataset_path")
    if data is not None and Path(str(data)) != Path("dataset"):
        found["store"] = str(data)
    bodies = _place(path, given["support_dir"]) if "support_dir" in given else None
    return found | ({"body_models": str(bodies)} if bodies else {})


def _say_idle(path: Path, given: Mapping[str, Any], used: Iterable[str]) -> None:
    """One line about changed keys that nothing reads."""
    idle = [
        key.rpartition(".")[2]
        for key, values in IDLE.items()
        if key in given and key not in used and given[key] not in values
    ]
    if idle:
        log.warning("%s: no effect, in the published code as here: %s", path, ", ".join(idle).upper())
    if given.get("seed", 10) != 10:
        log.warning("%s: SEED is no setting here; say --seed %s", path, given["seed"])


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested mappings."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *above, key = name.split(".")
        inside = found
        for group in above:
            inside = inside.setdefault(group, {})
        inside[key] = value
    return found
