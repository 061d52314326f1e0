"""`demo all`: each demo in its own process, one page, and a demo that fails takes no other along."""

import json
import sys

import pytest

from avatarctl.cli import demos
from avatarctl.errors import AvatarError, SettingsError
from avatarctl.runs import Run
from avatarctl.runs.page import Page

NAMES = {"one": "the first", "two": "the second", "three": "the third"}


@pytest.fixture
def fakes(monkeypatch):
    """Three demos that write a page; `two` ends with an error."""
    monkeypatch.setattr(demos, "chosen", lambda only: {name: NAMES[name] for name in only or NAMES})

    def command(name, run):
        text = Page(f"page of {name}")
        text.section("Numbers", f"all about {name}")
        made = text.html()
        write = f"import pathlib; pathlib.Path({str(run.path(name))!r}).mkdir(parents=True)"
        write += f"; pathlib.Path({str(run.path(name) / 'report.html')!r}).write_text({made!r})"
        return [sys.executable, "-c", "raise SystemExit(3)" if name == "two" else write]

    monkeypatch.setattr(demos, "command", command)


def test_every_demo_is_on_the_page_and_what_failed_is_said(tmp_path, fakes):
    run = Run.standalone(tmp_path)
    with pytest.raises(AvatarError, match=r"^two: failed"):
        demos.run(demos.DemoAll(), run)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("all about one") < page.index("It failed") < page.index("all about three")
    assert page.count("<main>") == page.count("</main>") == page.count("<h1>") == 1
    rows = json.loads((tmp_path / "metrics.json").read_text())["rows"]
    assert [row["demo"] for row in rows] == list(NAMES)
    assert rows[1]["result"] == "failed"


def test_only_those_that_were_asked_for(tmp_path, fakes):
    demos.run(demos.DemoAll(only=["three"]), Run.standalone(tmp_path))
    assert "all about one" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_demo_that_is_not_installed_is_named():
    with pytest.raises(SettingsError, match=r"no demo 'sparse'.*sparse-tracking"):
        demos.chosen(["sparse"])


def test_each_demo_gets_seed_device_and_a_folder_of_its_own(tmp_path):
    words = demos.command("ego-hmr", Run.standalone(tmp_path, seed=5))
    assert words[1:5] == ["-m", "avatarctl", "demo", "ego-hmr"]
    assert words[words.index("--seed") + 1] == "5"
    assert words[words.index("--out") + 1] == str(tmp_path / "ego-hmr")
