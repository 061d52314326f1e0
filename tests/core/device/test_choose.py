import pytest
import torch

from avatarctl.device import choose
from avatarctl.device.choose import available
from avatarctl.errors import DeviceError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def three_gpus(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda index: ([1 << 30, 5 << 30, 2 << 30][index], 8 << 30)
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Card {index}")


def test_without_a_gpu_auto_is_the_processor_and_says_why(no_gpu):
    assert choose("auto") == (torch.device("cpu"), "no CUDA or MPS device")
    assert choose("") == choose("auto")
    assert available() == ["cpu"]


def test_auto_takes_the_card_with_most_free_memory_and_says_so(three_gpus):
    device, reason = choose("auto")
    assert device == torch.device("cuda:1")
    assert reason == "Card 1, 5.0 GiB free, most of 3"
    assert choose("cuda")[0] == device
    assert choose("CUDA:2")[0] == torch.device("cuda:2")


def test_each_process_of_a_group_takes_its_own_card(three_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert choose("auto")[0] == torch.device("cuda:2")


@pytest.mark.parametrize("words", ["cuda", "cuda:1", "mps", "cpu:3", "cuda:x"])
def test_a_device_that_is_not_there_names_those_that_are(no_gpu, words):
    with pytest.raises(DeviceError, match=f"there is no device '{words}'; there is cpu") as caught:
        choose(words)
    assert caught.value.hint == "--device auto"


def test_an_unknown_word_names_the_known_ones():
    with pytest.raises(DeviceError, match="no device is called 'gpu'") as caught:
        choose("gpu")
    assert "auto, cpu, cuda, cuda:N or mps" in caught.value.hint
