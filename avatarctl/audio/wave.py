"""Sound files in and out, and any recording as the two voices of a conversation.

WAV, FLAC, MP3 and OGG go through soundfile, everything else that has a sound track through PyAV.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from avatarctl.audio.resample import resample
from avatarctl.errors import DataError
from avatarctl.files import check_input_file

if TYPE_CHECKING:
    from avatarctl.audio.turns import Turn

log = logging.getLogger(__name__)
RATE = 48_000
"""Samples per second of a conversation."""
FRAME = 1600
"""Samples of a conversation in a motion frame, of which there are 30 in a second."""
FORMATS = "wav, flac, mp3, ogg, m4a, mp4, aac, webm"
SILENT = 1e-4
"""Peak below which a channel is silent: less than four steps of 16 bits."""
FULL, CLIPPED = 0.999, 1e-3
"""A sample this large is at full scale; a channel with this share of them is clipped."""
FADE = 0.02
"""Seconds over which a voice comes and goes at the ends of a turn."""
WHOLE = 0.99
"""Part of the announced samples that a whole file has; MP3 files only estimate their length."""
ALIKE = 0.98
"""Two channels whose correlation is above this are one voice."""
MOST_TAPS = 1 << 22
"""Numbers in the published resampler's filter, above which soxr takes its place."""
Resampler = Literal["published", "soxr"]


@dataclass(frozen=True)
class Sound:
    """Samples of -1..1 at a rate."""

    samples: Tensor  # float32 [N, channels]
    rate: int
    path: Path | None = None
    """The file that it was read from, for messages."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[1]

    def mono(self) -> Tensor:
        """The mean of the channels [N]."""
        return self.samples.mean(1) if self.channels > 1 else self.samples[:, 0]

    def write(self, path: str | Path) -> None:
        """Write a .wav file (float32: the same samples) or a .flac file (24 bits)."""
        import soundfile

        path = Path(path)
        subtype = {".wav": "FLOAT", ".flac": "PCM_24"}.get(path.suffix.lower())
        if subtype is None:
            raise DataError(f"{path}: sound is written as .wav or .flac", hint="choose one of these suffixes")
        soundfile.write(path, self.samples.numpy(), self.rate, subtype=subtype)


def read_sound(path: str | Path) -> Sound:
    """The sound of an audio file, or of a film, at its own rate; what is odd about it is logged.

    Raises:
        DataError: As `decode_sound`.
    """
    sound = decode_sound(path)
    for line in flaws(sound):
        log.warning("%s: %s", path, line)
    return sound


def decode_sound(path: str | Path) -> Sound:
    """The sound of a file, whatever is odd about it.

    Raises:
        DataError: There is no sound in it that can be decoded, no sample, or one that is not a number.
    """
    path = check_input_file(path, "a sound file")
    sound, announced = _by_soundfile(path) or _by_av(path)
    if not len(sound.samples):
        raise DataError(f"{path}: is 0 seconds long; expected sound", hint="record or export it again")
    if not math.isfinite(float(sound.samples.sum())) and not torch.isfinite(sound.samples).all():
        frame, channel = (~torch.isfinite(sound.samples)).nonzero()[0].tolist()
        raise DataError(
            f"{path}: sample {frame} of channel {channel} ({frame / sound.rate:.2f} s) is not a number",
            hint="export it again as 16-bit .wav or .flac",
        )
    if sound.seconds < WHOLE * announced:
        log.warning("%s: ends after %.2f s of %.2f s: is it copied whole?", path, sound.seconds, announced)
    return replace(sound, path=path)


def flaws(sound: Sound) -> list[str]:
    """What is odd about a sound that can be used all the same, one line each: silence, clipping."""
    lines = []
    loud = sound.samples.abs()
    peaks = loud.amax(0).tolist()
    if max(peaks) < SILENT:
        lines.append("is silent: nothing in it is louder than a ten-thousandth of full scale")
    for channel, peak in enumerate(peaks):
        share = int((loud[:, channel] >= FULL).sum()) / len(loud) if peak >= FULL else 0.0
        if share >= CLIPPED:
            where = f"channel {channel} is " if sound.channels > 1 else "is "
            lines.append(f"{where}clipped: {100 * share:.1f} % of the samples are at full scale")
    return lines


def _by_soundfile(path: Path) -> tuple[Sound, float] | None:
    """What libsndfile decodes, and how many seconds the file announces; None where it cannot decode it."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, announced = int(file.samplerate), file.frames / file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError:
        return None
    return Sound(torch.from_numpy(samples), rate), announced * _times_as_long(path)


def _times_as_long(path: Path) -> float:
    """How many times as long a .wav file says that it is; 1 for others and for streams."""
    with path.open("rb") as file:
        head = file.read(12)
    said = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF" or head[8:] != b"WAVE" or said in (0, 0xFFFFFFFF):
        return 1.0
    return max(1.0, (said + 8) / path.stat().st_size)


