"""Independent tasks spread over processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

import torch

from avatarctl.errors import DataError

Task = TypeVar("Task")
Made = TypeVar("Made")

AHEAD = 4
"""Tasks for each process that are under way before the first result is asked for."""


def results(
    do: Callable[[Task], Made], tasks: Iterable[Task], processes: int, *, again: str
) -> Iterator[Made]:
    """What `do` makes of the tasks, in order; each task is done by one thread.

    Args:
        do: A function that new processes can import.
        processes: How many work at the same time; 1 works in this process.
        again: What to type after a process was killed.

    Raises:
        DataError: A process was killed.
    """
    if processes <= 1:
        yield from (_by_one_thread(do, task) for task in tasks)
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)
    waiting: deque[Future[Made]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(do, task))
            if len(waiting) >= AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError("a worker process was ended from outside (memory?)", hint=again) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _by_one_thread(do: Callable[[Task], Made], task: Task) -> Made:
    """As in a worker: the last bits must not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return do(task)
    finally:
        torch.set_num_threads(threads)


def _begin() -> None:
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed command leaves no processes behind: each holds the pipe that the others wait on."""
    parent = parent_process()
    assert parent is not None, "only for workers"
    parent.join()
    os._exit(1)
