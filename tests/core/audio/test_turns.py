"""Speaker turns in .rttm files."""

from __future__ import annotations

import pytest

from avatarctl.audio.turns import Turn, read_turns
from avatarctl.errors import DataError

LINES = """\
;; a comment
SPKR-INFO talk 1 <NA> <NA> <NA> unknown bob <NA> <NA>
SPEAKER talk 1 2.50 0.75 <NA> <NA> bob <NA> <NA>

SPEAKER talk 1 0.440 1 <NA> <NA> ann <NA> <NA>
"""


def test_turns_come_by_their_start_and_other_lines_are_left_out(tmp_path):
    path = tmp_path / "talk.rttm"
    path.write_text(LINES)
    assert read_turns(path) == [Turn(0.44, 1.0, "ann"), Turn(2.5, 0.75, "bob")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SPEAKER talk 1 now 1 <NA> <NA> ann", "line 1: expected SPEAKER FILE"),
        ("\nSPEAKER talk 1 0 1", "line 2: expected SPEAKER FILE"),
        ("SPEAKER talk 1 -1 1 <NA> <NA> ann", "line 1: start -1, duration 1; expected seconds from 0"),
        ("SPEAKER talk 1 0 nan <NA> <NA> ann", "line 1: start 0, duration nan; expected seconds from 0"),
        ("ann speaks first", "no SPEAKER line"),
    ],
)
def test_broken_lines_are_named(tmp_path, text, words):
    path = tmp_path / "talk.rttm"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_turns(path)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "talk.rttm"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match="is no text"):
        read_turns(path)
