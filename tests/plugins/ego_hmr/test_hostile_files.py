"""Every pickle that ego-hmr reads passes through the reader that runs nothing."""

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from avatarctl_ego_hmr.bodies import People
from avatarctl_ego_hmr.egobody.files import EgoBody
from avatarctl_ego_hmr.plugin import avatarctl_weights
from avatarctl_ego_hmr.recovered import read_results

from avatarctl.body import Bodies
from avatarctl.checkpoints import open_weights
from avatarctl.errors import AvatarError

sys.path.append(str(Path(__file__).resolve().parent))

import egobody_mini


class Trap:
    """Makes a folder when an ordinary unpickler reads it."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.mkdir, (self.mark,))


@pytest.fixture
def trap(tmp_path):
    """Writes a trap to a path; afterwards nobody stepped into it."""
    mark = tmp_path / "sprung"

    def write(path, beside=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps({**(beside or {}), "array": Trap(mark)}, protocol=2))
        return path

    yield write
    assert not mark.exists()


@pytest.fixture
def root(tmp_path):
    """The miniature EgoBody, to be spoilt."""
    return egobody_mini.egobody(tmp_path / "egobody")


def test_the_trap_springs_for_an_ordinary_reader(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))

    assert (tmp_path / "sprung").is_dir()


def test_published_results(trap, tmp_path):
    path = trap(tmp_path / "results.pkl", {"pred_cam_full_list": np.zeros((3, 3))})

    with pytest.raises(AvatarError):
        read_results(path)


def test_transforms_of_all_recordings(trap, root):
    trap(root / "transf_matrices_all_seqs.pkl")

    with pytest.raises(AvatarError):
        EgoBody(root).transforms().holo_from_kinect(egobody_mini.RECORDINGS["test"])


@pytest.mark.parametrize("name", ["map_dict_test.pkl", "pcd_verts_dict_test.pkl"])
def test_prepared_points(trap, root, name):
    folder = root / "Egohmr_scene_preprocess_s1_release"
    for file in ("map_dict_test.pkl", "pcd_verts_dict_test.pkl"):
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(pickle.dumps({}, protocol=2))
    trap(folder / name)

    with pytest.raises(AvatarError):
        EgoBody(root).front_points("test")("a/b/c/d/e.jpg")


def test_body_models(trap, tmp_path):
    for gender in ("NEUTRAL", "MALE", "FEMALE"):
        trap(tmp_path / "bodies" / f"SMPL_{gender}.pkl")

    with pytest.raises(AvatarError):
        People.load(Bodies(), "smpl", tmp_path / "bodies")


def test_checkpoints(trap, tmp_path):
    path = trap(tmp_path / "best_model.pt", {"state_dict": {}})

    with pytest.raises(AvatarError):
        open_weights(path, list(avatarctl_weights()))


def test_bodies_with_chumpy_arrays_are_read(tmp_path):
    from avatarctl.body import files

    make = Path(__file__).resolve().parents[3] / "fixtures"
    sys.path.append(str(make))
    import make as fixtures

    path = fixtures.write_body(tmp_path, "smpl", "neutral", form="chumpy")

    assert files.read(path).num_joints == 24
    shutil.rmtree(path.parent)
