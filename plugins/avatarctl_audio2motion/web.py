"""The page to record a voice and see it move: gradio on this machine alone, with no calls to other hosts."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatarctl.errors import AvatarError, DeviceError, require

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
MOST_SAMPLES = 10
SAMPLES, DIVERSITY = 3, 0.97
"""What the published page starts with (spec 1.4)."""
TITLE = "A voice to a moving person"
LEAD = (
    "Record yourself or choose a sound file, at least four seconds long. "
    "Everything is computed on this machine; nothing leaves it."
)
CSS = """
.gradio-container {max-width: 1080px !important; margin: auto !important}
footer {display: none !important}
"""
PLAIN_FONTS = ("system-ui", "sans-serif")


@dataclass(frozen=True)
class Shown:
    """What one recording gave: a film of all samples, files to take away, and words about them."""

    film: Path
    files: Sequence[Path]
    words: str


Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is being done."""
Generate = Callable[[Path, int, float, Progress], Shown]
"""From a sound file, a number of samples and a diversity (top-p) to what is shown."""


def blocks(generate: Generate, note: str, examples: Sequence[Path] = ()) -> Any:
    """The page.

    Args:
        note: What moves, and under which licence; stands below the lead.
        examples: Sound files to try.
    """
    gradio = _gradio()

    def answer(
        sound: str | None,
        samples: float,
        diversity: float,
        progress: Any = gradio.Progress(),  # noqa: B008
    ) -> tuple[str, list[str], str]:
        if not sound:
            raise gradio.Error("Nothing was recorded: press Record, or choose a file.", print_exception=False)

        def told(share: float, what: str) -> None:
            progress(share, desc=what)

        try:
            shown = generate(Path(sound), round(samples), float(diversity), told)
        except AvatarError as error:
            log.warning("%s", error.message)
            raise gradio.Error(f"{error.message}. {error.hint}", print_exception=False) from error
        return str(shown.film), [str(path) for path in shown.files], shown.words

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        gradio.Markdown(f"# {TITLE}\n{LEAD}\n\n{note}")
        with gradio.Row():
            with gradio.Column(scale=2):
                sound = gradio.Audio(
                    sources=["microphone", "upload"],
                    type="filepath",
                    label="Voice",
                    elem_id="voice",
                    buttons=["download"],
                )
                if examples:
                    gradio.Examples([[str(path)] for path in examples], [sound], label="Or try")
                samples = gradio.Slider(1, MOST_SAMPLES, SAMPLES, step=1, label="Number of samples")
                diversity = gradio.Slider(0.01, 1.0, DIVERSITY, step=0.01, label="Sample diversity (top-p)")
                button = gradio.Button("Make it move", variant="primary", elem_id="go")
            with gradio.Column(scale=3):
                film = gradio.Video(show_label=False, elem_id="film", interactive=False)
                words = gradio.Markdown(elem_id="words")
                files = gradio.Files(label="Take away", elem_id="files", interactive=False)
        button.click(answer, [sound, samples, diversity], [film, files, words], concurrency_limit=1)
    return page


def serve(page: Any, port: int, folder: Path, *, wait: bool = True) -> str:
    """Serve the page on this machine, until Ctrl-C when it is to wait; its address.

    Args:
        port: 0 takes a free one.
        folder: Whose files may be shown.

    Raises:
        DeviceError: The port is taken.
    """
    gradio = _gradio()
    theme = gradio.themes.Default(font=PLAIN_FONTS, font_mono=("ui-monospace", "monospace"))
    try:
        _, address, _ = page.queue().launch(
            server_name=LOOPBACK,
            server_port=port or _free_port(),
            share=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            allowed_paths=[str(folder.absolute())],
            theme=theme,
            css=CSS,
        )
    except OSError as error:
        raise DeviceError(f"port {port} is taken", hint="--port 0 takes a free one") from error
    log.info("open %s in a browser on this machine; Ctrl-C ends", address)
    if wait:
        page.block_thread()
    return str(address)


def _gradio() -> Any:
    """The package, told to call nobody before it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    return require("gradio", "demo")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
