import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from avatarctl.device.workers import AHEAD, results
from avatarctl.errors import DataError


def threads_and(number):
    return torch.get_num_threads(), number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def rest_forever(number):
    print("at work", flush=True)
    time.sleep(600)


def test_one_process_does_each_task_by_one_thread_when_it_is_asked_for():
    asked, threads = iter(range(3)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = results(threads_and, asked, 1, again="")
        assert next(found) == (1, 0)
        assert torch.get_num_threads() == 2
        assert next(asked) == 1
        assert list(found) == [(1, 2)]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow  # new processes import torch
def test_processes_keep_the_order_and_take_few_tasks_in_advance():
    asked = iter(range(40))
    found = results(threads_and, asked, 2, again="")
    first = next(found)
    assert next(asked) == 2 * AHEAD
    assert [first, *found] == [(1, number) for number in range(40) if number != 2 * AHEAD]


@pytest.mark.slow  # new processes import torch
def test_a_killed_worker_is_told_with_what_to_type():
    with pytest.raises(DataError, match="ended from outside") as failure:
        list(results(die, range(3), 2, again="type it again"))
    assert failure.value.hint == "type it again"


@pytest.mark.slow  # new processes import torch
def test_a_killed_command_leaves_no_workers_behind():
    words = "from test_workers import *; list(results(rest_forever, range(2), 2, again=''))"
    command = [sys.executable, "-c", f"if __name__ == '__main__':\n    {words}"]
    here = Path(__file__).parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here) as started:
        for _ in range(2):
            assert started.stdout.readline()
        started.kill()
        started.communicate(timeout=30)  # ends when nobody holds the pipe
