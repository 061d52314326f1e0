"""Everything around a run function: folder, lock, manifest, log, device, seed, signals, and how it ended."""

from __future__ import annotations

import errno
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from avatarctl.device import choose, parallel
from avatarctl.device.noise import stream_seed
from avatarctl.device.precision import check, switches
from avatarctl.errors import AvatarError, Stopped, UsageError
from avatarctl.files import file_failure, sweep, write_failure
from avatarctl.runs import chain, index, saving
from avatarctl.runs import folder as folders
from avatarctl.runs import resume as resuming
from avatarctl.runs.events import Observers, observers_of
from avatarctl.runs.logs import FileLog, logged
from avatarctl.runs.manifest import Manifest, as_json, now, plain
from avatarctl.runs.provenance import hardware, versions
from avatarctl.runs.run import Run
from avatarctl.runs.signals import watched

log = logging.getLogger("avatarctl.run")
Place = tuple[Path, Manifest, resuming.Earlier | None]
"""A run's folder, its manifest, and what the folder stored before it was resumed."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    verb: str
    target: str
    stage: str
    settings: Any
    origin: Mapping[str, str]
    plugin: tuple[str, str, str]
    argv: Sequence[str]
    out: str | Path | None
    resume: str | Path | None
    precision: str | None
    seed: int | None


@contextmanager
def open_run(
    *,
    verb: str,
    target: str,
    settings: Any,
    stage: str = "",
    origin: Mapping[str, str] | None = None,
    plugin: tuple[str, str, str] = ("", "", ""),
    argv: Sequence[str] = (),
    out: str | Path | None = None,
    resume: str | Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    seed: int | None = None,
    json: bool = False,
    quiet: bool = False,
    registry: Any = None,
) -> Iterator[Run]:
    """A run in its folder until the block ends; the manifest says how it ended.

    Args:
        settings: The resolved settings; for `resume`, on top of `resume_point(...).settings`.
        origin: Layer of each setting.
        plugin: Name, distribution and version of the target's plugin.
        out: Folder instead of a numbered one; must be empty.
        resume: A run to go on with, or "last".
        device, precision, seed: As given; None takes auto, fp32 and 0, or what the resumed run had.
        json: Print one JSON object at the end, and nothing else, on stdout.
        registry: The plugins, for their weights, formats and observers.
    """
    request = Request(verb, target, stage, settings, origin or {}, plugin, argv, out, resume, precision, seed)
    chosen, reason = choose(device or "auto")
    with ExitStack() as stack:
        parallel.init(chosen)
        stack.callback(parallel.finish)
        place, about, earlier = _shared(request, stack)
        about.device = hardware(chosen, reason)
        handler = stack.enter_context(logged(place)) if parallel.rank() == 0 else None
        stack.enter_context(switches(about.precision))
        run = Run(
            place,
            chosen,
            about,
            seed=about.seed,
            precision=about.precision,
            resume=resume is not None,
            as_json=json,
            quiet=quiet,
            declared_weights=tuple(registry.weights()) if registry is not None else (),
            foreign_weights=registry.foreign_weights(plugin[0]) if registry is not None else {},
            declared_formats=tuple(registry.formats()) if registry is not None else (),
            observers=Observers(observers_of(registry), log) if parallel.rank() == 0 else None,
            stop=stack.enter_context(watched()),
        )
        torch.manual_seed(stream_seed(about.seed, "torch"))
        with _ending(run, handler, request, earlier):
            _begin(run, settings)
            yield run


def _shared(request: Request, stack: ExitStack) -> Place:
    """Folder and manifest, made or resumed by rank 0; its failure is everyone's."""
    answer: Place | AvatarError
    if parallel.rank() == 0:
        try:
            answer = _resumed(request, stack) if request.resume is not None else _created(request, stack)
        except AvatarError as error:
            answer = error
    else:
        answer = (Path(), Manifest({}), None)
    answer = parallel.from_first(answer)
    if isinstance(answer, AvatarError):
        raise answer
    return answer


def _created(request: Request, stack: ExitStack) -> Place:
    about = Manifest({"verb": request.verb, "target": request.target, "stage": request.stage}, started=now())
    about.seed, about.precision = request.seed or 0, check(request.precision or "fp32")
    _describe(about, request)
    place = folders.create(request.verb, request.target, request.stage, request.out)
    stack.enter_context(folders.locked(place))
    folders.clear(place)
    # Only trainings have checkpoints to go on from; those of a chain are found through its folder.
    if request.out is not None and request.verb == "train" and not chain.is_chain(place.parent):
        folders.note_elsewhere(place, request.verb, request.target, request.stage)
    return place, about, None


