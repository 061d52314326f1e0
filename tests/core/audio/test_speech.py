"""The embedded speech is there, with its turns."""

from __future__ import annotations

import pytest

from avatarctl.audio.speech import speeches

LENGTHS = {"ami_dialogue_16k_a": 20.0, "ami_dialogue_16k_b": 9.0, "jfk_1961_48k": 11.0}


def test_all_recordings_are_there():
    assert {name: speech.sound().seconds for name, speech in speeches().items()} == pytest.approx(LENGTHS)


def test_dialogues_say_who_speaks_when():
    speakers = {name: {turn.speaker for turn in speech.turns()} for name, speech in speeches().items()}
    both = {"MEE009", "MEE012"}
    assert speakers == {"ami_dialogue_16k_a": both, "ami_dialogue_16k_b": both, "jfk_1961_48k": set()}
    for name, speech in speeches().items():
        assert all(turn.start + turn.duration <= LENGTHS[name] + 0.01 for turn in speech.turns())


def test_their_terms_go_with_them():
    folder = next(iter(speeches().values())).path.parent
    assert "CC BY 4.0" in (folder / "LICENSE.md").read_text(encoding="utf-8")
