"""Sound files in and out, and recordings as the two voices of a conversation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avatarctl.audio.turns import Turn
from avatarctl.audio.wave import FRAME, RATE, Sound, conversation, flaws, read_sound, shares
from avatarctl.errors import DataError

SECONDS, HERTZ = 1.5, 440.0


def tone(rate: int = RATE, seconds: float = SECONDS, level: float = 0.3) -> torch.Tensor:
    """A sine [N]."""
    time = torch.arange(round(rate * seconds), dtype=torch.float64) / rate
    return (level * torch.sin(2 * math.pi * HERTZ * time)).float()


def encode(path: Path, codec: str, rate: int) -> Path:
    """The tone in a container that soundfile does not know."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        samples = tone(rate)[None].numpy()
        for start in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pitch(samples: torch.Tensor, rate: int) -> float:
    """The loudest frequency, hertz."""
    power = torch.fft.rfft(samples.double() * torch.hann_window(len(samples)).double()).abs()
    return float(power.argmax()) * rate / len(samples)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_written_sound_comes_back(tmp_path, suffix):
    sound = Sound(torch.stack([tone(), -0.5 * tone()], dim=1), 44_100)
    path = tmp_path / f"tone.{suffix}"
    sound.write(path)
    again = read_sound(path)
    assert again.rate == 44_100
    # A .wav holds float32 and loses nothing; a .flac has 24 bits, of which half a step may go.
    torch.testing.assert_close(again.samples, sound.samples, rtol=0, atol=0 if suffix == "wav" else 2**-23)


