"""SIGINT and SIGTERM: at once where nothing has to be saved, after the step where a loop asked for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from avatarctl.errors import Stopped


class StopRequest:
    """Whether the run was asked to stop, and whether a loop will see to it."""

    def __init__(self) -> None:
        self.signal = 0
        self.is_deferred = False
        """True while a loop looks at `signal` after each step."""

    @property
    def is_preempted(self) -> bool:
        """Asked by the system (SIGTERM), not by the user."""
        return self.signal == signal.SIGTERM

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: remember, or raise where nothing would look."""
        is_second = bool(self.signal)
        self.signal = self.signal or number
        if self.is_deferred and (not is_second or number == signal.SIGTERM):
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped("stopped by SIGTERM", preempted=True)


@contextmanager
def watched() -> Iterator[StopRequest]:
    """Handle the two signals until the block ends; only a main thread can."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request.handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
