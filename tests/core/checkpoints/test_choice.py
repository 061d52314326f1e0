"""Which file of a folder a network part is taken from."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatarctl.checkpoints.choice import Held, choose

CHAIN = ("upper", "lower", "decoder")


def held(**files: tuple[str, ...]) -> list[Held]:
    return [Held(Path(name.replace("__", "/")), parts) for name, parts in files.items()]


@pytest.mark.parametrize(
    ("files", "taken", "unclear"),
    [
        ({"decoder__best": CHAIN, "first__best": ("upper",)}, dict.fromkeys(CHAIN, "decoder/best"), {}),
        ({"r__best": ("r",), "r__checkpoint": ("r",)}, {"r": "r/best"}, {}),
        ({"r__checkpoint": ("r",)}, {"r": "r/checkpoint"}, {}),
        ({"flat__upper": ("upper",), "flat__r": ("r",)}, {"upper": "flat/upper", "r": "flat/r"}, {}),
        ({"flat__S1": ("r",), "flat__S3": ("r",)}, {}, {"r": ["flat/S1", "flat/S3"]}),
        ({"flat__best1": ("r",), "flat__best3": ("r",)}, {}, {"r": ["flat/best1", "flat/best3"]}),
        ({"f__model000155000": ("r",), "f__model000005000": ("r",)}, {"r": "f/model000155000"}, {}),
        ({"v__net_iter300000": ("r",), "v__net_last": ("r",)}, {"r": "v/net_iter300000"}, {}),
        ({"f__a000155000": ("r",), "f__b000005000": ("r",)}, {}, {"r": ["f/a000155000", "f/b000005000"]}),
        (
            {"a__best": ("r",), "a__checkpoint": ("r",), "b__best": ("r",), "d__best": ("d",)},
            {"d": "d/best"},
            {"r": ["a/best", "b/best"]},
        ),
    ],
)
def test_the_later_training_then_the_best_of_a_folder_and_nothing_by_chance(files, taken, unclear) -> None:
    choice = choose(held(**files))
    assert {part: str(path) for part, path in choice.taken.items()} == taken
    assert {part: [str(path) for path in paths] for part, paths in choice.unclear.items()} == unclear


def test_what_is_left_out_is_said_in_one_line() -> None:
    files = held(x__decoder__best=CHAIN, x__decoder__checkpoint=CHAIN, x__first__best=("upper",))
    words = choose(files).line(Path("x"), files)
    assert words == ("upper, lower, decoder from decoder/best; not used: decoder/checkpoint, first/best")
    assert choose(files[:1]).line(Path("x"), files[:1]) == ""
