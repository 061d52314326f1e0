"""The evaluation's numbers, against plain formulas; results files, and what is wrong with them."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from avatarctl_audio2motion import scores
from avatarctl_audio2motion.lips import Lips
from avatarctl_audio2motion.results import Results, read_results
from avatarctl_audio2motion.scores import Motions
from small_avatar import write_avatar

from avatarctl.device import Noise
from avatarctl.errors import DataError
from avatarctl.metrics.frechet import frechet_distance

REPEATS, SAMPLES, WIDTH, FRAMES = 3, 2, 104, 40


def made_up(seed: int = 0, lengths: list[int] | None = None, width: int = WIDTH) -> Results:
    """Random walks."""
    draw = torch.Generator().manual_seed(seed)
    shape = (REPEATS * SAMPLES, FRAMES, width)
    truth = torch.randn((SAMPLES, *shape[1:]), generator=draw).cumsum(1).repeat(REPEATS, 1, 1)
    motions = torch.randn(shape, generator=draw).cumsum(1)
    return Results.of(
        motions,
        torch.randn(FRAMES * 1600, 2, generator=draw),
        truth=truth,
        keyframes=motions[:, ::30],
        lengths=None if lengths is None else torch.tensor(lengths * REPEATS),
    )


@pytest.fixture
def motions():
    return Motions.of(made_up(), REPEATS)


def test_published_numbers_are_those_of_the_text(motions):
    predicted, truth = motions.predicted.numpy(), motions.truth.numpy()
    found = scores.published(motions, Noise.seeded(0, "pairs"), 50)
    assert found["cross_var"] == pytest.approx(predicted.var(axis=0).mean())
    assert found["div_k"] == pytest.approx(predicted.var(axis=3).mean())

    def rows(values):
        flat = [
            values[r, n, :, t] for r in range(REPEATS) for n in range(SAMPLES) for t in range(values.shape[3])
        ]
        return torch.from_numpy(np.stack(flat))

    assert found["fd_g"] == pytest.approx(frechet_distance(rows(predicted), rows(truth)))
    moves = (rows(np.diff(values)) for values in (predicted, truth))
    assert found["fd_k"] == pytest.approx(frechet_distance(*moves))
    noise = Noise.seeded(0, "pairs")
    first, second = (noise.permutation(REPEATS * SAMPLES * FRAMES)[:50] for _ in range(2))
    frames = rows(predicted)
    apart = [float((frames[one] - frames[two]).norm()) for one, two in zip(first, second, strict=True)]
    assert found["div_g"] == pytest.approx(np.mean(apart))


def test_corrected_numbers_do_not_see_what_follows_a_motions_end():
    whole, lengths = made_up(lengths=[25, 31]), [25, 31]
    spoiled = made_up(lengths=lengths)
    for index, length in enumerate(lengths * REPEATS):
        spoiled.motions[index, :, :, length:] = 1e3
        spoiled.truth[index, :, :, length:] = -1e3
    found, again = (
        scores.corrected(Motions.of(one, REPEATS), Noise.seeded(0, "pairs"), 50) for one in (whole, spoiled)
    )
    assert found == again
    one = Motions.of(whole, REPEATS)
    assert scores.errors(one) == scores.errors(Motions.of(spoiled, REPEATS))


def test_corrected_numbers_are_the_published_ones_where_nothing_is_flawed():
    # The face has no root turn, all frames count, and every truth appears once: one repetition.
    results = made_up(width=256)
    one = Results(*(values[:SAMPLES] for values in (results.motions, results.lengths, results.truth)))
    motions = Motions.of(one, 1)
    found = scores.published(motions, Noise.seeded(0, "pairs"), 50)
    sound = scores.corrected(motions, Noise.seeded(0, "pairs"), 50)
    assert math.isnan(found.pop("cross_var"))
    assert math.isnan(sound.pop("cross_var"))
    assert sound == pytest.approx(found)


def test_a_root_that_turns_on_and_on_does_not_jump():
    turn = torch.linspace(0, 20, 60, dtype=torch.float64)
    pose = torch.zeros(104, 60, dtype=torch.float64)
    pose[3] = turn % (2 * math.pi)
    torch.testing.assert_close(scores.unwrapped(pose)[3], turn, rtol=0, atol=1e-9)
    assert not scores.unwrapped(pose)[6:].any()


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_an_array_in_memory_moves_no_number(seed):
    made = made_up(seed)
    kept = replace(made, motions=np.ascontiguousarray(made.motions), truth=np.ascontiguousarray(made.truth))
    one, other = (Motions.of(results, REPEATS) for results in (made, kept))
    for found in (lambda each: scores.published(each, Noise.seeded(0, "pairs"), 50), scores.errors):
        assert found(one) == found(other)


def test_the_best_repetition_is_the_nearest(motions):
    away = (motions.predicted - motions.truth).square().sum(2).sqrt().mean(-1)  # [R, N]
    found = scores.errors(motions)
    assert found["error"] == pytest.approx(float(away.mean()))
    best = [min(float(away[r, n]) for r in range(REPEATS)) for n in range(SAMPLES)]
    assert found["error_best"] == pytest.approx(np.mean(best))


def test_motions_that_are_no_repetitions_or_have_no_truth_are_told():
    with pytest.raises(DataError, match="6 motions cannot be 4 repetitions"):
        Motions.of(made_up(), 4)
    with pytest.raises(DataError, match="no recorded motion"):
        Motions.of(Results.of(torch.zeros(2, 5, 104)), 5)  # nor are they five repetitions


def test_numpy_reads_what_is_written_in_the_published_structure(tmp_path):
    results = made_up()
    content = np.load(results.write(tmp_path / "results.npy"), allow_pickle=True).item()
    shapes = {name: (array.dtype.name, array.shape) for name, array in content.items()}
    count = REPEATS * SAMPLES
    assert shapes == {
        "motions": ("float64", (count, 104, 1, FRAMES)),
        "gt": ("float64", (count, 104, 1, FRAMES)),
        "audio": ("float32", (count, FRAMES * 1600, 2)),
        "lengths": ("int64", (count,)),
        "keyframes": ("float32", (count, 2, 104)),
    }
    again = read_results(tmp_path / "results.npy")
    assert again.kind == "body"
    for name in ("motions", "truth", "audio", "lengths", "keyframes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(results, name))


def test_the_evaluations_own_word_for_motions_is_read(tmp_path):
    content = {"motion": np.ones((2, 256, 1, 8)), "gt": np.zeros((2, 256, 1, 8))}
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    found = read_results(tmp_path / "a.npy")
    assert found.kind == "face"
    assert found.lengths.tolist() == [8, 8]
    assert found.audio is None


class Hostile:
    def __reduce__(self):
        return (print, ("ran",))


def spoiled(**changes):
    """The content of a results file with some of it exchanged."""
    body = np.ones((2, 104, 1, 8))
    content = {"motions": body, "gt": body, "lengths": np.array([8, 5])}
    return {name: value for name, value in (content | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (spoiled(motions=None), "motion: found gt, lengths"),
        (spoiled(motions=np.ones((2, 104, 8))), r"motions: found \[2, 104, 8\], expected \[N, C, 1, T\]"),
        (spoiled(motions=np.ones((2, 90, 1, 8))), "90 numbers a frame; expected 104"),
        (spoiled(motions=np.full((2, 104, 1, 8), np.nan)), "motions: numbers that are not finite"),
        (spoiled(gt=np.ones((2, 104, 1, 7))), r"gt: found \[2, 104, 1, 7\], expected \[2, 104, 1, 8\]"),
        (spoiled(lengths=np.array([8, 9])), "lengths: expected 1 to 8 frames"),
        (spoiled(audio=np.zeros((2, 5, 2))), r"audio: found \[2, 5, 2\], expected \[2, 12800, 2\]"),
        (spoiled(gt=[1, 2]), "gt: holds no numbers"),
        ([1, 2], "holds no dictionary"),
        (spoiled(motions=Hostile()), "motions: holds no numbers"),
    ],
)
def test_what_is_no_results_file_is_told_and_nothing_runs(tmp_path, capsys, content, words):
    np.save(tmp_path / "a.npy", np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=words):
        read_results(tmp_path / "a.npy")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("raw", [b"no results", pickle.dumps({"motions": 1})])
def test_a_file_that_is_no_npy_is_told(tmp_path, raw):
    (tmp_path / "a.npy").write_bytes(raw)
    with pytest.raises(DataError, match=r"is no \.npy file"):
        read_results(tmp_path / "a.npy")


def test_a_results_file_that_was_cut_is_told(tmp_path):
    whole = made_up().write(tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="refused"):
        read_results(tmp_path / "a.npy")


def test_lip_errors_are_distances_of_the_decoded_vertices(tmp_path):
    person = write_avatar(tmp_path)
    (tmp_path / "lips.txt").write_text("3\n1\n7\n")
    lips = Lips.read(person, tmp_path / "lips.txt")
    codes, truth = (torch.randn(5, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    with torch.no_grad():
        apart = (lips.decoder(codes)[0] - lips.decoder(truth)[0]).norm(dim=-1)[:, [3, 1, 7]]
    found = lips.errors(codes, truth)
    assert found["lip_mean"] == pytest.approx(float(apart.mean()))
    assert found["lip_max"] == pytest.approx(float(apart.amax(1).mean()))


@pytest.mark.parametrize(
    ("text", "words"),
    [("0\n20\n", "names vertices 0 to 20; the face has 0 to 19"), ("upper lip", "holds no numbers of lip")],
)
def test_wrong_lip_vertices_are_told(tmp_path, text, words):
    person = write_avatar(tmp_path)
    (tmp_path / "lips.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        Lips.read(person, tmp_path / "lips.txt")
