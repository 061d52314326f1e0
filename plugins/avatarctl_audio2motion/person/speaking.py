"""Made-up conversations from the embedded speech, and what can be heard in a voice frame by frame.

Recordings are cut into phrases at their pauses. A conversation puts phrases of two speakers after one
another, each speaker a little higher or lower than recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from torch import Tensor
from torch.nn import functional

from avatarctl.audio.speech import Speech, speeches
from avatarctl.audio.wave import FRAME, RATE, conversation
from avatarctl.device import Noise

FPS = RATE // FRAME
LEVEL_DB, FLOOR_DB = -23.0, -55.0
"""Mean level of a phrase, and the level at which loudness is 0."""
PAUSE, BELOW_DB = 6, 20.0
"""Frames of a pause between phrases, and how far below a voice's loud frames its pauses are."""
SHORTEST, LONGEST = 15, 150
"""Frames of a phrase."""
HELD_OUT = {"ami_dialogue_16k_b": (0.0, 1.0), "jfk_1961_48k": (0.78, 1.0)}
"""Parts of the recordings that only validation and testing hear, as shares of their length."""
PITCH = 0.12
"""How much faster and higher, or slower and lower, a voice may be than it was recorded."""
MONOLOGUES = 0.4
"""Share of the conversations in which the partner is silent."""
BEAT_HEIGHT, BEAT_PROMINENCE, BEAT_GAP = 0.45, 0.06, 9
"""Least loudness and prominence of a beat, and frames between two."""
DARK_HZ, BRIGHT_HZ = 300.0, 1200.0


@dataclass(frozen=True)
class Heard:
    """A voice frame by frame: `loudness` 0 to 1 [T], `brightness` -1 (dark vowels) to 1 [T], `beats` [N].

    Beats are the frames of its stressed syllables.
    """

    loudness: Tensor
    brightness: Tensor
    beats: Tensor


def hear(voice: Tensor) -> Heard:
    """What is heard in a voice at 48 kHz [1600 T]."""
    frames = voice.unflatten(0, (-1, FRAME))
    level = 10 * torch.log10(frames.square().mean(1) + 1e-12)
    loudness = smooth(((level - FLOOR_DB) / (LEVEL_DB - FLOOR_DB)).clamp(0, 1.2), 1.0).clamp(0, 1)
    power = torch.fft.rfft(frames * torch.hann_window(FRAME)).abs().square()
    pitch = torch.fft.rfftfreq(FRAME, 1 / RATE)
    centre = (power * pitch).sum(1) / power.sum(1).clamp(min=1e-12)
    brightness = (2 * (centre - DARK_HZ) / (BRIGHT_HZ - DARK_HZ) - 1).clamp(-1, 1) * loudness
    envelope = smooth(loudness, 2.5)
    beats, _ = find_peaks(envelope.numpy(), BEAT_HEIGHT, distance=BEAT_GAP, prominence=BEAT_PROMINENCE)
    return Heard(loudness, smooth(brightness, 1.5), torch.from_numpy(beats.copy()))


def smooth(values: Tensor, deviation: float) -> Tensor:
    """Values in time [T] under a Gaussian with a deviation in frames; the ends are held."""
    return torch.from_numpy(gaussian_filter1d(values.numpy(), deviation, mode="nearest"))


@cache
def phrases(*, held_out: bool) -> dict[str, list[Tensor]]:
    """The phrases of every speaker at 48 kHz, all equally loud; those for training, or the held-out ones."""
    found: dict[str, list[Tensor]] = {}
    for speech in speeches().values():
        for speaker, voice in _voices(speech).items():
            first, last = HELD_OUT.get(speech.name, (1.0, 1.0))
            cut = slice(*(int(share * len(voice)) for share in (first, last)))
            mine = voice[cut] if held_out else torch.cat([voice[: cut.start], voice[cut.stop :]])
            found.setdefault(speaker, []).extend(_phrases(mine))
    return {speaker: listed for speaker, listed in found.items() if listed}


def _voices(speech: Speech) -> dict[str, Tensor]:
    """Each speaker's voice in a recording, at 48 kHz."""
    sound, turns = speech.sound(), speech.turns()
    names = sorted({turn.speaker for turn in turns})
    if not names:
        return {speech.name: conversation(sound)[:, 0]}
    return {name: conversation(sound, turns=turns, speaker=name)[:, 0] for name in names}


def _phrases(voice: Tensor) -> list[Tensor]:
    """Where a voice speaks without a pause."""
    if len(voice) < SHORTEST * FRAME:
        return []
    frames = voice[: len(voice) // FRAME * FRAME].unflatten(0, (-1, FRAME))
    level = 10 * torch.log10(frames.square().mean(1) + 1e-12)
    loud = level > torch.quantile(level, 0.95) - BELOW_DB
    speaking = functional.max_pool1d(loud[None, None].float(), 2 * (PAUSE // 2) + 1, 1, PAUSE // 2)[0, 0] > 0
    edges = torch.diff(speaking.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero()[:, 0]
    found = []
    for first, last in edges.unflatten(0, (-1, 2)).tolist():
        if last - first >= SHORTEST:
            phrase = frames[first : min(last, first + LONGEST)].flatten()
            gain = 10 ** (LEVEL_DB / 20) / phrase.square().mean().sqrt()
            found.append((phrase * gain).clamp(-1, 1) * _ends(len(phrase)))
    return found


def _ends(samples: int) -> Tensor:
    """Fades of 20 ms at both ends [N]."""
    ramp = RATE // 50
    place = torch.arange(samples)
    return (torch.minimum(place, samples - 1 - place) / ramp).clamp(max=1.0)


def converse(frames: int, noise: Noise, *, held_out: bool) -> Tensor:
    """A made-up conversation at 48 kHz, float32 [1600 T, 2]; the person begins, the partner may be silent."""
    pool = phrases(held_out=held_out)
    names = [sorted(pool)[index] for index in noise.permutation(len(pool))[:2].tolist()]
    pitches = 1 + PITCH * (2 * noise.uniform((2,)) - 1)
    is_monologue = float(noise.uniform((1,))) < MONOLOGUES
    voices = torch.zeros(frames * FRAME, 2)
    place, speaker = int(0.3 * RATE), 0
    while place < len(voices):
        for _ in range(int(noise.integers(1, 4, (1,)))):
            listed = pool[names[speaker]]
            phrase = _faster(listed[int(noise.integers(0, len(listed), (1,)))], float(pitches[speaker]))
            part = voices[place : place + len(phrase), speaker]
            part += phrase[: len(part)] * float(0.75 + 0.5 * noise.uniform((1,)))
            place += len(phrase) + int((0.15 + 0.35 * float(noise.uniform((1,)))) * RATE)
        place += int(0.6 * float(noise.uniform((1,))) * RATE)
        if is_monologue:
            place += int(1.2 * float(noise.uniform((1,))) * RATE)
        else:
            speaker = 1 - speaker
    return voices.clamp(-1, 1)


def _faster(phrase: Tensor, factor: float) -> Tensor:
    """A phrase played so many times faster."""
    length = round(len(phrase) / factor)
    return functional.interpolate(phrase[None, None], length, mode="linear", align_corners=True)[0, 0]
