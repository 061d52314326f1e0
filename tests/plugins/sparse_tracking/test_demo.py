import json
import re

import av
import numpy as np
import pytest
from avatarctl_sparse_tracking import demo
from avatarctl_sparse_tracking.amass import read_list
from avatarctl_sparse_tracking.evaluate import LAST_KNOWN, MEAN
from avatarctl_sparse_tracking.settings import Demo
from PIL import Image

from avatarctl.body import open_body
from avatarctl.errors import SettingsError
from avatarctl.motion import Motion
from avatarctl.motion.clips import clips
from avatarctl.runs import Run


def test_default_clips_are_a_walk_a_salsa_and_a_martial_one_that_were_held_out():
    names = demo.choose(Demo().clips)
    assert [name.split("_")[0] for name in names] == ["walk", "salsa", "martial"]
    trained = {clips()[name].take for name in read_list("open_train")}
    assert not trained & {clips()[name].take for name in names}


def test_a_clip_that_was_trained_on_is_refused_with_the_held_out_ones():
    with pytest.raises(
        SettingsError, match="no held-out clip is called 'zombie'; there is walk_2, "
    ) as caught:
        demo.choose(["walk", "zombie"])
    assert caught.value.hint


def test_mean_training_pose_is_a_standing_one():
    mean = demo.training_mean(open_body())
    assert mean.source == f"the mean of {len(read_list('open_train'))} training clips"
    assert mean.local[0][2, 1] > 0.95  # the pelvis is upright
    elbows = mean.local[[18, 19]]
    assert (elbows.diagonal(dim1=-2, dim2=-1).sum(-1) < 2.6).all()  # bent by more than 36 degrees, no T-pose


@pytest.mark.slow
def test_demo_leaves_the_files_of_the_product_page(tiny_weights, tmp_path):
    run = Run.standalone(tmp_path / "demo")
    settings = Demo(clips=["walk_2", "martial_09_b"], weights=str(tiny_weights), seconds=0.6, size=128)
    demo.run(settings, run)
    made = {item["path"]: item["kind"] for item in run.manifest.outputs}
    assert {"motion.npz", "motion.bvh", "motion.glb", "video.mp4", "report.html", "picture.png"} == set(made)
    motion = Motion.read(run.path("motion.npz"))
    truth = clips()["walk_2"].motion()
    assert len(motion) == len(truth) - 1
    again = Motion.read(run.path("motion.bvh"))
    np.testing.assert_allclose(again.root.numpy(), motion.root.numpy(), atol=1e-3)
    with av.open(str(run.path("video.mp4"))) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 2 * 18  # two clips of 0.6 s at 30 frames a second
    assert frames[0].shape == (128, 256, 3)
    assert frames[0].std() > 5
    assert Image.open(run.path("picture.png")).size == (256, 128)
    metrics = json.loads(run.path("metrics.json").read_text())
    assert metrics["about"]["clips"] == ["walk_2", "martial_09_b"]
    assert set(metrics) == {"about", "estimate", LAST_KNOWN.replace(" ", "_"), MEAN.replace(" ", "_")}
    report = run.path("report.html").read_text(encoding="utf-8")
    assert len(re.findall("data:video/mp4;base64,", report)) == 1
    assert len(re.findall("data:image/png;base64,", report)) == 3
    assert "SAGE Net, S1" in report
    assert "avatarctl infer sparse" in report
