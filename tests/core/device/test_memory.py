import pytest
import torch

from avatarctl.device.memory import chunked, is_out_of_memory
from avatarctl.errors import DeviceError

OUT = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"


def worker(fits, error=RuntimeError):
    """A function that has memory for `fits` items, and the sizes it was asked for."""
    asked = []

    def work(part):
        size = part.stop - part.start
        asked.append(size)
        if size > fits:
            raise error(OUT)
        return list(range(part.start, part.stop))

    return work, asked


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
def test_the_chunk_is_halved_when_memory_runs_out_and_what_fitted_is_kept(error):
    work, asked = worker(fits=5, error=error)
    results = chunked(work, 18, start=16)
    assert [item for result in results for item in result] == list(range(18))
    assert asked == [16, 8, 4, 4, 4, 4, 2]


def test_one_call_where_everything_fits_and_none_for_nothing():
    work, asked = worker(fits=100)
    assert chunked(work, 7, start=64) == [list(range(7))]
    assert asked == [7]
    assert chunked(work, 0, start=64) == []


def test_a_single_item_that_does_not_fit_is_a_device_failure():
    work, _ = worker(fits=0)
    with pytest.raises(DeviceError, match="out of memory for a single item") as caught:
        chunked(work, 4, start=4)
    assert "--device cpu" in caught.value.hint


def test_other_failures_pass_unchanged():
    def work(part):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        chunked(work, 4, start=4)


def test_torchs_own_refusal_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert is_out_of_memory(caught.value)
