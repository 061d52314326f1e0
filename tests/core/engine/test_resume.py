"""Real processes, stopped and killed: a resumed training ends with the weights of an undisturbed one."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from avatarctl.checkpoints import native
from avatarctl.errors import UsageError
from avatarctl.runs import manifest

STAGE = Path(__file__).with_name("tiny_stage.py")
TORCHRUN = (
    "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
)  # fmt: skip
RUN = Path("train-tiny") / "001"

pytestmark = pytest.mark.slow


@pytest.fixture
def in_process(tiny, monkeypatch):
    """Runs the stage in this process, with the runs folder at a place."""

    def go(root, resume=None, **changes):
        monkeypatch.setenv("AVATARCTL_RUNS", str(root))
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            tiny.whole_run(resume, **changes)
        finally:
            torch.set_num_threads(before)

    return go


def start(root, *words, launcher=(), changes=None, pause=0.0, **variables):
    return subprocess.Popen(
        [sys.executable, *launcher, str(STAGE), json.dumps(changes or {}), *words],
        env={
            **os.environ,
            "AVATARCTL_RUNS": str(root),
            "TINY_PAUSE": str(pause),
            "OMP_NUM_THREADS": "1",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(root, *words, pause=0.0):
    """Two processes that find each other as under SLURM: by the variables alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [start(root, *words, pause=pause, RANK=str(rank), **common) for rank in range(2)]


def finish(*processes):
    ends = [process.communicate(timeout=180) for process in processes]
    for process, (_, err) in zip(processes, ends, strict=True):
        assert process.returncode == 0, err


def wait_for(process, step):
    """Read the process's lines until it has finished a step."""
    for line in process.stdout:
        if line.strip() == str(step):
            return
    raise AssertionError(process.stderr.read())


def losses(root):
    lines = [json.loads(line) for line in (root / RUN / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["split"], line.get("total"), line.get("error")) for line in lines]


def assert_same_end(root, undisturbed):
    ours, theirs = root / RUN, undisturbed / RUN
    assert (ours / "weights.safetensors").read_bytes() == (theirs / "weights.safetensors").read_bytes()
    last = "checkpoints/step-000000024.safetensors"
    one, other = native.load(ours / last)[0], native.load(theirs / last)[0]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert losses(root) == losses(undisturbed)
    assert manifest.read(ours).status == "finished"


def test_a_run_stopped_by_sigterm_goes_on_bit_for_bit(tmp_path, in_process):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    process = start(cut, pause=0.05)
    wait_for(process, 12)
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    about = manifest.read(cut / RUN)
    assert about.status == "preempted"
    assert "stopped by SIGTERM after step" in about.error
    log = (cut / RUN / "log.txt").read_text()
    assert f"WARNING avatarctl.run: {about.error}\n" in log
    assert "Traceback" not in log
    assert f"avatarctl train tiny --resume {cut / RUN}" in err
    in_process(cut, resume="last")
    in_process(whole)
    assert_same_end(cut, whole)
    assert len(manifest.read(cut / RUN).resumed) == 1


def test_a_run_killed_at_a_random_moment_goes_on_bit_for_bit(tmp_path, in_process):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    seed = random.randrange(1 << 30)
    draws = random.Random(seed)
    process = start(cut)
    wait_for(process, draws.randrange(3, 20))
    time.sleep(draws.random() * 0.03)
    process.kill()
    process.communicate()
    assert manifest.read(cut / RUN).status in ("running", "finished")
    in_process(cut, resume="last")
    in_process(whole)
    assert_same_end(cut, whole)
    assert not list((cut / RUN).rglob(".*")), f"left over, seed {seed}"


def test_a_run_stopped_by_the_user_ends_with_130_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, pause=0.05)
    wait_for(process, 2)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert manifest.read(tmp_path / RUN).status == "interrupted"
    assert "--resume" in err
    assert "Traceback" not in err


def test_two_processes_of_torchrun_have_the_loss_of_one_with_the_same_batch(tmp_path, in_process):
    changes = {"is_random": False, "steps": 12}
    finish(start(tmp_path / "two", launcher=TORCHRUN, changes=changes))
    in_process(tmp_path / "one", **changes)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [line[:2] for line in one] == [line[:2] for line in two]
    assert len(one) > 12
    for mine, theirs in zip(one, two, strict=True):
        for a, b in zip(mine[2:], theirs[2:], strict=True):
            assert a is b is None or abs(a - b) < 1e-5
    assert manifest.read(tmp_path / "two" / RUN).world == 2


def test_two_processes_stop_together_and_go_on_bit_for_bit(tmp_path, in_process):
    """Dropout and jitter differ between the processes, so each has streams of its own to restore."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(*start_two(whole))
    first, second = start_two(cut, pause=0.05)
    wait_for(first, 10)
    second.send_signal(signal.SIGTERM)  # one is told, both stop after the same step
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 75
    assert manifest.read(cut / RUN).status == "preempted"
    with pytest.raises(UsageError, match="trained by 2 processes, this run has 1"):
        in_process(cut, resume="last")
    finish(*start_two(cut, "last"))
    assert_same_end(cut, whole)
