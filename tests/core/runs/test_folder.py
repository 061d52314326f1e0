import json
import multiprocessing
import os
import socket
import subprocess
import sys

import pytest

from avatarctl.errors import DataError, UsageError
from avatarctl.runs import folder
from avatarctl.runs.folder import create, locked


def claim(root, count, gate):
    """Many folders, from a process of its own."""
    os.environ["AVATARCTL_RUNS"] = str(root)
    gate.wait()
    return [str(create("train", "tiny")) for _ in range(count)]


def test_concurrent_processes_never_share_a_number(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(4) as pool:
        gate = manager.Barrier(4)
        lists = pool.starmap(claim, [(tmp_path / "runs", 25, gate)] * 4)
    names = [name for names in lists for name in names]
    assert len(set(names)) == 100
    assert sorted(os.path.basename(name) for name in names) == [f"{n:03d}" for n in range(1, 101)]


def test_the_first_free_number_of_the_kind_is_taken(runs_root):
    assert create("train", "tiny", "first") == runs_root / "train-tiny-first" / "001"
    assert create("train", "tiny", "first").name == "002"
    (runs_root / "train-tiny-first" / "001").rmdir()
    assert create("train", "tiny", "first").name == "001"
    assert create("eval", "tiny").parent.name == "eval-tiny"


def test_out_takes_an_empty_or_new_folder_and_refuses_a_full_one(tmp_path):
    out = tmp_path / "my run ü"
    assert create("train", "tiny", out=out) == out
    assert create("train", "tiny", out=out) == out
    (out / "result.npz").touch()
    with pytest.raises(UsageError, match="exists and is not empty") as caught:
        create("train", "tiny", out=out)
    assert caught.value.hint == "name another folder"  # it is no run
    with pytest.raises(UsageError, match="a file of this name exists"):
        create("train", "tiny", out=out / "result.npz")


def test_an_empty_name_of_out_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--out: found an empty name"):
        create("train", "tiny", out="")


def test_resume_is_proposed_where_a_run_of_the_same_kind_can_go_on(tmp_path):
    for status, last, verb, is_proposed in (
        ("running", False, "train", True),
        ("finished", False, "train", False),
        ("finished", True, "train", True),
        ("finished", True, "infer", False),
    ):
        out = tmp_path / f"{status}-{last}-{verb}"
        (out / "checkpoints").mkdir(parents=True)
        (out / "checkpoints" / ("last.pt" if last else "other.pt")).touch()
        what = {"verb": verb, "target": "tiny", "stage": ""}
        (out / "manifest.json").write_text(json.dumps({"what": what, "status": status}))
        with pytest.raises(UsageError) as caught:
            create("train", "tiny", out=out)
        assert (f"or --resume {out}" in caught.value.hint) == is_proposed, out.name


def test_a_runs_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVATARCTL_RUNS", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written"):
        create("train", "tiny")


def test_the_lock_of_a_living_process_is_refused_with_its_number(tmp_path):
    program = (
        "import sys, pathlib\nfrom avatarctl.runs.folder import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('mine', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"mine\n"
    with (
        pytest.raises(UsageError, match=f"process {process.pid} on {socket.gethostname()}"),
        locked(tmp_path),
    ):
        pass
    process.kill()
    process.communicate()
    assert (tmp_path / folder.LOCK).is_file()
    with locked(tmp_path):
        assert json.loads((tmp_path / folder.LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / folder.LOCK).exists()


@pytest.mark.parametrize(
    ("owner", "is_refused"),
    [
        ({"pid": os.getpid(), "host": socket.gethostname(), "began": "1"}, False),  # the number was reused
        ({"pid": os.getpid(), "host": socket.gethostname()}, True),
        ({"pid": 2**22 + 5, "host": socket.gethostname()}, False),
        ({"pid": 1, "host": "another machine"}, True),
        ({"pid": "text"}, False),
        ("cut sho", False),
    ],
)
def test_whose_lock_is_taken_over(tmp_path, owner, is_refused):
    (tmp_path / folder.LOCK).write_text(owner if isinstance(owner, str) else json.dumps(owner))
    if is_refused:
        with pytest.raises(UsageError, match="another process works in this run folder"), locked(tmp_path):
            pass
    else:
        with locked(tmp_path):
            pass
