"""`prepare amass` against broken sources, full disks, second writers and kills at any moment."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from avatarctl_sparse_tracking.prepare import run_amass
from avatarctl_sparse_tracking.settings_prepare import PrepareAmass

from avatarctl.cli.main import main
from avatarctl.data import Store, StoreWriter
from avatarctl.errors import DataError
from avatarctl.runs.run import Run


def prepare(raw, folder, **words):
    settings = PrepareAmass(raw=raw, store=folder / "store", official_out=folder / "official", **words)
    run_amass(settings, Run.standalone(folder / "run", settings=settings))


@pytest.fixture
def raw(make, tmp_path):
    """Three sound archives in a folder with a difficult name."""
    folder = tmp_path / "Aufnahmen ä 動"
    folder.mkdir()
    for index in range(3):
        np.savez(folder / f"clip {index}.npz", **make.sequence(30, 60.0, "male", index))
    return folder


def content(store):
    return {path.name: path.read_bytes() for path in store.iterdir()}


def everything(folder):
    """Every prepared file, hidden ones too."""
    files = [path for part in ("store", "official") for path in (folder / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def with_value(name, value):
    return lambda arrays: arrays | {name: value}


def without(name):
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def spoiled(name, value):
    def spoil(arrays):
        array = arrays[name].copy()
        array[7, 1] = value
        return arrays | {name: array}

    return spoil


WRONG = "this is AMASS in its 'SMPL-X G' form"
ARCHIVES = {
    "poses: frame 7: numbers that are not finite": spoiled("poses", np.nan),
    "trans: frame 7: numbers that are not finite": spoiled("trans", -np.inf),
    "trans: numbers beyond a million": spoiled("trans", 1e9),
    "poses: 0 frames": lambda arrays: arrays | {"poses": arrays["poses"][:0], "trans": arrays["trans"][:0]},
    "mocap_framerate: found 0.0; expected 1 to 1000": with_value("mocap_framerate", np.array(0.0)),
    "mocap_framerate: found -60.0": with_value("mocap_framerate", np.array(-60.0)),
    "mocap_framerate: found nan": with_value("mocap_framerate", np.array(np.nan)),
    "mocap_framerate: found sixty": with_value("mocap_framerate", np.array("sixty")),
    "gender: found 'robot'; expected neutral, female, male": with_value("gender", np.array("robot")),
    "poses: missing": without("poses"),
    "mocap_framerate: missing": without("mocap_framerate"),
    "poses: found float64 [30, 60]; expected float [T, 156]": with_value("poses", np.zeros((30, 60))),
    "poses: found <U1": with_value("poses", np.full((30, 156), "x")),
    "trans: found float64 [29, 3]; expected float [30, 3]": with_value("trans", np.zeros((29, 3))),
    f"poses: found float64 [30, 165]; expected float [T, 156]; {WRONG}": with_value(
        "poses", np.zeros((30, 165))
    ),
    f"mocap_framerate: missing; {WRONG}": lambda arrays: (
        without("mocap_framerate")(arrays) | {"mocap_frame_rate": np.array(60.0)}
    ),
}


@pytest.mark.parametrize("reason", ARCHIVES)
def test_a_bad_archive_is_named_and_the_rest_is_prepared(make, raw, tmp_path, capsys, monkeypatch, reason):
    monkeypatch.chdir(tmp_path)
    bad = raw / "schlechte ä.npz"
    np.savez(bad, **ARCHIVES[reason](make.sequence(30, 60.0, "male")))

    code = main(["prepare", "amass", str(raw), "--store", "mein store"])

    words = " ".join(capsys.readouterr().err.split())
    assert code == 5
    assert f"{bad}: {reason}" in words
    assert "--skip-bad" in words
    store = Store(tmp_path / "mein store")
    assert sum(len(store.split(name)) for name in store.splits) == 3
    assert store.manifest["left_out"][0]["status"] == "bad"
    assert main(["prepare", "amass", str(raw), "--store", "mein store", "--skip-bad"]) == 0


def test_truncated_archives_and_other_files_are_named(make, raw, tmp_path):
    whole = (raw / "clip 0.npz").read_bytes()
    broken = {
        "short": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"no archive at all",
        "cut": whole[:-1],
    }
    for name, bytes_ in broken.items():
        (raw / f"{name}.npz").write_bytes(bytes_)
    (raw / "clip.bvh").write_text("HIERARCHY\nROOT Hips\n{\n OFFSET 0 0")
    (raw / "folder.npz").mkdir()

    with pytest.raises(DataError) as caught:
        prepare(raw, tmp_path)

    lines = caught.value.message.splitlines()
    assert len(lines) == 5
    for name in (*broken, "clip"):
        assert any(f"/{name}." in line for line in lines), name


def test_flipped_bits_never_reach_a_store_unnoticed(make, raw, tmp_path):
    whole = bytearray((raw / "clip 0.npz").read_bytes())
    with zipfile.ZipFile(raw / "clip 0.npz") as archive:
        info = archive.getinfo("poses.npy")
    for index, place in enumerate(np.random.default_rng(1).integers(200, info.file_size, 8)):
        flipped = whole.copy()
        flipped[info.header_offset + int(place)] ^= 0x40
        (raw / f"flipped {index}.npz").write_bytes(flipped)

    with pytest.raises(DataError) as caught:
        prepare(raw, tmp_path)

    assert len(caught.value.message.splitlines()) == 8
    assert "flipped 0.npz" in caught.value.message


def test_only_bad_archives_make_no_store(raw, tmp_path):
    for path in raw.iterdir():
        path.write_bytes(b"")

    with pytest.raises(DataError, match="no clip could be used"):
        prepare(raw, tmp_path, skip_bad=True)
    assert not (tmp_path / "store" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nothing", "nothing: not found; expected AMASS subset folders"),
        ("file.npz", "file.npz: is a file; expected AMASS subset folders"),
        ("empty", "empty: no clips found; expected AMASS subset folders"),
    ],
)
def test_what_is_no_folder_of_clips_is_refused(tmp_path, place, reason):
    (tmp_path / "file.npz").write_bytes(b"1")
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=reason):
        prepare(tmp_path / place, tmp_path / "out")


def test_the_wrong_download_says_which_is_right(make, tmp_path):
    folder = tmp_path / "amass" / "ACCAD" / "s001"
    folder.mkdir(parents=True)
    arrays = make.sequence(30, 60.0, "male")
    arrays["mocap_frame_rate"] = arrays.pop("mocap_framerate")
    np.savez(folder / "EricCamper04_stageii.npz", **arrays)

    with pytest.raises(DataError, match="take the 'SMPL\\+H G' download"):
        prepare(tmp_path / "amass", tmp_path, protocol="all")


def test_an_output_where_a_file_stands_is_refused(raw, tmp_path):
    (tmp_path / "store").write_text("mine")

    with pytest.raises(DataError, match="store: cannot be written"):
        prepare(raw, tmp_path)
    assert (tmp_path / "store").read_text() == "mine"


def test_a_second_writer_is_refused(raw, tmp_path):
    with (
        StoreWriter(tmp_path / "store", {"sparse": 54}, {}),
        pytest.raises(DataError, match="another process is preparing this store"),
    ):
        prepare(raw, tmp_path)


@pytest.mark.parametrize("module", ["parts", "shards"])
def test_a_full_disk_leaves_the_old_store(raw, tmp_path, monkeypatch, make, module):
    prepare(raw, tmp_path)
    before = content(tmp_path / "store")
    np.savez(raw / "clip 9.npz", **make.sequence(30, 60.0, "male", 9))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if module == "parts":
        monkeypatch.setattr(np, "savez", full)
    else:
        monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device") as caught:
        prepare(raw, tmp_path)

    assert "the disk is full" in caught.value.hint
    after = content_of_files(tmp_path / "store")
    assert after == before
    monkeypatch.undo()
    prepare(raw, tmp_path)
    assert sum(len(Store(tmp_path / "store").split(name)) for name in ("train", "test")) == 4


def content_of_files(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.is_file()}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk"
)
@pytest.mark.parametrize("kilobytes", [40, 120, 200])
def test_a_really_full_disk_leaves_the_old_store(raw, tmp_path, make, monkeypatch, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        usage = shutil.disk_usage(disk)._replace(free=1 << 40)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        (disk / "store").mkdir()
        settings = PrepareAmass(raw=raw, store=disk / "store")
        run = Run.standalone(tmp_path / "run", settings=settings)
        with pytest.raises(DataError, match="cannot be written") as caught:
            run_amass(settings, run)
        assert "the disk is full" in caught.value.hint
        assert not (disk / "store" / "manifest.json").exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class Killed(BaseException):
    """Stands for the end of the process: nothing changes on the disk after it."""


def test_a_kill_before_any_file_operation_is_mended_by_a_rerun(raw, tmp_path, monkeypatch):
    (raw / "clip 2.npz").unlink()
    layout = ["store", "official"]
    prepare(raw, tmp_path / "calm", layout=layout)
    wanted = everything(tmp_path / "calm")
    names = ("replace", "unlink", "rmdir", "mkdir")
    real = {name: getattr(os, name) for name in names}
    left = 0

    def counted(name):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real[name](*args, **kwargs)

        return call

    for moment in range(200):
        folder = tmp_path / f"killed {moment}"
        words = {"raw": raw, "store": folder / "store", "official_out": folder / "official", "layout": layout}
        settings = PrepareAmass(**words)
        run = Run.standalone(folder / "run", settings=settings)
        left = moment
        for name in names:
            monkeypatch.setattr(os, name, counted(name))
        try:
            run_amass(settings, run)
        except Killed:
            pass
        else:
            break
        finally:
            monkeypatch.undo()
        run_amass(settings, run)
        assert everything(folder) == wanted, f"killed before operation {moment}"
    assert 10 < moment < 199


@pytest.mark.slow
def test_kill_9_and_a_rerun_give_the_same_bytes(make, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for index in range(24):
        np.savez(raw / f"{index:03d}.npz", **make.sequence(800, 120.0, "male", index))
    prepare(raw, tmp_path / "calm")
    words = ["prepare", "amass", str(raw), "--store", "store", "--workers", "2", "--quiet"]
    command = [sys.executable, "-m", "avatarctl", *words]
    parts = tmp_path / "store" / ".parts"

    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    progress = random.Random(2).randint(1, 16)
    while len(list(parts.glob("*.npz"))) < progress:
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "store" / "manifest.json").exists()
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0

    assert content(tmp_path / "store") == content(tmp_path / "calm" / "store")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_clips(make, tmp_path):
    code = """
import resource, sys
from avatarctl.cli.main import main
from avatarctl.data import writer

writer.SHARD_BYTES = 1 << 20  # a shard is put together in memory
code = main(["prepare", "amass", sys.argv[1], "--store", sys.argv[1] + " store", "--workers", "1", "--quiet"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""
    arrays = make.sequence(1500, 60.0, "male")
    peaks = []
    for count in (4, 28):
        raw = tmp_path / f"raw {count}"
        raw.mkdir()
        for index in range(count):
            np.savez(raw / f"{index:03d}.npz", **arrays)
        command = [sys.executable, "-c", code, str(raw)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)

    # 24 more clips are 46 MB of raw data and 37 MB of prepared rows.
    assert peaks[1] - peaks[0] < 15, f"{peaks} MB"
