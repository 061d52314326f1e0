"""Workloads of audio2motion at the published sizes, for the bench.

Beside each stands the published procedure, run here with the same weights, where it repeats work (conditions
at every step, twice with guidance; the whole guide for every code), and what the specification (chapter 11)
says that the published code took, scaled from its calibration `THEIRS` to this machine's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from avatarctl_audio2motion.avatar import avatar
from avatarctl_audio2motion.model import BODY, FACE, Denoiser, DenoiserSizes, build
from avatarctl_audio2motion.model.front_end import conversation_features
from avatarctl_audio2motion.model.guide import Guide, drawn_by
from avatarctl_audio2motion.sampling import guided, kept_steps

from avatarctl.device import Noise

THEIRS = 5.7
"""Calibration of the published seconds."""
FRAMES, KEYS, DEPTH = 600, 20, 4
"""Twenty seconds, one window: frames, key poses, codes of each."""
GUIDANCE = 10.0
PARITY = Path(__file__).with_name("parity")


@dataclass(frozen=True)
class Workload:
    """Something to time; `published` are its seconds there, 0 where unknown."""

    name: str
    work: Callable[[], object]
    published: float = 0.0
    slow: Callable[[], object] | None = None
    """The published procedure, and how often it is repeated for the same result."""
    repeats: int = 1


def workloads() -> Iterator[Workload]:
    """All of them; what one needs is released before the next is made."""
    voices = torch.randn(1, 1600 * FRAMES, 2, generator=torch.Generator().manual_seed(0))
    yield from _steps("face", FACE, voices, 5.19)
    yield from _steps("body", BODY, voices, 2.39)
    yield _guide(voices)
    yield _frame()


def _steps(part: str, sizes: DenoiserSizes, voices: torch.Tensor, forward: float) -> Iterator[Workload]:
    network = Denoiser(sizes).eval().requires_grad_(False)
    told = [voices, torch.randn(1, KEYS, sizes.output)] if sizes.key_frames else [voices]
    if part == "face":
        yield Workload("audio features, 20 s", lambda: conversation_features(network.front_end, voices), 1.94)
    kept = kept_steps("ddim100", 1000)
    predict = guided(network, network.condition(*told), GUIDANCE, kept)
    noisy, steps = torch.randn(1, FRAMES, sizes.output), torch.full((1,), kept[-1])

    def published() -> None:
        network(noisy, steps, network.condition(*told))
        network(noisy, steps, network.null(network.condition(*told)))

    yield Workload(f"{part} step, guided, 20 s", lambda: predict(noisy, 0), 2 * forward, published)


def _guide(voices: torch.Tensor) -> Workload:
    guide: Guide = build("guide", {}).eval().requires_grad_(False)
    codes = torch.zeros(1, KEYS * DEPTH, dtype=torch.int64)

    def generate() -> torch.Tensor:
        return guide.generate(voices, KEYS, 0.94, drawn_by([Noise.seeded(0, "guide")]))

    return Workload(
        "guide, 20 s (80 codes)", generate, 250.0, lambda: guide(codes, guide.features(voices)), codes.numel()
    )


def _frame() -> Workload:
    sys.path.insert(0, str(PARITY))
    import golden

    files = golden.module(PARITY / "audio2motion" / "avatar_files.py")
    cases = golden.find(golden.FIXTURES / "audio2motion")
    case = next(case for case in cases if case.kind == "ca_body_forward")
    arrays = case.arrays()
    with tempfile.TemporaryDirectory() as folder:
        person = avatar.load(files.write_person(Path(folder), case.words, arrays, case.folder))
    pose, codes = torch.zeros(1, 104), torch.zeros(1, person.num_codes)
    place = torch.from_numpy(arrays["campos"][:1])
    return Workload(
        "avatar frame, one view, networks", lambda: person.texture(person.body(pose, codes), place), 2.9
    )
