"""Timings beside the calibration and the roofline: nox -s bench, or bench.py [--only PATTERN] [--threads N].

The calibration is what every system's specification uses: 100 products of 1024x1024 matrices, here on one
thread unless --threads says more. The roofline of a workload is the time that its arithmetic (two operations
a multiply-add) or its memory traffic would take at the rates measured first; `of the limit` is the share of
it that is reached. With --cpu times are those of the processor, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import torch
from avatarctl_sparse_tracking import amass, features, pipeline
from avatarctl_sparse_tracking.model import build
from avatarctl_sparse_tracking.scores import WHOLE
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from avatarctl.body import open_body
from avatarctl.data import Store, StoreWriter
from avatarctl.data.writer import write_part
from avatarctl.geometry.cameras import Camera, intrinsics_from_view, look_at
from avatarctl.metrics.pose import joint_distances
from avatarctl.motion.clips import clips
from avatarctl.motion.tracking import FPS, Tracking
from avatarctl.nn.linear import linear
from avatarctl.render import Actor, Render, rasterize

SIZE = 512
CLIP_SECONDS = 10.0
now: Callable[[], float] = time.perf_counter
"""What workloads are timed with."""
SHORT = 0.1
"""Seconds below which a workload beside a published procedure is run more often."""
FLOPS = {torch.ops.mkldnn._linear_pointwise: lambda x, weight, *others, **shape: 2 * math.prod(x) * weight[0]}
"""Operations of what torch does not count, by the shapes of its inputs."""


@dataclass(frozen=True)
class Row:
    """One workload: its seconds, those of the limit, and those of a slower way where there is one."""

    name: str
    seconds: float
    limit: float = 0.0
    other: float = 0.0
    note: str = ""


def timed(work: Callable[[], object], repeats: int = 5) -> float:
    """The median of some runs after a first one, seconds."""
    work()
    found = []
    for _ in range(repeats):
        start = now()
        work()
        found.append(now() - start)
    return median(found)


class Machine:
    """What this machine does: the calibration, products and memory."""

    def __init__(self) -> None:
        def products() -> None:
            for _ in range(100):
                torch.randn(1024, 1024) @ torch.randn(1024, 1024)

        self.calibration = timed(products, 3)
        left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
        with torch.no_grad():  # by both libraries that torch has
            fastest = min(timed(lambda: left @ right), timed(lambda: linear(left, right)))
        self.flops = 2 * 1024**3 / fastest
        block = torch.empty(64 << 20, dtype=torch.uint8)
        copy = torch.empty_like(block)
        self.bytes = 2 * block.numel() / timed(lambda: copy.copy_(block))

    def reading(self, size: float) -> float:
        """The seconds that reading so many bytes again and again takes; a cache may hold them."""
        block = torch.zeros(int(size) // 4)
        return timed(block.sum)

    def limit(self, operations: float = 0.0, traffic: float = 0.0) -> float:
        """The least seconds for so many operations and so many bytes."""
        return max(operations / self.flops, traffic / self.bytes)


def startup(machine: Machine) -> Iterator[Row]:
    """CPU time of the listing page; its limit is Python itself."""

    def cpu(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    page = median(cpu("-m", "avatarctl", "--help") for _ in range(7))
    bare = median(cpu("-c", "pass") for _ in range(7))
    yield Row("avatarctl --help, CPU time", page, bare, note="limit: bare Python")


def prepare(machine: Machine) -> Iterator[Row]:
    """Ten minutes of motion at 60 a second, against the published procedure that skins whole bodies."""
    slow = _module(Path(__file__).with_name("reference_prepare.py"))
    arrays = [clip.motion().amass() for clip in list(clips().values())[:12]]
    poses = np.concatenate([one["poses"] for one in arrays]).astype(np.float64)
    trans = np.concatenate([one["trans"] for one in arrays]).astype(np.float64)
    frames, rest = len(poses), open_body().rest_joints[:22]
    angles, places = torch.from_numpy(poses[:, :66]), torch.from_numpy(trans)

    def ours() -> None:
        features.store_rows(angles, places, features.compute(angles, places, rest))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walk_poses.npz"
        few = 400  # the published procedure needs gigabytes for more
        np.savez(path, poses=poses[:few], trans=trans[:few], mocap_framerate=60.0, gender="male")
        body = slow.WholeBody(_open_body_file())
        published = timed(lambda: slow.prepare(path, body), 1) / few
    operations = frames * 22 * 3 * (2 * 27 + 2 * 9)  # two chains and the steps, products of 3x3 matrices
    yield Row("prepare amass, a frame", timed(ours) / frames, machine.limit(operations) / frames, published)


def _open_body_file() -> Path:
    return Path(sys.modules["avatarctl"].__path__[0]) / "_data" / "body" / "SMPLH_NEUTRAL.npz"


def raster(machine: Machine) -> Iterator[Row]:
    """The open body at 512 pixels, with both backends."""
    body = open_body()
    camera = _camera()
    traffic = 4 * (body.template.numel() + 3 * 3 * len(body.faces) + 5 * SIZE * SIZE)
    limit = machine.limit(traffic=traffic)
    slow = timed(lambda: rasterize(body.template, body.faces, camera, (SIZE, SIZE), backend="torch"))
    yield Row("rasterise the body at 512 px, torch", slow, limit)
    if importlib.util.find_spec("numba"):
        fast = timed(lambda: rasterize(body.template, body.faces, camera, (SIZE, SIZE), backend="numba"))
        yield Row("rasterise the body at 512 px, numba", fast, limit, slow, "other way: torch")


def _camera() -> Camera:
    eye, target = torch.tensor([0.0, -0.3, 2.6]), torch.tensor([0.0, -0.35, 0.0])
    rotation, translation = look_at(eye, target, torch.tensor([0.0, 1.0, 0.0]))
    return Camera(intrinsics_from_view(0.8, (SIZE, SIZE)), rotation, translation)


def film(machine: Machine) -> Iterator[Row]:
    """A film of ten seconds at 512 pixels and 30 frames a second, written as mp4."""
    motion = clips()["dab"].motion()[: int(CLIP_SECONDS * 60)]
    body = open_body()
    count = int(CLIP_SECONDS * 30)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Render().film([[Actor(motion, body)]], size=(SIZE, SIZE), fps=30).write(Path(folder) / "a.mp4")

    skinning = 2 * count * (body.pose_directions.numel() + 12 * body.weights.numel())
    yield Row(
        "film of 10 s at 512 px, all cores",
        timed(work, 1),
        machine.limit(skinning),
        note="limit: skinning alone",
    )


def windows(machine: Machine) -> Iterator[Row]:
    """10 000 random windows of 40 frames from a store."""
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        with StoreWriter(folder, {"rows": 252}, {}) as writer:
            keys = [str(index) for index in range(100)]
            for key in keys:
                rows = random.standard_normal((600, 252), dtype=np.float32)
                write_part(writer.part(key), {"rows": rows}, {"names": key})
            writer.finish({"train": keys}, "bench")
        split = Store(folder).split("train")
        starts = random.integers(0, 560, 10_000)
        chosen = random.integers(0, 100, 10_000)

        def work() -> None:
            for clip, start in zip(chosen, starts, strict=True):
                np.array(split.window("rows", int(clip), int(start), 40))

        yield Row(
            "10 000 windows of 40 frames",
            timed(work),
            machine.limit(traffic=2 * 10_000 * 40 * 252 * 4),
        )


def inference(machine: Machine) -> Iterator[Row]:
    """A frame as it comes and a batch of 128 windows, against the published procedure."""
    slow = _module(Path(__file__).with_name("reference_sampling.py"))
    rows = _held_out()[0][0][:128]
    windows = pipeline.windows_of(rows.unflatten(-1, (3, 18)))
    for name, model in _models().items():
        published, starts = slow.Published(model), model.seeded(0)
        stream = pipeline.Stream(model, starts)
        other = timed(partial(published, windows[:1], *starts(0, 1)), 9)
        seconds = timed(partial(stream.push, rows[0]), 21)
        yield Row(f"streaming frame, {name}", seconds, _frame_limit(machine, model), other)
        other = timed(partial(published, windows, *starts(0, 128)), 3)
        seconds = timed(partial(model.sixd, rows, starts), 3)
        yield Row(f"128 windows, {name}", seconds, _frame_limit(machine, model, 128), other)


def formats(machine: Machine) -> Iterator[Row]:
    """A frame as it comes by number format and steps, and what that changes on the held-out clips."""
    for name, model in _models().items():
        usual, error = 0.0, 0.0
        for number_format in ("float32", "bfloat16", "int8"):
            for steps in (5, 4, 3, 2):
                other, note = replace(model, number_format=number_format, steps=steps), ""
                seconds = timed(partial(pipeline.Stream(other).push, _held_out()[0][0][0]), 21)
                usual = usual or seconds
                if name == "open-small":
                    found = _error(other)
                    error = error or found
                    note = f"MPJPE {found - error:+.2f} mm"
                words = f"frame, {name}, {number_format}, {steps} steps"
                yield Row(words, seconds, _frame_limit(machine, other), usual, note)


def _models() -> dict[str, pipeline.Pipeline]:
    """Fresh networks of the published sizes, and the embedded weights."""
    torch.manual_seed(0)
    body = open_body()
    parts: dict[str, Any] = {
        part: build(part, {}).eval() for part in ("upper", "lower", "decoder", "refiner")
    }
    published = pipeline.Pipeline(
        **parts, frame="world", rest=body.rest_joints[:22], device=torch.device("cpu")
    )
    return {"published sizes": published, "open-small": pipeline.load(_weights("open-small"), "cpu", body)}


def _frame_limit(machine: Machine, model: pipeline.Pipeline, count: int = 1) -> float:
    """Of the denoisers' blocks: 10 tokens of each window, and the weights read once a call."""
    halves, calls = (model.upper, model.lower), model.steps - 1
    used = sum(
        weights.numel()
        for half in halves
        for name, weights in half.denoiser.blocks.named_parameters()
        if "modulation" not in name
    )
    size = {"float32": 4, "bfloat16": 2, "int8": 1}[model.number_format]
    return max(2 * 10 * used * calls * count / machine.flops, calls * machine.reading(size * used))


