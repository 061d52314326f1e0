"""The eval target: generated motion scored as published, and soundly where the published way is flawed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Group

from avatarctl.device import Noise
from avatarctl.errors import AssetError, CheckpointError, DataError
from avatarctl.metrics import Column, Row, Table, Tally
from avatarctl.runs.page import Page
from avatarctl_audio2motion import infer, lips, scores
from avatarctl_audio2motion.conversations.dataset import Chunks, Conversations, open_conversations
from avatarctl_audio2motion.conversations.stats import Kind
from avatarctl_audio2motion.generating import of_recorded
from avatarctl_audio2motion.pipeline import Draws, Pipeline
from avatarctl_audio2motion.places import avatar_folder
from avatarctl_audio2motion.results import Results, read_results
from avatarctl_audio2motion.sampling import STEPS, kept_steps
from avatarctl_audio2motion.scores import Motions

if TYPE_CHECKING:
    from avatarctl.runs import Run
    from avatarctl_audio2motion.settings_evaluate import Evaluate

RECORDED, RANDOM = "recorded", "random training sequence"
NOTE = (
    "Raw numbers (published script): all frames, translation in its own unit. The paper's figures are not "
    "shown: whether they were computed so is not known. error: distance from the recording a frame, ours."
)
FACE_NOTE = "The published script scores bodies only; for faces these are ours."
WHY = (
    "Corrected: frames after a sample's end are left out, the recording counts once and not once a "
    "repetition, and the root's turn does not jump by whole turns (body)."
)


@dataclass(frozen=True)
class Scored:
    """The numbers of one kind of motion."""

    kind: Kind
    name: str
    shape: tuple[int, int, int]
    """Repetitions, samples, frames."""
    published: dict[str, float]
    corrected: dict[str, float]
    beside: dict[str, dict[str, float]]
    """The same numbers of what stands beside it: the recording, a random training sequence."""

    @property
    def what(self) -> str:
        """How much was scored."""
        repeats, samples, frames = self.shape
        return f"{repeats} repetitions of {samples} samples of {frames} frames"

    def tables(self) -> list[Table]:
        """The published numbers, and those that differ from the corrected ones."""
        rows = [Row(self.name, self.published)]
        rows += [Row(name, values, "baseline") for name, values in self.beside.items()]
        note = NOTE if self.kind == "body" else f"{FACE_NOTE} {NOTE}"
        columns = [one for one in (*scores.COLUMNS, *scores.OURS, *lips.COLUMNS) if one.key in self.published]
        made = [Table(columns, rows, f"{self.kind}: {self.what}", note)]
        wrong = [
            Row(
                column.title,
                {"published": self.published[column.key], "corrected": self.corrected[column.key]},
            )
            for column in scores.COLUMNS
            if not np.isclose(
                self.published[column.key], self.corrected[column.key], rtol=1e-6, atol=0, equal_nan=True
            )
        ]
        if wrong:
            both = (
                Column("published", "published", decimals=4),
                Column("corrected", "corrected", decimals=4),
            )
            made.append(Table(both, wrong, note=WHY))
        return made


def run(settings: Evaluate, run: Run) -> None:
    """Score a results file, or motion generated for the scenes of a store."""
    found = list(_of_file(settings, run) if settings.results else _of_store(settings, run))
    tables = [table for one in found for table in one.tables()]
    page = Page("audio2motion: scores", f"Protocol: {protocol(settings, found[0])}.")
    for one in found:
        page.section(f"The {one.kind}")
        for table in one.tables():
            page.table(table)
    page.provenance(run)
    run.save("report.html", page)
    numbers = {
        one.kind: {"published": one.published, "corrected": one.corrected, **one.beside} for one in found
    }
    run.report(Group(*(table.rich() for table in tables)), protocol=protocol(settings, found[0]), **numbers)


def protocol(settings: Evaluate, scored: Scored) -> str:
    """What was scored, in a line."""
    where = str(settings.results) if settings.results else f"split {settings.split} of {settings.store}"
    return f"published script, {scored.what}, {where}"


def score(results: Results, settings: Evaluate, run: Run, name: str, lip: lips.Lips | None = None) -> Scored:
    """All numbers of results, whose repetitions follow each other."""
    motions = Motions.of(results, settings.repeats)
    repeats, samples, _, frames = motions.predicted.shape

    def noise() -> Noise:
        """Both schemes take the same pairs, as far as they have the same frames."""
        return Noise.seeded(run.seed, "pairs")

    if repeats * samples * frames < settings.pairs:
        run.log.warning(
            "%d frames: fewer than the %d pairs of Div_g; as many pairs are taken as there are frames",
            repeats * samples * frames, settings.pairs,
        )  # fmt: skip
    own = scores.published(motions, noise(), settings.pairs) | scores.errors(motions)
    if lip is not None and results.kind == "face":
        own |= lip_errors(lip, motions)
    return Scored(
        results.kind,
        name,
        (repeats, samples, frames),
        own,
        scores.corrected(motions, noise(), settings.pairs),
        {RECORDED: scores.diversity(motions.truth[:1], noise(), settings.pairs)},
    )


def lip_errors(lip: lips.Lips, motions: Motions) -> dict[str, float]:
    """Means over all results."""
    tally = Tally()
    for repetition, truth, lengths in zip(motions.predicted, motions.truth, motions.lengths, strict=True):
        for codes, true, length in zip(repetition, truth, lengths.tolist(), strict=True):
            tally.add(lip.errors(codes[:, :length].T, true[:, :length].T))
    return tally.means()


def _of_file(settings: Evaluate, run: Run) -> Iterator[Scored]:
    assert settings.results is not None
    results = read_results(run.input(settings.results, "results"))
    lip = _lips(settings, Path.cwd(), settings.person) if settings.lips else None
    yield score(results, settings, run, settings.results.name, lip)


def _of_store(settings: Evaluate, run: Run) -> Iterator[Scored]:
    assert settings.store is not None
    kept_steps(settings.steps, STEPS)
    conversations = open_conversations(run.input(settings.store, "store"))
    weights = infer.weights_of(settings, run)
    model = infer.load(settings, weights, run)
    check_person(model, conversations)
    # The networks' own statistics, whatever the store was prepared with (published --flip_person).
    conversations = replace(conversations, statistics=model.networks.statistics)
    lip = _lips(settings, weights.path, settings.person or model.person) if settings.lips else None
    kinds: tuple[Kind, ...] = ("face", "body")
    for kind in kinds:
        has_network = getattr(model.networks, kind) is not None
        if settings.mode == kind or (settings.mode == "both" and has_network):
            chunks = conversations.chunks(settings.split, kind, settings.chunk)
            results = generate(model, chunks, kind, settings, run)
            if settings.keep:
                run.save(f"results_{kind}.npy", results, "results")
            scored = score(results, settings, run, Path(model.source).name or settings.weights, lip)
            random = random_sequences(conversations, results, settings, run)
            yield replace(scored, beside={**scored.beside, **random})


def check_person(model: Pipeline, conversations: Conversations) -> None:
    """Refuse networks of another person.

    Raises:
        CheckpointError: They are.
    """
    names = (model.person, conversations.person)
    if all(names) and names[0] != names[1]:
        raise CheckpointError(
            f"{model.source} is of {names[0]}, the store {conversations.store.path} of {names[1]}",
            hint="choose weights and a store of one person",
        )


def generate(model: Pipeline, chunks: Chunks, kind: Kind, settings: Evaluate, run: Run) -> Results:
    """Motion for the chunks in the published order, repetition by repetition."""
    order = chunks.order()[: settings.samples or None].tolist()
    made: list[Results] = []
    for number, chunk in enumerate(run.progress(order, f"generating {kind}", len(order))):
        one = of_recorded(
            model,
            chunks.batch([chunk]),
            kind,
            settings,
            repeats=settings.repeats,
            draws=partial(_draws, run.seed, number),
            has_true_keys=settings.keys == "recorded",
        )
        made.append(one if settings.keep else replace(one, audio=None))
    return joined(made)


def _draws(seed: int, chunk: int, _: int, repetition: int) -> Draws:
    return Draws.seeded(seed, chunk, repetition)


def joined(samples: list[Results]) -> Results:
    """The repetitions of several samples, one repetition after the other."""

    def stack(name: str) -> np.ndarray | None:
        parts = [getattr(one, name) for one in samples]
        return None if parts[0] is None else np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])

    motions, lengths = stack("motions"), stack("lengths")
    assert motions is not None
    assert lengths is not None
    return Results(motions, lengths, stack("truth"), stack("audio"), stack("keyframes"))


def random_sequences(
    conversations: Conversations, results: Results, settings: Evaluate, run: Run
) -> dict[str, dict[str, float]]:
    """The numbers of random training motion in place of generated one; none where no scene is as long."""
    kind = results.kind
    try:
        chunks = conversations.chunks("train", kind, settings.chunk, keep_last=True, has_audio=False)
    except DataError:
        return {}
    noise = run.noise(f"random training sequences, {kind}")
    picks = noise.integers(0, len(chunks), (len(results.motions),)).tolist()
    motion = torch.cat([chunks.batch([pick]).motion for pick in picks])
    raw = conversations.statistics.denormalise(kind, motion)
    motions = Motions.of(replace(Results.of(raw), truth=results.truth), settings.repeats)
    numbers = scores.published(motions, noise, settings.pairs) | scores.errors(motions)
    return {RANDOM: numbers}


def _lips(settings: Evaluate, beside: Path, person: str) -> lips.Lips:
    """The lips of the person whose avatar is named, or lies beside the weights."""
    assert settings.lips is not None
    folder = avatar_folder(beside, person)
    if folder is None:
        raise AssetError(
            f"--lips: no avatar of {person or 'the person'}, whose face decoder makes lips of codes",
            hint="name the folder of the published renderer's person: --person FOLDER",
        )
    return lips.Lips.read(folder, settings.lips)
