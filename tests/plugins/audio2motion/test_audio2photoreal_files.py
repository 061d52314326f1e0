"""Published checkpoints: every file of the golden manifests, told apart, read, and written back."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from avatarctl_audio2motion import official
from avatarctl_audio2motion import official_diffusion as diffusion
from avatarctl_audio2motion.model import KINDS, UNUSED, build, give_audio, load, used
from avatarctl_audio2motion.model.front_end import WAV2VEC_LARGE, FrontEnd
from avatarctl_audio2motion.model.lip import LipRegressor
from avatarctl_audio2motion.plugin import avatarctl_weights
from torch import Tensor

from avatarctl.checkpoints import Weights, open_weights
from avatarctl.cli.main import main
from avatarctl.errors import CheckpointError

PARITY = Path(__file__).resolve().parents[3] / "fixtures" / "parity" / "audio2motion"
READERS = list(avatarctl_weights())
MANIFESTS = {
    "face": "diffusion_face", "body": "diffusion_pose", "guide": "guide_pose", "codec": "vq_pose",
    "lip": "lip_regressor", "audio": "vq_wav2vec", "wav2vec": "wav2vec_large",
}  # fmt: skip
ENTRIES = {
    "guide": "model_state_dict.", "codec": "net.", "lip": "model_state_dict.", "audio": "model.",
    "wav2vec": "model.",
}  # fmt: skip
FACE_ARGS = {"data_format": "face", "layers": 2, "heads": 2, "add_frame_cond": None, "latent_dim": 512}


def shapes(part: str) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a published file."""
    words = json.loads((PARITY / "manifests" / f"{MANIFESTS[part]}.json").read_text())
    return {name: tuple(entry["shape"]) for name, entry in words["tensors"].items()}


def filled(manifest: str) -> dict[str, Tensor]:
    """The tensors of a manifest."""
    path = PARITY / "buffers.py"
    spec = importlib.util.spec_from_file_location("buffers_of_the_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    made = module.tensors(PARITY / "manifests" / f"{manifest}.json", 0)
    return {name: torch.from_numpy(array) for name, array in made.items()}


def write_tiny(path: Path, part: str = "body", args: Mapping[str, Any] | None = None) -> Path:
    """A tiny network in the published layout."""
    torch.manual_seed(0)
    state = build(part, asdict(tiny.sizes()[part])).state_dict()
    theirs = {official.MAPS[part].theirs(name): tensor for name, tensor in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**theirs, **diffusion.buffers(theirs)}, path)
    if args is not None:
        (path.parent / "args.json").write_text(json.dumps(args))
    return path


@pytest.mark.parametrize("part", MANIFESTS)
def test_a_file_is_known_by_its_content(part: str) -> None:
    names = shapes(part)
    for before in ("", "module."):  # the second: as several processes save it
        header = {f"{ENTRIES.get(part, '')}{before}{name}": shape for name, shape in names.items()}
        assert official.sniff(header) == (part,)


@pytest.mark.parametrize("name", ["model.encoder.weight", "decoder_state_dict.fc.weight", "net.0.weight"])
def test_files_of_other_systems_are_not_known(name: str) -> None:
    assert official.sniff({name: (3, 3)}) == ()
    assert official.describe(Weights({"generator": {}}, {"networks": {}}, "x", Path("f"))) is None


