"""log.txt of a run: also the debug lines of plugins."""

from __future__ import annotations

import logging

from avatarctl.runs.logs import logged


def test_debug_lines_of_a_plugin_are_kept(tmp_path):
    plugin = logging.getLogger("avatarctl_somebody_s")
    plugin.setLevel(logging.INFO)
    with logged(tmp_path):
        logging.getLogger("avatarctl_somebody_s.part").debug("what only the file needs")
        logging.getLogger("somebody.else").debug("chatter")

    text = (tmp_path / "log.txt").read_text()
    assert "what only the file needs" in text
    assert "chatter" not in text
    assert plugin.level == logging.INFO
