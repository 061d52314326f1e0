"""A person's avatar, ready to be rendered, as commands and users of the Python API want it.

person = pipeline.load("run:train-video-avatar/1", "data/data_prepared/CoreView_377")
scene = person.scene(sample.pose)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from avatarctl.body import Bodies, BodyModel
from avatarctl.checkpoints import Weights
from avatarctl.checkpoints.sizes import settings_in
from avatarctl.device import choose
from avatarctl.errors import CheckpointError, SettingsError
from avatarctl.runs.inputs import opened
from avatarctl_video_avatar import official
from avatarctl_video_avatar.body_fit import load_body
from avatarctl_video_avatar.items import subject_of
from avatarctl_video_avatar.model.avatar import PART, Avatar, steps_of
from avatarctl_video_avatar.model.avatar import load as load_avatar
from avatarctl_video_avatar.model.rendering import Scene
from avatarctl_video_avatar.plugin import avatarctl_weights
from avatarctl_video_avatar.prepared import Prepared
from avatarctl_video_avatar.sample import Pose, Subject
from avatarctl_video_avatar.settings_model import Rendering

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_video_avatar.settings import Avatar as AvatarSettings
    from avatarctl_video_avatar.settings import Pictures

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Person:
    """An avatar with the recording that it was learned from."""

    avatar: Avatar
    data: Prepared
    subject: Subject
    body: BodyModel
    """The neutral body, whose skinning weights and triangles count."""
    rendering: Rendering
    step: int
    """Finished training steps."""
    weights: Weights

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.subject.grid.device

    def scene(self, pose: Pose, refine: bool | None = None) -> Scene:
        """The avatar in a pose; its networks give no gradients.

        Args:
            refine: Whether the pose decoder corrects the pose; None leaves it to the number of steps.
        """
        with torch.no_grad():
            return Scene(self.avatar, self.subject, pose.to(self.device), self.rendering, self.step, refine)


def load(
    weights: str | Path | Weights,
    data: str | Path | Prepared,
    *,
    rendering: Rendering | None = None,
    bodies: Bodies | None = None,
    body_models: Path | None = None,
    device: torch.device | str | None = None,
) -> Person:
    """An avatar from its weights and its person's prepared recording.

    Args:
        weights: Opened weights, a file or folder, native or official, or the name of embedded ones; of a
            published training's folder the newest counts.
        rendering: For weights that do not say how they were trained; what differs from the published settings
            counts with others too.
        body_models: Folder of licensed body models; left out: the added assets.

    Raises:
        CheckpointError: The weights hold no avatar, or that of another person.
        DataError: The recording is missing or broken.
        AssetError: A body model was not found.
    """
    if not isinstance(weights, Weights):
        weights = opened(_file_of(weights), avatarctl_weights())
    data = data if isinstance(data, Prepared) else Prepared(Path(data))
    check_person(weights, data)
    place = torch.device(device) if device is not None else choose("cpu")[0]
    body = load_body(bodies or Bodies(log), data.kind, "neutral", body_models)
    avatar = load_avatar(weights, place)
    subject = subject_of(data, body).to(place)
    return Person(
        avatar,
        data,
        subject,
        body,
        rendering_of(weights, rendering),
        steps_of(weights),
        weights,
    )


def of_settings(settings: AvatarSettings, run: Run) -> Person:
    """As `load`, from a command's settings."""
    weights = run.weights(_file_of(settings.weights), target="video-avatar")
    return load(
        weights,
        settings.data,
        rendering=settings.rendering,
        bodies=run.bodies,
        body_models=settings.body_models,
        device=run.device,
    )


def for_pictures(settings: Pictures, run: Run) -> Person:
    """As `of_settings`, with the rays of pictures sampled as the command says."""
    person = of_settings(settings, run)
    changes: dict[str, object] = {"perturb": settings.jitter == "published"}
    if settings.samples is not None:
        changes["n_samples"] = settings.samples
    return replace(person, rendering=person.rendering.model_copy(update=changes))


def _file_of(words: str | Path) -> str | Path:
    """The newest checkpoint of a published training's folder; other words as they are."""
    folder = Path(words)
    return official.newest(folder) if official.is_training(folder) else words


def rendering_of(weights: Weights, given: Rendering | None = None) -> Rendering:
    """How an avatar is rendered: as it was trained, where its weights say that, and else as given.

    Raises:
        CheckpointError: What the weights say is no setting.
    """
    given = given or Rendering()
    stated = weights.config.get("rendering")
    if stated is None:
        return given
    own = {name: value for name, value in given.model_dump().items() if value != getattr(Rendering(), name)}
    merged = {**stated, **own} if isinstance(stated, dict) else stated
    return settings_in(Rendering, merged, f"{weights.path}: rendering", "export the weights again")


def check_person(weights: Weights, data: Prepared) -> None:
    """See that weights and recording belong together.

    Raises:
        CheckpointError: There is no avatar in the weights, or it is somebody else's.
    """
    if not weights.holds(PART):
        held = ", ".join(weights.parts) or "nothing"
        raise CheckpointError(
            f"{weights.path}: holds {held}, no avatar", hint="avatarctl inspect FILE says what it is"
        )
    for word, theirs, ours in (
        ("person", weights.config.get("subject"), data.name),
        ("bodies", weights.config.get("body"), data.kind),
    ):
        if theirs and theirs != ours:
            raise CheckpointError(
                f"{weights.path}: {word}: found {theirs}, but {data.folder} has {ours}",
                hint="name the recording that the avatar was trained on: --data",
            )


def view_names(data: Prepared, wanted: list[str]) -> list[str]:
    """The views that were asked for.

    Raises:
        SettingsError: The recording lacks one.
    """
    missing = [name for name in wanted if name not in data.views]
    if missing:
        raise SettingsError(
            f"views: {data.folder} has no view {', '.join(missing)}; "
            f"it has {', '.join(data.views) or 'none'}",
            hint=f"--views {data.views[0] if data.views else '0'}",
        )
    return wanted
