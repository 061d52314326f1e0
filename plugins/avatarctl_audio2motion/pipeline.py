"""Face and body of a person from two voices, as users of the Python API want it (spec 6).

model = pipeline.load("checkpoints", stats="dataset/PXB184")
made = model(conversation(read_sound("clip.wav")))
made.face, made.body  # [N, T, 256], [N, T, 104]
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatarctl.audio.wave import FRAME
from avatarctl.checkpoints import Weights
from avatarctl.device import choose
from avatarctl.errors import AssetError, CheckpointError, DataError, SettingsError
from avatarctl.geometry.shapes import expect
from avatarctl.runs.inputs import opened
from avatarctl_audio2motion.clip import Clip, Draws, Networks, Progress
from avatarctl_audio2motion.conversations.stats import POSE, Statistics, read_statistics
from avatarctl_audio2motion.generated import Generated, Words
from avatarctl_audio2motion.model import load as load_network
from avatarctl_audio2motion.model.front_end import FrontEnd, num_features
from avatarctl_audio2motion.official import PERSONS
from avatarctl_audio2motion.places import name_of, statistics_file
from avatarctl_audio2motion.plugin import avatarctl_weights
from avatarctl_audio2motion.sampling import STEPS, kept_steps
from avatarctl_audio2motion.settings import KEY_STEP, Mode, Sampling
from avatarctl_audio2motion.windows import windows_of

__all__ = ["Draws", "Generated", "Networks", "Pipeline", "load", "with_part"]

log = logging.getLogger(__name__)
SEED = 10
"""The published seed; the numbers drawn from it are ours (spec 6.5)."""
SCHEDULES = ("cosine", "linear")
LONGEST = 6000
"""Frames of a window that are thought of at all."""


@dataclass(frozen=True)
class Pipeline:
    """The networks of one set of weights; `source` is these, for messages."""

    networks: Networks
    person: str
    device: torch.device
    source: str = ""

    @torch.no_grad()
    def __call__(
        self,
        audio: Tensor,
        options: Sampling | None = None,
        *,
        samples: int = 1,
        repeats: int = 1,
        seed: int = SEED,
        draws: Sequence[Draws] | None = None,
        keys: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Generated:
        """Face codes and body poses of a conversation.

        Args:
            audio: Both voices at 48 kHz, the person's first [S, 2], S a multiple of 1600.
            options: Steps, guidance, windows and so on, as the command has them.
            samples, repeats: Results, and repetitions of each.
            draws: The random numbers of each result, repetition by repetition; left out: from the seed.
            keys: Raw key poses, one a second, in place of the guide's [K, 104]; rows of NaN are the guide's.
            progress: Wraps the network's calls.

        Raises:
            CheckpointError: A network that is needed is not there, or gives numbers that are not finite.
            DataError: The sound is shorter than a second, or the key poses have another shape.
            SettingsError: The window is longer than the networks take, or the steps are impossible.
        """
        expect(audio, "S 2", "audio")
        options = options or Sampling()
        if draws is None:
            draws = [Draws.seeded(seed, sample, turn) for turn in range(repeats) for sample in range(samples)]
        assert len(draws) == samples * repeats
        frames = check_length(audio)
        networks = self._chosen(options.mode)
        known = self._known(keys, -(-frames // KEY_STEP), networks)
        window, overlap = self._window(options, networks)
        windows = windows_of(frames, window, overlap)
        if len(windows) > 1:
            log.info(
                "%d frames in %d windows of %d that share %d; windows are no part of the published system",
                frames, len(windows), window, overlap,
            )  # fmt: skip
        clip = Clip(networks, audio, windows, options, kept_steps(options.steps, STEPS), draws, known)
        clip.run(self.device, progress)
        raw = {part: self._raw(part, made.motion) for part, made in clip.made.items()}
        means = {"face": networks.statistics.code_mean, "body": networks.statistics.pose_mean}
        return Generated(
            face=raw.get("face"),
            body=raw.get("body"),
            keys=None if clip.keys is None else self._raw("body", clip.keys.cpu()),
            samples=samples,
            about=self._about(options, seed),
            rest=next((mean.float() for part, mean in means.items() if part not in raw), None),
        )

    def _chosen(self, mode: Mode) -> Networks:
        """The networks that a mode needs."""
        networks = self.networks
        missing = [part for part in ("face", "body") if getattr(networks, part) is None]
        _require(mode, missing, self.source)
        if mode == "both" and missing:
            log.warning("%s: has no '%s' network: that part is not generated", self.source, missing[0])
        if mode == "face":
            return replace(networks, body=None, guide=None, codec=None)
        return networks if mode == "both" else replace(networks, face=None)

    def _known(self, keys: Tensor | None, count: int, networks: Networks) -> Tensor | None:
        """Normalised key poses that were given, once it is known that the others can be made."""
        if networks.body is None or not networks.body.sizes.key_frames:
            if keys is not None:
                raise DataError("no network of these takes key poses", hint="leave out --keys")
            return None
        has_guide = networks.guide is not None and networks.codec is not None
        if keys is not None and (keys.dim() != 2 or keys.shape[1] != POSE or len(keys) < count):
            raise DataError(
                f"key poses: found {list(keys.shape)}; expected one a second, [{count}, {POSE}] at least",
                hint="rows of NaN are left to the guide",
            )
        if not has_guide and (keys is None or bool(keys[:count].isnan().any())):
            lacking = [name for name in ("guide", "codec") if getattr(networks, name) is None]
            raise CheckpointError(
                f"{self.source}: the body needs key poses, and there is no {' and no '.join(lacking)}",
                hint="name weights that have them (--guide, --vqvae), give --keys FILE, or take --mode face",
            )
        return None if keys is None else networks.statistics.normalise("body", keys[:count])

    def _window(self, options: Sampling, networks: Networks) -> tuple[int, int]:
        """Frames of a window, and those that two share."""
        most = min(_most_frames(one) for one in (networks.face, networks.body, networks.guide) if one)
        if options.window > most:
            raise SettingsError(
                f"window: found {options.window}; these networks take at most {most} frames",
                hint=f"--window {most}",
            )
        window = options.window or most
        return window, min(options.overlap, max(KEY_STEP, window // 2 // KEY_STEP * KEY_STEP))

    def _raw(self, part: str, motion: Tensor) -> Tensor:
        """The networks' motion in the person's own numbers."""
        if not torch.isfinite(motion).all():
            raise CheckpointError(
                f"{self.source}: the {part} network gives numbers that are not finite",
                hint="take other weights, or --precision fp32",
            )
        found = torch.empty_like(motion)
        for row, one in zip(found, motion, strict=True):  # one by one: float64 of all would be large
            row.copy_(self.networks.statistics.denormalise("face" if part == "face" else "body", one))
        return found

    def _about(self, options: Sampling, seed: int) -> Words:
        return {
            "person": self.person, "weights": self.source, "seed": seed, "steps": options.steps,
            "guidance": options.guidance, "body_guidance": options.body_guidance, "top_p": options.top_p,
        }  # fmt: skip


def check_length(audio: Tensor, what: str = "the sound") -> int:
    """Frames of a conversation [S, 2].

    Raises:
        DataError: It is shorter than a second.
    """
    frames = len(audio) // FRAME
    if frames < KEY_STEP:
        raise DataError(
            f"{what} is {frames / 30:.2f} s long; expected at least 1 s", hint="take a longer one"
        )
    return frames


def load(
    weights: Weights | str | Path,
    device: str | torch.device = "auto",
    *,
    stats: Statistics | str | Path | None = None,
    person: str = "",
    mode: Mode = "both",
    log_compression: bool = False,
) -> Pipeline:
    """The pipeline of trained weights.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones.
        stats: The person's statistics, their file or its folder; left out: what the weights bring, else
            `dataset/PERSON/data_stats.pth` beside them.
        person: The person's name or folder; left out: whom the weights name.
        mode: Networks that are of no use for it are not loaded.
        log_compression: Of the audio features, where neither the weights nor an audio model beside them say.

    Raises:
        AssetError: There are no statistics.
        CheckpointError: A network is missing, does not fit, or is of another person.
    """
    weights = opened(weights, avatarctl_weights())
    where = torch.device(device) if not isinstance(device, str) else choose(device)[0]
    name = person_of(weights, person, stats)
    _require(mode, [part for part in ("face", "body") if not weights.holds(part)], str(weights.path))
    wanted = ("face",) if mode == "face" else ("body", "guide", "codec")
    wanted = (*wanted, "face") if mode == "both" else wanted
    found: dict[str, Any] = {}
    for part in wanted:
        if weights.holds(part):
            found[part] = load_network(weights, part, where, log_compression=log_compression)
            _share_front_end(found[part], found)
    networks = Networks(_statistics(weights, stats, name), **found, schedules=_schedules(weights))
    return Pipeline(networks, name, where, str(weights.path))


def person_of(weights: Weights, person: str, stats: object = None) -> str:
    """The name of the person wanted, else of the one whom the weights name.

    A folder may be called otherwise than its person; statistics that were named say that another person is
    meant.

    Raises:
        CheckpointError: The weights are of another person.
    """
    said = str(weights.config.get("person", ""))
    name = name_of(person, said)
    is_person = name in PERSONS or not Path(person).is_dir()
    if said and name != said and is_person and stats is None:
        raise CheckpointError(
            f"{weights.path} is of {said}, but --person is {name}: poses and face codes are a person's own",
            hint=f"name weights of {name} (--weights), or leave out --person; --stats FILE where it is meant",
        )
    return name


def with_part(weights: Weights, part: str, other: Weights) -> Weights:
    """Weights with one network from others.

    Raises:
        CheckpointError: Those do not have it, or are of another person.
    """
    persons = [str(one.config.get("person", "")) for one in (weights, other)]
    if all(persons) and persons[0] != persons[1]:
        raise CheckpointError(
            f"{weights.path} is of {persons[0]}, but {other.path} of {persons[1]}",
            hint="choose weights of one person",
        )
    networks = {**weights.config.get("networks", {}), part: other.config.get("networks", {}).get(part)}
    config = {**weights.config, "networks": networks, "person": persons[0] or persons[1]}
    return replace(weights, parts={**weights.parts, part: other.part(part)}, config=config)


def _require(mode: Mode, missing: list[str], source: str) -> None:
    """Refuse a mode whose networks are among the missing ones; of both, one is enough."""
    if mode in missing or len(missing) == 2:
        part = missing[0] if mode == "both" else mode
        raise CheckpointError(
            f"{source}: has no '{part}' network", hint=f"name weights that have it: --{part} FILE"
        )


def _statistics(weights: Weights, stats: Statistics | str | Path | None, person: str) -> Statistics:
    if isinstance(stats, Statistics):
        return stats
    if stats is None and weights.holds("stats"):
        return Statistics.from_tensors(weights.part("stats"), weights.path)
    path = Path(stats) if stats is not None else statistics_file(weights.path, person)
    if path is None:
        raise AssetError(
            f"{weights.path}: no statistics of {person or 'the person'} (data_stats.pth); "
            f"looked for dataset/{person or 'PERSON'} beside it",
            hint="they come with the person's recordings: --stats dataset/PERSON",
        )
    whose = path.name if path.is_dir() else path.absolute().parent.name
    if whose != person and {whose, person} <= PERSONS.keys():
        raise DataError(
            f"{path}: statistics of {whose}, but {weights.path} is of {person}",
            hint=f"--stats dataset/{person}, or --person {whose} where that is meant",
        )
    return read_statistics(path)


def _share_front_end(network: Any, found: dict[str, Any]) -> None:
    """Let a network use the audio front end of one before it where both are the same, number for number."""
    own = getattr(network, "front_end", None)
    for other in [
        one.front_end for one in found.values() if one is not network and hasattr(one, "front_end")
    ]:
        if own is not None and _are_equal(own, other):
            network.front_end = other
            return


def _are_equal(one: FrontEnd, other: FrontEnd) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    is_alike = one.layers == other.layers and one.log_compression == other.log_compression
    return is_alike and all(torch.equal(mine[name], theirs.get(name, mine[name][:0])) for name in mine)


def _most_frames(network: Any) -> int:
    """The longest window that a network takes: whole key poses whose audio tokens it has room for."""
    sizes = network.sizes
    most = (getattr(sizes, "key_frames", 0) or LONGEST // KEY_STEP) * KEY_STEP
    fitting = range(KEY_STEP, most + 1, KEY_STEP)
    return max(
        (frames for frames in fitting if num_features(network.front_end, frames) <= sizes.tokens),
        default=KEY_STEP,
    )


def _schedules(weights: Weights) -> dict[str, str]:
    """The noise schedule of each diffusion network, where the weights say one."""
    said = weights.config.get("schedules", {})
    if not isinstance(said, dict) or not set(said.values()) <= set(SCHEDULES):
        raise CheckpointError(
            f"{weights.path}: schedules: found {str(said)[:60]}; expected {' or '.join(SCHEDULES)}",
            hint="avatarctl inspect FILE says what a file is",
        )
    return said
