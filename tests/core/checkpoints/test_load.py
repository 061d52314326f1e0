import pytest
import torch
from torch import nn

from avatarctl.checkpoints import load_strict
from avatarctl.checkpoints.load import is_finite
from avatarctl.errors import CheckpointError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(2, 3)
        self.decoder = nn.Linear(3, 2)
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))


def test_equal_names_and_shapes_load_with_number_types_converted():
    source, target = Net(), Net()
    tensors = {name: tensor.double() for name, tensor in source.state_dict().items()}
    load_strict(target, tensors, "file")
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)
        assert target.state_dict()[name].dtype == tensor.dtype


def test_every_difference_is_listed_with_the_nearest_name():
    tensors = dict(Net().state_dict())
    tensors["encoderr.weight"] = tensors.pop("encoder.weight")
    tensors["decoder.bias"] = torch.zeros(5)
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strict(net, tensors, "model.pth: encoder")
    assert caught.value.message.splitlines() == [
        "model.pth: encoder: the weights do not fit Net",
        "  missing: encoder.weight (nearest: encoderr.weight)",
        "  unexpected: encoderr.weight (nearest: encoder.weight)",
        "  wrong shape: decoder.bias [5], expected [2]",
    ]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)


def test_a_long_list_is_cut():
    tensors = dict(Net().state_dict()) | {f"extra{i}": torch.zeros(1) for i in range(20)}
    with pytest.raises(CheckpointError, match="unexpected: and 12 more"):
        load_strict(Net(), tensors, "file")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    tensors = {name: tensor.clone() for name, tensor in Net().state_dict().items()}
    tensors["decoder.weight"][0, 0] = value
    with pytest.raises(CheckpointError, match=r"decoder\.weight: holds numbers that are not finite"):
        load_strict(Net(), tensors, "file")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_that_are_not_finite_are_found_and_large_ones_are_not_among_them(dtype):
    largest = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    assert is_finite(largest)
    for bad in (torch.nan, torch.inf, -torch.inf):
        largest[-1] = bad
        assert not is_finite(largest)
    assert is_finite(torch.arange(3))
    assert is_finite(torch.empty(0, dtype=dtype))