def _resumed(request: Request, stack: ExitStack) -> Place:
    point = resuming.resume_point(str(request.resume), request.verb, request.target, request.stage)
    resuming.refuse_elsewhere(request.out, point.folder)
    stack.enter_context(folders.locked(point.folder))
    sweep(point.folder)
    about, earlier = point.manifest, resuming.Earlier.of(point)
    if about.status == "finished" and index.pointed(point.folder, "last") is None:
        raise UsageError(
            f"--resume {request.resume}: {point.folder} is finished, there is nothing to go on with",
            hint="start a new run without --resume",
        )
    changed = resuming.changes(point.settings, plain(request.settings))
    resuming.refuse_network_changes(changed, request.settings)
    for name in ("seed", "precision"):
        given = getattr(request, name)
        if given is not None and given != getattr(about, name):
            changed[name] = [getattr(about, name), given]
            setattr(about, name, given)
    check(about.precision)
    about.resumed.append({"at": now(), "argv": list(request.argv), "changed": changed})
    about.status, about.error, about.ended = "running", "", ""
    began, origin = about.argv, about.origin
    _describe(about, request)
    about.argv = began
    about.origin |= {name: layer for name, layer in origin.items() if name not in changed}
    return point.folder, about, earlier


def _describe(about: Manifest, request: Request) -> None:
    about.argv = list(request.argv)
    about.settings, about.origin = plain(request.settings) or {}, dict(request.origin)
    about.plugin = dict(zip(("name", "distribution", "version"), request.plugin, strict=True))
    about.versions, about.world = versions(), parallel.world()


def _begin(run: Run, settings: Any) -> None:
    if run.is_writer:
        saving.write(run.folder / folders.SETTINGS, plain(settings) or {})
        run.write_manifest()
        verb = "resuming" if run.resume else "running in"
        log.info("%s %s", verb, run.folder)
        log.info("device %s (%s), precision %s", run.device, run.manifest.device["reason"], run.precision)
        run.tell("started", {"settings": run.manifest.settings, "seed": run.seed})


@contextmanager
def _ending(
    run: Run, handler: FileLog | None, request: Request, earlier: resuming.Earlier | None
) -> Iterator[None]:
    """Set the status from how the block ended; what the user did or the disk refused becomes a failure."""
    try:
        yield
    except BaseException as error:
        known = _understood(error, run, request)
        status = "failed"
        if isinstance(known, Stopped):
            status = "preempted" if known.exit_code == 75 else "interrupted"
        _note(handler, error, known)
        _finish(run, status, getattr(known, "message", None) or f"{type(error).__name__}: {error}", earlier)
        if known is error:
            raise
        raise known from error
    _finish(run, "finished", "")


def _understood(error: BaseException, run: Run, request: Request) -> BaseException:
    if isinstance(error, KeyboardInterrupt):
        return Stopped("stopped by the user", hint=_resume_hint(run, request))
    if isinstance(error, Stopped) and not error.hint:
        return Stopped(error.message, hint=_resume_hint(run, request), preempted=error.exit_code == 75)
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if isinstance(error, OSError) and error.errno in full:
        return write_failure(Path(error.filename or run.folder), error)
    if isinstance(error, OSError) and (known := file_failure(error)):
        return known
    return error


def _resume_hint(run: Run, request: Request) -> str:
    """The command that goes on, where there is a checkpoint or work that another start takes up."""
    if not (run.keeps_parts or (run.folder / folders.CHECKPOINTS / "last.pt").is_file()):
        return ""
    words = [
        "avatarctl",
        request.verb,
        request.target,
        *(["--stage", request.stage] if request.stage else []),
    ]
    return shlex.join([*words, "--resume", str(run.folder)])


def _note(handler: FileLog | None, error: BaseException, known: BaseException) -> None:
    """How the run ended, to log.txt alone: a sentence for a stop, the traceback for a failure."""
    if handler is None:
        return
    if isinstance(known, Stopped):
        record = log.makeRecord(log.name, logging.WARNING, __file__, 0, "%s", (known.message,), None)
    else:
        details = (type(error), error, error.__traceback__)
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, "failed", (), details)
    handler.handle(record)


def _finish(run: Run, status: str, message: str, earlier: resuming.Earlier | None = None) -> None:
    if not run.is_writer:
        return
    run.manifest.status, run.manifest.error, run.manifest.ended = status, message, now()
    if status == "finished":
        run.write_manifest()
    else:  # the failure that is being reported matters more than one of writing about it
        with suppress(AvatarError):
            if status == "failed" and earlier is not None and earlier.still_holds(run.folder, run.manifest):
                earlier.put_back(run.folder, run.manifest)
                log.info("%s keeps its earlier settings: this start saved nothing", run.folder)
            else:
                run.write_manifest()
    run.tell("ended", {"status": status, "metrics": run.metrics})
    _print_results(run, status)


def _print_results(run: Run, status: str) -> None:
    from avatarctl import terminal

    paths = [str(run.folder / item["path"]) for item in run.manifest.outputs]
    if run.as_json:
        error = {"error": run.manifest.error} if run.manifest.error else {}
        result = {"run": str(run.folder), "status": status, **error, "outputs": paths, "metrics": run.metrics}
        terminal.out().out(as_json(result), end="", highlight=False)
    elif status == "finished" and not run.quiet:
        for path in paths:
            terminal.out().out(path, highlight=False)
