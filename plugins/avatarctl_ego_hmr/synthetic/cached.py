"""Made-up people in the embedded office, drawn once into the user's cache, for targets without data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from avatarctl.config.user import cache_folder
from avatarctl_ego_hmr.settings_synthetic import PrepareSynthetic, Size
from avatarctl_ego_hmr.synthetic.prepare import VERSION, write

if TYPE_CHECKING:
    from avatarctl.runs import Run

SIZE: Size = "1280x720"


def office_people(people: int, run: Run) -> Path:
    """A folder in EgoBody's layout whose test split has so many people; others for each seed of the run.

    Raises:
        DataError: The cache cannot be written.
    """
    folder = cache_folder() / "ego-hmr" / f"office-{VERSION}-{people}-{run.seed}"
    write(PrepareSynthetic(store=folder, frames=1, validation=1, test=people, size=SIZE, replace=True), run)
    return folder
