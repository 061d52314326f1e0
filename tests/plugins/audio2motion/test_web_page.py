"""The page to record a voice, in a headless Chromium; skipped where gradio or a browser is missing."""

import importlib.util
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import browser
import pytest
import tiny
from avatarctl_audio2motion import demo, infer
from avatarctl_audio2motion.settings import Demo
from avatarctl_audio2motion.subject import Subject

from avatarctl.errors import DataError, DependencyError
from avatarctl.runs import Run

has_gradio = importlib.util.find_spec("gradio") is not None
needs_gradio = pytest.mark.skipif(
    not has_gradio, reason="gradio is not installed: pip install avatarctl[demo]"
)
needs_browser = pytest.mark.skipif(
    browser.find() is None, reason=f"no Chromium on the path, and {browser.VARIABLE} names none"
)


@pytest.fixture
def studio(tmp_path):
    """Tiny networks, ready for a voice; small pictures."""
    weights = tiny.write_weights(tmp_path / "tiny.safetensors")
    settings = Demo(weights=str(weights), steps="4", size=128, web=True, port=0)
    run = Run.standalone(tmp_path / "run", settings=settings)
    opened = infer.weights_of(settings, run)
    return demo.Studio(
        settings, run, infer.load(settings, opened, run), Subject.find("", "open", opened.path)
    )


@pytest.mark.slow
def test_a_take_gives_a_film_of_all_samples_and_files_to_take_away(studio, tmp_path):
    told = []
    sound = tiny.write_sound(tmp_path / "voice.wav", 4.0)
    shown = studio.take(sound, 2, 0.9, lambda share, what: told.append(share))
    assert shown.film.is_file()
    assert sorted({path.suffix for path in shown.files}) == [".bvh", ".glb", ".mp4", ".npz"]
    assert len(shown.files) == 1 + 2 * 3
    assert told == sorted(told)
    assert told[-1] > 0.9
    assert "2 samples" in shown.words


def test_a_recording_that_is_too_short_is_refused(studio, tmp_path):
    with pytest.raises(DataError, match="at least 4 s"):
        studio.take(tiny.write_sound(tmp_path / "short.wav", 3.0), 1, 0.9, lambda share, what: None)


@pytest.mark.skipif(has_gradio, reason="gradio is installed")
def test_a_missing_gradio_is_named_with_the_command_that_adds_it(studio):
    with pytest.raises(DependencyError) as caught:
        studio.serve()
    assert "avatarctl[demo]" in caught.value.hint


def noting(called, connect):
    """Connecting, and which hosts on the internet it is asked for."""

    def noted(self, address):
        if self.family != socket.AF_UNIX:
            called.add(address[0])
        return connect(self, address)

    return noted


@pytest.mark.slow
@needs_gradio
@needs_browser
def test_the_page_makes_a_film_of_a_sound_file_and_asks_no_other_host(studio, tmp_path, monkeypatch):
    called: set[str] = set()
    monkeypatch.setattr(socket.socket, "connect", noting(called, socket.socket.connect))
    binary = browser.find()
    assert binary is not None
    address = studio.serve(wait=False)
    assert urlsplit(address).hostname == "127.0.0.1"
    with browser.Browser(binary, tmp_path / "profile") as page:
        page.open(address)
        page.wait("document.querySelector('#go')", 60)
        go = "document.querySelector('#go').click()"
        page.value(go)
        page.wait("document.body.innerText.includes('Nothing was recorded')", 30)
        page.value("document.querySelector('#voice button[aria-label=\"Upload file\"]').click()")
        page.wait("document.querySelector('#voice input[type=file]')", 30)
        page.upload("#voice input[type=file]", tiny.write_sound(tmp_path / "short.wav", 2.0))
        page.wait("document.querySelector('#voice').innerText.includes('0:02')", 30)
        page.value(go)
        page.wait("document.body.innerText.includes('at least 4 s')", 30)
        page.value("document.querySelector('#voice button[aria-label=\"Clear\"]').click()")
        page.wait("document.querySelector('#voice input[type=file]')", 30)
        page.upload("#voice input[type=file]", tiny.write_sound(tmp_path / "voice.wav", 4.0))
        page.wait("document.querySelector('#voice').innerText.includes('0:04')", 30)
        page.value(
            "const count = document.querySelector('input[type=number]');"
            "count.value = 1; count.dispatchEvent(new Event('input'))"
        )
        page.value(go)
        page.wait("(document.querySelector('#film video') || {}).readyState > 1", 300)
        assert "4.0 s of motion, one sample" in page.text()
        assert page.value("document.querySelector('#film video').duration") == pytest.approx(4.0, abs=0.2)
        links = page.value("[...document.querySelectorAll('#files a')].map(link => link.href)")
        assert {Path(link).suffix for link in links} >= {".mp4", ".glb", ".bvh"}
        page.screenshot(Path(os.environ.get("AVATARCTL_SCREENSHOT", tmp_path / "page.png")))
        hosts = {urlsplit(one).hostname for one in page.requests if one.startswith(("http", "ws"))}
        assert hosts == {"127.0.0.1"}
        assert not page.problems
    assert called <= {"127.0.0.1"}  # this process called nobody either
