import errno
import json
import logging
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from avatarctl.errors import DataError, SettingsError, Stopped, UsageError
from avatarctl.runs import manifest, resume_point


def test_a_finished_run_leaves_manifest_settings_log_and_metrics(opened, runs_root):
    with opened(argv=["train", "tiny"], origin={"lr": "--set"}, plugin=("p", "dist", "1.0"), seed=4) as run:
        run.save("values.json", {"a": 1})
        run.report(error=0.5)
        run.log.debug("a detail")
        assert manifest.read(run.folder).status == "running"
    folder = runs_root / "train-tiny-first" / "001"
    assert run.folder == folder
    about = manifest.read(folder)
    assert about.status == "finished"
    assert about.what == {"verb": "train", "target": "tiny", "stage": "first"}
    assert about.settings == {"lr": 0.1, "network": {"width": 3}}
    assert about.origin == {"lr": "--set"}
    assert about.plugin == {"name": "p", "distribution": "dist", "version": "1.0"}
    assert (about.seed, about.precision, about.argv) == (4, "fp32", ["train", "tiny"])
    assert about.started <= about.ended
    assert about.device["reason"] == "asked for"
    assert {"avatarctl", "python", "torch", "numpy"} <= about.versions.keys()
    assert [(item["path"], item["kind"]) for item in about.outputs] == [("values.json", "values")]
    assert yaml.safe_load((folder / "settings.yaml").read_text()) == about.settings
    assert json.loads((folder / "metrics.json").read_text()) == {"error": 0.5}
    assert "a detail" in (folder / "log.txt").read_text()
    assert not (folder / ".lock").exists()


def test_the_seed_alone_decides_torchs_draws_and_the_named_streams(opened):
    found = []
    for seed in (1, 1, 2):
        with opened(seed=seed) as run:
            found.append(
                (torch.randn(3), run.noise("sampling").normal((3,)), run.noise("other").normal((3,)))
            )
            assert run.noise("sampling") is run.noise("sampling")
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))
    assert not torch.equal(found[0][1], found[0][2])


def test_a_failure_is_in_the_manifest_and_its_traceback_in_the_log_alone(opened, runs_root, capsys):
    with pytest.raises(ZeroDivisionError), opened():
        1 / 0  # noqa: B018 (it raises)
    folder = runs_root / "train-tiny-first" / "001"
    about = manifest.read(folder)
    assert about.status == "failed"
    assert about.error == "ZeroDivisionError: division by zero"
    assert "Traceback" in (folder / "log.txt").read_text()
    assert "Traceback" not in "".join(capsys.readouterr())


def send(number):
    os.kill(os.getpid(), number)
    for _ in range(1000):
        np.arange(10)


@pytest.mark.parametrize(
    ("number", "code", "status", "words"),
    [
        (signal.SIGTERM, 75, "preempted", "stopped by SIGTERM"),
        (signal.SIGINT, 130, "interrupted", "stopped by the user"),
    ],
)
def test_signals_end_a_run_that_has_no_loop_at_once(opened, runs_root, number, code, status, words):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, opened():
        send(number)
    assert caught.value.exit_code == code
    assert caught.value.hint == ""  # no checkpoint, so nothing to resume
    folder = runs_root / "train-tiny-first" / "001"
    assert manifest.read(folder).status == status
    assert (folder / "log.txt").read_text().splitlines()[-1].endswith(f"WARNING avatarctl.run: {words}")
    assert signal.getsignal(number) is before


