from itertools import pairwise

import pytest
import torch
from avatarctl_audio2motion.windows import Window, fade, joined, windows_of

from avatarctl.diffusion import Process, cosine_betas, ddim


@pytest.mark.parametrize("frames", [1, 59, 600, 601, 629, 1050, 1051, 5400, 108_000 - 7])
@pytest.mark.parametrize(("longest", "overlap"), [(600, 150), (120, 60), (60, 30)])
def test_windows_cover_every_frame_and_share_at_least_the_overlap(frames, longest, overlap):
    found = windows_of(frames, longest, overlap)
    assert found[0].first == 0
    assert found[-1].last == frames
    assert found[0].shared == 0
    for before, after in pairwise(found):
        assert len(before) == longest
        assert after.first % 30 == 0
        assert after.shared == before.last - after.first >= overlap
        assert before.first < after.first
        assert after.last > before.last
    assert len(found[-1]) <= longest
    assert len(found) == 1 or len(found[-1]) > longest - 30


def test_key_poses_of_windows_are_those_whose_frames_lie_in_them():
    window = Window(450, 1037, 150)
    assert list(range(*window.keys.indices(1000))) == [k for k in range(1000) if 450 <= 30 * k < 1037]
    assert window.shared_keys == len([k for k in range(1000) if 450 <= 30 * k < 600])


def test_a_fade_moves_evenly_from_one_motion_to_the_other():
    faded = fade(torch.zeros(1, 4, 1), torch.ones(1, 4, 1))
    assert faded.flatten().tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])


STEPS = [900, 600, 300, 0]
PROCESS = Process(cosine_betas(1000))


def sampled(frames, longest, overlap, network, noise):
    """A clip sampled window by window; the network sees a window's sample, step and window."""
    found = torch.empty(1, frames, 1)
    windows, trail = windows_of(frames, longest, overlap), []
    for number, window in enumerate(windows):
        kept = windows[number + 1].shared if number + 1 < len(windows) else 0
        denoise, new = joined(
            lambda sample, place, window=window: network(sample, STEPS[place], window),
            window.shared,
            trail,
            kept,
        )
        start = noise[:, window.first : window.last]
        found[:, window.first : window.last] = ddim(PROCESS, STEPS, denoise, start, to_clean=True)
        trail = new
    return found


def test_windows_change_nothing_for_a_network_that_looks_at_single_frames():
    noise = torch.randn(1, 400, 1, generator=torch.Generator().manual_seed(0))

    def network(sample, step, _):
        return torch.tanh(sample) * (1 - step / 2000)

    whole = sampled(400, 600, 60, network, noise)
    torch.testing.assert_close(sampled(400, 120, 60, network, noise), whole, rtol=1e-5, atol=1e-6)


def test_networks_that_disagree_between_windows_leave_no_step_at_a_seam():
    def network(sample, _, window):
        level = float(window.first // 60 % 2)  # neighbours disagree by 1
        return torch.full_like(sample, level)

    found = sampled(420, 120, 60, network, torch.zeros(1, 420, 1))
    assert found.max() - found.min() > 0.9
    assert found.diff(dim=1).abs().max() <= 1 / 61 + 1e-5  # the disagreement over the overlap's steps
