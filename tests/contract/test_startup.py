"""The listing page stays light: what it imports, and how much CPU it takes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "numpy", "pydantic", "typer", "rich"}
PAGE = "import sys; from avatarctl.cli.main import main; code = main(['--help'])"


def cpu_seconds(code: str, cache: Path) -> float:
    """CPU time of one Python process; wall time would count what else runs.

    Its compiled modules are kept in `cache`, as an installed package has them whatever the environment says.
    """
    environment = {name: word for name, word in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(cache)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_listing_page_imports_little():
    code = f"{PAGE}; import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = json.loads(done.stderr.splitlines()[-1])
    assert "train" in done.stdout
    assert not HEAVY & set(modules)
    assert len(modules) < 300


def test_listing_page_takes_little_cpu(tmp_path):
    # In turns: both meet the same machine, fast and slow moments alike.
    times = [(cpu_seconds(PAGE, tmp_path), cpu_seconds("pass", tmp_path)) for _ in range(12)]
    page, bare = (min(each) for each in zip(*times, strict=True))
    sys.stdout.write(f"listing page {page * 1e3:.0f} ms CPU, bare Python {bare * 1e3:.0f} ms\n")
    assert page < max(0.150, 10 * bare)


def test_help_page_of_a_target_does_without_torch():
    code = (
        "import sys; from avatarctl.cli.main import main;"
        "code = main(['train', 'sparse', '--stage', 'vqvae', '--help']);"
        "sys.exit(code or any(name in sys.modules for name in ('torch', 'numpy', 'typer')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
