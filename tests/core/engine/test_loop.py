import json
import resource
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from avatarctl.checkpoints import native, open_weights
from avatarctl.engine import Ema, Loop, State, make_optimizer, make_schedule
from avatarctl.errors import CheckpointError, DataError, Stopped
from avatarctl.runs import Run
from avatarctl.runs.index import pointed, weights_file


@pytest.fixture
def train(tiny, tmp_path):
    """Runs the small stage in `tmp_path`; what is given differs from its defaults."""

    def go(after_step=lambda loop: None, resume=False, **changes):
        run = Run.standalone(tmp_path, seed=3, settings={"width": changes.get("width", 16)})
        run.resume = resume
        model = tiny.train(SimpleNamespace(**{**tiny.DEFAULTS, **changes}), run, after_step)
        return run, model

    return go


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_checkpoints_that_no_rule_keeps_are_deleted(train):
    run, _ = train(steps=20, save_every=2, keep=2, keep_every=6, validate_every=0, ema=0.0)
    steps = (6, 12, 18, 20)
    wanted = ["best.pt", "last.pt"] + [f"step-{step:09d}.safetensors" for step in steps]
    assert set(names(run.folder)) == set(wanted)
    assert json.loads((run.folder / "checkpoints" / "last.pt").read_text())["step"] == 20


def test_the_best_validation_has_the_pointer_its_file_and_the_final_weights(tiny, tmp_path):
    run = Run.standalone(tmp_path, seed=3)
    settings = SimpleNamespace(**{**tiny.DEFAULTS, "steps": 10, "keep": 1, "save_every": 1, "ema": 0.0})
    model = tiny.network(4, False)
    optim = SimpleNamespace(lr=0.1, betas=(0.9, 0.99), weight_decay=0.0, clip=0.0)
    state = State(model=model, optimizer=make_optimizer(model.parameters(), optim))
    errors, seen = iter([5.0, 2.0, 3.0, float("nan"), 2.0, 9.0, 4.0, 3.5, 3.0, 2.5]), {}
    with Loop(run, settings, state) as loop:
        for x in loop.over(lambda step: torch.ones(2, 6)):
            loop.step(model(x).square().mean())
            loop.validated({"error": next(errors)}, best="error")
            seen[loop.step_number] = model[0].weight.detach().clone()
    best = pointed(tmp_path, "best")
    assert best is not None
    assert best.name == "step-000000002.safetensors"
    assert pointed(tmp_path, "last").name == "step-000000010.safetensors"
    found = open_weights(weights_file(tmp_path))
    assert weights_file(tmp_path).name == "weights.safetensors"
    assert torch.equal(found.part("model")["0.weight"], seen[2])
    assert found.config["step"] == 2
    assert run.metrics["error"] == 2.5
    assert [item["kind"] for item in run.manifest.outputs] == ["weights"]


def test_averaged_weights_are_the_ones_that_are_kept(train):
    run, model = train(steps=6, ema=0.5, validate_every=0)
    kept = open_weights(weights_file(run.folder)).part("model")
    assert not torch.equal(kept["0.weight"], model.state_dict()["0.weight"])
    raw = native.load(pointed(run.folder, "last"))[0]
    assert torch.equal(raw["#raw.model.0.weight"], model.state_dict()["0.weight"])


def test_the_average_follows_its_formula():
    source = nn.Linear(1, 1, bias=False)
    ema = Ema(source, 0.75)
    expected = source.weight.item()
    for step in range(1, 60):
        with torch.no_grad():
            source.weight.fill_(float(step))
        ema.update(step)
        decay = min(0.75, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert ema.model.weight.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_the_last_good_checkpoint(
    train, tmp_path, log_every
):
    with pytest.raises(DataError, match="not finite at step") as caught:
        train(nan_at=8, log_every=log_every, save_every=3)
    assert "lower optim.lr" in caught.value.hint
    kept = native.load(pointed(tmp_path, "last"))
    assert kept[1]["loop"]["step"] == 6
    assert all(torch.isfinite(t).all() for t in kept[0].values() if t.is_floating_point())


def test_weights_that_are_not_finite_are_never_written(train, tmp_path):
    def spoil(loop):
        if loop.step_number == 6:
            loop.state.modules["model"][0].weight.data[0, 0] = float("inf")

    with pytest.raises(DataError, match=r"not finite at step 6: .*0\.weight"):
        train(after_step=spoil, save_every=3)
    assert native.load(pointed(tmp_path, "last"))[1]["loop"]["step"] <= 4


def stop_at(step, number=15):
    def after(loop):
        if loop.step_number == step:
            loop.run.stop.handle(number, None)

    return after


@pytest.mark.parametrize("step", [1, 5, 12, 24])
def test_a_stop_is_answered_after_the_step_and_training_goes_on_bit_for_bit(train, tmp_path, step):
    with pytest.raises(Stopped, match=f"after step {step} of 24") as caught:
        train(after_step=stop_at(step))
    assert caught.value.exit_code == 75
    _, model = train(resume=True)
    ours = native.load(weights_file(tmp_path))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink()
    _, whole = train()
    theirs = native.load(weights_file(tmp_path))
    assert ours[0].keys() == theirs[0].keys()
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in ours[0])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    without_time = [{**json.loads(line), "time": 0} for line in lines]
    again = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert without_time == [{**line, "time": 0} for line in again]


