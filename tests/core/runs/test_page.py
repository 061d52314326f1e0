import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from avatarctl.metrics import Column, Row, Table
from avatarctl.runs import Run
from avatarctl.runs.manifest import leaves
from avatarctl.runs.page import Page

TABLE = Table(
    (Column("error", "Error", "cm"),),
    (Row("ours <x>", {"error": 1.25}), Row("theirs", {"error": 3.0}, "published")),
    note="5 < 6 & more",
)
VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def html(tmp_path) -> str:
    run = Run.standalone(tmp_path / "run", seed=4, settings={"loop": {"steps": 3}, "store": "<data>"})
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "still.png")
    (tmp_path / "film.mp4").write_bytes(b"not really a film")
    figure = Figure()
    figure.subplots().plot([0, 1])
    page = Page("Scores <b>", "a lead")
    page.section("Section", "text & text")
    page.table(TABLE)
    page.plot(figure, "a plot")
    page.picture(tmp_path / "still.png", "a still")
    page.video(tmp_path / "film.mp4")
    page.commands({"Next": "avatarctl infer sparse <LOG>"})
    page.provenance(run)
    run.save("report.html", page)
    assert run.manifest.outputs[0]["kind"] == "page"
    return (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_page_is_balanced_and_all_text_is_escaped(html):
    balance = Balance()
    balance.feed(html)
    assert balance.open == []
    assert "Scores &lt;b&gt;" in html
    assert "ours &lt;x&gt;" in html
    assert "avatarctl infer sparse &lt;LOG&gt;" in html
    assert "5 &lt; 6 &amp; more" in html


def test_page_fetches_nothing(html):
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) == 3
    assert all(source.startswith("data:") for source in sources)
    assert "<script" not in html
    assert "url(" not in html


def test_embedded_files_are_whole(html):
    film = re.search(r'data:video/mp4;base64,([^"]*)"', html)
    assert base64.b64decode(film[1]) == b"not really a film"
    plot, _ = re.findall(r'data:image/png;base64,([^"]*)"', html)
    assert base64.b64decode(plot).startswith(b"\x89PNG")


def test_page_tells_settings_under_dotted_names(html):
    assert leaves({"loop": {"steps": 3}}) == {"loop.steps": 3}
    assert "<td>loop.steps</td><td>3</td>" in html
    assert "<td>seed</td><td>4</td>" in html


def test_a_line_stands_between_our_rows_and_published_ones(html):
    assert '<tr class="ours">' in html
    assert '<tr class="published break">' in html