@cache
def _held_out() -> list[tuple[Tensor, Tensor]]:
    """Tracker features [N, 54] and true joint places [N, 22, 3] of the held-out clips."""
    body, found = open_body(), []
    for name in amass.read_list("open_test"):
        motion = clips()[name].motion().resampled(FPS)
        sparse = Tracking.from_motion(motion, body).features().float()
        found.append((sparse, WHOLE.posture(motion[1:], body).places))
    return found


def _error(model: pipeline.Pipeline) -> float:
    """Mean joint distance over the held-out clips, mm."""
    means = []
    for sparse, truth in _held_out():
        motion = model.place(model.sixd(sparse, model.seeded(0)), sparse[:, features.HEAD_PLACE])
        means.append(joint_distances(WHOLE.posture(motion, open_body()).places, truth).mean())
    return 1000 * float(torch.stack(means).mean())


def training(machine: Machine) -> Iterator[Row]:
    """A step of each training stage at the published sizes."""
    stages = _module(Path(__file__).with_name("bench_stages.py"))
    for name, step in stages.steps():
        with FlopCounterMode(display=False) as counter:
            step()
        limit = machine.limit(counter.get_total_flops())
        yield Row(f"training step, {name}", timed(step, 1), limit, note=f"{stages.BATCH} windows")


