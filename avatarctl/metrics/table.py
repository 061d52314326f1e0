"""Results beside published numbers: one table that goes to the console, to a page, and to JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as RichTable
    from rich.text import Text

Kind = Literal["ours", "baseline", "published", "plain"]


@dataclass(frozen=True)
class Column:
    """A number of the table: its key, what stands on top, its unit, and how it is scaled and rounded."""

    key: str
    title: str
    unit: str = ""
    scale: float = 1.0
    decimals: int = 2

    def shown(self, values: Mapping[str, float]) -> str:
        """The number as people read it; a dash where there is none."""
        value = values.get(self.key, math.nan)
        return f"{value * self.scale:.{self.decimals}f}" if math.isfinite(value) else "-"


@dataclass(frozen=True)
class Row:
    """A method and its numbers, in the units before `Column.scale`."""

    name: str
    values: Mapping[str, float]
    kind: Kind = "ours"


@dataclass(frozen=True)
class Table:
    """Methods as rows, numbers as columns; `note` says what may be compared with what."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    title: str = ""
    note: str = ""

    def cells(self) -> list[list[str]]:
        """The rows as text, names first."""
        return [[row.name, *(column.shown(row.values) for column in self.columns)] for row in self.rows]

    def heads(self) -> list[tuple[str, str]]:
        """Title and unit of each column, the names' first."""
        return [("", ""), *((column.title, column.unit) for column in self.columns)]

    def apart(self) -> list[bool]:
        """For each row, whether a line stands above it: between published rows and ours."""
        is_published = [row.kind == "published" for row in self.rows]
        return [index > 0 and one != is_published[index - 1] for index, one in enumerate(is_published)]

    def rich(self) -> Fitted:
        """The table for the console; published rows stand below a line."""
        return Fitted(self)

    def block(self, columns: range, name_width: int) -> RichTable:
        """The rows with some of the columns; names that are longer than their column go on below."""
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(
            title=None if columns.start else self.title or None,
            box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False,
        )  # fmt: skip
        shown = [0, *(column + 1 for column in columns)]
        for index in shown:
            title, unit = self.heads()[index]
            head = f"{title}\n{unit}" if unit else title
            if index:
                table.add_column(head, justify="right", no_wrap=True)
            else:
                table.add_column(head, overflow="fold", width=name_width)
        for row, cells, is_apart in zip(self.rows, self.cells(), self.apart(), strict=True):
            if is_apart:
                table.add_section()
            style = "dim" if row.kind in ("baseline", "published") else None
            table.add_row(*(cells[index] for index in shown), style=style)
        return table

    def plain(self) -> list[dict[str, object]]:
        """The rows for JSON: name, kind, and the numbers as they were given."""
        return [{"name": row.name, "kind": row.kind, **row.values} for row in self.rows]


@dataclass(frozen=True)
class Fitted:
    """A table as wide as the console: columns that do not fit go to a second block below, names and all."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable | Text]:
        """The blocks, as few as will do, and the note."""
        from rich.text import Text

        boundless = options.update_width(10_000)  # rich measures no further than the console's edge

        count = len(self.table.columns)

        def blocks(number: int, name_width: int) -> tuple[list[RichTable], bool]:
            """The table in so many blocks of about as many columns, and whether they fit."""
            every, size = range(count), -(-count // number)
            made = [self.table.block(every[first : first + size], name_width) for first in every[::size]]
            widths = [console.measure(block, options=boundless).maximum for block in made]
            return made, max(widths) <= options.max_width

        longest = max((len(row.name) for row in self.table.rows), default=0)
        made, fits = blocks(1, longest)
        number, name_width = 1, min(longest, max(options.max_width // 3, 10))
        while not fits and number <= count:
            made, fits = blocks(number, name_width)
            number += 1
        yield from made
        if self.table.note:
            yield Text(self.table.note, style="table.caption")
