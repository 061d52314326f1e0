import math

import pytest
import torch
from avatarctl_sparse_tracking import baselines, published
from avatarctl_sparse_tracking.heading import turn_of
from avatarctl_sparse_tracking.scores import COLUMNS, LOWER, UPPER

from avatarctl.geometry.rotations import (
    matrix_about,
    matrix_from_axis_angle,
    matrix_from_sixd,
    sixd_from_matrix,
)

UPRIGHT = torch.tensor(
    [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
)  # a y-up body, upright, facing -y


def turned(angle: float) -> torch.Tensor:
    return matrix_about("Z", torch.tensor(angle)) @ UPRIGHT


def some_pose(frames: int = 4) -> torch.Tensor:
    noise = torch.Generator().manual_seed(5)
    return matrix_from_axis_angle(0.3 * torch.randn(frames, 22, 3, generator=noise))


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("nod", [0.0, 0.9, -0.9, math.pi / 2])
def test_heading_is_the_turn_about_the_vertical_however_the_head_nods(angle, nod):
    head = turned(angle) @ matrix_about("X", torch.tensor(nod))
    torch.testing.assert_close(turn_of(head), matrix_about("Z", torch.tensor(-angle)), rtol=0, atol=1e-5)


def test_last_known_pose_is_true_in_the_first_frame_and_turns_with_the_head():
    local = some_pose()
    local[:, 0] = turned(0.4) @ local[:, 0]
    head = torch.stack([turned(angle) for angle in (0.4, 0.5, 1.4, -0.6)])
    kept = baselines.last_known(sixd_from_matrix(local).flatten(1), head).follow(head)
    kept = matrix_from_sixd(kept.unflatten(1, (22, 6)))
    torch.testing.assert_close(kept[0], local[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(kept[:, 1:], local[:1, 1:].expand(4, -1, -1, -1), rtol=0, atol=1e-5)
    one_radian = matrix_about("Z", torch.tensor(1.0))
    torch.testing.assert_close(kept[2, 0], one_radian @ local[0, 0], rtol=0, atol=1e-5)


def test_mean_of_one_pose_facing_all_ways_is_that_pose():
    pose = some_pose(1)[0]
    pose[0] = UPRIGHT
    angles = torch.linspace(-3, 3, 7)
    local = pose.repeat(7, 1, 1, 1)
    local[:, 0] = torch.stack([turned(float(angle)) for angle in angles])
    head = local[:, 0] @ matrix_about("X", torch.tensor(0.3))
    mean = baselines.mean_of(sixd_from_matrix(local).flatten(1), head, "seven frames")
    torch.testing.assert_close(mean.local, pose, rtol=0, atol=1e-5)


def test_t_pose_stands_upright_and_looks_where_the_head_looks():
    follows = baselines.t_pose().follow(turned(0.7)[None])
    root = matrix_from_sixd(follows[0, :6])
    torch.testing.assert_close(root, turned(0.7), rtol=0, atol=1e-6)


def test_evaluation_sets_are_the_22_joints_once_each():
    assert sorted((*UPPER, *LOWER)) == list(range(22))
    assert len(UPPER) == 13


def test_published_rows_have_confirmed_figures_only_and_in_the_table_units():
    rows = {row.name: row for row in published.rows("S1")}
    cells = {name: [column.shown(row.values) for column in COLUMNS] for name, row in rows.items()}
    # Spec 7.3: root PE of SAGE Net is unconfirmed; jitter is printed in 10^2 m/s^3.
    assert cells["SAGE Net, S1"] == ["2.53", "3.28", "20.62", "1.18", "1.39", "6.01", "-", "6.55"]
    assert cells["AvatarJLM, S1"] == ["2.90", "3.35", "-", "-", "-", "6.14", "-", "8.39"]
    assert "AvatarPoser, S1" not in rows


def test_settings_without_published_figures_have_no_rows():
    assert published.rows("S2") == []
    assert [row.name for row in published.rows("S3")] == ["SAGE Net, S3", "AGRoL (offline), S3"]


def test_scores_on_other_clips_and_the_open_body_are_called_incomparable():
    assert "open body are not comparable" in published.note("S1", True)
    assert "'open'" in published.note("open", True)
    assert "comparable" not in published.note("S1", False)