def test_sixteen_bit_samples_are_divided_by_32768(tmp_path):
    values = np.array([[-32768, 32767], [1, 0]], np.int16)
    soundfile.write(tmp_path / "pcm.wav", values, RATE)
    found = read_sound(tmp_path / "pcm.wav").samples
    torch.testing.assert_close(found, torch.from_numpy(values / 32768).float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.mp3", "", 44_100), ("a.ogg", "", RATE), ("a.m4a", "aac", 44_100)]
)
def test_compressed_sound_keeps_pitch_length_and_level(tmp_path, name, codec, rate):
    path = tmp_path / name
    if codec:
        encode(path, codec, rate)
    else:
        soundfile.write(path, tone(rate).numpy(), rate)
    sound = read_sound(path)
    assert sound.rate == rate
    assert sound.seconds == pytest.approx(SECONDS, abs=0.06)
    assert pitch(sound.samples[:, 0], rate) == pytest.approx(HERTZ, abs=1.5)
    middle = sound.samples[rate // 4 : rate]
    assert float(middle.square().mean().sqrt()) == pytest.approx(0.3 / math.sqrt(2), rel=0.03)


def test_one_voice_gets_a_silent_partner_and_whole_frames():
    both = conversation(Sound(tone()[:2000, None], RATE))
    assert both.shape == (2 * FRAME, 2)
    torch.testing.assert_close(both[:2000, 0], tone()[:2000], rtol=0, atol=0)
    assert not both[2000:].any()
    assert not both[:, 1].any()


def test_two_channels_are_two_voices_unless_they_are_the_same():
    noise = torch.randn(FRAME, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(conversation(Sound(noise, RATE)), noise, rtol=0, atol=0)
    same = conversation(Sound(noise[:, :1].repeat(1, 2), RATE))
    torch.testing.assert_close(same[:, 0], noise[:, 0], rtol=0, atol=1e-7)
    assert not same[:, 1].any()


def test_a_partner_of_another_rate_and_length_joins():
    both = conversation(Sound(tone()[:, None], RATE), Sound(tone(16_000, 3.0)[:, None].repeat(1, 2), 16_000))
    assert both.shape == (3 * RATE, 2)
    assert pitch(both[:, 1], RATE) == pytest.approx(HERTZ, abs=1)
    assert not both[round(SECONDS * RATE) :, 0].any()


@pytest.mark.parametrize("resampler", ["published", "soxr"])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_resampling_keeps_a_tone(resampler, rate):
    found = conversation(Sound(tone(rate)[:, None], rate), resampler=resampler)[:, 0]
    middle = slice(RATE // 4, RATE)  # away from the ends, where the filter sees zeros
    # The published filter is short: its gain at this pitch is within 1 % of one.
    torch.testing.assert_close(found[middle], tone()[middle], rtol=0, atol=4e-3)


def test_a_rate_whose_published_filter_would_be_huge_is_resampled_by_soxr():
    found = conversation(Sound(tone(44_101)[:, None], 44_101))
    torch.testing.assert_close(found[RATE // 4 : RATE, 0], tone()[RATE // 4 : RATE], rtol=0, atol=1e-3)


def test_turns_give_each_voice_its_time_and_overlaps_to_both():
    ones = Sound(torch.ones(3 * RATE, 1), RATE)
    turns = [Turn(0.5, 1.0, "ann"), Turn(1.25, 1.0, "bob")]
    both = conversation(ones, turns=turns)
    at = {time: both[round(time * RATE)].tolist() for time in (0.25, 0.51, 0.75, 1.35, 2.0, 2.5)}
    assert at[0.25] == at[2.5] == [0, 0]
    assert at[0.75] == [1, 0]
    assert at[1.35] == [1, 1]
    assert at[2.0] == [0, 1]
    assert at[0.51] == [pytest.approx(0.5, abs=0.01), 0]  # half way through a cosine fade of 20 ms
    swapped = conversation(ones, turns=turns, speaker="bob")
    torch.testing.assert_close(swapped, both.flip(1), rtol=0, atol=0)


def test_turns_that_touch_of_one_speaker_never_get_louder_than_the_sound():
    gains = shares([Turn(0.0, 1.0, "ann"), Turn(0.5, 1.0, "ann")], None, 2 * RATE, 2.0)
    assert float(gains.max()) == 1.0
    assert gains[0, RATE // 2] == 1.0


@pytest.mark.parametrize(
    ("turns", "speaker", "words"),
    [
        ([Turn(0, 1, "ann")], "eve", "no speaker 'eve' in the turns; there are ann"),
        ([Turn(9, 1, "ann")], None, "a turn begins at 9.00 s, but the sound is 1.50 s long"),
        ([], None, "there are no speaker turns"),
    ],
)
def test_turns_of_another_recording_are_refused(turns, speaker, words):
    with pytest.raises(DataError, match=words):
        conversation(Sound(tone()[:, None], RATE), turns=turns, speaker=speaker)


def test_more_than_two_channels_are_refused():
    with pytest.raises(DataError, match=r"has 6 channels; expected 1 .* or 2"):
        conversation(Sound(torch.zeros(FRAME, 6), RATE))


def test_silence_and_clipping_are_told_and_a_clean_tone_is_not(tmp_path, caplog):
    assert flaws(Sound(tone()[:, None], RATE)) == []
    silent = Sound(torch.full((FRAME, 1), 5e-5), RATE)
    assert [line.split(":")[0] for line in flaws(silent)] == ["is silent"]
    loud = Sound(torch.stack([tone(), (9 * tone()).clamp(-1, 1)], dim=1), RATE)
    share = float((9 * tone()).abs().ge(0.999).double().mean())
    assert flaws(loud) == [f"channel 1 is clipped: {100 * share:.1f} % of the samples are at full scale"]
    silent.write(tmp_path / "silent.wav")
    read_sound(tmp_path / "silent.wav")
    assert "silent.wav: is silent" in caplog.text


def broken(folder: Path, kind: str) -> Path:
    """A file that is no sound."""
    path = folder / f"{kind}.wav"
    values = tone().numpy().copy()
    if kind == "nan":
        values[1200] = np.nan
        soundfile.write(path, values, RATE, subtype="FLOAT")
    elif kind == "nothing":
        soundfile.write(path, values[:0], RATE)
    elif kind == "text":
        path.write_text("no sound\n" * 100)
    elif kind == "picture":
        from PIL import Image

        Image.new("RGB", (8, 8)).save(path, format="png")
    elif kind == "cut":
        whole = encode(folder / "whole.m4a", "aac", RATE).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan", r"sample 1200 of channel 0 \(0\.03 s\) is not a number"),
        ("nothing", "is 0 seconds long"),
        ("empty", "is empty"),
        ("text", "no sound that can be decoded"),
        ("picture", "has no sound track"),
        ("cut", "no sound that can be decoded"),
    ],
)
def test_what_is_no_sound_gets_one_line(tmp_path, kind, words):
    with pytest.raises(DataError, match=words) as caught:
        read_sound(broken(tmp_path, kind))
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_file_that_was_cut_short_is_told(tmp_path, caplog):
    Sound(torch.randn(4 * RATE, 1, generator=torch.Generator().manual_seed(0)) / 9, RATE).write(
        tmp_path / "a.flac"
    )
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    sound = read_sound(tmp_path / "a.flac")
    assert 1.5 < sound.seconds < 2.1
    assert "of 4.00 s: is it copied whole?" in caplog.text


def test_other_suffixes_are_not_written(tmp_path):
    with pytest.raises(DataError, match=r"written as \.wav or \.flac"):
        Sound(tone()[:, None], RATE).write(tmp_path / "a.mp3")


def test_a_wav_that_was_not_copied_whole_is_told(tmp_path, caplog):
    whole, cut = tmp_path / "whole.wav", tmp_path / "cut.wav"
    Sound(torch.sin(torch.arange(32000) / 20)[:, None] / 2, 16000).write(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    assert len(read_sound(whole).samples) == 32000
    assert not caplog.records
    assert 15000 < len(read_sound(cut).samples) < 17000
    assert "ends after" in caplog.text


def test_two_voices_that_are_said_to_be_one_are_mixed_and_told(caplog):
    noise = torch.randn(4800, 2, generator=torch.Generator().manual_seed(0)) / 10
    both = conversation(Sound(noise, 48000), Sound(noise[:, :1], 48000))

    torch.testing.assert_close(both[:, 0], noise.mean(1))
    assert "2 different channels" in caplog.text
