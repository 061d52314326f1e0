"""Runs: numbered folders with manifest, settings, log, results; the `Run` that a run function receives."""

from avatarctl.runs.opening import open_run
from avatarctl.runs.resume import ResumePoint, resume_point
from avatarctl.runs.run import Run

__all__ = ["ResumePoint", "Run", "open_run", "resume_point"]