@pytest.mark.parametrize("part", MANIFESTS)
def test_every_published_tensor_has_its_place(part: str) -> None:
    names = official.MAPS[part]
    published = shapes(part)
    stored = {name: shape for name, shape in published.items() if not name.endswith(official.TABLES)}
    assert {names.theirs(names.ours(name)) for name in stored} == set(stored)
    alone = {"lip": LipRegressor, "audio": FrontEnd, "wav2vec": lambda: FrontEnd(WAV2VEC_LARGE)}
    with torch.device("meta"):
        made = alone.get(part, lambda: build(part, {}))()
    before = "front_end." if part in ("audio", "wav2vec") else ""
    wanted = {before + name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    ours = {names.ours(name): shape for name, shape in stored.items()}
    assert {name: shape for name, shape in ours.items() if not name.startswith(UNUSED)} == wanted


@pytest.mark.parametrize("part", ["face", "body", "guide", "lip"])
def test_what_networks_lack_is_made_again_for_the_published_loader(part: str) -> None:
    published = shapes(part)
    ours = {
        name: torch.zeros(()).expand(shape)
        for name, shape in published.items()
        if not name.endswith(official.TABLES) and not official.MAPS[part].ours(name).startswith(UNUSED)
    }
    made = {**diffusion.buffers(ours), **diffusion.unused(ours)}
    assert {name: tuple(tensor.shape) for name, tensor in {**ours, **made}.items()} == published


def test_the_codec_goes_through_native_files_to_the_same_file(tmp_path: Path) -> None:
    state = filled("vq_pose")
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([parameter])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3])  # a pickled object, as published
    given = tmp_path / "vq" / "c2_pose" / "net_iter300000.pth"
    given.parent.mkdir(parents=True)
    torch.save({"net": state, "optimizer": optimizer.state_dict(), "scheduler": scheduler}, given)
    args = {"nb_joints": 104, "code_dim": 1024, "output_emb_width": 64, "depth": 4, "data_root": "/x/RLW104/"}
    (given.parent / "args.json").write_text(json.dumps(args))
    native = open_weights(tmp_path / "vq", READERS).write(tmp_path / "native.safetensors")
    written = official.write(open_weights(native), tmp_path / "out")
    assert [path.relative_to(tmp_path / "out") for path in written] == [
        Path("vq/c2_pose/net_iter300000.pth"), Path("vq/c2_pose/args.json"),
    ]  # fmt: skip
    found = torch.load(written[0], weights_only=True)["net"]
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert json.loads(written[1].read_text()) == args


@pytest.mark.slow
def test_the_body_goes_through_native_files_to_the_same_file(tmp_path: Path) -> None:
    state = filled("diffusion_pose")
    given = tmp_path / "in" / "model000340000.pt"
    given.parent.mkdir()
    torch.save(state, given)
    (given.parent / "args.json").write_text(json.dumps({"heads": 4, "lr": 1.0, "data_root": "d/PXB184"}))
    native = open_weights(given, READERS).write(tmp_path / "native.safetensors")
    weights = open_weights(native)
    assert load(weights, "body", torch.device("cpu")).sizes.heads == 4
    path, beside = official.write(weights, tmp_path / "out")
    assert path.relative_to(tmp_path / "out") == Path("diffusion/c1_pose/model000340000.pt")
    found = torch.load(path, weights_only=True)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    words = json.loads(beside.read_text())
    assert words.keys() == diffusion.ARGS.keys()
    assert (words["heads"], words["layers"], words["add_frame_cond"], words["lr"]) == (4, 6, 1, 1.0)
    assert words["max_seq_length"] == 600


def test_sizes_come_from_the_tensors_and_heads_from_args(tmp_path: Path, caplog) -> None:
    caplog.set_level("DEBUG", logger="avatarctl_audio2motion")
    args = FACE_ARGS | {"data_root": "/home/someone/PXB184/", "colour": "red"}
    weights = open_weights(write_tiny(tmp_path / "model000000700.pt", "face", args), READERS)
    sizes = tiny.sizes()["face"]
    found = weights.config["networks"]["face"]
    assert found == {name: asdict(sizes)[name] for name in found}
    assert found.keys() == asdict(sizes).keys() - {"audio", "lip", "log_compression", "dropout"}
    assert weights.config["person"] == "PXB184"
    assert weights.config["steps"] == {"face": 700}
    assert "without effect, as in the published code: latent_dim 512" in caplog.text
    assert "unknown and ignored: colour" in caplog.text


