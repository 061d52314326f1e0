"""The sound of films: in sync with the pictures, cut to their length, and what it was."""

from __future__ import annotations

import av
import numpy as np
import pytest

from avatarctl.render import Film

FLASHES = (0, 17, 40, 71)
"""Frames that are white, each with a click at its very start."""
LENGTH = 80


def _pictures():
    for frame in range(LENGTH):
        yield np.full((48, 64, 3), 255 * (frame in FLASHES), np.uint8)


def _clicks(rate, fps, seconds=LENGTH / 24):
    """Clicks of 3 ms at the starts of the flashes [N, 1]."""
    time = np.arange(round(rate * seconds)) / rate
    since = time[:, None] - np.array(FLASHES) / fps
    sounds = (since >= 0) & (since < 0.003)
    return (0.9 * np.sin(2 * np.pi * 1800 * since) * sounds).sum(1, keepdims=True).astype(np.float32)


def _heard(path):
    """Samples [N, channels], the rate, and the moment of the first sample in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        assert container.streams.audio[0].codec_context.name == "aac"
    return (
        np.concatenate([frame.to_ndarray() for frame in frames], 1).T,
        frames[0].sample_rate,
        frames[0].time,
    )


@pytest.mark.parametrize(
    ("rate", "fps"), [(48000, 30.0), (44100, 24.0), (16000, 30000 / 1001), (37800, 30.0), (200_000, 25.0)]
)
def test_clicks_are_heard_within_a_frame_of_their_flashes(tmp_path, rate, fps):
    film = Film(_pictures, LENGTH, fps, sound=(_clicks(rate, fps), rate))
    path = film.write(tmp_path / "film.mp4")
    with av.open(str(path)) as container:
        seen = [
            frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="rgb24").mean() > 128
        ]
    samples, found, start = _heard(path)
    assert len(seen) == len(FLASHES)
    for flash in seen:
        window = slice(max(0, round((flash - 0.2 - start) * found)), round((flash + 0.2 - start) * found))
        click = (np.abs(samples[window, 0]).argmax() + window.start) / found + start
        assert abs(click - flash) < 1 / fps
        assert np.abs(samples[window, 0]).max() > 0.3


def test_sound_that_lasts_longer_than_the_film_is_cut_off(tmp_path):
    film = Film(_pictures, LENGTH, 30.0, sound=(_clicks(48000, 30.0, seconds=8.0), 48000))
    samples, rate, _ = _heard(film.write(tmp_path / "film.mp4"))
    assert len(samples) / rate == pytest.approx(LENGTH / 30, abs=0.05)


def test_sound_that_ends_early_leaves_all_the_pictures(tmp_path):
    path = Film(_pictures, LENGTH, 30.0, sound=(_clicks(48000, 30.0)[:9000], 48000)).write(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == LENGTH


def test_two_voices_stay_left_and_right(tmp_path):
    time = np.arange(2 * 48000) / 48000
    voices = np.stack([0.5 * np.sin(2 * np.pi * hertz * time) for hertz in (440, 1000)], 1).astype(np.float32)
    samples, rate, _ = _heard(Film(_pictures, LENGTH, 30.0, sound=(voices, 48000)).write(tmp_path / "a.mp4"))
    spectrum = np.abs(np.fft.rfft(samples[rate // 2 : rate // 2 + rate], axis=0))
    assert spectrum.argmax(0).tolist() == [440, 1000]


def test_a_gif_is_silent(tmp_path):
    path = Film(_pictures, LENGTH, 30.0, sound=(_clicks(48000, 30.0), 48000)).write(tmp_path / "a.gif")
    assert path.stat().st_size > 0


@pytest.mark.parametrize("shape", [(100,), (100, 3), (2, 100)])
def test_sound_of_other_shapes_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[N, 1\] or \[N, 2\]"):
        Film(_pictures, LENGTH, 30.0, sound=(np.zeros(shape, np.float32), 48000))
