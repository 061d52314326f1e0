"""Which steps are kept, and what impossible numbers get."""

from __future__ import annotations

import pytest

from avatarctl.diffusion import kept_steps, sectioned_steps, strided_counts, strided_steps
from avatarctl.errors import UsageError


def test_a_whole_stride_keeps_exactly_so_many():
    assert strided_steps(1000, 500) == list(range(0, 1000, 2))
    assert strided_steps(1000, 7) == list(range(0, 1000, 143))  # 142 would keep 8


@pytest.mark.parametrize("words", ["ddim50", "50", " 50 "])
def test_a_number_and_ddim_with_it_mean_the_same(words):
    assert kept_steps(words, 1000) == list(range(0, 1000, 20))


def test_no_words_keep_every_step():
    assert kept_steps("", 12) == list(range(12))


def test_every_count_that_is_listed_can_be_kept_and_no_other():
    possible = strided_counts(60)

    assert [count for count in range(1, 61) if strided_steps(60, count)] == possible


def test_sections_reach_from_their_first_to_their_last_step():
    kept = kept_steps("2,3,1", 100)  # sections of 34, 33 and 33 steps

    assert kept == [0, 33, 34, 50, 66, 67]


def test_sections_have_as_many_steps_as_asked_for():
    kept = sectioned_steps(1000, [10, 20, 30])

    assert [
        sum(low <= step < high for step in kept) for low, high in ((0, 334), (334, 667), (667, 1000))
    ] == [
        10,
        20,
        30,
    ]
    assert kept == sorted(set(kept))


@pytest.mark.parametrize("words", ["ddim300", "300", "ddim0", "ddim1", "2000"])
def test_an_impossible_number_lists_the_possible_ones(words):
    with pytest.raises(UsageError, match="no whole stride keeps exactly") as caught:
        kept_steps(words, 1000)

    assert "100, 112, 125, 143, 167, 200, 250, 334, 500, 1000" in caught.value.hint


@pytest.mark.parametrize("words", ["fast", "ddim", "-5", "10,", "1.5", "ddim10,20"])
def test_other_words_say_what_is_expected(words):
    with pytest.raises(UsageError, match="expected a number, or counts of equal sections"):
        kept_steps(words, 1000)


@pytest.mark.parametrize("words", ["10,600", "0,10"])
def test_a_section_cannot_keep_more_than_it_has_nor_nothing(words):
    with pytest.raises(UsageError, match="which has 500"):
        kept_steps(words, 1000)
