"""What a rank is given of a batch."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from avatarctl.engine.shares import share
from avatarctl.errors import UsageError


@dataclass(frozen=True)
class People:
    places: Tensor
    names: str


class Batch(NamedTuple):
    people: People
    more: dict[str, Tensor]


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setattr("avatarctl.device.parallel.world", lambda: 2)
    monkeypatch.setattr("avatarctl.device.parallel.rank", lambda: 1)


def test_each_tensor_of_nested_values_is_cut(second_of_two):
    found = share(Batch(People(torch.arange(4), "all"), {"x": torch.ones(2, 3)}), torch.device("cpu"))

    assert isinstance(found, Batch)
    assert found.people.places.tolist() == [2, 3]
    assert (found.people.names, found.more["x"].shape) == ("all", (1, 3))


def test_a_batch_that_cannot_be_cut_is_refused(second_of_two):
    with pytest.raises(UsageError, match="3 cannot be shared equally by 2"):
        share(People(torch.arange(3), ""), torch.device("cpu"))