@pytest.mark.parametrize(
    ("args", "heads", "rotary"),
    [
        (None, 8, True),
        ({"layers": 6}, 4, True),
        ({"heads": 2}, 2, True),
        ({"heads": 2, "not_rotary": True}, 2, False),
    ],
)
def test_what_no_tensor_shows(args: Any, heads: int, rotary: bool, tmp_path: Path, caplog) -> None:
    weights = open_weights(write_tiny(tmp_path / "model1.pt", args=args), READERS)
    found = weights.config["networks"]["body"]
    assert (found["heads"], found["rotary"]) == (heads, rotary)
    assert ("no heads; taken: 4" in caplog.text) == (args == {"layers": 6})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("{", r"args\.json: not JSON"),
        ("[1]", r"args\.json: found list, expected an object"),
        ('{"heads": "many"}', "heads: found many, expected a number from 1"),
        ('{"unconstrained": true}', "unconstrained: found true"),
    ],
)
def test_a_broken_args_json_is_named(args: str, words: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model1.pt")
    (tmp_path / "args.json").write_text(args)
    with pytest.raises(CheckpointError, match=words) as caught:
        open_weights(path, READERS)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "seqTransDecoder.stack.0.linear1.weight",
            r"weights lack seqTransDecoder\.stack\.0\.linear1\.weight",
        ),
        ("null_cond_embed", "weights lack null_cond_embed"),
    ],
)
def test_a_missing_tensor_is_named_as_the_file_does(name: str, words: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model1.pt")
    content = torch.load(path, weights_only=True)
    del content[name]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        open_weights(path, READERS)


@pytest.mark.parametrize(
    "name", ["rotary.freqs", "audio_resampler.kernel", "seqTransDecoder.stack.1.rotary.freqs"]
)
def test_a_table_that_is_not_the_published_one_is_refused(name: str, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model1.pt")
    content = torch.load(path, weights_only=True)
    content[name] = content[name] * 1.01
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=f"{name}: differs from the published table"):
        open_weights(path, READERS)


def test_a_truncated_file_is_one_clear_failure(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model1.pt")
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"model1\.pt") as caught:
        open_weights(path, READERS)
    assert caught.value.hint


def test_networks_of_two_persons_do_not_go_together(tmp_path: Path) -> None:
    for part, person in (("face", "PXB184"), ("body", "RLW104")):
        write_tiny(tmp_path / part / "model1.pt", part, {"heads": 2, "data_root": f"/data/{person}"})
    with pytest.raises(CheckpointError, match=r"person '(PXB184|RLW104)', but .* '(PXB184|RLW104)'"):
        open_weights(tmp_path, READERS)


def test_the_highest_step_of_a_folder_is_taken(tmp_path: Path) -> None:
    for step in (5000, 155000, 20000):
        write_tiny(tmp_path / f"model{step:09d}.pt", args={"heads": 2})
    assert open_weights(tmp_path, READERS).config["steps"] == {"body": 155000}


def test_networks_that_the_published_code_could_not_build_are_not_written(tmp_path: Path) -> None:
    weights = open_weights(write_tiny(tmp_path / "model1.pt", args={"heads": 2}), READERS)
    sizes = asdict(tiny.sizes()["body"])
    native = replace(weights, config={"networks": {"body": sizes}})
    with pytest.raises(
        CheckpointError, match="body: width is 16, the published code knows only 256"
    ) as caught:
        official.write(native, tmp_path / "out")
    assert "safetensors" in caught.value.hint
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="holds 'stats', expected one of face, body"):
        official.write(Weights({"stats": {}}, {}, "x", Path("f")), tmp_path / "out")


def test_a_name_from_a_file_writes_nothing_outside_the_folder(tmp_path: Path) -> None:
    weights = Weights({"codec": build("codec", {}).state_dict()}, {"networks": {"codec": {}}}, "x", Path("f"))
    weights.config["person"] = "../../elsewhere"
    for path in official.write(weights, tmp_path / "out"):
        assert (tmp_path / "out") in path.resolve().parents


