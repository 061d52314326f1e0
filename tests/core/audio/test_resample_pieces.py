import pytest
import torch

from avatarctl.audio import resample as module
from avatarctl.audio.resample import resample


@pytest.mark.parametrize(
    ("source", "target"), [(44_100, 48_000), (16_000, 48_000), (48_000, 16_000), (8_000, 44_100)]
)
@pytest.mark.parametrize("count", [5_000, 4_999, 1_024, 1_025])
def test_long_recordings_are_resampled_in_pieces_without_a_seam(source, target, count, monkeypatch):
    samples = torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    whole = resample(samples, source, target)
    monkeypatch.setattr(module, "PIECE", 1_024)
    pieces = resample(samples, source, target)
    assert pieces.shape == whole.shape == (2, -(-count * target // source))
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)  # sums in another order at most
