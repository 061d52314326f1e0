"""Recorded conversations from official files to batches, by the run function of `prepare conversations`."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from audio2motion.inputs import stats_file, stats_row, value_of
from avatarctl_audio2motion.conversations.dataset import (
    KEY_STEP,
    SHORTEST,
    Batch,
    Conversations,
    open_conversations,
)
from avatarctl_audio2motion.conversations.prepare import run as prepare
from avatarctl_audio2motion.conversations.stats import WIDTHS, Kind, read_statistics
from avatarctl_audio2motion.conversations.voices import recorded
from avatarctl_audio2motion.results import Results, read_results
from avatarctl_audio2motion.scores import Motions, published
from avatarctl_audio2motion.settings import Demo
from avatarctl_audio2motion.settings_prepare import PrepareConversations

from avatarctl.audio.wave import FRAME, read_sound
from avatarctl.device import Noise
from avatarctl.runs.run import Run

Arrays = dict[str, np.ndarray]
FORMATS: dict[str, Kind] = {"pose": "body", "face": "face"}


class Draws(Noise):
    """Stored integer draws [low, high, value], each asked for with the stored limits."""

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        super().__init__(None, [(str(number), [row[2]]) for number, row in enumerate(rows)])
        self.limits = [(row[0], row[1]) for row in rows]

    def integers(self, low: int, high: int, shape: Sequence[int], device: Any = None) -> torch.Tensor:
        assert (low, high) == self.limits[self.position], f"draw {self.position} from {low} to {high}"
        return super().integers(low, high, shape, device)


def dataset(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """Reading, wrapping, splits, chunks, crops and normalisation."""
    person = case["dataset_recipe"]["person"]
    with tempfile.TemporaryDirectory() as name:
        raw = write_person(Path(name) / person, case, stats_file(folder, person))
        settings = PrepareConversations(folder=raw, store=Path(name) / "store")
        prepare(settings, Run.standalone(Path(name) / "run", settings=settings))
        return outputs(case, arrays, open_conversations(settings.store))


def outputs(case: dict[str, Any], arrays: Arrays, data: Conversations) -> Arrays:
    """Everything the case wants of the store."""
    train = data.store.split("train")
    first = {field: train.clip(field, 0) for field in ("pose", "audio", "seen")}
    lengths = [data.store.split(split).lengths for split in ("train", "val", "test")]
    inverse = torch.from_numpy(value_in(case, case["inputs"]["inv_pose"]))
    made: Arrays = {
        "kept_lengths": np.concatenate(lengths),
        "pose_col3_scene1": first["pose"][:, 3],
        "audio_scene1_head": first["audio"].reshape(-1, 2)[: len(arrays["audio_scene1_head"])],
        "missing_scene1": first["seen"][:, 0],
        "inv_pose": data.statistics.denormalise("body", inverse).float().numpy(),
    }
    for name, kind in FORMATS.items():
        made |= {f"{name}_test_{what}": array for what, array in _test(case, data, kind).items()}
        for padding in (0, 1):
            prefix = f"{name}_train_pad{padding}"
            rows = arrays[f"{prefix}_draws"].tolist()
            items = arrays[f"{prefix}_items"].tolist()
            crops = _train(case, data, kind, items, Draws(rows), is_padded=bool(padding))
            made |= {f"{prefix}_{what}": array for what, array in crops.items()}
    return made


def _test(case: dict[str, Any], data: Conversations, kind: Kind) -> Arrays:
    """The first batch of shuffled chunks."""
    words = case["outputs"]
    length, size = map(int, found(r"curr_seq_length (\d+), batch of (\d+)", case["inputs"]["test"]))
    rows, frames = map(int, found(r"::(\d+), :, ::(\d+)", words["*_test_motion"]))
    samples = int(found(r"::(\d+)", words["*_test_audio"])[0])
    chunks = data.chunks("test", kind, length, key_step=KEY_STEP if kind == "body" else 1)
    order = chunks.order(int(found(r"seed (\d+)", words["*_test_perm"])[0]))
    batch = chunks.batch(order[:size].tolist())
    mask = batch.mask[:, None, None]
    seen = batch.seen[..., None].expand(-1, -1, batch.motion.shape[-1])
    lengths = batch.lengths.tolist()
    shapes = {
        "missing": list(seen.shape), "mask": list(mask.shape), "lengths": [len(lengths)],
        "audio": list(batch.audio.shape), "alengths": [len(lengths)],
        "keyframes": list(batch.keys.shape), "klengths": list(batch.key_lengths.shape),
    }  # fmt: skip
    made = {
        "perm": order,
        "len": np.int64(len(chunks)),
        "motion": batch.motion.mT[:, ::rows, None, ::frames].numpy(),
        "audio_stats": stats_row(batch.audio),
        "audio": batch.audio[:, ::samples].numpy(),
        "missing": batch.seen.numpy(),
        "mask": mask.numpy(),
        "lengths": batch.lengths.numpy(),
        "shapes": _json(shapes),
    }
    return made | ({"keyframes": batch.keys.numpy()} if kind == "body" else {})


def _train(
    case: dict[str, Any], data: Conversations, kind: Kind, items: list[int], noise: Noise, *, is_padded: bool
) -> Arrays:
    """Random crops, whose draws are the stored ones."""
    window = int(found(r"max_seq_length (\d+)", case["inputs"]["train"])[0])
    step = KEY_STEP if kind == "body" else 1
    windows = data.windows("train", kind, window, shortest=SHORTEST if is_padded else None, key_step=step)
    batches = [windows.batch(torch.tensor([item]), noise) for item in items]
    batch = Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    scenes = [windows.scene_of(item) for item in items]
    # The published index of the last scene is -1, at item 0.
    last = len(data.store.split("train")) - 1
    assert all(scene == last for scene, item in zip(scenes, items, strict=True) if item == 0)
    width = batch.motion.shape[-1]
    frames, rows = map(int, found(r"::(\d+), ::(\d+)", case["outputs"]["*_train_*_motion0"]))
    shapes = {
        "motion": list(batch.motion.shape[1:]), "m_length": [], "audio": list(batch.audio.shape[1:]),
        "a_length": [], "keyframes": list(batch.keys.shape[1:]), "k_length": [],
        "missing": [window, width],
    }  # fmt: skip
    return {
        "scene": np.array([scene if item else -1 for scene, item in zip(scenes, items, strict=True)]),
        "total_len": np.int64(len(windows)),
        "m_length": batch.lengths.numpy(),
        "motion0": batch.motion[1, ::frames, ::rows].numpy(),
        "motion_sum": batch.motion.sum((1, 2)).numpy(),
        "audio_sum": batch.audio.abs().sum((1, 2)).numpy(),
        "missing_sum": width * batch.seen.sum(1).numpy(),
        "keyframes_shape": np.array([list(batch.keys.shape[1:])] * len(items)),
        "shapes": _json(shapes),
    }


def write_person(folder: Path, case: dict[str, Any], stats_path: Path) -> Path:
    """The case's recordings in the published layout."""
    folder.mkdir(parents=True)
    shutil.copyfile(stats_path, folder / "data_stats.pth")
    statistics, recipe = read_statistics(folder), case["dataset_recipe"]
    step = int(found(r"arange\(i, T, (\d+)\)", recipe["missing"])[0])
    loud = float(found(r"round\(([\d.]+) \*", recipe["audio"])[0])
    for number, frames in enumerate(recipe["frames_per_scene"], 1):
        name, letters = f"scene{number:02d}", {"sceneNN": f"scene{number:02d}", "T": frames}
        for what, file in (("pose", "body_pose"), ("face", "face_expression")):
            normal = torch.from_numpy(value_in(case, recipe[what], **letters))
            raw = statistics.denormalise(FORMATS[what], normal).float()
            np.save(folder / f"{name}_{file}.npy", raw.numpy())
        is_unseen = number == recipe["all_missing_scene"]
        missing = np.arange(frames) if is_unseen else np.arange(number, frames, step)
        np.save(folder / f"{name}_missing_face_frames.npy", missing)
        soundfile.write(
            folder / f"{name}_audio.wav", pcm(loud * value_in(case, recipe["audio"], **letters)), 48000
        )
    return folder


