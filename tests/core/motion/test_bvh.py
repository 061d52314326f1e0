"""The BVH reader: closed forms, what is found in the wild, and broken files."""

from __future__ import annotations

import gzip
import math
import re
import tracemalloc
import zlib

import numpy as np
import pytest
import torch

from avatarctl.errors import DataError
from avatarctl.motion import bvh
from avatarctl.motion.clips import clips

ARM = """HIERARCHY
ROOT hip
{
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT elbow
  {
    OFFSET 2 0 0
    CHANNELS 3 Xrotation Zrotation Yrotation
    End Site
    {
      OFFSET 1 0 0
    }
  }
}
MOTION
Frames:\t2
Frame Time: .0083333
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
"""


def written(tmp_path, text, name="arm.bvh"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_places_follow_from_angles_in_the_order_listed(tmp_path):
    clip = bvh.read(written(tmp_path, ARM))

    _, places = clip.world()

    # The root turns +x to +y, the elbow once more to -x; the root's OFFSET gives way to its positions.
    torch.testing.assert_close(places[0], torch.tensor([[0.0, 0, 0], [2, 0, 0], [3, 0, 0]]).double())
    torch.testing.assert_close(places[1], torch.tensor([[1.0, 2, 3], [1, 4, 3], [0, 4, 3]]).double())
    torch.testing.assert_close(clip.rest(), torch.tensor([[9.0, 9, 9], [11, 9, 9], [12, 9, 9]]).double())
    assert clip.names == ("hip", "elbow", "elbow_end")


def test_three_angles_multiply_in_the_order_listed(tmp_path):
    text = ARM.replace("1 2 3 90 0 0 0 90 0", "0 0 0 30 40 50 0 0 0")
    turned = bvh.read(written(tmp_path, text)).local()[0][1, 0]
    z, y, x = (math.radians(angle) for angle in (30, 40, 50))
    about_z = np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    about_y = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
    np.testing.assert_allclose(turned, about_z @ about_y @ about_x, atol=1e-12)


def test_position_channels_of_any_joint_take_the_place_of_its_offset(tmp_path):
    text = ARM.replace("CHANNELS 3 Xrotation", "CHANNELS 6 Xposition Yposition Zposition Xrotation")
    text = text.replace("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 5 0 0 0 0 0").replace(
        "1 2 3 90 0 0 0 90 0", "1 2 3 90 0 0 5 0 0 0 90 0"
    )
    places = bvh.read(written(tmp_path, text)).world()[1]
    torch.testing.assert_close(places[1, 1], torch.tensor([1.0, 7.0, 3.0]).double())


@pytest.mark.parametrize(
    ("word", "fps"),
    [(".0083333", 120.0), (".03333", 30.0), ("0.016667", 60.0), ("0.01", 100.0), ("0.033367", 1 / 0.033367),
     ("0.008342", 1 / 0.008342), ("1.6667e-2", 60.0)],
)  # fmt: skip
def test_a_frame_time_with_few_digits_is_the_whole_rate_it_stands_for(tmp_path, word, fps):
    assert bvh.read(written(tmp_path, ARM.replace(".0083333", word))).fps == pytest.approx(fps, abs=1e-9)


def test_a_compressed_file_that_unpacks_without_end_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "bomb.bvh.gz"
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    blank = b" " * (1 << 20)
    path.write_bytes(
        b"".join([pack.compress(b"HIERARCHY\n"), *(pack.compress(blank) for _ in range(64)), pack.flush()])
    )
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="ends early or is too large"):
            bvh.read(path)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_an_endless_word_is_cut_in_the_message(tmp_path):
    for word in ("Frame Time: ." + "0" * 9999 + "1", "Frame Time: 1" + "0" * 300):
        with pytest.raises(DataError, match="Frame Time: ") as caught:
            bvh.read(written(tmp_path, ARM.replace("Frame Time: .0083333", word)))
        assert len(caught.value.message) < 300 + len(str(tmp_path))


def test_the_compressed_file_reads_the_same(tmp_path):
    path = tmp_path / "arm.bvh.gz"
    path.write_bytes(gzip.compress(ARM.encode()))
    plain = bvh.read(written(tmp_path, ARM))
    np.testing.assert_array_equal(bvh.read(path).values, plain.values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("Frames:\t2", "Frames:\t0"), "Frames: 0"),
        (("Frames:\t2", "Frames:\t3"), "18 numbers; expected 3 frames x 9"),
        (("Frames:\t2", "Frames:\t-1"), "Frames: -1"),
        ((".0083333", "0"), "Frame Time: 0"),
        ((".0083333", "nan"), "Frame Time: nan"),
        (("1 2 3 90", "1 2 nan 90"), "frame 2: a number that is not finite"),
        (("1 2 3 90", "1 2 1e400 90"), "frame 2: a number that is not finite"),
        (("1 2 3 90", "1 2 three 90"), "three"),
        (("1 2 3 90", "1 2 1e9 90"), "beyond 10 million"),
        (("MOTION", "MOVES"), "HIERARCHY and MOTION"),
        (("OFFSET 2 0 0", "OFFSET 2 0"), "at joint 'elbow'"),
        (("OFFSET 2 0 0", "OFFSET inf 0 0"), "offsets"),
        (
            ("Xrotation Zrotation Yrotation", "Xrotation Zrotation Wrotation"),
            "CHANNELS of 'elbow': 'Wrotation'",
        ),
        (("JOINT elbow", "BONE elbow"), "unknown word 'BONE'"),
        (("    }\n  }\n}", "    }\n  }"), "braces"),
    ],
)
def test_a_broken_file_is_refused_with_the_field(tmp_path, change, words):
    assert ARM.count(change[0]) >= 1
    path = written(tmp_path, ARM.replace(*change))
    with pytest.raises(DataError, match=re.escape(words)) as failure:
        bvh.read(path)
    assert str(path) in failure.value.message


def test_mutated_files_give_data_errors_or_finite_places(tmp_path):
    lines = bvh._text(clips()["walk_1"].path).splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if line.startswith("Frame Time"))
    text = "".join(lines[: first + 4]).replace(f"{len(lines) - first - 1}", "3")
    random = np.random.default_rng(0)
    path = tmp_path / "fuzz.bvh"
    words = [
        "nan",
        "inf",
        "{",
        "}",
        "JOINT",
        "End",
        "CHANNELS",
        "OFFSET",
        "-1",
        "1e999",
        "MOTION",
        "\x00",
        "\u00e9",
    ]
    refused = 0
    for _ in range(300):
        tokens = re.split(r"(\s+)", text)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(tokens)))
            kind = random.integers(3)
            if kind == 0:
                tokens[at] = str(random.choice(words))
            elif kind == 1:
                del tokens[at : at + int(random.integers(1, 9))]
            else:
                tokens[at:at] = tokens[at : at + int(random.integers(1, 9))]
        path.write_text("".join(tokens))
        try:
            clip = bvh.read(path)
        except DataError:
            refused += 1
        else:
            rotations, places = clip.world()
            assert torch.isfinite(rotations).all()
            assert torch.isfinite(places).all()
    assert refused > 100