def beside(name: str, machine: Machine) -> Iterator[Row]:
    """The workloads of bench_NAME.py, beside what the published code took."""
    module = _module(Path(__file__).with_name(f"bench_{name}.py"))
    for one in module.workloads():
        start = time.perf_counter()
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
            one.work()
        is_short = time.perf_counter() - start < SHORT
        limit = machine.limit(counter.get_total_flops())
        with torch.no_grad():
            seconds = timed(one.work, 15 if is_short else 2)
            other = one.repeats * timed(one.slow, 5 if is_short else 1) if one.slow else 0.0
        scaled = one.published / module.THEIRS * machine.calibration
        note = f"published, by calibration: {_time(scaled)}" if scaled else ""
        yield Row(one.name, seconds, limit, other, note=note)


def _weights(name: str) -> Path:
    from avatarctl_sparse_tracking.plugin import avatarctl_weights

    return Path(next(one.path for one in avatarctl_weights() if one.name == name))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


WORKLOADS: dict[str, Callable[[Machine], Iterator[Row]]] = {
    "startup": startup,
    "prepare": prepare,
    "raster": raster,
    "film": film,
    "windows": windows,
    "inference": inference,
    "formats": formats,
    "training": training,
    "audio2motion": partial(beside, "audio2motion"),
    "ego-hmr": partial(beside, "ego_hmr"),
    "video-avatar": partial(beside, "video_avatar"),
    "generative-avatar": partial(beside, "generative_avatar"),
}


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    global now
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="*", help=f"pattern of {', '.join(WORKLOADS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", action="store_true", help="take CPU time in place of the clock's")
    given = parser.parse_args(words)
    chosen, threads = given.only, given.threads
    now = time.process_time if given.cpu else now
    torch.set_num_threads(threads)
    console, machine = Console(width=None if sys.stdout.isatty() else 140), Machine()
    console.print(
        f"threads: {threads} of {os.cpu_count()}; "
        f"calibration {machine.calibration:.2f} s (100 products of 1024²), "
        f"{machine.flops / 1e9:.0f} Gflop/s, {machine.bytes / 1e9:.1f} GB/s"
    )
    table = Table()
    for index, name in enumerate(
        ("workload", "time", "/ calibration", "other way", "faster", "of the limit", "")
    ):
        table.add_column(name, justify="left" if index in (0, 6) else "right")
    try:
        for name, workload in WORKLOADS.items():
            if not fnmatch(name, chosen):
                continue
            for row in workload(machine):
                print(f"{name}: {row.name}: {_time(row.seconds)}", file=sys.stderr, flush=True)
                table.add_row(
                    row.name,
                    _time(row.seconds),
                    f"{row.seconds / machine.calibration:.2g}",
                    _time(row.other) if row.other else "",
                    f"{row.other / row.seconds:.1f}x" if row.other else "",
                    f"{row.limit / row.seconds:.1%}" if row.limit else "",
                    row.note,
                )
    finally:  # an error or a stop loses no row
        console.print(table)


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


if __name__ == "__main__":
    main()