def _by_av(path: Path) -> tuple[Sound, float]:
    """What FFmpeg decodes, and how many seconds the file announces.

    Raises:
        DataError: There is no sound track, or it cannot be decoded.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError(f"{path}: has no sound track", hint=f"take a file with sound: {FORMATS}")
            stream = container.streams.audio[0]
            stream.thread_type = "AUTO"
            rate = int(stream.rate or 0)
            announced = float((stream.duration or 0) * (stream.time_base or 0))
            planes = av.AudioResampler(format="fltp", rate=rate)
            pieces = [
                part.to_ndarray()
                for frame in chain(container.decode(stream), [None])
                for part in planes.resample(frame)
            ]
    except DataError:
        raise
    except (av.FFmpegError, ValueError, OSError) as error:
        reason = str(error).partition("] ")[2].partition(":")[0] or type(error).__name__
        raise DataError(
            f"{path}: no sound that can be decoded ({reason}); expected one of {FORMATS}",
            hint="export it again, or convert it: ffmpeg -i FILE converted.wav",
        ) from error
    samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    return Sound(torch.from_numpy(np.ascontiguousarray(samples.T, np.float32)), rate), announced


def conversation(
    sound: Sound,
    partner: Sound | None = None,
    turns: Sequence[Turn] | None = None,
    speaker: str | None = None,
    *,
    resampler: Resampler = "published",
) -> Tensor:
    """Both voices at 48 kHz, float32 [S, 2], S a multiple of 1600; channel 0 is the person, 1 the partner.

    A sound of one channel is the person's voice, and the partner is silent; of two, each has one. Two that
    are the same are one voice. The end is filled with silence up to a whole motion frame.

    Args:
        partner: The partner's voice; then `sound` is the person's alone, however many channels it has.
        turns: Who speaks when, to split a mix of several voices.
        speaker: The person's name in `turns`; the one who speaks first when left out.
        resampler: The published filter (spec audio2motion 3.7), or soxr's.

    Raises:
        DataError: More than two channels, or turns that do not belong to the sound.
    """
    channels = sound.channels
    called = f"{sound.path}: the sound" if sound.path else "the sound"
    if channels > 2 and turns is None and partner is None:
        raise DataError(
            f"{called} has {channels} channels; expected 1 (one voice) or 2 (one voice each)",
            hint='choose two: ffmpeg -i IN -af "pan=stereo|c0=c0|c1=c1" OUT.wav',
        )
    if partner is None and turns is None and channels == 2 and not _is_one_voice(sound.samples):
        voices = [resampled(sound.samples.T, sound.rate, resampler)]
    else:
        if channels > 1 and not _is_one_voice(sound.samples):
            said = "with a partner or turns it is taken for one"
            log.warning("%s has %d different channels, which are mixed: %s", called, channels, said)
        voices = [resampled(sound.mono()[None], sound.rate, resampler)]
    if turns is not None:
        voices = [shares(turns, speaker, voices[0].shape[-1], sound.seconds).mul_(voices[0])]
    elif partner is not None:
        voices.append(resampled(partner.mono()[None], partner.rate, resampler))
    length = -(-max(voice.shape[-1] for voice in voices) // FRAME) * FRAME
    both = torch.zeros(length, 2)
    channel = 0
    for voice in voices:
        for row in voice:
            both[: len(row), channel] = row
            channel += 1
    return both


def shares(turns: Sequence[Turn], speaker: str | None, samples: int, seconds: float) -> Tensor:
    """How much of a mix belongs to the person and to everybody else, 0..1 [2, N] at 48 kHz.

    Inside a turn a voice has all of it, where turns overlap both do; ends are faded over 20 ms.

    Args:
        speaker: The person; who speaks first when left out.
        samples: N.
        seconds: Length of the sound.

    Raises:
        DataError: There is no such speaker, or a turn begins after the sound's end.
    """
    names = list(dict.fromkeys(turn.speaker for turn in turns))
    if not names:
        raise DataError("there are no speaker turns", hint="name an .rttm file with SPEAKER lines")
    if speaker is None:
        speaker = names[0]
        log.info("the person is '%s', who speaks first", speaker)
    if speaker not in names:
        raise DataError(
            f"no speaker '{speaker}' in the turns; there are {', '.join(names)}", hint="choose one of them"
        )
    late = max(turn.start for turn in turns)
    if late >= seconds:
        raise DataError(
            f"a turn begins at {late:.2f} s, but the sound is {seconds:.2f} s long",
            hint="name the .rttm file of this recording",
        )
    found = torch.zeros(2, samples)
    fade = round(FADE * RATE)
    for turn in turns:
        first, last = round(turn.start * RATE), min(round((turn.start + turn.duration) * RATE), samples)
        inside = torch.arange(first, last)
        edge = torch.minimum(inside - first, last - 1 - inside).clamp(max=fade) / fade
        row = found[int(turn.speaker != speaker), first:last]
        torch.maximum(row, (1 - torch.cos(math.pi * edge)) / 2, out=row)
    return found


def _is_one_voice(samples: Tensor) -> bool:
    """Whether both channels are the same voice, as in a stereo file of one microphone."""
    first, second = samples[:: max(1, len(samples) // 1_000_000)].double().T
    power = float((first @ first) * (second @ second))
    return power > 0 and float(first @ second) > ALIKE * math.sqrt(power)


def resampled(voices: Tensor, source: int, resampler: Resampler) -> Tensor:
    """Voices [channels, N] at 48 kHz."""
    if source == RATE:
        return voices
    step = math.gcd(source, RATE)
    if resampler == "published" and (source // step) * (RATE // step) <= MOST_TAPS:
        return resample(voices, source, RATE, filter="float32")
    if resampler == "published":
        log.info("%d Hz: soxr resamples, the published filter would be too large", source)
    import soxr

    return torch.from_numpy(soxr.resample(voices.numpy().T, source, RATE).T.copy())
