import io
import math

import pytest
from rich.console import Console

from avatarctl.metrics import Column, Row, Table, Tally

TABLE = Table(
    columns=(Column("mpjpe", "MPJPE", "cm"), Column("jitter", "Jitter", "10²m/s³", scale=0.01)),
    rows=(
        Row("open-small", {"mpjpe": 4.236, "jitter": 812.4}),
        Row("SAGE Net", {"mpjpe": 3.28}, "published"),
    ),
    note="not comparable",
)


def test_every_sequence_counts_once_and_nan_is_skipped_and_counted():
    tally = Tally()
    for numbers in (
        {"error": 1.0, "jitter": 5.0},
        {"error": 4.0, "jitter": math.nan},
        {"error": 7.0, "jitter": 9.0},
    ):
        tally.add(numbers)
    assert tally.means() == {"error": 4.0, "jitter": 7.0}
    assert tally.skipped() == {"jitter": 1}


def test_a_number_that_no_sequence_has_stays_nan():
    tally = Tally()
    tally.add({"jitter": math.nan})
    assert math.isnan(tally.means()["jitter"])


def test_numbers_are_scaled_and_missing_ones_are_dashes():
    assert TABLE.cells() == [["open-small", "4.24", "8.12"], ["SAGE Net", "3.28", "-"]]


def test_rows_for_json_keep_the_numbers_as_given():
    assert TABLE.plain()[0] == {"name": "open-small", "kind": "ours", "mpjpe": 4.236, "jitter": 812.4}


@pytest.mark.parametrize("width", [69, 40, 26])
def test_names_and_numbers_are_whole_however_narrow_the_console_is(width):
    keys = [f"number{index}" for index in range(8)]
    table = Table(
        [Column(key, f"Head {key}", "cm/s") for key in keys],
        [
            Row("last known pose", {key: 100.0 + index for index, key in enumerate(keys)}),
            Row("walk", {}, "published"),
        ],
        note="these rows are not comparable",
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(table.rich())
    lines = console.file.getvalue().splitlines()
    text = " ".join(" ".join(lines).split())

    assert max(map(len, lines)) <= width
    assert all(f"Head {key}" in text for key in keys)
    assert all(f"{100 + index}.00" in text for index in range(8))
    blocks = sum("last known" in line for line in lines)
    assert blocks == sum("walk" in line for line in lines) > 1
    assert "these rows are not comparable" in text


def test_a_long_name_goes_on_in_the_next_line():
    name = "folder_of_takes/" + "x" * 60
    console = Console(file=io.StringIO(), width=60)
    console.print(Table(TABLE.columns, [Row(name, {"mpjpe": 1.0})]).rich())

    cells = [line.split()[0] for line in console.file.getvalue().splitlines() if line.strip()]
    assert name in "".join(cells)


def test_console_table_shows_units_and_note():
    console = Console(file=io.StringIO(), width=80)
    console.print(TABLE.rich())
    text = console.file.getvalue()
    assert "10²m/s³" in text
    assert "SAGE Net" in text
    assert "not comparable" in text
