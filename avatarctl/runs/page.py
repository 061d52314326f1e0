"""report.html: one self-contained page with tables, plots, pictures, films, settings and provenance.

Everything is inside the file; nothing is fetched, no script runs, and all text is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatarctl.files import write_text
from avatarctl.metrics import Table
from avatarctl.runs.manifest import leaves, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avatarctl.runs.run import Run

VIDEO = {".mp4": "video/mp4", ".webm": "video/webm"}
PICTURE = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif"}


class Page:
    """A page that is written from top to bottom; `run.save("report.html", page)` puts it into a run."""

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._parts = [f"<h1>{escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{escape(lead)}</p>')

    def section(self, title: str, text: str = "") -> None:
        """A heading, and a paragraph below it."""
        self._parts.append(f"<h2>{escape(title)}</h2>")
        if text:
            self.text(text)

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def table(self, table: Table) -> None:
        """Results beside published numbers, with the note that says what may be compared."""
        head = "".join(
            f"<th>{escape(title)}{f'<small>{escape(unit)}</small>' if unit else ''}</th>"
            for title, unit in table.heads()
        )
        lines = []
        for row, cells, is_apart in zip(table.rows, table.cells(), table.apart(), strict=True):
            words = f"{row.kind} break" if is_apart else row.kind
            lines.append(f'<tr class="{words}">{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>')
        self._parts.append(f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>')
        if table.note:
            self._parts.append(f'<p class="note">{escape(table.note)}</p>')

    def plot(self, figure: Figure, caption: str = "") -> None:
        """A matplotlib figure as a picture inside the page."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight", metadata={"Software": None})
        self._figure(_img(buffer.getvalue(), "image/png", caption), caption, "plot")

    def picture(self, path: str | Path, caption: str = "") -> None:
        """A picture file inside the page."""
        path = Path(path)
        self._figure(_img(path.read_bytes(), PICTURE[path.suffix.lower()], caption), caption)

    def video(self, path: str | Path, caption: str = "", *, muted: bool = True) -> None:
        """A film inside the page.

        Args:
            muted: Its sound is off until the reader turns it on.
        """
        path = Path(path)
        source = _data(path.read_bytes(), VIDEO[path.suffix.lower()])
        sound = " muted" if muted else ""
        self._figure(f'<video controls{sound} loop playsinline src="{source}"></video>', caption)

    def commands(self, commands: Mapping[str, str]) -> None:
        """What to type next: what it is for, and the line."""
        for purpose, line in commands.items():
            self._parts.append(f"<p>{escape(purpose)}</p><pre>{escape(line)}</pre>")

    def facts(self, facts: Mapping[str, Any], title: str = "") -> None:
        """Names and values; under a line that opens and closes when a title is given."""
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(_words(value))}</td></tr>"
            for name, value in facts.items()
        )
        table = f'<table class="facts">{rows}</table>'
        self._parts.append(
            f"<details><summary>{escape(title)}</summary>{table}</details>" if title else table
        )

    def include(self, path: str | Path, title: str) -> None:
        """What stands on another page of ours, under a line that opens and closes."""
        _, _, rest = Path(path).read_text(encoding="utf-8").partition("</h1>")
        inner = rest.rpartition("</main>")[0].replace("<h2>", "<h3>").replace("</h2>", "</h3>")
        self._parts.append(f"<details open><summary>{escape(title)}</summary>{inner}</details>")

    def provenance(self, run: Run) -> None:
        """Command, settings, inputs with digests, versions and device of a run."""
        about = run.manifest
        self.section("Settings and provenance")
        self.facts(
            {
                "command": " ".join(about.argv),
                "run": str(run.folder),
                "started": about.started,
                "seed": run.seed,
            }
        )
        self.facts(leaves(about.settings), "settings")
        self.facts({str(item["path"]): item.get("hash", "") for item in about.inputs}, "inputs")
        self.facts(
            {**about.versions, **{f"device {key}": value for key, value in about.device.items()}}, "versions"
        )

    def html(self) -> str:
        """The whole page."""
        style = (resources.files("avatarctl.runs") / "page.css").read_text(encoding="utf-8")
        body = "\n".join(self._parts)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(self.title)}</title>\n"
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<style>\n{style}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page, atomically."""
        return write_text(path, self.html())

    def _figure(self, content: str, caption: str, kind: str = "") -> None:
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure class="{kind}">{content}{below}</figure>')


def _words(value: Any) -> str:
    value = plain(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_words(item) for item in value)
    return "" if value is None else str(value)


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _img(content: bytes, kind: str, caption: str) -> str:
    return f'<img alt="{escape(caption)}" src="{_data(content, kind)}">'
