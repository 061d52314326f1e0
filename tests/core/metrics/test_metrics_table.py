import io
import math

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


def test_console_table_shows_units_and_note():
    console = Console(file=io.StringIO(), width=80)
    console.print(TABLE.rich())
    text = console.file.getvalue()
    assert "10²m/s³" in text
    assert "SAGE Net" in text
    assert "not comparable" in text