def pcm(values: np.ndarray) -> np.ndarray:
    """The nearest 16-bit samples."""
    return np.clip(np.round(values), -32768, 32767).astype(np.int16)


def value_in(case: dict[str, Any], text: str, **letters: Any) -> np.ndarray:
    """The array of the call `weights.value("NAME",[SHAPE],...)` in a sentence; its letters get values."""
    name, shape = found(r'weights\.value\("([^"]+)",\s*\[([^\]]+)\]', text)
    for letter, value in letters.items():
        name = name.replace(letter, str(value)) if len(letter) > 1 else name
    sizes = [math.prod(int(letters.get(one, one)) for one in size.split("*")) for size in shape.split(",")]
    seed = int(found(r"embedding\W+(\d+)", json.dumps(case))[0])
    return value_of({"weights.value": [name, sizes, "float32", "embedding", seed]})


def found(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern in a sentence of a case."""
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in: {text}"
    return match.groups()


def _json(shapes: dict[str, list[int]]) -> np.ndarray:
    return np.array(json.dumps(shapes))


def demo_preprocess(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The microphone's path, and de-normalised results."""
    inputs, options = case["inputs"], Demo()
    statistics = read_statistics(stats_file(folder, Path(inputs["stats"]).name))
    rate = 1000 * float(found(r"([\d.]+) kHz", inputs["recording"])[0])
    loud = float(found(r"round\(([\d.]+)\*", inputs["recording"])[0])
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recording.wav"
        soundfile.write(path, pcm(loud * value_in(case, inputs["recording"])), round(rate))
        sound = read_sound(path)
    length = int(arrays["audio_shape"][1])
    hiss = np.random.RandomState(inputs["numpy_seed"]).standard_normal((1, length, 2))
    audio = statistics.normalise_audio(recorded(sound, Noise.replay([hiss])))
    repeats = inputs["num_repetitions"]
    step = int(found(r"every (\d+)th", case["outputs"]["audio_ch0"])[0])
    frames, rows = map(int, found(r"::(\d+), channel ::(\d+)", case["outputs"]["face, pose"]))
    made = {
        "audio_ch0": audio[::step, 0].numpy(),
        "audio_ch0_stats": stats_row(audio[:, 0]),
        "audio_ch1_head": audio[: len(arrays["audio_ch1_head"]), 1].numpy(),
        "audio_shape": np.array([repeats, *audio.shape]),
        "frames": np.int64(len(audio) // FRAME),
        "out_audio": statistics.denormalise_audio(audio)[::step].T.numpy(),
        "guidance_face_pose": np.array([options.guidance, options.body_guidance]),
    }
    for name, kind in FORMATS.items():
        given = value_in(case, inputs["network_outputs"], FMT=name, C=WIDTHS[kind])
        raw = statistics.denormalise(kind, torch.from_numpy(given)[:, :, 0].mT)  # [repetitions, T, C]
        made[name] = raw[:, ::frames, ::rows].numpy()
    return made


def eval_metrics(case: dict[str, Any], arrays: Arrays, folder: Path) -> Arrays:
    """The published numbers of a results file."""
    inputs = case["inputs"]
    repeats, seed = inputs["repetitions"], inputs["numpy_seed_for_div_g"]
    scale = float(found(r"times ([\d.]+)$", inputs["pred"])[0])
    true_scale, shift = map(float, found(r"times ([\d.]+) plus ([\d.]+)", inputs["gt"]))
    predicted = np.cumsum(value_in(case, inputs["pred"]), -1) * np.float32(scale)
    truth = np.cumsum(value_in(case, inputs["gt"]), -1) * np.float32(true_scale) + np.float32(shift)
    results = Results.of(
        torch.from_numpy(predicted).mT,
        truth=torch.from_numpy(np.tile(truth, (repeats, 1, 1))).mT,
    )
    with tempfile.TemporaryDirectory() as name:
        motions = Motions.of(read_results(results.write(Path(name) / "results.npy")), repeats)
    frames = predicted.shape[0] * predicted.shape[-1]
    random = np.random.RandomState(seed)
    draws = [random.permutation(frames) for _ in range(2)]
    numbers = published(motions, Noise.replay(draws))
    made = {name: np.array(numbers[name]) for name in ("cross_var", "div_g", "div_k", "fd_g", "fd_k")}
    return made | {"pairs_first": draws[0][: len(arrays["pairs_first"])]}


KINDS = {"dataset": dataset, "demo_preprocess": demo_preprocess, "eval_metrics": eval_metrics}
INPUTS = {"dataset": ("*_items", "*_draws")}
