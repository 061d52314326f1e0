import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys

import pytest

from avatarctl import files
from avatarctl.errors import AvatarError, DataError, DependencyError, Stopped, UsageError, require
from avatarctl.files import atomic, check_input_file, digest, sweep, write_text


def test_a_file_is_written_whole_with_the_permissions_of_a_new_file(tmp_path):
    before = os.umask(0o022)
    try:
        path = write_text(tmp_path / "new folder" / "täxt.txt", "content\n")
    finally:
        os.umask(before)
    assert path.read_text(encoding="utf-8") == "content\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_inside_leaves_the_old_file_and_no_other(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def failing():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        failing()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_name_keeps_the_suffix_that_writers_look_at(tmp_path):
    with atomic(tmp_path / "film.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.parent == tmp_path


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=r"a\.txt: cannot be written") as caught:
            write_text(path, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "choose another folder" in caught.value.hint
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "words"),
    [("ENOSPC", "disk is full"), ("EACCES", "no permission"), ("EROFS", "read-only"), ("EDQUOT", "quota")],
)
def test_each_refusal_of_the_disk_has_its_remedy(tmp_path, monkeypatch, code, words):
    def refuse(*args):
        number = getattr(errno, code)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(DataError) as caught:
        write_text(tmp_path / "a.txt", "text")
    assert words in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EACCES, "Permission denied", b"a.zip"), "a.zip: Permission denied"),
        (OSError(errno.ENOENT, "No such file", "a", None, "b"), "a -> b: No such file"),
        (OSError(errno.EBADF, "Bad file descriptor", 3), None),
        (OSError("a reader's own words"), None),
    ],
)
def test_an_error_that_names_a_file_is_one_line(error, line):
    found = files.file_failure(error)
    assert (found.message if found else None) == line


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    write_text(tmp_path / "file", "")
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_text(tmp_path / "folder", "text")
    assert "choose another name" in caught.value.hint
    with pytest.raises(DataError, match="cannot be written"):
        write_text(tmp_path / "file" / "inner.txt", "text")


def test_a_killed_writer_leaves_the_old_file_and_sweep_removes_the_rest(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")
    program = (
        "import sys, time\nfrom avatarctl.files import atomic\n"
        "with atomic(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_digests_of_files_large_files_and_folders(tmp_path, monkeypatch):
    small = tmp_path / "in" / "small"
    write_text(small, "abc")
    assert digest(small) == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    first = digest(tmp_path / "in")
    assert first.startswith("sha256-tree:")
    write_text(tmp_path / "in" / "b" / "other", "x")
    assert digest(tmp_path / "in") != first
    monkeypatch.setattr(files, "WHOLE", 1 << 20)
    large = tmp_path / "large"
    content = bytes(range(256)) * 12288
    large.write_bytes(content)
    ends = hashlib.sha256(str(len(content)).encode() + content[: 1 << 20] + content[-(1 << 20) :])
    assert digest(large) == "sha256-ends:" + ends.hexdigest()


def test_input_files_are_checked_before_they_are_read(tmp_path):
    (tmp_path / "empty").touch()
    for name, words in (("none", "not found"), (".", "is a folder"), ("empty", "is empty")):
        with pytest.raises(DataError, match=words) as caught:
            check_input_file(tmp_path / name, "a motion file")
        assert "expected a motion file" in caught.value.message
        assert caught.value.hint
    assert check_input_file(str(write_text(tmp_path / "full", "x")), "text") == tmp_path / "full"


def test_every_kind_of_failure_has_its_exit_code():
    codes = {kind.__name__: kind.exit_code for kind in AvatarError.__subclasses__() if kind is not Stopped}
    assert codes == {
        "UsageError": 2, "SettingsError": 3, "AssetError": 4, "DataError": 5, "CheckpointError": 6,
        "DependencyError": 7, "DeviceError": 8, "PluginError": 9,
    }  # fmt: skip
    assert Stopped("", preempted=True).exit_code == 75
    assert Stopped("").exit_code == 130
    assert UsageError("found", "try").hint == "try"


def test_a_missing_package_names_the_extra_that_brings_it():
    assert require("json", "fast").loads("1") == 1
    with pytest.raises(DependencyError, match="not installed") as caught:
        require("no_such_package_here", "fast")
    assert caught.value.hint == 'pip install "avatarctl[fast]"'