def test_a_run_that_keeps_parts_says_how_to_resume(opened):
    def interrupted():
        with opened(verb="prepare", stage="") as run:
            run.keeps_parts = True
            send(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        interrupted()
    folder = resume_point("last", "prepare", "tiny").folder
    assert caught.value.hint == f"avatarctl prepare tiny --resume {folder}"


def test_a_loop_gets_to_finish_its_step_and_a_second_interrupt_does_not_wait(opened):
    waited = []

    def interrupted():
        with opened() as run:
            run.stop.is_deferred = True
            for number in (signal.SIGINT, signal.SIGTERM):
                send(number)
                waited.append(run.stop.signal)
            send(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        interrupted()
    assert waited == [signal.SIGINT, signal.SIGINT]
    assert caught.value.exit_code == 130


def test_a_full_disk_during_the_run_is_a_data_failure(opened):
    with pytest.raises(DataError, match="cannot be written") as caught, opened():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere/file")
    assert "somewhere/file" in caught.value.message
    assert "disk is full" in caught.value.hint


def test_json_is_one_object_on_stdout_and_nothing_else(opened, capsys):
    with opened(json=True) as run:
        run.save("long name " * 12 + ".json", {})
        run.report(error=float("nan"), name="[bold]ü[/bold]" * 20)
    out = json.loads(capsys.readouterr().out)
    assert out.keys() == {"run", "status", "outputs", "metrics"}
    assert out["run"] == str(run.folder)
    assert out["status"] == "finished"
    assert out["outputs"] == [str(run.folder / ("long name " * 12 + ".json"))]
    assert out["metrics"] == {"error": None, "name": "[bold]ü[/bold]" * 20}
    with pytest.raises(DataError), opened(json=True):
        raise DataError("bad")
    assert json.loads(capsys.readouterr().out)["status"] == "failed"


def test_stdout_has_the_table_and_the_paths_of_outputs(opened, capsys, tmp_path):
    elsewhere = tmp_path / "store.txt"
    elsewhere.write_text("x")
    with opened() as run:
        run.save("a.json", {})
        run.output(elsewhere, "store")
        run.report([{"joint": "head", "error_cm": 1.23456}])
    out = capsys.readouterr().out
    assert "error cm" in out
    assert "1.235" in out
    assert out.splitlines()[-2:] == [str(run.folder / "a.json"), str(elsewhere)]


def test_an_output_elsewhere_is_recorded_with_its_whole_path(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store.txt").write_text("x")
    with opened() as run:
        run.output("store.txt", "store")
        (run.folder / "inside.txt").write_text("y")
        run.output((run.folder / "inside.txt").absolute(), "text")
    assert [item["path"] for item in run.manifest.outputs] == [str(tmp_path / "store.txt"), "inside.txt"]


def test_observers_hear_everything_and_one_that_raises_is_dropped(opened, caplog):
    heard = []

    def broken(event):
        heard.append(("broken", event.kind))
        raise ValueError("no network")

    observers = [("broken", broken), ("good", lambda event: heard.append(("good", event.kind)))]
    impls = [SimpleNamespace(plugin_name=name, function=function) for name, function in observers]
    hook = SimpleNamespace(avatarctl_event=SimpleNamespace(get_hookimpls=lambda: impls))
    registry = SimpleNamespace(
        weights=list, formats=list, foreign_weights=lambda owner: {}, manager=SimpleNamespace(hook=hook)
    )
    with caplog.at_level(logging.WARNING), opened(registry=registry) as run:
        run.save("a.json", {})
        run.step_metrics(1, "train", {"loss": 2.0})
    assert [kind for name, kind in heard if name == "good"] == ["started", "saved", "metrics", "ended"]
    assert [kind for name, kind in heard if name == "broken"] == ["started"]
    assert [record.message for record in caplog.records] == [
        "observer 'broken' was dropped: ValueError: no network"
    ]
    assert manifest.read(run.folder).status == "finished"


def stopped(opened, **words):
    with pytest.raises(Stopped), opened(**words) as run:
        raise Stopped("by the test")
    return run.folder


def test_resume_takes_the_folder_and_lists_what_changed(opened):
    folder = stopped(opened, seed=5, precision="bf16")
    point = resume_point("last", "train", "tiny", "first")
    assert point.folder == folder
    assert point.settings == {"lr": 0.1, "network": {"width": 3}}
    changed = {**point.settings, "lr": 0.2, "extra": 1}
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / ".step-x.tmp.safetensors").touch()  # left by a kill
    with opened(settings=changed, resume="last", seed=6) as run:
        assert run.resume
        assert run.precision == "bf16"
    assert run.folder == folder
    about = manifest.read(folder)
    assert about.status == "finished"
    assert about.error == ""
    assert about.resumed[0]["changed"] == {"lr": [0.1, 0.2], "extra": [None, 1], "seed": [5, 6]}
    assert yaml.safe_load((folder / "settings.yaml").read_text())["lr"] == 0.2
    assert not list((folder / "checkpoints").iterdir())


def failed(opened, act, **words):
    def go():
        with opened(**words) as run:
            act(run)
            raise DataError("nix.zip: not found")

    with pytest.raises(DataError, match="nix"):
        go()


def test_a_resumed_run_that_fails_before_it_saves_leaves_what_was_stored(opened):
    folder = stopped(opened)
    settings, before = (folder / "settings.yaml").read_bytes(), manifest.read(folder)
    changed = {"lr": 0.2, "network": {"width": 3}}
    words = {"settings": changed, "resume": folder, "seed": 6, "argv": ["again"]}
    failed(opened, lambda run: run.step_metrics(1, "train", {"loss": 2.0}), **words)
    assert (folder / "settings.yaml").read_bytes() == settings
    after = manifest.read(folder)
    attempt = after.resumed.pop()
    assert after == before
    assert (attempt["argv"], attempt["error"]) == (["again"], "nix.zip: not found")


def test_a_resumed_run_that_fails_after_it_saved_keeps_its_settings(opened):
    folder = stopped(opened)
    (folder / "checkpoints").mkdir()
    changed = {"lr": 0.2, "network": {"width": 3}}
    last = folder / "checkpoints" / "last.pt"
    failed(opened, lambda run: last.write_text("{}"), settings=changed, resume=folder)
    assert yaml.safe_load((folder / "settings.yaml").read_text())["lr"] == 0.2
    assert manifest.read(folder).status == "failed"


def test_a_killed_run_whose_resumption_fails_is_told_as_failed(opened):
    folder = stopped(opened)
    about = manifest.read(folder)
    about.status, about.ended = "running", ""
    about.write(folder)
    failed(opened, lambda run: None, resume=folder)
    assert (manifest.read(folder).status, manifest.read(folder).error) == ("failed", "nix.zip: not found")


def test_out_takes_the_folder_of_a_run_that_made_nothing(opened, tmp_path):
    failed(opened, lambda run: None, out=tmp_path / "mine")
    with opened(out=tmp_path / "mine") as run:
        pass
    assert manifest.read(run.folder).status == "finished"
    assert "nix.zip" not in (run.folder / "log.txt").read_text()
    with pytest.raises(UsageError, match="is not empty"), opened(out=tmp_path / "mine"):
        pass


def test_out_leaves_what_a_failed_run_made(opened, tmp_path):
    (tmp_path / "made.h5").touch()
    makers = {
        "file": lambda run: run.save("a.json", {}),
        "step": lambda run: run.step_metrics(1, "train", {"loss": 2.0}),
        "store": lambda run: run.output(tmp_path / "made.h5", "store"),
    }
    for name, make in makers.items():
        failed(opened, make, out=tmp_path / name)
        with pytest.raises(UsageError, match="is not empty"), opened(out=tmp_path / name):
            pass


def test_last_is_also_a_training_made_with_out(opened, tmp_path):
    stopped(opened)
    folder = stopped(opened, out=tmp_path / "mine")
    assert resume_point("last", "train", "tiny", "first").folder == folder
    with opened(resume="last") as run:
        assert run.folder == folder


class Shaped(dict):
    """Settings that name their network fields."""

    network_fields = ("lr",)


def test_changes_of_the_network_are_refused_with_both_values(opened):
    folder = stopped(opened)
    before = (folder / "manifest.json").read_bytes()
    with (
        pytest.raises(SettingsError, match=r"network\.width: 4, the run has 3") as caught,
        opened(settings={"lr": 0.1, "network": {"width": 4}}, resume="last"),
    ):
        pass
    assert "without --resume" in caught.value.hint
    assert (folder / "manifest.json").read_bytes() == before
    with (
        pytest.raises(SettingsError, match=r"lr: 0\.5, the run has 0\.1"),
        opened(settings=Shaped(lr=0.5, network={"width": 4}), resume="last"),
    ):
        pass


def test_a_run_of_something_else_or_none_cannot_be_resumed(opened):
    with pytest.raises(UsageError, match="there is no run of train-tiny-first") as caught:
        resume_point("last", "train", "tiny", "first")
    assert caught.value.hint.endswith("--resume FOLDER")
    folder = stopped(opened)
    with pytest.raises(UsageError, match="is a run of train-tiny-first, not of train-tiny-second"):
        resume_point(folder, "train", "tiny", "second")
    with pytest.raises(DataError, match="there is no run"):
        resume_point("train-tiny-first/009", "train", "tiny", "first")


def test_a_run_in_use_cannot_be_resumed(opened):
    with (
        opened() as run,
        pytest.raises(UsageError, match="another process works"),
        opened(resume=run.folder),
    ):
        pass


def test_unknown_devices_and_precisions_leave_no_folder(opened, runs_root):
    for words in ({"device": "gpu"}, {"precision": "fp8"}):
        with pytest.raises(Exception, match="is called"), opened(**words):
            pass
    assert not runs_root.exists()


def test_another_packages_chatter_stays_out_of_the_log(opened):
    with opened() as run:
        logging.getLogger("other").info("idle talk")
        logging.getLogger("other").warning("trouble")
    text = (run.folder / "log.txt").read_text()
    assert "trouble" in text
    assert "idle talk" not in text
