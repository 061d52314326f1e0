"""Run golden cases, one line each, then a total: python tests/parity/run.py [--cases FOLDER]."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import golden


def main(words: list[str] | None = None) -> int:
    """0 when every case passed or may wait, else 1; 2 when there is no case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=Path, default=golden.FIXTURES, help="folder of NAME.json + NAME.npz")
    parser.add_argument("--only", default="*", help="pattern of names, such as '*/vqvae*'")
    arguments = parser.parse_args(words)
    if not arguments.cases.is_dir():
        parser.error(f"{arguments.cases}: no such folder")
    total: Counter[str] = Counter()
    for case in golden.find(arguments.cases):
        if fnmatch(case.name, arguments.only):
            total[_run(case)] += 1
    counts = ", ".join(f"{count} {status}" for status, count in sorted(total.items())) or "no cases"
    print(f"{arguments.cases}: {counts}")
    if not total:
        return 2
    return 1 if total["fail"] or total["no check"] else 0


def _run(case: golden.Case) -> str:
    start = time.perf_counter()
    try:
        result = golden.run(case)
    except AssertionError as error:
        result = golden.Result("fail", note=str(error) or traceback.format_exc(limit=-1))
    except Exception as error:
        traceback.print_exc()
        result = golden.Result("fail", note=f"{type(error).__name__}: {error}")
    words = f"{result.status:<8} {case.name:<40}"
    if result.status in ("pass", "fail"):
        worst = f"({result.array})" if result.array else ""
        words += (
            f" largest error {result.error:8.2g} of the tolerance {worst} {time.perf_counter() - start:.1f} s"
        )
    print(f"{words}  {result.note}" if result.note else words, flush=True)
    return result.status


if __name__ == "__main__":
    # MKL's reproducible mode and one thread, read when torch is imported: else exp and sums differ between
    # processors and numbers of threads in their last bits. The stored numbers are those of this mode.
    os.environ.setdefault("MKL_CBWR", "COMPATIBLE")
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    sys.exit(main())
