"""Arrays from .npz and .npy files of strangers: no pickles, no array larger than the file can hold."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from avatarctl.errors import DataError
from avatarctl.files import check_input_file

RATIO = 1100
"""Deflate cannot shrink data further than this."""
BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, KeyError, RuntimeError,
    MemoryError, tokenize.TokenError,
)  # fmt: skip
"""What a broken archive makes its readers raise; RuntimeError where it claims to be encrypted."""
HINT = "copy or download the file again"


def archive_names(path: str | Path) -> list[str]:
    """Names of the entries of a zip archive; none where the file is no archive, or a broken one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except BROKEN:
        return []


def npz_headers(path: str | Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and number type of every array in an archive, without reading the numbers.

    Raises:
        DataError: It is no .npz, or broken.
    """
    path = check_input_file(path, "an .npz archive")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {info.filename.removesuffix(".npy"): _header(path, archive, info) for info in members}
    except BROKEN as error:
        raise DataError(f"{path}: not a readable .npz: {error}", hint=HINT) from error


def read_npz(path: str | Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an archive by name; names that it lacks are left out.

    Args:
        names: Which to read; all (but pickled ones) when left out.

    Raises:
        DataError: It is no .npz, an array is broken, or one that was asked for is a pickle.
    """
    headers = npz_headers(path)
    wanted = [name for name in headers if not headers[name][1].hasobject] if names is None else list(names)
    found: dict[str, np.ndarray] = {}
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in wanted:
                if name in headers:
                    found[name] = archive[name]
    except BROKEN as error:
        raise DataError(f"{path}: {name or 'archive'}: cannot be read: {error}", hint=HINT) from error
    return found


def read_npy(path: str | Path, what: str) -> np.ndarray:
    """The array in a .npy file.

    Args:
        what: The thing expected, for the message ("face codes").

    Raises:
        DataError: It is no .npy, broken, or a pickle.
    """
    path = check_input_file(path, what)
    try:
        with path.open("rb") as file:
            shape, dtype = npy_header(file)
            held = path.stat().st_size - file.tell()
        if dtype.hasobject or held != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"an array of {list(shape)} {dtype} has {held} bytes of data")
        array: np.ndarray = np.load(path, allow_pickle=False)
    except BROKEN as error:
        raise DataError(f"{path}: not a readable .npy with {what}: {error}", hint=HINT) from error
    return array


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and number type of a .npy stream, which is left at the start of its data.

    Raises:
        ValueError: It is none.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(info) as file:
        shape, dtype = npy_header(file)
        start = file.tell()
    held = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (start + held != info.file_size or held > RATIO * max(path.stat().st_size, 1)):
        raise ValueError(
            f"{info.filename}: an array of {list(shape)} {dtype} has {info.file_size - start} bytes of data"
        )
    return shape, dtype
