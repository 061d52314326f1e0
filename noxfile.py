"""Sessions: nox -s lint types tests parity startup bench package, in the environment that calls them."""

from __future__ import annotations

from glob import glob

import nox

BESIDE = ("-n", "2", "--dist", "worksteal")
"""Two processes of tests, of one thread each: most tests are too small for two threads."""

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "startup", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting and lint rules."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strict; of the bench too, which no test runs."""
    session.run("mypy", "avatarctl", *sorted(glob("plugins/avatarctl_*")), *sorted(glob("tests/bench*.py")))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, fast ones first, the golden cases that fit among them."""
    for marks in ("not slow", "slow"):
        session.run("pytest", *BESIDE, "-m", marks, *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def parity(session: nox.Session) -> None:
    """Golden cases: nox -s parity -- --cases FOLDER (default: fixtures/parity)."""
    session.run("python", "tests/parity/run.py", *session.posargs)


@nox.session
def startup(session: nox.Session) -> None:
    """Modules imported and CPU time of the listing page."""
    session.run("pytest", "tests/contract/test_startup.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Timings beside the calibration and the roofline; never part of the tests."""
    session.run("python", "tests/bench.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and source archive in dist/."""
    session.run("python", "-m", "build", "--no-isolation")