@pytest.mark.parametrize(("flag", "wanted"), [(True, True), (False, False), (None, False)])
def test_the_audio_model_says_whether_its_front_end_ends_in_a_logarithm(
    flag: bool | None, wanted: bool, tmp_path: Path
) -> None:
    audio = FrontEnd(tiny.AUDIO).state_dict()
    model = {f"feature_extractor.{name}": tensor for name, tensor in audio.items()}
    model["vector_quantizer.vars"] = torch.zeros(1, 2, 3)
    settings = argparse.Namespace() if flag is None else argparse.Namespace(log_compression=flag)
    torch.save({"args": settings, "model": model}, tmp_path / "vq-wav2vec.pt")
    weights = open_weights(tmp_path / "vq-wav2vec.pt", READERS)
    assert weights.config["networks"]["audio"] == {"log_compression": wanted}
    assert used(weights.part("audio"), "front_end.").keys() == audio.keys()


@pytest.mark.parametrize(
    ("own", "beside", "setting", "wanted"),
    [
        ({}, None, None, False), ({}, None, True, True), ({}, True, None, True), ({}, False, True, False),
        ({"log_compression": False}, True, True, False),
    ],
)  # fmt: skip
def test_who_says_so_first(own: Any, beside: bool | None, setting: bool | None, wanted: bool) -> None:
    sizes = tiny.sizes()["body"]
    state = {**build("body", asdict(sizes)).state_dict(), f"{UNUSED}vector_quantizer.vars": torch.zeros(1)}
    networks: dict[str, Any] = {
        "body": {k: v for k, v in asdict(sizes).items() if k != "log_compression"} | own
    }
    networks |= {} if beside is None else {"audio": {"log_compression": beside}}
    weights = Weights({"body": state}, {"networks": networks}, "x", Path("f"))
    made = load(weights, "body", torch.device("cpu"), log_compression=setting)
    assert made.front_end.log_compression == wanted
    assert not made.training


def test_audio_networks_are_taken_from_any_weights_that_hold_them() -> None:
    torch.manual_seed(1)
    sizes = {part: asdict(tiny.sizes()[part]) for part in ("face", "body")}
    face = build("face", sizes["face"])
    weights = Weights({"face": face.state_dict()}, {"networks": sizes}, "x", Path("f"))
    for part in ("face", "body"):
        made = build(part, sizes[part])
        give_audio(made, weights)
        assert torch.equal(made.front_end.conv_layers[1][0].weight, face.front_end.conv_layers[1][0].weight)
    assert torch.equal(build("face", sizes["face"]).lip.vertices.weight, face.lip.vertices.weight) is False
    made = build("face", sizes["face"])
    give_audio(made, weights)
    assert torch.equal(made.lip.vertices.weight, face.lip.vertices.weight)
    body = Weights({"body": build("body", sizes["body"]).state_dict()}, {}, "x", Path("body.pt"))
    with pytest.raises(CheckpointError, match="expected one of lip, face, which have the lip"):
        give_audio(build("face", sizes["face"]), body)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"widht": 16}, "widht: no such size"),
        ({"width": 10**9}, "width: found 1000000000"),
        ({"heads": 3}, "no network has these sizes"),
        ({"audio": [[16, 10]]}, "no network has these sizes|audio"),
        ({"lip": {"heads": "x"}}, "lip: heads: found x"),
    ],
)
def test_sizes_that_no_network_has_are_refused(sizes: dict[str, Any], words: str) -> None:
    whole = asdict(tiny.sizes()["face"])
    state = build("face", whole).state_dict()
    weights = Weights({"face": state}, {"networks": {"face": whole | sizes}}, "x", Path("f"))
    with pytest.raises(CheckpointError, match=words):
        load(weights, "face", torch.device("cpu"))


def test_inspect_names_the_networks_and_the_commands(tmp_path: Path, capsys) -> None:
    write_tiny(tmp_path / "model000000700.pt", args={"heads": 2, "data_root": "/d/PXB184"})
    assert main(["inspect", str(tmp_path / "model000000700.pt")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "audio2photoreal, body diffusion",
        "layers 2, heads 2, width 16",
        "PXB184",
        "infer audio2motion",
    ):
        assert words in shown
    assert set(KINDS) <= set(official.WORDS)
