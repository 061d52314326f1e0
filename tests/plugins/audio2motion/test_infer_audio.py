import json

import av
import foreign_person
import numpy as np
import pytest
import tiny
import torch
from avatarctl_audio2motion import infer, person, pipeline, subject
from avatarctl_audio2motion.demo_report import hand_speed
from avatarctl_audio2motion.generated import Generated
from avatarctl_audio2motion.places import name_of
from avatarctl_audio2motion.results import read_results
from avatarctl_audio2motion.settings import Infer
from small_avatar import write_avatar

from avatarctl.audio.wave import RATE, Sound, read_sound
from avatarctl.checkpoints import open_weights
from avatarctl.cli.main import main
from avatarctl.errors import CheckpointError, DataError
from avatarctl.motion import Motion
from avatarctl.runs import Run


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny.write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return tiny.write_sound(tmp_path_factory.mktemp("sounds") / "speech.wav", 2.0)


@pytest.fixture(scope="module")
def made(weights, speech, tmp_path_factory):
    """A run of two samples in two repetitions."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    words = ["--weights", str(weights), "--steps", "4", "--samples", "2", "--repeats", "2", "--results"]
    assert main(["infer", "audio2motion", str(speech), *words, "--out", str(folder), "-q"]) == 0
    return folder


def error(words, capsys) -> tuple[int, str]:
    code = main(words)
    return code, " ".join(capsys.readouterr().err.split())


def test_a_sound_gives_a_motion_of_its_length_on_the_person_s_skeleton(made):
    motion, numbers = Motion.read(made / "motion.npz"), Generated.read(made / "generated.npz")
    assert (len(motion), motion.fps) == (60, 30.0)
    wanted = person.load().motion(numbers.body[0])
    torch.testing.assert_close(motion.poses, wanted.poses.float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(motion.root, wanted.root.float(), rtol=0, atol=1e-6)
    assert not torch.equal(Motion.read(made / "motion_sample01_rep00.npz").poses, motion.poses)
    for suffix in ("glb", "bvh"):
        assert (made / f"motion_sample01_rep01.{suffix}").stat().st_size > 1000


def test_results_have_the_published_names_structure_and_order(made):
    numbers = Generated.read(made / "generated.npz")
    files = sorted(path.parent.name for path in made.glob("*/results.npy"))
    assert files == [
        "samples_open_face_000000000_seed0_",
        "samples_open_pose_000000000_seed0_guide_iter-0000000.pt",
    ]
    body = read_results(made / files[1] / "results.npy")
    assert body.motions.shape == (4, 104, 1, 60)
    np.testing.assert_allclose(body.motions[2, :, 0].T, numbers.body[2], rtol=1e-6)
    np.testing.assert_allclose(body.keyframes, numbers.keys, rtol=1e-6)
    assert body.audio.shape == (4, 96_000, 2)
    assert body.truth is None
    assert body.lengths.tolist() == [60] * 4


def test_an_export_of_the_run_is_the_motion_that_the_run_wrote(made, tmp_path, capsys):
    words = [
        "export",
        "audio2motion",
        str(made),
        "--number",
        "1",
        "--to",
        "npz",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    again, first = (
        Motion.read(path) for path in (tmp_path / "out" / "motion.npz", made / "motion_sample01_rep00.npz")
    )
    torch.testing.assert_close(again.poses, first.poses, rtol=0, atol=1e-6)
    body = next(made.glob("samples_*pose*/results.npy"))
    assert main(["export", "audio2motion", str(body), "--to", "npz", "--out", str(tmp_path / "b"), "-q"]) == 0
    other = Motion.read(tmp_path / "b" / "motion.npz")
    torch.testing.assert_close(other.poses, Motion.read(made / "motion.npz").poses, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--number", "4"], 3, "holds 4 motions"),
        (["--to", "gltf"], 3, "'gltf' is no format"),
        (["--person", "PXB184"], 4, "skeleton of PXB184 is not here"),
    ],
)
def test_exports_that_cannot_be_made_say_why(made, tmp_path, capsys, words, code, said):
    found = error(["export", "audio2motion", str(made), *words, "--out", str(tmp_path / "out")], capsys)
    assert found[0] == code
    assert said in found[1]


def test_a_face_alone_cannot_be_exported(made, tmp_path, capsys):
    face = next(made.glob("samples_*face*/results.npy"))
    code, said = error(["export", "audio2motion", str(face), "--out", str(tmp_path / "out")], capsys)
    assert code == 5
    assert "face codes alone" in said


def test_two_channels_are_the_two_voices_and_one_is_the_person(tmp_path):
    both = tiny.write_sound(tmp_path / "both.wav", 1.0, channels=2)
    run = Run.standalone(tmp_path / "run")
    torch.testing.assert_close(infer.heard(Infer(sound=both), run), tiny.voices(1.0))
    one = tiny.write_sound(tmp_path / "one.wav", 1.0)
    alone = infer.heard(Infer(sound=one), run)
    torch.testing.assert_close(alone[:, 0], tiny.voices(1.0)[:, 0])
    assert alone[:, 1].abs().max() == 0
    Sound(tiny.voices(1.0)[:, 1:], RATE).write(tmp_path / "other.wav")
    pair = infer.heard(Infer(sound=one, partner=tmp_path / "other.wav"), run)
    torch.testing.assert_close(pair, tiny.voices(1.0))


def test_turns_say_whose_voice_a_mix_holds(tmp_path):
    mix = tiny.write_sound(tmp_path / "mix.wav", 2.0)
    turns = tmp_path / "mix.rttm"
    lines = [f"SPEAKER mix 1 {start}.0 1.0 <NA> <NA> {name} <NA> <NA>" for start, name in enumerate("ab")]
    turns.write_text("\n".join(lines), encoding="utf-8")
    found = infer.heard(Infer(sound=mix, turns=turns, speaker="b"), Run.standalone(tmp_path / "run"))
    assert found[: RATE - 10, 0].abs().max() == 0
    assert found[RATE + 10 :, 1].abs().max() == 0
    torch.testing.assert_close(found[RATE + 2000 : -2000, 0], tiny.voices(2.0)[RATE + 2000 : -2000, 0])


def test_networks_may_come_from_several_files(weights, tmp_path, speech):
    face = tiny.write_weights(tmp_path / "face.safetensors", parts="face")
    body = tiny.write_weights(tmp_path / "body.safetensors", parts="body guide codec")
    settings = Infer(sound=speech, weights=str(body), face=str(face))
    found = infer.weights_of(settings, Run.standalone(tmp_path / "run"))
    whole = open_weights(weights)
    assert set(found.parts) == set(whole.parts)
    model = infer.load(settings, found, Run.standalone(tmp_path / "run2"))
    torch.testing.assert_close(model.networks.face.state_dict(), open_weights(face).part("face"))


def test_a_person_without_a_skeleton_gets_numbers_and_is_told_why(tmp_path, speech, capsys):
    weights = tiny.write_weights(tmp_path / "w.safetensors", person="PXB184")
    words = ["infer", "audio2motion", str(speech), "--weights", str(weights), "--steps", "4"]
    code, said = error([*words, "--out", str(tmp_path / "out")], capsys)
    assert code == 0
    assert "no motion.npz: the skeleton of PXB184 is not here" in said
    assert (tmp_path / "out" / "generated.npz").is_file()
    assert not (tmp_path / "out" / "motion.npz").exists()
    code, said = error([*words, "--video", "--out", str(tmp_path / "film")], capsys)
    assert code == 4
    assert not (tmp_path / "film" / "generated.npz").exists()  # refused before anything was computed


def test_a_person_is_not_moved_by_the_weights_of_another(tmp_path, speech, capsys):
    weights = tiny.write_weights(tmp_path / "w.safetensors", person="PXB184")
    words = ["infer", "audio2motion", str(speech), "--weights", str(weights)]
    folder = tmp_path / "RLW104"
    folder.mkdir()
    for out, other in ((tmp_path / "a", "RLW104"), (tmp_path / "b", str(folder))):
        code, said = error([*words, "--person", other, "--out", str(out)], capsys)
        assert code == 6
        assert f"{weights} is of PXB184, but --person is RLW104" in said
        assert "name weights of RLW104 (--weights)" in said
        assert not (out / "generated.npz").exists()


def test_statistics_or_a_folder_of_another_name_say_that_a_person_is_meant(tmp_path):
    weights = open_weights(tiny.write_weights(tmp_path / "w.safetensors", person="PXB184"))
    (tmp_path / "mine").mkdir()
    assert pipeline.person_of(weights, "RLW104", tmp_path) == "RLW104"
    assert pipeline.person_of(weights, str(tmp_path / "mine")) == "mine"
    assert pipeline.person_of(weights, "") == pipeline.person_of(weights, "PXB184") == "PXB184"
    with pytest.raises(CheckpointError, match="is of PXB184"):
        pipeline.load(weights, "cpu", person="open")


def test_a_person_has_the_name_of_the_folder_that_holds_the_files(tmp_path):
    folder = write_avatar(tmp_path)
    for place in (folder, tmp_path, tmp_path / "checkpoints" / "ca_body"):
        assert name_of(str(place), "RLW104") == "PXB184"
    assert name_of(str(tmp_path / "assets"), "RLW104") == "assets"
    assert (name_of("", "RLW104"), name_of("PXB184", "RLW104")) == ("RLW104", "PXB184")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: next(folder.parents[3].glob("assets/*.pth")).unlink(), "no view to draw"),
        (lambda folder: shortened(folder / "body_dec.ckpt"), "body_dec.ckpt"),
        (lambda folder: torch.save({"model": {}}, folder / "body_dec.ckpt"), "expected a Codec Avatar Body"),
        (lambda folder: (folder / "config.yml").unlink(), "config.yml missing"),
    ],
)
def test_a_film_of_a_broken_avatar_is_refused_before_anything_is_generated(
    tmp_path, speech, capsys, spoil, said
):
    weights = tiny.write_weights(tmp_path / "w.safetensors", person="PXB184")
    folder = write_avatar(tmp_path)
    spoil(folder)
    words = ["--weights", str(weights), "--person", str(folder), "--video", "--steps", "4"]
    out = tmp_path / "out"
    code, told = error(["infer", "audio2motion", str(speech), *words, "--out", str(out)], capsys)
    assert code in (4, 5, 6), told
    assert said in told
    assert "Traceback" not in told
    assert not (out / "generated.npz").exists()


def shortened(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_an_avatar_without_its_network_is_named_where_the_open_body_is_shown(tmp_path):
    folder = foreign_person.write(tmp_path / "PXB184")
    found = subject.Subject.find(str(folder), "", tmp_path)
    found.require_film()
    assert found.shown == f"the open body, as {folder / 'body_dec.ckpt'} is missing"


def test_impossible_steps_are_refused_before_weights_are_read(tmp_path, speech, capsys, monkeypatch):
    monkeypatch.setattr(infer, "weights_of", lambda *_: pytest.fail("weights were read"))
    words = ["infer", "audio2motion", str(speech), "--steps", "ddim300", "--out", str(tmp_path / "out")]
    code, said = error(words, capsys)
    assert code == 2
    assert "300 of 1000 steps" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--steps", "ddim300"], 2, "300 of 1000 steps"),
        (["--steps", "many"], 2, "expected a number"),
        (["--window", "100"], 3, "multiple of 30"),
        (["--window", "600"], 3, "at most 120 frames"),
        (["--window", "120", "--overlap", "90"], 3, "at most half of the window, 60"),
        (["--speaker", "a"], 3, "goes with --turns only"),
        (["--to", "mp4"], 3, "--video"),
        (["--guidance", "-1"], 3, "guidance"),
        (["--partner", "nobody.wav"], 5, "nobody.wav: not found"),
        (["--stats", "nobody.pth"], 5, "nobody.pth: not found"),
        (["--keys", "nobody.npy"], 5, "nobody.npy: not found"),
    ],
)
def test_wrong_words_are_answered_in_a_line(weights, speech, tmp_path, capsys, words, code, said):
    start = ["infer", "audio2motion", str(speech), "--weights", str(weights), "--out", str(tmp_path / "out")]
    found = error([*start, *words], capsys)
    assert found[0] == code, found[1]
    assert said in found[1]
    assert "Traceback" not in found[1]
    assert not (tmp_path / "out" / "motion.npz").exists()


def test_key_poses_are_read_from_a_file_of_numbers_only(tmp_path):
    run = Run.standalone(tmp_path / "run")
    np.save(tmp_path / "keys.npy", np.ones((3, 104)))
    assert infer.key_poses(tmp_path / "keys.npy", run).shape == (3, 104)
    for name, content in (("text.npy", b"no numbers"), ("words.npy", None)):
        path = tmp_path / name
        path.write_bytes(content) if content else np.save(path, np.array(["a"]))
        with pytest.raises(Exception, match=name):
            infer.key_poses(path, run)


def test_hands_that_turn_about_the_elbow_have_the_speed_of_a_circle():
    poses = torch.zeros(31, 22, 3)
    poses[:, 18, 1] = torch.linspace(0, 1, 31)  # a radian in a second, about an axis across the forearm
    motion = Motion(poses=poses, root=torch.zeros(31, 3), fps=30.0)
    from avatarctl.body import open_body

    rest = open_body("smplh").rest_joints
    across = (rest[20] - rest[18])[[0, 2]].norm()
    assert hand_speed(motion)[5] == pytest.approx(float(across) / 2, rel=1e-3)  # the other hand is still


def test_a_person_whose_bones_have_unknown_names_is_still_drawn(tmp_path, monkeypatch):
    folder = write_avatar(tmp_path, "SOMEONE")

    def unknown(place):
        raise DataError(f"{place}: no bone was recognised", hint="add a table")

    monkeypatch.setattr(subject.people, "load", unknown)
    found = subject.Subject.find(str(folder), "PXB184", tmp_path)
    found.require_film()
    assert found.shown == "the drawn avatar of SOMEONE"
    with pytest.raises(DataError, match="no bone was recognised; add a table"):
        found.motion(torch.zeros(1, 104))


def test_long_motion_is_brought_to_the_body_in_pieces_without_a_seam(monkeypatch):
    pose = 0.1 * torch.randn(50, 104, generator=torch.Generator().manual_seed(0)).cumsum(0)
    someone = subject.Subject("open", person.load())
    whole = someone.motion(pose)
    monkeypatch.setattr(subject, "PIECE", 20)
    pieces = someone.motion(pose)
    torch.testing.assert_close(pieces.poses, whole.poses, rtol=0, atol=1e-5)
    torch.testing.assert_close(pieces.root, whole.root, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_film_has_the_voice_and_lasts_as_long_as_it(weights, speech, tmp_path):
    words = ["--weights", str(weights), "--steps", "4", "--mode", "face", "--video", "--size", "96"]
    folder = tmp_path / "out"
    assert main(["infer", "audio2motion", str(speech), *words, "--out", str(folder), "-q"]) == 0
    with av.open(str(folder / "video.mp4")) as film:
        assert {stream.type for stream in film.streams} == {"video", "audio"}
        assert film.streams.video[0].frames == 60
    loud = [
        one.mono()[: 60 * 1600].reshape(60, 1600).std(1).numpy()
        for one in map(read_sound, (folder / "video.mp4", speech))
    ]
    assert np.corrcoef(loud)[0, 1] > 0.98  # AAC keeps how loud noise is, frame by frame


@pytest.mark.slow
def test_the_demo_leaves_motions_film_and_report(weights, speech, tmp_path):
    folder = tmp_path / "out"
    words = [
        "--weights",
        str(weights),
        "--sound",
        str(speech),
        "--steps",
        "4",
        "--seconds",
        "1",
        "--size",
        "128",
    ]
    assert main(["demo", "audio2motion", *words, "--samples", "2", "--out", str(folder), "-q"]) == 0
    names = {path.name for path in folder.iterdir()}
    assert {"motion.npz", "motion.bvh", "motion.glb", "video.mp4", "picture.png", "report.html"} <= names
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<video controls loop" in page  # with sound
    assert "The hands move at" in page
    assert json.loads((folder / "metrics.json").read_text())["seconds"] == 1.0
