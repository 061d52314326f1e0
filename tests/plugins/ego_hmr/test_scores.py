"""The metrics of chapter 7, against plain loops."""

import numpy as np
import pytest
import torch
from avatarctl_ego_hmr.scores import CONTACT, Errors, measure, nearest, place_errors, summary


@pytest.fixture
def bodies():
    """Joints and vertices of 5 frames and 3 samples, their truth, and what is visible."""
    made = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=made)

    joints, vertices = normal(5, 3, 24, 3), normal(5, 3, 40, 3)
    visible, seen = torch.rand(5, 24, generator=made) < 0.6, torch.rand(5, 40, generator=made) < 0.6
    visible[2] = True
    return joints, vertices, normal(5, 24, 3), normal(5, 40, 3), visible, seen


def plain(bodies):
    """Means by loops over frames, samples and joints."""
    joints, _, truth, _, visible, _ = (one.numpy() for one in bodies)
    errors, hidden, best = [], [], []
    for frame in range(5):
        sums = []
        for sample in range(3):
            local = joints[frame, sample] - joints[frame, sample, 0]
            distance = np.linalg.norm(local - (truth[frame] - truth[frame, 0]), axis=-1)
            errors += distance.tolist()
            hidden += distance[~visible[frame]].tolist()
            sums.append(distance[~visible[frame]].sum())
        best.append(min(sums))
    return np.mean(errors), np.mean(hidden), np.sum(best) / (~visible).sum()


def test_means_are_those_of_plain_loops(bodies):
    found = summary(measure(*bodies))

    assert [found[name] for name in ("mpjpe.all", "mpjpe.hidden", "mpjpe_best.hidden")] == pytest.approx(
        plain(bodies), rel=1e-5
    )


def test_windows_are_joined_without_a_difference(bodies):
    parts = [measure(*(one[rows] for one in bodies)) for rows in (slice(0, 2), slice(2, 5))]

    assert summary(Errors.joined(parts)) == pytest.approx(summary(measure(*bodies)), rel=1e-5)


def test_pairwise_distance_is_half_the_usual_one_where_published(bodies):
    joints = bodies[0].numpy()
    local = joints - joints[:, :, :1]
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    usual = np.mean([np.linalg.norm(local[:, a] - local[:, b], axis=-1).mean() for a, b in pairs])

    found = summary(measure(*bodies))

    assert (found["apd_corrected.all"], found["apd.all"]) == pytest.approx((usual, usual / 2), rel=1e-5)


def test_frames_without_hidden_joints_are_left_out_of_the_hidden_diversity(bodies):
    errors = measure(*bodies)

    assert errors.spread[2, 2].isnan()
    assert np.isfinite(summary(errors)["std.hidden"])


def test_one_sample_has_no_diversity(bodies):
    found = summary(measure(bodies[0][:, :1], bodies[1][:, :1], *bodies[2:]))

    assert np.isnan(found["std.all"])
    assert np.isnan(found["apd.visible"])


def test_a_body_that_is_turned_scaled_and_moved_has_no_error_after_alignment(bodies):
    _, _, truth, vertices, _, _ = bodies
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    found = place_errors(1.3 * truth @ turn.T + 2, 1.3 * vertices @ turn.T + 2, truth, vertices)

    assert float(found["pa_mpjpe"].max()) < 1e-5
    assert float(found["pa_v2v"].max()) < 1e-5
    assert float(found["g_mpjpe"].min()) > 0.5


def test_frames_with_too_few_visible_joints_have_no_corrected_alignment(bodies):
    *others, visible, seen = bodies
    visible = visible.clone()
    visible[0] = False

    found = measure(*others, visible, seen)

    assert found.joints_corrected[0].isnan().all()
    assert np.isfinite(summary(found)["pa_mpjpe_corrected.visible"])


def test_the_nearest_point_of_a_room_is_found_up_to_a_distance():
    random = np.random.default_rng(0)
    bodies = random.normal(size=(2, 100, 3))
    bodies[1] += 50
    points = random.normal(size=(500, 3))
    wanted = min(np.linalg.norm(bodies[0] - point, axis=1).min() for point in points)

    found = nearest(bodies, points)

    assert found[0] == pytest.approx(wanted)
    assert np.isinf(found[1])
    assert np.isinf(nearest(bodies, bodies[0, :1] + 5, most=CONTACT)[0])
    assert np.isinf(nearest(bodies, np.zeros((0, 3)))).all()
