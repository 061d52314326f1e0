"""Files that are whole or not there: atomic writing, digests, and the checks every reader starts with."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avatarctl.errors import DataError

WHOLE = 64 << 20
"""Files up to this many bytes are hashed whole; larger ones by size, first and last megabyte."""

_SOUNDS = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff")

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EISDIR: "a folder stands where the file should go; choose another name",
    errno.EFBIG: "the file is larger than this disk or account allows; choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_READ_OR_WRITE = {
    **_REMEDIES,
    errno.ENOENT: "check the path, and that its folder is there and can be written",
    errno.EACCES: "check its permissions, or choose another path",
    errno.EPERM: "check its permissions, or choose another path",
    errno.ENOTDIR: "a file stands where a folder is needed; check the path",
    errno.EISDIR: "a folder stands where a file is needed; check the path",
    errno.EEXIST: "choose another name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "the disk fails to read or write; check it",
}
"""Remedies where it is not known whether the file was to be read or written."""


def write_failure(path: Path, error: OSError) -> DataError:
    """The one-line failure for an output that cannot be written."""
    remedy = _REMEDIES.get(error.errno or 0, "choose another folder")
    return DataError(f"{path}: cannot be written: {error.strerror or error}", hint=remedy)


def long_name(error: OSError) -> DataError | None:
    """The failure for a name that no file can have, read or written; None for any other error."""
    if error.errno != errno.ENAMETOOLONG:
        return None
    return DataError(f"{str(error.filename)[:60]}...: {error.strerror}", hint=_REMEDIES[errno.ENAMETOOLONG])


def file_failure(error: OSError) -> DataError | None:
    """The one-line failure for a file that the system refused to read or write.

    None where the error names no file.
    """
    if long := long_name(error):
        return long
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    if not names:
        return None
    remedy = _READ_OR_WRITE.get(error.errno or 0, "check the path")
    return DataError(f"{' -> '.join(names)}: {error.strerror or type(error).__name__}", hint=remedy)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well.

    Whatever happens inside, the name holds the old file or the whole new one.

    Raises:
        DataError: The disk is full, read-only, or the folder cannot be written.
    """
    import tempfile  # listing pages write nothing, and do without what it brings

    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem[:40]}-", suffix=f".tmp{path.suffix}", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise write_failure(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def media_kind(start: bytes) -> str:
    """What a file that starts with these 12 bytes or more is: glb, sound, picture or film; "" for others."""
    if start.startswith(b"glTF"):
        return "glb"
    if start.startswith(_SOUNDS) or start[4:11] == b"ftypM4A" or start[:4] + start[8:12] == b"RIFFWAVE":
        return "sound"
    if start.startswith(_PICTURES):
        return "picture"
    return "film" if start[4:8] == b"ftyp" else ""


def is_file(path: str | Path) -> bool:
    """Whether a file is there; no, too, where its folder may not be looked into."""
    return os.path.isfile(path)  # Path.is_file raises there


def sweep(folder: Path) -> None:
    """Delete what `atomic` left below a folder when its process was killed."""
    for path in folder.rglob(".*.tmp*"):
        with suppress(OSError):
            path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def digest(path: str | Path) -> str:
    """`sha256:...` of a file, `sha256-ends:...` of a large one (size, ends), `sha256-tree:` of a folder."""
    import hashlib

    path = Path(path)
    total = hashlib.sha256()
    if path.is_dir():
        for inner in sorted(p for p in path.rglob("*") if p.is_file()):
            total.update(f"{inner.relative_to(path).as_posix()}\0{digest(inner)}\0".encode())
        return f"sha256-tree:{total.hexdigest()}"
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            while block := file.read(1 << 20):
                total.update(block)
            return f"sha256:{total.hexdigest()}"
        total.update(str(size).encode())
        total.update(file.read(1 << 20))
        file.seek(-(1 << 20), os.SEEK_END)
        total.update(file.read())
    return f"sha256-ends:{total.hexdigest()}"


def check_input_file(path: str | Path, what: str) -> Path:
    """`path` when it is a readable file with something in it.

    Args:
        what: The thing expected, for the message ("a motion file").
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: not found; expected {what}", hint="check the path")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected {what}", hint="name a file inside it")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{path}: is empty; expected {what}", hint="copy or download it again")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    return path