def test_a_rate_changed_on_resume_scales_the_rate_reached(train, tmp_path):
    rates = []

    def note(loop):
        rates.append(loop.state.optimizers["optimizer"].param_groups[0]["lr"])

    with pytest.raises(Stopped):
        train(after_step=stop_at(10))
    train(after_step=note, resume=True, lr=0.1)
    assert rates[:6] == pytest.approx([0.05] * 5 + [0.025])


def test_another_network_is_refused_on_resume(train):
    with pytest.raises(Stopped):
        train(after_step=stop_at(4))
    with pytest.raises(CheckpointError, match="wrong shape"):
        train(resume=True, width=8)


def test_a_broken_checkpoint_is_refused_on_resume(train, tmp_path):
    with pytest.raises(Stopped):
        train(after_step=stop_at(4))
    file = pointed(tmp_path, "last")
    content = bytearray(file.read_bytes())
    content[-5] ^= 4
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"):
        train(resume=True)


def test_a_full_disk_stops_the_training_and_leaves_the_last_checkpoint(train, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(loop):
        if loop.step_number == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, before[1]))

    try:
        with pytest.raises(DataError, match="cannot be written"):
            train(after_step=fill, save_every=3, validate_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["last.pt", "step-000000003.safetensors"]
    run, _ = train(resume=True, save_every=3, validate_every=0)
    assert weights_file(run.folder).is_file()


def test_a_body_that_forgets_its_step_is_a_bug_that_is_named(tiny, tmp_path):
    model = tiny.network(4, False)
    settings = SimpleNamespace(**tiny.DEFAULTS)
    loop = Loop(Run.standalone(tmp_path), settings, State(model=model))
    loop.__enter__()
    turns = loop.over(lambda step: torch.ones(1))
    next(turns)
    with pytest.raises(RuntimeError, match=r"must call loop\.step"):
        next(turns)


def test_terms_are_logged_as_means_over_the_steps_that_have_them(tiny, tmp_path):
    settings = SimpleNamespace(**{**tiny.DEFAULTS, "steps": 5, "log_every": 4, "save_every": 0})
    with Loop(Run.standalone(tmp_path), settings, State(model=nn.Linear(1, 1))) as loop:
        for step in loop.over(lambda step: step):
            rare = {"rare": torch.tensor(float(step))} if step % 2 == 0 else {}
            loop.count({"total": torch.tensor(float(step)), **rare})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["total"], line["rare"]) for line in lines] == [(4, 1.5, 1.0), (5, 4.0, 4.0)]


def test_counted_steps_move_the_averages_and_nothing_else(tiny, tmp_path):
    model = nn.Linear(1, 1, bias=False)
    expected = model.weight.item()
    settings = SimpleNamespace(**{**tiny.DEFAULTS, "steps": 2, "save_every": 0})
    with Loop(Run.standalone(tmp_path), settings, State(model=model)) as loop:
        for step in loop.over(lambda step: step):
            with torch.no_grad():
                model.weight.fill_(3.0)
            loop.count({"total": torch.ones(())})
            decay = (2 + step) / (11 + step)
            expected = decay * expected + (1 - decay) * 3
    assert model.weight.item() == 3
    assert loop.averaged().weight.item() == pytest.approx(expected, rel=1e-6)


def test_the_schedule_multiplies_after_each_milestone():
    param = nn.Parameter(torch.zeros(1))
    optim = SimpleNamespace(lr=1.0, betas=(0.9, 0.99), weight_decay=0.0, clip=0.0)
    optimizer = make_optimizer([param], optim)
    schedule = make_schedule(optimizer, SimpleNamespace(milestones=[2, 3], gamma=0.1), steps_per_epoch=2)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1.0] * 4 + [0.1] * 2 + [0.01] * 2)


def test_gradients_are_clipped_to_the_asked_norm(tiny, tmp_path, monkeypatch):
    model = nn.Linear(3, 1)
    optim = SimpleNamespace(lr=0.0, betas=(0.9, 0.99), weight_decay=0.0, clip=0.5)
    optimizer = make_optimizer(model.parameters(), optim)
    norms = []
    step = optimizer.step
    monkeypatch.setattr(
        optimizer,
        "step",
        lambda: (norms.append(sum(p.grad.square().sum() for p in model.parameters())), step()),
    )
    settings = SimpleNamespace(**{**tiny.DEFAULTS, "steps": 1})
    with Loop(Run.standalone(tmp_path), settings, State(model=model, optimizer=optimizer)) as loop:
        for x in loop.over(lambda step: torch.full((2, 3), 100.0)):
            loop.step(model(x).square().mean())
    assert norms[0].sqrt().item() == pytest.approx(0.5, rel=1e-4)


def test_only_known_things_make_a_state():
    with pytest.raises(TypeError, match="not \\['words'\\]"):
        State(words="text")
