"""Settings of the prepare targets of recordings; defaults are the published ones (spec 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from avatarctl.config import Argument, StageSettings
from avatarctl_video_avatar.settings_model import Sex

Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=8, le=1024)]


class Prepare(StageSettings):
    """What all recordings share."""

    raw: Argument[Path]
    """A person's raw folder as it was published; with --subject, the folder above it will do."""
    subject: str = ""
    """Whose recording it is, and the name of the prepared one; left out: as the folder says."""
    into: Path | None = None
    """Where the prepared recording is written; left out: data/data_prepared/SUBJECT."""
    views: list[str] = []
    """Cameras to prepare; left out: all of them."""
    start: Annotated[int, Field(ge=0)] = 0
    """First frame."""
    end: int = -1
    """Frame to stop before, from the end where it is negative: -1 leaves out the last, as published."""
    step: Count = 1
    """Of so many frames take one."""
    sex: Sex | None = "neutral"
    """Whose body the base shape is; left out: the published choice."""
    volume_size: Size | None = None
    """Samples along each side of the cube of signed distances; left out: as published, mostly 256."""
    body_models: Path | None = None
    """Folder of licensed body models; left out: the added assets."""
    processes: Annotated[int, Field(ge=0)] = 0
    """Processes; 0 takes one per core."""
    allow_empty: bool = False
    """Take pictures whose mask shows nobody."""
    check: bool = False
    """Only look through the raw folder and say what is missing or broken."""


class PrepareZju(Prepare):
    """ZJU-MoCap: pictures, cameras, masks and fitted bodies of a person, ready for training."""


class PrepareH36m(Prepare):
    """Human3.6M as Animatable-NeRF prepared it; cameras are named as the folders of their pictures."""

    step: Count = 5
    """Of so many frames take one."""


class PrepareMonocap(Prepare):
    """MonoCap: a person seen by many cameras, of which one is trained on."""


class PreparePeopleSnapshot(Prepare):
    """People-Snapshot: a film of a person who turns in front of the camera."""

    end: int = -1
    """Frame to stop before; -1 keeps all, as published."""
    sex: Sex | None = None
    """Whose body the base shape is; left out: as the folder's name begins."""


class PrepareSelfrecon(PreparePeopleSnapshot):
    """SelfRecon's synthetic people."""

    sex: Sex | None = None
    """Whose body the base shape is; left out: as published, female for female-outfit1, else male."""


class PrepareSyntheticHuman(Prepare):
    """SyntheticHuman: rendered people, ten cameras."""

    end: int = -1
    """Frame to stop before; -1 keeps all, as published."""
    sex: Sex | None = None
    """Whose body the base shape is; left out: as published, female for jody and megan, else male."""


class PrepareSmplParams(StageSettings):
    """SMPL's tables as the published code reads them: faces.npz, v_templates.npz and the others."""

    body_models: Argument[Path]
    """Folder of the licensed SMPL files of all three sexes, in any published layout."""
    into: Path = Path("data/body_models/misc")
    """Where they are written."""
