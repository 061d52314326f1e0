import pytest
import torch

from avatarctl.device import precision
from avatarctl.device.precision import check, switches
from avatarctl.errors import UsageError


def state():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def tf32():
    """Sets the two switches for one test."""

    def put(matmul, cudnn):
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = cudnn

    before = state()
    yield put
    put(*before)


@pytest.mark.parametrize("before", [(False, True), (True, False)])
@pytest.mark.parametrize("words", ["fp32", "tf32", "bf16"])
def test_the_former_state_comes_back_even_after_a_failure(tf32, before, words):
    tf32(*before)
    seen = []

    def failing():
        with switches(words):
            seen.append(state())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert seen == [(words != "fp32",) * 2]
    assert state() == before
    assert not torch.is_autocast_enabled("cpu")


def test_only_bf16_computes_in_bf16():
    a = torch.ones(4, 4)
    for words, dtype in (("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        with precision(words):
            assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


def test_an_unknown_word_names_the_known_ones():
    assert check("bf16") == "bf16"
    with pytest.raises(UsageError, match="no precision is called 'fp8'") as caught:
        check("fp8")
    assert caught.value.hint == "use one of fp32, tf32, bf16"
