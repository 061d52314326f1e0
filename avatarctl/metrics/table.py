"""Results beside published numbers: one table that goes to the console, to a page, and to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table as RichTable

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

    def rich(self) -> RichTable:
        """The table for the console; published rows stand below a line."""
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(
            title=self.title or None, caption=self.note or None, caption_justify="left",
            box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False,
        )  # fmt: skip
        for index, (title, unit) in enumerate(self.heads()):
            head = f"{title}\n{unit}" if unit else title
            table.add_column(head, justify="right" if index else "left", no_wrap=bool(index))
        for row, cells, is_apart in zip(self.rows, self.cells(), self.apart(), strict=True):
            if is_apart:
                table.add_section()
            table.add_row(*cells, style="dim" if row.kind in ("baseline", "published") else None)
        return table

    def plain(self) -> list[dict[str, object]]:
        """The rows for JSON: name, kind, and the numbers as they were given."""
        return [{"name": row.name, "kind": row.kind, **row.values} for row in self.rows]
