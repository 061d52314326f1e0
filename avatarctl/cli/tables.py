"""What the pages of the command's own words are made of: a Typer app, columns, sections, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from avatarctl import terminal
from avatarctl.cli import pages

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of the page.")]


def new_app(help: str) -> typer.Typer:
    """An app with plain help pages of at most 80 columns."""
    settings = {"help_option_names": ["-h", "--help"], "max_content_width": 80}
    return typer.Typer(help=help, add_completion=False, rich_markup_mode=None, context_settings=settings)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    terminal.out().out(json.dumps(value, indent=2, ensure_ascii=False, default=str), highlight=False)


def columns(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    """A table without lines whose last column wraps."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, head in enumerate(heads):
        is_last = index == len(heads) - 1
        style = pages.NAME if index == 0 else None
        table.add_column(head, style=style, no_wrap=not is_last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """A title, and lines `name  words` below it."""
    pages.say(title, "bold")
    pages.rows([(name, words) for name, words in rows], indent=2)


def note(style: str, words: str, remedy: str = "") -> None:
    """A line that stands out, and what to type about it."""
    pages.say(words, style)
    if remedy:
        pages.say(f"  try  {remedy}")
